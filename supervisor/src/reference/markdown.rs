//! What the pages have in common.

/// The first lines of a page.
pub fn head(title: &str, about: &str) -> String {
    format!(
        "# {title}\n\n{about}\n\n<!-- Written by {}: edit the source, not this page. -->\n",
        super::COMMAND
    )
}

/// A text as a cell of a table: on one line, with nothing that ends the cell.
pub fn cell(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.replace('|', "\\|").replace('<', "&lt;")
}

/// As code.
pub fn code(text: &str) -> String {
    format!("`{}`", text.replace('|', "\\|"))
}

/// A table, or nothing without rows. Columns in which nothing stands are left out.
pub fn table(columns: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let used =
        |at: &usize| rows.iter().any(|row| row.get(*at).is_some_and(|cell| !cell.is_empty()));
    let used: Vec<usize> = (0..columns.len()).filter(used).collect();
    let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    let pick = |cells: &[String]| {
        let cells = used.iter().map(|at| cells.get(*at).map_or("", String::as_str));
        line(cells.collect())
    };
    let mut text = String::from("\n");
    text += &line(used.iter().filter_map(|at| columns.get(*at).copied()).collect());
    text += &format!("|{}\n", "---|".repeat(used.len()));
    rows.iter().for_each(|row| text += &pick(row));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_stays_in_its_cell_and_empty_columns_go() {
        assert_eq!(cell("a |\n b <c>"), "a \\| b &lt;c>");
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let text = table(&["A", "B", "C"], &[row(["1", "", "2"]), row(["3", "", ""])]);
        assert_eq!(text, "\n| A | C |\n|---|---|\n| 1 | 2 |\n| 3 |  |\n");
        assert_eq!(table(&["A"], &[]), "");
    }
}
