//! Architecture invariants that the build can check: which crate may depend on what.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeSet, HashMap};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

/// Every package that ends up in the binary of `root`: normal dependencies, transitively.
fn linked_into(metadata: &Metadata, root: &str) -> BTreeSet<String> {
    let resolve = metadata.resolve.as_ref().unwrap();
    let nodes: HashMap<&PackageId, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let names: HashMap<&PackageId, &str> =
        metadata.packages.iter().map(|package| (&package.id, package.name.as_str())).collect();
    let start = names.iter().find(|(_, name)| **name == root).map(|(id, _)| *id).unwrap();
    let (mut open, mut seen) = (vec![start], BTreeSet::new());
    while let Some(id) = open.pop() {
        for dependency in &nodes[id].deps {
            let linked =
                dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
            if linked && seen.insert(names[&dependency.pkg].to_owned()) {
                open.push(&dependency.pkg);
            }
        }
    }
    seen
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .other_options(vec![
            "--locked".to_owned(),
            "--filter-platform=x86_64-unknown-linux-gnu".to_owned(),
        ])
        .exec()
        .unwrap()
}

#[test]
fn the_supervisor_has_no_v8_in_its_address_space() {
    let linked = linked_into(&metadata(), "mcp-v8-supervisor");
    assert!(linked.contains("tokio") && linked.contains("mcp-v8-protocol"), "the walk works");
    for forbidden in ["v8", "deno_core_icudata", "oxc", "mcp-v8-runtime", "mcp-v8-worker"] {
        assert!(!linked.contains(forbidden), "mcp-v8-supervisor links {forbidden}");
    }
}

#[test]
fn the_worker_has_no_network_store_or_consensus() {
    let linked = linked_into(&metadata(), "mcp-v8-worker");
    assert!(linked.contains("v8") && linked.contains("mcp-v8-protocol"), "the walk works");
    for forbidden in [
        "tokio",
        "mio",
        "hyper",
        "axum",
        "reqwest",
        "rmcp",
        "sled",
        "openraft",
        "mcp-v8-supervisor",
    ] {
        assert!(!linked.contains(forbidden), "mcp-v8-worker links {forbidden}");
    }
}

#[test]
fn only_the_protocol_knows_the_wire() {
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        let direct: Vec<&str> = package.dependencies.iter().map(|d| d.name.as_str()).collect();
        let encodes = direct.contains(&"bincode");
        // The cluster has a wire of its own, between supervisors; workers never see it.
        let may = ["mcp-v8-protocol", "mcp-v8-cluster"].contains(&package.name.as_str());
        assert_eq!(encodes, may, "{} and bincode", package.name);
    }
}
