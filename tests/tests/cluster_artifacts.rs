//! Artifacts in a cluster: any node has them, whichever minority of disks is lost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use mcp_v8_tests::cluster::Cluster;
use mcp_v8_tests::until;
use serde_json::{Value, json};

const ALL: [usize; 3] = [1, 2, 3];

async fn leave(cluster: &Cluster, node: usize, request: Value) -> Value {
    let answer = cluster.exec_with(node, &request, 60).await.unwrap();
    assert_eq!((answer.status, &answer.body["status"]), (200, &json!("completed")), "{answer:?}");
    answer.body
}

async fn read(cluster: &Cluster, node: usize, key: &str) -> Value {
    let answer = cluster.get(node, &format!("/api/artifacts/{key}")).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

/// P6: whoever ran the script, any node lists, reads and deletes what it left, at once.
#[tokio::test(flavor = "multi_thread")]
async fn p6_an_artifact_of_any_node_is_read_at_any_other() {
    let cluster = Cluster::start(3).await;
    for (turn, node) in ALL.into_iter().enumerate() {
        let code = format!(
            "globalThis.n = 1; artifact('of{node}', 'application/json', '\"left by {node}\"')"
        );
        // With a heap and without one.
        let session = if turn == 0 { Value::Null } else { json!("s") };
        let run = leave(&cluster, node, json!({ "code": code, "session": session })).await;
        let id = run["execution_id"].as_str().unwrap();
        for other in ALL {
            let text = read(&cluster, other, &format!("of{node}")).await;
            assert_eq!(text, format!("left by {node}"));
            let execution = cluster.get_execution(other, id).await.unwrap().body;
            assert_eq!(execution["artifacts"], json!([format!("of{node}")]), "{execution}");
            let list = cluster.get(other, "/api/artifacts").await.unwrap().body;
            assert_eq!(list["artifacts"].as_array().unwrap().len(), turn + 1, "{list}");
        }
        // Each takes the name from the one before.
        let code = format!("artifact('shared', 'application/json', '\"by {node}\"')");
        leave(&cluster, node, json!({ "code": code })).await;
        for other in ALL {
            assert_eq!(read(&cluster, other, "shared").await, format!("by {node}"));
        }
        let gone = cluster.delete(ALL[(turn + 1) % 3], "/api/artifacts/shared").await.unwrap();
        assert_eq!(gone.status, 200, "{gone:?}");
        for other in ALL {
            let gone = cluster.get(other, "/api/artifacts/shared").await.unwrap();
            assert_eq!(gone.status, 404, "{gone:?}");
        }
    }
}

/// P2: an artifact that was answered for is on a majority of disks; who lost its disk has it again
/// without being asked.
#[tokio::test(flavor = "multi_thread")]
async fn p2_artifacts_survive_the_loss_of_any_minority_of_disks() {
    let cluster = Cluster::start(3).await;
    for lost in ALL {
        let code = format!("artifact('k{lost}', 'application/json', '\"left by {lost}\"')");
        leave(&cluster, lost, json!({ "code": code })).await;
        cluster.kill9(lost);
        cluster.wipe(lost);
        let others = cluster.all_but(&[lost]);
        cluster.leader(&others).await;
        for node in &others {
            assert_eq!(read(&cluster, *node, &format!("k{lost}")).await, format!("left by {lost}"));
        }
        cluster.up(lost).await;
        cluster.agreed(&ALL).await;
        cluster.ready(&ALL).await;
        for earlier in 1..=lost {
            let text = read(&cluster, lost, &format!("k{earlier}")).await;
            assert_eq!(text, format!("left by {earlier}"));
        }
        until("no heap or artifact to be missing", || async {
            let missing = cluster.metric(lost, "mcp_v8_heaps_missing").await;
            (missing == Some(0.0)).then_some(())
        })
        .await;
    }
}
