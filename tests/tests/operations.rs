//! What `docs/operations.md` tells an operator to paste does what it says.
//!
//! # Contract
//! * Every `sh` block of the page runs, in order, in one shell that stops at the first command that
//!   fails. It has a network and processes of its own, and a directory of its own in place of the
//!   page's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mcp_v8_tests::bin_dir;

/// The directory of the page.
const DEMO: &str = "/tmp/cluster-demo";

/// How long the whole page may take.
const PAGE_MAX: Duration = Duration::from_secs(240);

/// The blocks of a page, in order.
fn blocks(page: &str) -> Vec<&str> {
    let mut blocks = Vec::new();
    let mut rest = page;
    while let Some((_, after)) = rest.split_once("\n```sh\n") {
        let (block, after) = after.split_once("\n```\n").expect("the block ends");
        blocks.push(block);
        rest = after;
    }
    blocks
}

#[test]
fn every_command_of_the_page_works_when_it_is_pasted() {
    let page = std::fs::read_to_string(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md"),
    )
    .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let demo = dir.path().join("demo");
    let mut script = "set -euo pipefail\n".to_owned();
    for (number, block) in (1..).zip(blocks(&page)) {
        script += &format!("echo '=== block {number}'\n{block}\n");
    }
    assert!(script.contains(DEMO) && script.matches("=== block").count() > 8, "{script}");
    let script = script.replace(DEMO, demo.to_str().unwrap());
    let path = format!("{}:{}", bin_dir().display(), std::env::var("PATH").unwrap());
    let output = dir.path().join("output");
    let log = std::fs::File::create(&output).unwrap();
    let mut shell = Command::new("unshare")
        // With its first process all others of the page end, whatever happens.
        .args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["bash", "-c", "ip link set lo up && exec bash -c \"$0\""])
        .arg(&script)
        .env("PATH", path)
        .env("RUST_LOG", "info,openraft=error")
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = shell.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > PAGE_MAX {
            shell.kill().unwrap();
            break shell.wait().unwrap();
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let said = std::fs::read_to_string(output).unwrap();
    println!("{said}");
    assert!(status.success(), "after {:?}: {status}", begun.elapsed());
    // The execution of the beginning is found by its key in the cluster that was restored.
    let results = said.matches("\"result\":\"42\"").count();
    let ids: Vec<&str> =
        said.split("\"execution_id\":\"").skip(1).map(|rest| &rest[..36]).collect();
    assert_eq!((results, ids.len()), (2, 2), "{said}");
    assert_eq!(ids[0], ids[1]);
    assert!(!demo.exists(), "the page leaves something behind");
}
