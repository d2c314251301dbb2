//! The page of the limits, from the modules that have them.

use super::markdown::{cell, code, head, table};

const ABOUT: &str = "Every bound of the program by its name in the source. A value equal to a bound is \
accepted, one past it is refused. Those that can be set are in [cli.md](cli.md).";

/// The modules, and whose limits they have.
const MODULES: [(&str, &str); 3] = [
    ("Server", include_str!("../limits.rs")),
    ("Cluster", include_str!("../../cluster/src/limits.rs")),
    ("Server and worker", include_str!("../../../protocol/src/limits.rs")),
];

/// The page.
pub fn page() -> String {
    let mut text = head("Limits", ABOUT);
    for (title, source) in MODULES {
        text += &format!("\n## {title}\n");
        text += &table(&["Name", "Value", "Meaning"], &rows(source));
    }
    text
}

/// A row for each constant, with the comment before it.
fn rows(source: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let (mut comment, mut constant) = (String::new(), String::new());
    // Those for tests are not for readers.
    for line in source.lines().take_while(|line| !line.starts_with("#[cfg(test)]")) {
        let line = line.trim();
        if let Some(text) = line.strip_prefix("///") {
            comment += text;
        } else if line.starts_with("pub const ") || !constant.is_empty() {
            constant += line;
            constant.push(' ');
        } else {
            comment.clear();
        }
        if !constant.trim_end().ends_with(';') {
            continue;
        }
        let ended = std::mem::take(&mut constant);
        let said = std::mem::take(&mut comment);
        let named = ended.trim_start_matches("pub const ").split_once(':');
        if let Some((name, (_, value))) =
            named.and_then(|(name, rest)| Some((name, rest.split_once('=')?)))
        {
            let value = value.trim().trim_end_matches(';').trim();
            rows.push(vec![code(name), code(value), cell(&without_links(&said))]);
        }
    }
    rows
}

/// Names in brackets are links in the source only.
fn without_links(text: &str) -> String {
    text.replace("[`", "`").replace("`]", "`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_is_read_with_its_comment_over_lines() {
        let source = "//! Head.\n\nuse x;\n\n/// Bytes of\n/// [`A`].\npub const B: usize =\n    2 * A;\n/// C.\npub const C: u8 = 1;\n#[cfg(test)]\npub const D: u8 = 2;\n";
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        assert_eq!(
            rows(source),
            [row(["`B`", "`2 * A`", "Bytes of `A`."]), row(["`C`", "`1`", "C."])]
        );
    }
}
