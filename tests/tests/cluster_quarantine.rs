//! The quarantine in a cluster: deaths at all nodes count together, and so does a lift.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::os::unix::fs::symlink;

use mcp_v8_cluster::limits::QUARANTINE_DEATHS;
use mcp_v8_tests::cluster::{Answer, Cluster};
use mcp_v8_tests::{binary, until};
use serde_json::Value;

const ALL: [usize; 3] = [1, 2, 3];

/// What the worker dies of.
const CODE: &str = "segmentation fault";

/// What is counted at a node.
async fn entries(cluster: &Cluster, node: usize) -> Vec<Value> {
    let list = cluster.get(node, "/api/quarantine").await.unwrap();
    list.body["entries"].as_array().unwrap().clone()
}

/// Waits until a node has heard of as many deaths.
async fn counted(cluster: &Cluster, node: usize, deaths: usize) -> Value {
    until(&format!("node {node} to know of {deaths} deaths"), || async {
        let entry = entries(cluster, node).await.pop()?;
        (entry["deaths"] == deaths).then_some(entry)
    })
    .await
}

async fn lift(cluster: &Cluster, node: usize, hash: &str) -> Answer {
    cluster.delete(node, &format!("/api/quarantine/{hash}")).await.unwrap()
}

async fn exec(cluster: &Cluster, node: usize, code: &str) -> Answer {
    cluster.exec(node, code, 30).await.unwrap()
}

/// P4: a script that kills workers goes on doing so at no other node, and after no restart.
#[tokio::test]
async fn p4_code_that_killed_workers_at_several_nodes_is_refused_at_all_until_it_is_lifted_at_one()
{
    let cluster = Cluster::of(3).await;
    let program = cluster.file("hostile-obeys");
    symlink(binary("mcp-v8-hostile-worker"), &program).unwrap();
    cluster.add_flag(&format!("--worker-path={}", program.display()));
    // What it claims of a sandbox is another test's matter.
    cluster.add_flag("--sandbox=off");
    ALL.into_iter().for_each(|node| cluster.launch(node));
    cluster.agreed(&ALL).await;
    cluster.ready(&ALL).await;
    for (node, deaths) in (1..=QUARANTINE_DEATHS).map(|death| (ALL[(death - 1) % 3], death)) {
        let died = exec(&cluster, node, CODE).await;
        assert_eq!(died.body["error_detail"]["kind"], "worker_crashed", "{died:?}");
        let entry = &entries(&cluster, node).await[0];
        assert_eq!(entry["deaths"], deaths, "counted before the answer");
        assert_eq!(entry["quarantined"], deaths == QUARANTINE_DEATHS, "{entry}");
    }
    let mut hash = String::new();
    for node in ALL {
        let entry = counted(&cluster, node, QUARANTINE_DEATHS).await;
        entry["hash"].as_str().unwrap().clone_into(&mut hash);
        let refused = exec(&cluster, node, CODE).await;
        assert_eq!(refused.status, 422, "{refused:?}");
        let error = refused.body["error"].as_str().unwrap();
        assert!(error.contains("killed 3 worker processes within 1h"), "{error}");
        assert_eq!(exec(&cluster, node, "'other code'").await.body["status"], "completed");
    }
    // All nodes at once: it is on their disks.
    ALL.into_iter().for_each(|node| cluster.kill9(node));
    ALL.into_iter().for_each(|node| cluster.launch(node));
    cluster.agreed(&ALL).await;
    cluster.ready(&ALL).await;
    for node in ALL {
        assert_eq!(exec(&cluster, node, CODE).await.status, 422);
    }
    assert_eq!(lift(&cluster, 2, &hash).await.status, 204);
    assert_eq!(exec(&cluster, 2, CODE).await.status, 200, "accepted again where it was lifted");
    for node in [1, 3] {
        counted(&cluster, node, 1).await;
        let again = exec(&cluster, node, CODE).await;
        assert_eq!(again.status, 200, "{again:?}");
        if node == 1 {
            assert_eq!(lift(&cluster, 1, &hash).await.status, 204);
            assert_eq!(lift(&cluster, 1, &hash).await.status, 404);
            until("node 3 to have forgotten", || async {
                entries(&cluster, 3).await.is_empty().then_some(())
            })
            .await;
            assert_eq!(exec(&cluster, 3, CODE).await.status, 200);
        }
    }
    // Without a majority nothing is lifted, and that is said.
    cluster.kill9(2);
    cluster.kill9(3);
    let alone = lift(&cluster, 1, &hash).await;
    assert_eq!(alone.status, 503, "{alone:?}");
    assert!(alone.body["error"].as_str().unwrap().starts_with("unavailable: "), "{alone:?}");
}
