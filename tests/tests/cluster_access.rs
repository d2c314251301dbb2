//! Callers in a cluster: what is whose is the same at every node.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use mcp_v8_tests::cluster::{Cluster, ip};
use mcp_v8_tests::issuer::{Signer, flags};
use mcp_v8_tests::strangers::{self, Caller};
use mcp_v8_tests::until;
use reqwest::Method;
use serde_json::{Value, json};

/// P6, P8: whichever node is asked for what began at another, its owner has it and nobody else does.
#[tokio::test(flavor = "multi_thread")]
async fn p6_what_is_anothers_is_not_there_at_any_node() {
    let signer = Signer::new("k");
    let dir = tempfile::tempdir().unwrap();
    let set = dir.path().join("jwks.json");
    std::fs::write(&set, signer.set()).unwrap();
    let tokens = flags(&set.display().to_string());
    let more = ["--principal-concurrent-max=3".to_owned()];
    let tokens: Vec<&str> = tokens.iter().chain(&more).map(String::as_str).collect();
    let cluster = Cluster::start_with(3, &tokens).await;
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| signer.token(name));
    cluster
        .in_hub(async move {
            let caller =
                |node, token: &str| Caller::new(&format!("http://{}:3000", ip(node)), Some(token));
            let names = strangers::begin(&caller(1, &alice), true).await;
            // The console of what runs at another node is its owner's.
            let running = strangers::begin(&caller(3, &carol), true).await;
            for node in [1, 2, 3] {
                let path = running.output_path();
                let own = caller(node, &carol);
                until("what it has printed", || async {
                    let said = own.ask(Method::GET, &path, None).await;
                    said.text.contains("theirs").then_some(())
                })
                .await;
                let said = caller(node, &alice).ask(Method::GET, &path, None).await;
                assert_eq!(said.status, 404, "{said:?}");
            }
            strangers::walk_without_token(&format!("http://{}:3000", ip(2))).await;
            // The whole cluster counts what a caller has.
            let long = json!({
                "code": "await new Promise(done => setTimeout(done, 90_000))",
                "execution_timeout_secs": 100,
            });
            let submit =
                async |node| caller(node, &alice).ask(Method::POST, "/api/exec", Some(&long)).await;
            let mut begun: Vec<String> = Vec::new();
            for node in [2, 3] {
                let accepted: Value = serde_json::from_str(&submit(node).await.text).unwrap();
                begun.push(accepted["execution_id"].as_str().unwrap().to_owned());
            }
            for node in [1, 2, 3] {
                let refused = submit(node).await;
                assert_eq!(refused.status, 429, "{refused:?}");
            }
            for id in begun {
                let cancel = format!("/api/executions/{id}/cancel");
                let said = caller(1, &bob).ask(Method::POST, &cancel, None).await;
                assert!(said.text.contains("not found"), "{said:?}");
                let said = caller(1, &alice).ask(Method::POST, &cancel, None).await;
                assert_eq!(said.status, 200, "{said:?}");
            }
            // All of it at another node than it began at.
            strangers::walk(&caller(2, &alice), &caller(2, &bob), &names).await;
        })
        .await;
}
