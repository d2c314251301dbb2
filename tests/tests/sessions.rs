//! Sessions over REST and MCP on one server: turns, histories, going back, tags, what is refused.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use futures_util::future::join_all;
use mcp_v8_tests::{Server, binary, until};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// Runs a script as a step of a session.
async fn step(server: &Server, session: &str, code: &str) -> Value {
    server.run_with(json!({ "code": code, "session": session })).await
}

async fn ask(server: &Server, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let mut request = server.client.request(method, format!("{}{path}", server.url));
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn history(server: &Server, session: &str) -> Vec<Value> {
    let page = server.json(&format!("/api/sessions/{session}/snapshots")).await;
    page["entries"].as_array().unwrap().clone()
}

/// P7: whoever is first, every step counts, and each begins where the one before has ended.
#[tokio::test(flavor = "multi_thread")]
async fn p7_steps_that_race_all_count_in_the_order_of_their_commits() {
    let server = Server::start(&[]).await;
    step(&server, "s", "globalThis.n = 0; globalThis.seen = []").await;
    let racing = (0..24).map(|_| step(&server, "s", "n += 1; seen.push(n); n"));
    let other = (0..6).map(|_| step(&server, "t", "globalThis.m = (globalThis.m ?? 0) + 1"));
    let (answers, others) = tokio::join!(join_all(racing), join_all(other));
    let results: BTreeSet<u64> = answers
        .iter()
        .map(|answer| answer["result"].as_str().unwrap_or_default().parse().unwrap())
        .collect();
    assert_eq!(results, (1..=24).collect());
    let last: BTreeSet<&str> = others.iter().filter_map(|other| other["result"].as_str()).collect();
    assert_eq!(last.len(), 6);
    let all = step(&server, "s", "seen.join() + ' ' + n").await;
    let expected: Vec<String> = (1..=24).map(|n| n.to_string()).collect();
    assert_eq!(all["result"], format!("{} 24", expected.join(",")));
    // What the history says is one line from heap to heap.
    let entries = history(&server, "s").await;
    assert_eq!(entries.len(), 26);
    for (number, pair) in entries.windows(2).enumerate() {
        assert_eq!(pair[0]["output_heap"], pair[1]["input_heap"]);
        assert_eq!(pair[0]["index"], number);
    }
    assert_eq!(entries[0]["input_heap"], Value::Null);
    assert_eq!(entries[25]["output_heap"], all["heap"]);
    assert_eq!(entries[25]["execution_id"], all["execution_id"]);
    assert_eq!(entries[25]["code"], "seen.join() + ' ' + n");
}

/// P7: what fails, is too large, cannot be kept, runs too long or is cancelled leaves the old head.
#[tokio::test(flavor = "multi_thread")]
async fn p7_a_step_that_does_not_complete_leaves_the_session_where_it_was() {
    let server = Server::start(&[]).await;
    let first = step(&server, "s", "globalThis.n = 1").await;
    for (code, kind) in [
        ("n = 2; throw new Error('no')", "script_error"),
        ("n = 2; const a = []; for (;;) a.push(new Array(1e5).fill(1.5))", "out_of_memory"),
        (
            "n = 2; globalThis.w = new WebAssembly.Module(new Uint8Array([0,97,115,109,1,0,0,0]))",
            "heap_not_saved",
        ),
        ("n = 2; for (;;);", "timed_out"),
        ("n = 2; await new Promise(() => {})", "stalled"),
    ] {
        let request = json!({ "code": code, "session": "s", "execution_timeout_secs": 2 });
        let answer = server.run_with(request).await;
        assert_eq!(answer["error_detail"]["kind"], kind, "{answer}");
        assert_eq!(answer["heap"], Value::Null, "{answer}");
    }
    assert_eq!(step(&server, "s", "n").await["result"], "1");
    let entries = history(&server, "s").await;
    assert_eq!(entries.len(), 2, "{entries:?}");
    assert_eq!(entries[1]["input_heap"], first["heap"]);
}

/// A step that waits for its turn holds no worker, and can be cancelled there.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_waits_for_its_turn_holds_nobody_up_and_can_be_cancelled() {
    let server = Server::start(&["--max-concurrent-executions=2"]).await;
    let submit = async |code: &str| {
        let request = json!({ "code": code, "session": "s" });
        let (status, body) = ask(&server, Method::POST, "/api/exec", Some(request)).await;
        assert_eq!(status, 202, "{body}");
        body["execution_id"].as_str().unwrap().to_owned()
    };
    let slow = submit("for (;;);").await;
    let waiting = [submit("1").await, submit("2").await, submit("3").await];
    server.assert_serves().await;
    let cancel = async |id: &str| {
        let path = format!("/api/executions/{id}/cancel");
        assert_eq!(ask(&server, Method::POST, &path, None).await.0, 200);
    };
    cancel(&waiting[1]).await;
    let (status, busy) = ask(&server, Method::DELETE, "/api/sessions/s", None).await;
    assert_eq!(status, 409, "{busy}");
    cancel(&slow).await;
    for id in [&waiting[0], &waiting[2]] {
        let ended = server.json(&format!("/api/executions/{id}?wait=60")).await;
        assert_eq!(ended["status"], "completed", "{ended}");
    }
    assert_eq!(history(&server, "s").await.len(), 2);
}

/// Going back: from any heap, as a fork, as a reset; all of it is in the history.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_go_back_fork_and_are_deleted() {
    let server = Server::start(&[]).await;
    let mut heaps = Vec::new();
    for n in 0..4 {
        let answer = step(&server, "s", &format!("globalThis.n = {n}")).await;
        heaps.push(answer["heap"].as_str().unwrap().to_owned());
    }
    // A script on an earlier heap, in no session.
    let answer = server.run_with(json!({ "code": "n", "heap": heaps[1] })).await;
    assert_eq!((&answer["result"], answer["heap"].is_string()), (&json!("1"), true));
    // A session goes on from an earlier heap.
    let request = json!({ "code": "n *= 10", "heap": heaps[2], "session": "s" });
    assert_eq!(server.run_with(request).await["result"], "20");
    assert_eq!(step(&server, "s", "n").await["result"], "20");
    let post = async |path: &str, body: Value| ask(&server, Method::POST, path, Some(body)).await;
    assert_eq!(post("/api/sessions/t/fork", json!({ "session": "s" })).await.0, 200);
    assert_eq!(post("/api/sessions/u/fork", json!({ "heap": heaps[3] })).await.0, 200);
    assert_eq!(step(&server, "t", "n += 1").await["result"], "21");
    assert_eq!(step(&server, "u", "n").await["result"], "3");
    assert_eq!(step(&server, "s", "n").await["result"], "20", "a fork changes nothing here");
    assert_eq!(post("/api/sessions/s/reset", json!({ "heap": heaps[0] })).await.0, 200);
    assert_eq!(step(&server, "s", "n").await["result"], "0");
    assert_eq!(post("/api/sessions/s/reset", json!({})).await.0, 200);
    assert_eq!(step(&server, "s", "typeof n").await["result"], "undefined");
    let entries = history(&server, "s").await;
    let kinds: Vec<bool> = entries.iter().map(|entry| entry["execution_id"].is_string()).collect();
    assert_eq!(kinds, [true, true, true, true, true, true, true, false, true, false, true]);
    assert_eq!(entries[7]["output_heap"], heaps[0].as_str());
    assert_eq!(entries[9]["output_heap"], Value::Null);
    // Names, pages, fields.
    let names = server.json("/api/sessions?limit=2").await;
    assert_eq!(names, json!({ "sessions": ["s", "t"], "next_cursor": "t" }));
    let names = server.json("/api/sessions?limit=2&cursor=t").await;
    assert_eq!(names, json!({ "sessions": ["u"] }));
    let page = server.json("/api/sessions/s/snapshots?fields=index,code&limit=2&cursor=1").await;
    let expected = json!([
        { "index": 1, "code": "globalThis.n = 1" },
        { "index": 2, "code": "globalThis.n = 2" },
    ]);
    assert_eq!(page, json!({ "entries": expected, "next_cursor": 3 }));
    assert_eq!(ask(&server, Method::DELETE, "/api/sessions/s", None).await.0, 200);
    assert_eq!(server.json("/api/sessions").await, json!({ "sessions": ["t", "u"] }));
    assert_eq!(step(&server, "t", "n").await["result"], "21", "its heaps are its own");
    assert_eq!(step(&server, "s", "typeof n").await["result"], "undefined", "a new one");
}

/// A session that is put elsewhere while a step runs: the step fails and says why.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_session_was_moved_meanwhile_fails_and_says_so() {
    let server = Server::start(&[]).await;
    let first = step(&server, "s", "globalThis.n = 1").await;
    let slow = "console.log('runs'); await new Promise((done) => setTimeout(done, 1000)); n = 2";
    let request = json!({ "code": slow, "session": "s" });
    let (_, accepted) = ask(&server, Method::POST, "/api/exec", Some(request)).await;
    let id = accepted["execution_id"].as_str().unwrap();
    until("the step to run", || async {
        let page = server.json(&format!("/api/executions/{id}/output")).await;
        (page["total_bytes"] != 0).then_some(())
    })
    .await;
    let reset = json!({ "heap": first["heap"] });
    assert_eq!(ask(&server, Method::POST, "/api/sessions/s/reset", Some(reset)).await.0, 200);
    let ended = server.json(&format!("/api/executions/{id}?wait=60")).await;
    // Put where it stood: nothing is lost, so that counts.
    assert_eq!(ended["status"], "completed", "{ended}");
    let (_, accepted) =
        ask(&server, Method::POST, "/api/exec", Some(json!({ "code": slow, "session": "s" })))
            .await;
    let id = accepted["execution_id"].as_str().unwrap();
    until("the step to run", || async {
        let page = server.json(&format!("/api/executions/{id}/output")).await;
        (page["total_bytes"] != 0).then_some(())
    })
    .await;
    assert_eq!(ask(&server, Method::POST, "/api/sessions/s/reset", Some(json!({}))).await.0, 200);
    let ended = server.json(&format!("/api/executions/{id}?wait=60")).await;
    assert_eq!(ended["error_detail"]["kind"], "session_moved", "{ended}");
    assert_eq!(step(&server, "s", "typeof n").await["result"], "undefined");
}

/// P2: a retry with the same key is the same step.
#[tokio::test(flavor = "multi_thread")]
async fn p2_a_step_that_is_sent_twice_under_one_key_counts_once() {
    let server = Server::start(&[]).await;
    step(&server, "s", "globalThis.n = 0").await;
    let keyed = async |code: &str, session: &str| {
        let request = json!({ "code": code, "session": session });
        let post = server.post("/api/exec?wait=60").header("idempotency-key", "k");
        let response = post.json(&request).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let answers = join_all((0..4).map(|_| keyed("n += 1", "s"))).await;
    for (status, answer) in &answers {
        assert_eq!((*status, &answer["result"]), (200, &json!("1")), "{answer}");
        assert_eq!(answer["heap"], answers[0].1["heap"]);
    }
    assert_eq!(keyed("n += 1", "t").await.0, 409, "another session");
    assert_eq!(step(&server, "s", "n").await["result"], "1");
}

/// P10: what is not accepted says what would be.
#[tokio::test(flavor = "multi_thread")]
async fn p10_what_is_refused_about_sessions_and_heaps_says_why() {
    let server = Server::start(&[]).await;
    let nowhere = "f".repeat(64);
    let exec = |body: Value| (Method::POST, "/api/exec".to_owned(), Some(body));
    let get = |path: &str| (Method::GET, path.to_owned(), None);
    let post = |path: &str, body: Value| (Method::POST, path.to_owned(), Some(body));
    for ((method, path, body), status, expected) in [
        (
            exec(json!({ "code": "1", "session": "" })),
            400,
            "`session` is 0 bytes; accepted: 1 to 256",
        ),
        (exec(json!({ "code": "1", "session": "a\u{0}" })), 400, "control character"),
        (exec(json!({ "code": "1", "heap": "12" })), 400, "`heap` is not the hash of a heap"),
        (exec(json!({ "code": "1", "heap": nowhere })), 404, "there is no such heap"),
        (exec(json!({ "code": "1", "tags": { "a": 1 } })), 400, "`tags.a`"),
        (get("/api/sessions/none/snapshots"), 404, "Session 'none' not found"),
        (get("/api/sessions/none/snapshots?fields=x"), 400, "`fields` has 'x'; accepted"),
        (get("/api/sessions?limit=0"), 400, "`limit` is 0; accepted: 1 to 1000"),
        (get("/api/heaps/12"), 400, "64 hexadecimal digits"),
        (get(&format!("/api/heaps/{nowhere}")), 404, "not found"),
        (get("/api/heaps?tags=x"), 400, "`tags` is not a JSON object of texts"),
        (post("/api/sessions/a/fork", json!({})), 400, "give either `session`"),
        (post("/api/sessions/a/fork", json!({ "session": "b" })), 404, "Session 'b' not found"),
        (post("/api/sessions/a/fork", json!({ "heap": nowhere })), 404, "not found"),
        (post("/api/sessions/a/reset", json!({})), 404, "Session 'a' not found"),
        ((Method::DELETE, "/api/sessions/a".to_owned(), None), 404, "Session 'a' not found"),
    ] {
        let (got, answer) = ask(&server, method, &path, body).await;
        let error = answer["error"].as_str().unwrap_or_default();
        assert!(got == status && error.contains(expected), "{path}: {got} {answer}");
    }
    let header = server.post("/api/exec").header("x-mcp-session-id", vec![0xff]).body("1");
    let response = header.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(server.json("/api/sessions").await, json!({ "sessions": [] }));
    for flags in [&["--stateless"][..], &["--heap-store=none"]] {
        let server = Server::start(flags).await;
        for field in ["session", "tags", "heap"] {
            let value = match field {
                "tags" => json!({ "a": "b" }),
                "heap" => json!(nowhere),
                _ => json!("s"),
            };
            let request = json!({ "code": "1", field: value });
            let (status, answer) = ask(&server, Method::POST, "/api/exec", Some(request)).await;
            let error = answer["error"].as_str().unwrap_or_default();
            let expected = format!("`{field}` cannot be kept");
            assert!(status == 400 && error.starts_with(&expected), "{flags:?}: {status} {answer}");
        }
        server.assert_serves().await;
    }
}

/// `--directory-path` and `--heap-store=dir`, as existing users have them: every script leaves a heap.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_directory_for_heaps_every_script_leaves_one() {
    let dir = tempfile::tempdir().unwrap();
    let flag = format!("--directory-path={}", dir.path().display());
    let server = Server::start(&[&flag]).await;
    let one = server.run("globalThis.n = 41").await;
    let heap = one["heap"].as_str().unwrap();
    let two = server.run_with(json!({ "code": "n + 1", "heap": heap })).await;
    assert_eq!(two["result"], "42");
    assert!(dir.path().join("node1").join(&heap[..2]).join(heap).exists());
    assert_eq!(server.run("typeof n").await["result"], "undefined", "without a session: fresh");
    let info = server.json(&format!("/api/heaps/{}", two["heap"].as_str().unwrap())).await;
    assert_eq!(info["parent"], heap);
    assert!(info["stored_bytes"].as_u64().unwrap() < 16 * 1024, "{info}");
}

/// Tags: with a script, later, found, deleted; and through MCP the same.
#[tokio::test(flavor = "multi_thread")]
async fn heaps_are_tagged_and_found_by_rest_and_mcp() {
    let server = Server::start(&[]).await;
    let request = json!({ "code": "globalThis.n = 7", "tags": { "stage": "raw", "of": "x" } });
    let raw = server.run_with(request).await["heap"].as_str().unwrap().to_owned();
    let found = server.json("/api/heaps?tags=%7B%22stage%22:%22raw%22%7D").await;
    let tags = json!({ "stage": "raw", "of": "x" });
    assert_eq!(found, json!({ "results": [{ "heap": raw, "tags": tags }] }));
    let mut id = 0;
    let mut call = async |name: &str, arguments: Value, session: Option<&str>| {
        id += 1;
        let mut post = server.post("/mcp");
        if let Some(session) = session {
            post = post.header("x-mcp-session-id", session);
        }
        let call = mcp_v8_tests::call_tool(post, id, name, arguments);
        let text = call.send().await.unwrap().text().await.unwrap();
        let json = text.lines().rev().find_map(|line| line.strip_prefix("data:")).unwrap_or(&text);
        let answer: Value = serde_json::from_str(json).unwrap();
        answer["result"].clone()
    };
    let content = |result: &Value| result["structuredContent"].clone();
    // A session from the header, and from the argument, which goes before.
    let one = call("run_js", json!({ "code": "globalThis.n = 1" }), Some("h")).await;
    assert!(content(&one)["heap"].is_string(), "{one}");
    let two = call("run_js", json!({ "code": "n + 1" }), Some("h")).await;
    assert_eq!(content(&two)["result"], "2", "{two}");
    let other = call("run_js", json!({ "code": "typeof n", "session": "a" }), Some("h")).await;
    assert_eq!(content(&other)["result"], "undefined");
    let on_heap = call("run_js", json!({ "code": "n", "heap": raw }), None).await;
    assert_eq!(content(&on_heap)["result"], "7");
    let listed = call("list_sessions", json!({}), None).await;
    assert_eq!(content(&listed), json!({ "sessions": ["a", "h"] }));
    let fields = json!({ "fields": "index,code" });
    let page = call("list_session_snapshots", fields.clone(), Some("h")).await;
    let expected = json!([
        { "index": 0, "code": "globalThis.n = 1" },
        { "index": 1, "code": "n + 1" },
    ]);
    assert_eq!(content(&page), json!({ "entries": expected }));
    let missing = call("list_session_snapshots", fields, None).await;
    assert_eq!(missing["isError"], true, "{missing}");
    let set = json!({ "heap": raw, "tags": { "stage": "clean" } });
    assert_eq!(content(&call("set_heap_tags", set, None).await), json!({ "ok": true }));
    let got = call("get_heap_tags", json!({ "heap": raw }), None).await;
    assert_eq!(content(&got), json!({ "tags": { "stage": "clean", "of": "x" } }));
    let found = call("query_heaps_by_tags", json!({ "tags": { "stage": "clean" } }), None).await;
    assert_eq!(content(&found)["results"][0]["heap"], raw.as_str());
    let gone = json!({ "heap": raw, "keys": "stage,of" });
    assert_eq!(content(&call("delete_heap_tags", gone, None).await), json!({ "ok": true }));
    let got = call("get_heap_tags", json!({ "heap": raw }), None).await;
    assert_eq!(content(&got), json!({ "tags": {} }));
    let refused = call("run_js", json!({ "code": "1", "heap": "x" }), None).await;
    assert_eq!(refused["isError"], true, "{refused}");
}

/// A heap near the limit is kept, one past it is refused, and the old head stands.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_heap_is_kept_and_one_past_its_limit_is_refused() {
    let server = Server::start(&["--execution-timeout=120"]).await;
    let fill = "globalThis.kept = Array.from({ length: 200 }, (_, n) => \
                new Uint8Array(512 * 1024).fill(n)); kept.length";
    let request = json!({ "code": fill, "session": "s", "heap_memory_max_mb": 256 });
    let answer = server.run_with(request).await;
    assert_eq!(answer["result"], "200", "{answer}");
    let request = json!({ "code": "kept[199][7] + kept.length", "session": "s",
                          "heap_memory_max_mb": 256 });
    let answer = server.run_with(request).await;
    assert_eq!(answer["result"], "399", "{answer}");
    // 100 MiB do not come back within 8 and 8.
    let small = json!({ "code": "1", "session": "s", "heap_memory_max_mb": 8 });
    let refused = server.run_with(small).await;
    assert_eq!(refused["status"], "failed", "{refused}");
    let request = json!({ "code": "kept.length", "session": "s", "heap_memory_max_mb": 256 });
    assert_eq!(server.run_with(request).await["result"], "200");
}

/// `mcp-v8 sessions`, `heaps` and `executions` against a running server.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_shows_moves_and_forgets_sessions() {
    let server = Server::start(&[]).await;
    let first = step(&server, "a/b ö", "globalThis.n = 1").await;
    let second = step(&server, "a/b ö", "console.log('out'); n += 1").await;
    let heap = first["heap"].as_str().unwrap();
    let id = second["execution_id"].as_str().unwrap();
    let ask = async |words: &[&str]| {
        let mut command = std::process::Command::new(binary("mcp-v8"));
        command.args(words).arg(format!("--url={}", server.url));
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let must = async |words: &[&str]| {
        let (code, out, err) = ask(words).await;
        assert_eq!(code, Some(0), "{words:?}: {err}");
        out
    };
    assert_eq!(must(&["sessions", "list"]).await, "a/b ö\n");
    let shown = must(&["sessions", "show", "a/b ö"]).await;
    assert!(shown.contains(&heap[..12]) && shown.contains("n += 1"), "{shown}");
    must(&["sessions", "fork", "copy", "--from", "a/b ö"]).await;
    must(&["sessions", "fork", "early", "--heap", heap]).await;
    must(&["sessions", "reset", "copy", "--heap", heap]).await;
    assert_eq!(step(&server, "copy", "n").await["result"], "1");
    assert_eq!(step(&server, "early", "n").await["result"], "1");
    let names: Value = serde_json::from_str(&must(&["sessions", "list", "--json"]).await).unwrap();
    assert_eq!(names, json!(["a/b ö", "copy", "early"]));
    must(&["heaps", "tag", heap, "stage=raw", "of=x"]).await;
    assert!(must(&["heaps", "find", "stage=raw"]).await.contains(heap));
    must(&["heaps", "untag", heap, "of"]).await;
    let shown = must(&["heaps", "show", heap]).await;
    assert!(shown.contains("stage=raw") && !shown.contains("of=x"), "{shown}");
    assert!(must(&["executions", "list", "--limit", "3"]).await.contains("completed"));
    assert!(must(&["executions", "show", id]).await.contains("result    2"));
    assert_eq!(must(&["executions", "output", id]).await, "out\n");
    must(&["sessions", "delete", "a/b ö"]).await;
    for (words, expected) in [
        (&["sessions", "show", "a/b ö"][..], "Session 'a/b ö' not found"),
        (&["sessions", "fork", "copy", "--from", "early"], "exists already"),
        (&["heaps", "show", "12"], "64 hexadecimal digits"),
        (&["executions", "cancel", id], "is not running"),
    ] {
        let (code, out, err) = ask(words).await;
        assert_eq!((code, out.as_str()), (Some(1), ""), "{words:?}: {err}");
        assert!(err.contains(expected), "{words:?}: {err}");
    }
    for words in [&["sessions", "fork", "new"][..], &["heaps", "tag", heap, "x"]] {
        let (code, _, err) = ask(words).await;
        assert_eq!(code, Some(2), "{words:?}: {err}");
    }
}

/// Whether V8 is told to keep a heap or not, and whatever heap it is given.
#[tokio::test(flavor = "multi_thread")]
async fn scripts_run_at_both_bounds_of_their_heap_and_between() {
    use mcp_v8_supervisor::limits::{HEAP_MB_MAX, HEAP_MB_MIN};
    let server = Server::start(&[]).await;
    for heap_mb in [HEAP_MB_MIN, 2047, 2048, 2049, HEAP_MB_MAX] {
        for session in [None, Some("s")] {
            let code =
                format!("let s = 0; for (let i = 0; i < 1e5; i++) s += i % 7; s + {heap_mb}");
            let request =
                json!({ "code": code, "session": session, "heap_memory_max_mb": heap_mb });
            let answer = server.run_with(request).await;
            let sum = (0..100_000_u64).map(|i| i % 7).sum::<u64>() + heap_mb;
            assert_eq!(answer["result"], sum.to_string(), "{heap_mb} MiB, {session:?}: {answer}");
        }
    }
}
