//! Metrics as a server gives them, and as `docs/metrics.md` tells of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What is known of a metric.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// Its labels.
    pub labels: BTreeSet<String>,
    /// Whether there is a help text.
    pub has_help: bool,
    /// Where it is: at every `node`, in a `cluster`, or at a node where it has happened (`used`).
    pub place: String,
}

/// The metrics by their names.
pub type Metrics = BTreeMap<String, Known>;

/// What a server gives.
pub fn given(text: &str) -> Metrics {
    let mut metrics = Metrics::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            metrics.entry(name.to_owned()).or_default().has_help = !help.trim().is_empty();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            kind.clone_into(&mut metrics.entry(name.to_owned()).or_default().kind);
        } else if let Some((sample, _)) = line.rsplit_once(' ') {
            let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
            let known = |name: &str| metrics.contains_key(name).then(|| name.to_owned());
            let parts = ["_bucket", "_sum", "_count"];
            let base = known(name)
                .or_else(|| parts.iter().find_map(|part| known(name.strip_suffix(part)?)))
                .unwrap_or_else(|| panic!("a sample without a type: {line}"));
            let labels = labels.split("\",").filter_map(|label| Some(label.split_once('=')?.0));
            let labels = labels.filter(|label| *label != "le").map(str::to_owned);
            metrics.get_mut(&base).unwrap().labels.extend(labels);
        }
    }
    metrics
}

/// What the page tells of.
pub fn told() -> Metrics {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `mcp_v8_"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split(" | ").map(|cell| cell.trim().trim_matches('|')).collect();
        assert_eq!(cells.len(), 6, "name, type, unit, labels, where, meaning: {row}");
        let name = format!("mcp_v8_{}", cells[0].trim_end_matches('`'));
        let seconds = name.contains("_seconds");
        let bytes = name.contains("_bytes");
        let unit = if seconds {
            "seconds"
        } else if bytes {
            "bytes"
        } else {
            cells[2]
        };
        assert_eq!(cells[2], unit, "the unit is in the name: {row}");
        let labels = cells[3].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let (kind, place) = (cells[1].to_owned(), cells[4].to_owned());
        (name, Known { kind, labels, has_help: true, place })
    })
    .collect()
}

/// Asserts that the page tells of all that a server gives, and that it gives what is at such a place.
pub fn agree(given: &Metrics, places: &[&str]) {
    let told = told();
    for (name, metric) in given {
        let row = told.get(name).unwrap_or_else(|| panic!("{name} is not in docs/metrics.md"));
        assert_eq!(metric.kind, row.kind, "the type of {name}");
        assert!(metric.has_help, "{name} has no HELP");
        let labels: Vec<_> = metric.labels.difference(&row.labels).collect();
        assert!(labels.is_empty(), "docs/metrics.md lacks labels {labels:?} of {name}");
        assert!(places.contains(&row.place.as_str()), "{name} is told to be at {}", row.place);
    }
    for (name, row) in told {
        if places.contains(&row.place.as_str()) {
            let metric = given.get(&name).unwrap_or_else(|| panic!("no {name} at {places:?}"));
            assert_eq!(metric.labels, row.labels, "the labels of {name}");
        }
    }
}
