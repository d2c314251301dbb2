//! Columns of text.

/// Rows under a head, each column as wide as its widest field.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut lines = vec![head.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>()];
    lines.extend(rows.iter().cloned());
    let columns = head.len();
    let wide = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|field| field.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| wide(column).unwrap_or(0)).collect();
    let shown = lines.iter().map(|line| {
        let fields = line.iter().zip(&widths).map(|(field, width)| format!("{field:<width$}"));
        fields.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    shown.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_field() {
        let rows =
            [vec!["node1".to_owned(), "x".to_owned()], vec!["n".to_owned(), "yy".to_owned()]];
        assert_eq!(table(&["NODE", "A"], &rows), "NODE   A\nnode1  x\nn      yy");
    }
}
