//! Artifacts on one server: what is left and what is not, over REST and on the command line.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use mcp_v8_tests::{Server, binary, until};
use reqwest::{Method, Response};
use serde_json::{Value, json};

async fn ask(server: &Server, method: Method, path: &str) -> Response {
    server.client.request(method, format!("{}{path}", server.url)).send().await.unwrap()
}

async fn keys(server: &Server) -> Vec<String> {
    let list = server.json("/api/artifacts").await;
    let artifacts = list["artifacts"].as_array().unwrap();
    artifacts.iter().map(|artifact| artifact["key"].as_str().unwrap().to_owned()).collect()
}

async fn bytes(server: &Server, key: &str) -> Vec<u8> {
    let answer = ask(server, Method::GET, &format!("/api/artifacts/{key}")).await;
    assert_eq!(answer.status(), 200, "{key}");
    answer.bytes().await.unwrap().to_vec()
}

const LEAVES_TWO: &str = "artifact('plots/a b.svg', 'image/svg+xml', '<svg/>');
    artifact('n', 'application/octet-stream', new Uint8Array([0, 1, 255])); 'done'";

/// Whatever keeps them: a server with sessions, without them, and one that keeps nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_script_leaves_what_it_says_and_anybody_reads_it() {
    for flags in [&[][..], &["--heap-store=none"], &["--stateless"]] {
        let server = Server::start(flags).await;
        let run = server.run(LEAVES_TWO).await;
        assert_eq!(run["artifacts"], json!(["n", "plots/a b.svg"]), "{flags:?}: {run}");
        let list = server.json("/api/artifacts").await;
        let first = &list["artifacts"][0];
        assert_eq!(first["execution_id"], run["execution_id"]);
        assert_eq!(first["created_at"], run["completed_at"]);
        let shown =
            json!([first["key"], first["mime_type"], first["size_bytes"], first["encoding"]]);
        assert_eq!(shown, json!(["n", "application/octet-stream", 3, "base64"]));
        assert_eq!(list["artifacts"][1]["encoding"], "utf-8");
        assert_eq!(bytes(&server, "n").await, [0, 1, 255]);
        // However the slash is written.
        for key in ["plots/a%20b.svg", "plots%2Fa%20b.svg"] {
            let answer = ask(&server, Method::GET, &format!("/api/artifacts/{key}")).await;
            let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
            assert_eq!(header("content-type"), "image/svg+xml");
            assert_eq!(header("content-length"), "6");
            assert_eq!(header("content-disposition"), "attachment; filename*=UTF-8''a%20b.svg");
            assert_eq!(header("x-content-type-options"), "nosniff");
            assert_eq!(header("content-security-policy"), "sandbox; default-src 'none'");
            assert_eq!(answer.text().await.unwrap(), "<svg/>");
        }
        // Another takes the name, in a session where there are any.
        let session = if flags.is_empty() { json!("s") } else { Value::Null };
        let code = "globalThis.n = 1; artifact('n', 'text/plain', 'first'); artifact('n', 'text/plain', 'two')";
        let again = server.run_with(json!({ "code": code, "session": session })).await;
        assert_eq!(again["artifacts"], json!(["n"]), "{again}");
        assert_eq!(bytes(&server, "n").await, b"two");
        let page = server.json("/api/artifacts?limit=1").await;
        assert_eq!(
            (&page["artifacts"][0]["key"], &page["next_cursor"]),
            (&json!("n"), &json!("n"))
        );
        let page = server.json("/api/artifacts?cursor=n").await;
        assert_eq!(page["artifacts"][0]["key"], "plots/a b.svg");
        assert_eq!(page["next_cursor"], Value::Null);
        for status in [200, 404] {
            let deleted = ask(&server, Method::DELETE, "/api/artifacts/plots/a%20b.svg").await;
            assert_eq!(deleted.status(), status);
        }
        let gone = ask(&server, Method::GET, "/api/artifacts/plots/a%20b.svg").await;
        assert_eq!(gone.status(), 404);
        let gone: Value = gone.json().await.unwrap();
        assert_eq!(gone["error"], "Artifact 'plots/a b.svg' not found");
        assert_eq!(keys(&server).await, ["n"]);
        let long = ask(&server, Method::GET, &format!("/api/artifacts/{}", "k".repeat(257))).await;
        assert_eq!(long.status(), 400);
        assert!(long.text().await.unwrap().contains("1 to 256 bytes"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_does_not_complete_leaves_nothing() {
    for flags in [&[][..], &["--stateless"]] {
        let server = Server::start(flags).await;
        for code in [
            "artifact('k', 'text/plain', 'x'); throw new Error('no')",
            "artifact('k', 'text/plain', 'x'); await new Promise(() => {})",
        ] {
            let run = server.run(code).await;
            assert_eq!(
                (&run["status"], &run["artifacts"]),
                (&json!("failed"), &json!([])),
                "{run}"
            );
        }
        let code = "artifact('k', 'text/plain', 'x'); while (true) {}";
        let late = server.run_with(json!({ "code": code, "execution_timeout_secs": 1 })).await;
        assert_eq!((&late["status"], &late["artifacts"]), (&json!("timed_out"), &json!([])));
        let id = server
            .submit("artifact('k', 'text/plain', 'x'); console.log(1); while (true) {}")
            .await;
        until("it to have left something", || async {
            let page = server.json(&format!("/api/executions/{id}/output")).await;
            (page["total_lines"] == 1).then_some(())
        })
        .await;
        let cancelled = ask(&server, Method::POST, &format!("/api/executions/{id}/cancel")).await;
        assert_eq!(cancelled.status(), 200);
        assert_eq!(keys(&server).await, [""; 0]);
        // A script may go on without what is not accepted.
        let run = server
            .run("let said; try { artifact('', 'a/b', '') } catch (e) { said = `${e}` } said")
            .await;
        let expected = "TypeError: artifact: the key must have 1 to 256 bytes in UTF-8 and no control characters";
        assert_eq!(run["result"], expected);
    }
}

/// P2: what was answered is there after a crash; as many bytes as a script may leave at once.
#[tokio::test(flavor = "multi_thread")]
async fn p2_the_largest_artifacts_are_there_after_a_crash() {
    let mut server = Server::start(&[]).await;
    let code = "const all = new Uint8Array(16 * 1024 * 1024);
        for (let at = 0; at < all.length; at += 65536)
            crypto.getRandomValues(all.subarray(at, at + 65536));
        artifact('a', 'application/octet-stream', all);
        artifact('b', 'application/octet-stream', all.buffer);
        all[0] + ' ' + all[all.length - 1]";
    let run = server.run(code).await;
    assert_eq!(run["artifacts"], json!(["a", "b"]), "{run}");
    let ends = |bytes: &[u8]| format!("{} {}", bytes[0], bytes.last().unwrap());
    let before = bytes(&server, "a").await;
    assert_eq!(before.len(), 16 * 1024 * 1024);
    assert_eq!(ends(&before), run["result"].as_str().unwrap());
    server.crash_and_restart().await;
    assert!(bytes(&server, "a").await == before && bytes(&server, "b").await == before);
    let id = run["execution_id"].as_str().unwrap();
    let execution = server.json(&format!("/api/executions/{id}")).await;
    assert_eq!(execution["artifacts"], json!(["a", "b"]));
}

/// `mcp-v8 artifacts` against a running server.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_lists_fetches_and_deletes_artifacts() {
    let server = Server::start(&["--stateless"]).await;
    server.run(LEAVES_TWO).await;
    let ask = async |words: &[&str]| {
        let mut command = std::process::Command::new(binary("mcp-v8"));
        command.arg("artifacts").args(words).arg(format!("--url={}", server.url));
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        (output.status.code(), output.stdout, String::from_utf8(output.stderr).unwrap())
    };
    let (code, list, err) = ask(&["list"]).await;
    assert_eq!(code, Some(0), "{err}");
    let list = String::from_utf8(list).unwrap();
    assert!(
        list.starts_with("CREATED") && list.contains("image/svg+xml             plots/a b.svg"),
        "{list}"
    );
    assert_eq!(ask(&["get", "n"]).await, (Some(0), vec![0, 1, 255], String::new()));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.svg");
    let (code, said, err) = ask(&["get", "plots/a b.svg", "-o", file.to_str().unwrap()]).await;
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(String::from_utf8(said).unwrap(), format!("{}: 6 bytes\n", file.display()));
    assert_eq!(std::fs::read(&file).unwrap(), b"<svg/>");
    assert_eq!(ask(&["delete", "n"]).await.0, Some(0));
    let (code, _, err) = ask(&["get", "n"]).await;
    assert_eq!((code, err.as_str()), (Some(1), "mcp-v8: 404: Artifact 'n' not found\n"));
    let (code, _, err) = ask(&["get", "plots/a b.svg", "-o", "/nonexistent/x"]).await;
    assert_eq!((code, err.contains("/nonexistent/x")), (Some(2), true), "{err}");
}
