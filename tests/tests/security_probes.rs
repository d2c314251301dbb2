//! P5 against machine code: every attempt of `mcp-v8-probe` ends as it must, and SECURITY.md says so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::Command;

use mcp_v8_tests::binary;

/// Probes there are at least, so that a table that was not made is not a success.
const PROBES_MIN: usize = 200;

const BEGIN: &str = "<!-- probes: written by scripts/security-table -->\n";
const END: &str = "<!-- end of probes -->\n";

#[test]
fn p5_every_probe_ends_as_it_must_and_security_md_shows_how() {
    let out = Command::new(binary("mcp-v8-probe")).arg("--table").output().unwrap();
    let complaints = String::from_utf8(out.stderr).unwrap();
    assert!(out.status.success(), "{}\n{complaints}", out.status);
    let table = String::from_utf8(out.stdout).unwrap();
    assert!(table.lines().count() >= PROBES_MIN, "{table}");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../SECURITY.md");
    let text = std::fs::read_to_string(file).unwrap();
    let shown = text.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).map(|(it, _)| it);
    let shown = shown.expect("the marks around the table in SECURITY.md");
    let (shown, table): (Vec<_>, Vec<_>) = (shown.lines().collect(), table.lines().collect());
    let differs = table.iter().zip(&shown).find(|(made, shown)| made != shown);
    assert!(
        shown == table,
        "SECURITY.md shows {} lines for {} and differs first at {differs:?}: run scripts/security-table",
        shown.len(),
        table.len()
    );
}
