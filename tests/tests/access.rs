//! Who may use a server: bearer tokens, whose things are whose, how much each may have, TLS.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Command;
use std::time::{Duration, Instant};

use mcp_v8_supervisor::limits::MCP_SESSIONS_PER_PRINCIPAL_MAX;
use mcp_v8_tests::issuer::{ALGORITHMS, Endpoint, Signer, claims, flags, now};
use mcp_v8_tests::strangers::{self, Caller};
use mcp_v8_tests::{Server, free_port, run_js, until};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[path = "access/tls.rs"]
mod tls;

/// A server that takes tokens with the keys of this endpoint.
async fn server(endpoint: &Endpoint, more: &[&str]) -> Server {
    let tokens = flags(&endpoint.url);
    let flags: Vec<&str> = tokens.iter().map(String::as_str).chain(more.iter().copied()).collect();
    Server::start(&flags).await
}

/// What a request with this token gets: the status, the challenge and the sentence.
async fn asked(server: &Server, token: &str) -> (u16, String, String) {
    let response = server.get("/api/version").bearer_auth(token).send().await.unwrap();
    let status = response.status().as_u16();
    let challenge = response.headers().get("www-authenticate");
    let challenge = challenge.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    let body: Value = response.json().await.unwrap();
    (status, challenge, body["error"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_every_algorithm_are_taken_and_what_is_wrong_with_others_is_said() {
    let signer = Signer::new("k").with_rsa();
    let endpoint = Endpoint::start(signer.set()).await;
    let server = server(&endpoint, &["--jwt-resource=https://v8.example/mcp"]).await;
    for algorithm in ALGORITHMS {
        let token = signer.sign(&signer.header(algorithm), &claims("alice"));
        assert_eq!(asked(&server, &token).await.0, 200, "{algorithm}");
    }
    let good = || claims("alice");
    let with = |name: &str, value: Value| {
        let mut claims = good();
        claims[name] = value;
        claims
    };
    let ed = || signer.header("EdDSA");
    let stranger = Signer::new("k");
    for (header, claims, expected) in [
        // One second past the leeway, and the clock may move on while it is sent.
        (ed(), with("exp", json!(now() - 60)), "has expired"),
        (ed(), with("exp", Value::Null), "no expiry (exp)"),
        (ed(), with("nbf", json!(now() + 66)), "not valid yet (nbf)"),
        (ed(), with("aud", json!("other")), "for another audience (aud)"),
        (ed(), with("iss", json!("https://other.example")), "of another issuer (iss)"),
        (ed(), with("sub", Value::Null), "no subject (sub)"),
        (json!({"alg": "none"}), good(), "signed with 'none'"),
        (json!({"alg": "HS256", "kid": "k-EdDSA"}), good(), "signed with 'HS256'"),
        (json!({"alg": "EdDSA", "kid": "k-ES256"}), good(), "key 'k-ES256', which"),
        (json!({"alg": "ES256", "kid": "k-RSA"}), good(), "key 'k-RSA', which"),
    ] {
        let (status, challenge, error) = asked(&server, &signer.sign(&header, &claims)).await;
        assert_eq!(status, 401, "{expected}: {error}");
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(challenge.starts_with("Bearer ") && challenge.contains(&error), "{challenge}");
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
        let metadata =
            "resource_metadata=\"https://v8.example/.well-known/oauth-protected-resource/mcp\"";
        assert!(challenge.contains(metadata), "{challenge}");
    }
    let forged = asked(&server, &stranger.token("alice")).await;
    assert!(forged.0 == 401 && forged.2.contains("signature"), "{forged:?}");
    // Within the leeway, with room for the time that the request takes.
    for claims in [with("exp", json!(now() - 50)), with("nbf", json!(now() + 60))] {
        assert_eq!(asked(&server, &signer.sign(&ed(), &claims)).await.0, 200, "{claims}");
    }
    let path = "/.well-known/oauth-protected-resource/mcp";
    let metadata = server.json(path).await;
    assert_eq!(metadata["resource"], "https://v8.example/mcp");
    assert_eq!(metadata["authorization_servers"], json!(["https://issuer.example"]));
    assert!(server.metric("mcp_v8_access_refused_total{reason=\"expired\"}").await >= 1.0);
    assert!(server.metric("mcp_v8_access_keys_age_seconds").await < 300.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_changed_lost_and_asked_for_no_more_than_may_be() {
    let (first, second) = (Signer::new("first"), Signer::new("second"));
    let endpoint = Endpoint::start(first.set()).await;
    let server = server(&endpoint, &[]).await;
    assert_eq!(asked(&server, &first.token("alice")).await.0, 200);
    assert_eq!(asked(&server, &second.token("alice")).await.0, 401);
    endpoint.publish(second.set());
    assert_eq!(asked(&server, &second.token("alice")).await.0, 200, "the new keys, at once");
    // The endpoint leads elsewhere, which nobody follows: the last good keys stay.
    endpoint.fail(302);
    let gone = asked(&server, &first.token("alice")).await;
    assert!(gone.0 == 401 && gone.2.contains("which the key set does not have"), "{gone:?}");
    assert!(endpoint.asked() >= 4, "it was asked again");
    for _ in 0..20 {
        assert_eq!(asked(&server, &first.token("alice")).await.0, 401);
        assert_eq!(asked(&server, &second.token("alice")).await.0, 200);
    }
    // At the start, then three times at once; 10 seconds may have passed here and there.
    let asked_for = endpoint.asked();
    assert!((4..=8).contains(&asked_for), "{asked_for}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_keys_says_so_and_goes_on_when_they_are_there() {
    let signer = Signer::new("k");
    let endpoint = Endpoint::start(signer.set()).await;
    endpoint.be_silent();
    let tokens = flags(&endpoint.url);
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    // It answers although nobody answers it.
    let server = Server::launch(&tokens).await;
    let ready = server.get("/readyz").send().await.unwrap();
    assert_eq!(ready.status(), 503);
    let reasons = ready.text().await.unwrap();
    assert!(reasons.contains("the keys of tokens are not known"), "{reasons}");
    endpoint.fail(500);
    let (status, _, error) = asked(&server, &signer.token("alice")).await;
    assert!(status == 503 && error.contains("try again"), "{status} {error}");
    endpoint.publish(signer.set());
    until("the keys", || async {
        (asked(&server, &signer.token("alice")).await.0 == 200).then_some(())
    })
    .await;
    until("the server to be ready", || async {
        (server.get("/readyz").send().await.unwrap().status() == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_anothers_is_not_there_whichever_route_or_tool_names_it() {
    let signer = Signer::new("k");
    let endpoint = Endpoint::start(signer.set()).await;
    for (more, keeps) in [(&[][..], true), (&["--stateless"][..], false)] {
        let server = server(&endpoint, more).await;
        let caller = |name| Caller::new(&server.url, Some(&signer.token(name)));
        let (alice, bob) = (caller("alice"), caller("bob"));
        let names = strangers::begin(&alice, keeps).await;
        strangers::walk_without_token(&server.url).await;
        for operator_only in ["/api/quarantine", &format!("/api/quarantine/{}", "ab".repeat(32))] {
            let method = if operator_only.ends_with('e') { Method::GET } else { Method::DELETE };
            let said = alice.ask(method, operator_only, None).await;
            assert_eq!(said.status, 403, "{said:?}");
        }
        if keeps {
            // A session of the same name is another one.
            let code = json!({"code": "globalThis.secret ?? 'nothing'", "session": "theirs"});
            let own = bob.run(&code).await;
            assert_eq!(own["result"], "nothing", "{own}");
            let deleted = bob.ask(Method::DELETE, "/api/sessions/theirs", None).await;
            assert_eq!(deleted.status, 200);
            assert_eq!(alice.run(&code).await["result"], "theirs");
        }
        // So is an idempotency key.
        let under_key = async |caller: &Caller, code: &str| {
            let request = caller.request(Method::POST, "/api/exec?wait=60");
            let request = request.header("idempotency-key", "once").body(code.to_owned());
            let said = strangers::said(request).await;
            let body: Value = serde_json::from_str(&said.text).unwrap();
            (said.status, body["execution_id"].as_str().unwrap_or_default().to_owned())
        };
        let hers = under_key(&alice, "1").await;
        assert_eq!(under_key(&alice, "1").await, hers);
        let his = under_key(&bob, "1").await;
        assert!(his.0 == 200 && his.1 != hers.1, "{his:?}");
        assert_eq!(under_key(&bob, "2").await.0, 409, "his own key, other code");
        strangers::walk(&alice, &bob, &names).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_mcp_is_its_callers() {
    let signer = Signer::new("k");
    let endpoint = Endpoint::start(signer.set()).await;
    for more in [&[][..], &["--stateless"][..]] {
        let port = free_port();
        let sse = format!("--sse-port={port}");
        let server = server(&endpoint, &[&[sse.as_str()], more].concat()).await;
        let caller = |name| Caller::new(&server.url, Some(&signer.token(name)));
        let (alice, bob) = (caller("alice"), caller("bob"));
        let post = |caller: &Caller, session: Option<&str>, message: Value| {
            let request = caller
                .request(Method::POST, "/mcp")
                .header("accept", "application/json, text/event-stream")
                .json(&message);
            match session {
                Some(id) => request
                    .header("mcp-session-id", id)
                    .header("mcp-protocol-version", "2025-06-18"),
                None => request,
            }
        };
        let params = json!({
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        });
        let begin = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
        let begun = post(&alice, None, begin).send().await.unwrap();
        let session = begun.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        begun.text().await.unwrap();
        let ping = || json!({"jsonrpc": "2.0", "id": 2, "method": "ping"});
        let absent = "5f0c1a52-0000-4000-8000-000000000000";
        let said = async |caller: &Caller, session: &str| {
            strangers::said(post(caller, Some(session), ping())).await
        };
        assert_eq!(said(&bob, &session).await, said(&bob, absent).await);
        assert_eq!(said(&bob, &session).await.status, 404);
        for method in [Method::GET, Method::DELETE] {
            let ask = async |session: &str| {
                let request = bob.request(method.clone(), "/mcp").header("mcp-session-id", session);
                strangers::said(request.header("accept", "text/event-stream")).await
            };
            assert_eq!(ask(&session).await, ask(absent).await, "{method}");
        }
        assert_eq!(said(&alice, &session).await.status, 200, "it has not ended");
        let ending = alice.request(Method::DELETE, "/mcp").header("mcp-session-id", &session);
        assert!(strangers::said(ending).await.status < 300);
        assert_eq!(said(&alice, &session).await.status, 404);

        // The older transport.
        let base = format!("http://127.0.0.1:{port}");
        let caller = |name| Caller::new(&base, Some(&signer.token(name)));
        let (alice, bob) = (caller("alice"), caller("bob"));
        assert_eq!(Caller::new(&base, None).ask(Method::GET, "/sse", None).await.status, 401);
        let mut stream = alice.request(Method::GET, "/sse").send().await.unwrap();
        let first = stream.chunk().await.unwrap().unwrap();
        let first = String::from_utf8_lossy(&first).into_owned();
        let path = first.lines().find_map(|line| line.strip_prefix("data: ")).unwrap().to_owned();
        let absent = format!("/message?sessionId={absent}");
        let (theirs, none) = (
            bob.ask(Method::POST, &path, Some(&ping())).await,
            bob.ask(Method::POST, &absent, Some(&ping())).await,
        );
        let id = |path: &str| path.rsplit('=').next().unwrap().to_owned();
        assert_eq!(theirs.text.replace(&id(&path), "ID"), none.text.replace(&id(&absent), "ID"));
        assert_eq!((theirs.status, none.status), (404, 404));
        assert_eq!(
            Caller::new(&base, None).ask(Method::POST, &path, Some(&ping())).await.status,
            401
        );
        assert_eq!(alice.ask(Method::POST, &path, Some(&ping())).await.status, 202);
    }
}

/// P9: one caller's sessions take no room of another's.
#[tokio::test(flavor = "multi_thread")]
async fn p9_a_caller_has_its_share_of_mcp_sessions_and_not_one_more() {
    let signer = Signer::new("k");
    let endpoint = Endpoint::start(signer.set()).await;
    // Where sessions are kept, the one that made room would be opened again.
    let server = server(&endpoint, &["--stateless"]).await;
    let post = |who: &str, session: Option<&str>, body: Value| {
        let request = server.post("/mcp").bearer_auth(signer.token(who));
        let request = request.header("accept", "application/json, text/event-stream");
        let request = session
            .into_iter()
            .fold(request, |request, session| request.header("mcp-session-id", session));
        async move { request.json(&body).send().await.unwrap() }
    };
    let open = async |who: &str| {
        let params = json!({
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        });
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
        let answer = post(who, None, body).await;
        assert_eq!(answer.status(), 200);
        answer.headers()["mcp-session-id"].to_str().unwrap().to_owned()
    };
    let status = async |who: &str, session: &str| {
        let body = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        post(who, Some(session), body).await.status().as_u16()
    };
    let others = open("bob").await;
    let (first, second) = (open("alice").await, open("alice").await);
    for _ in 2..MCP_SESSIONS_PER_PRINCIPAL_MAX {
        open("alice").await;
    }
    assert_eq!(status("alice", &first).await, 202, "used just now");
    open("alice").await;
    assert_eq!(status("alice", &first).await, 202);
    assert_eq!(status("alice", &second).await, 404, "it made room");
    assert_eq!(status("bob", &others).await, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_whoever_has_the_scope() {
    let signer = Signer::new("k");
    let endpoint = Endpoint::start(signer.set()).await;
    let server = server(&endpoint, &["--jwt-operator-scope=v8:operate", "--stateless"]).await;
    let mut operator = claims("olga");
    operator["scope"] = json!("openid v8:operate");
    let operator = signer.sign(&signer.header("ES256"), &operator);
    for (token, list, lift) in [(operator, 200, 404), (signer.token("alice"), 403, 403)] {
        let caller = Caller::new(&server.url, Some(&token));
        assert_eq!(caller.ask(Method::GET, "/api/quarantine", None).await.status, list);
        let path = format!("/api/quarantine/{}", "ab".repeat(32));
        assert_eq!(caller.ask(Method::DELETE, &path, None).await.status, lift);
    }
    let refused = server.get("/api/quarantine").bearer_auth(signer.token("alice"));
    let refused = refused.send().await.unwrap();
    let challenge = refused.headers()["www-authenticate"].to_str().unwrap();
    assert!(challenge.contains("error=\"insufficient_scope\""), "{challenge}");
}

/// `wait=0`: how many are accepted of so many.
async fn submitted(caller: &Caller, code: &str) -> reqwest::Response {
    let request = caller.request(Method::POST, "/api/exec").body(code.to_owned());
    request.query(&[("execution_timeout_secs", "100")]).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_has_and_submits_no_more_than_it_may() {
    const LONG: &str = "await new Promise(done => setTimeout(done, 90_000))";
    let signer = Signer::new("k");
    let endpoint = Endpoint::start(signer.set()).await;
    for more in [&[][..], &["--stateless"][..]] {
        let server = server(&endpoint, &[&["--principal-concurrent-max=2"], more].concat()).await;
        let caller = |name| Caller::new(&server.url, Some(&signer.token(name)));
        let (alice, bob) = (caller("alice"), caller("bob"));
        let first: Value = submitted(&alice, LONG).await.json().await.unwrap();
        assert_eq!(submitted(&alice, LONG).await.status(), StatusCode::ACCEPTED);
        let refused = submitted(&alice, LONG).await;
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(refused.headers().contains_key("retry-after"));
        let error = refused.text().await.unwrap();
        assert!(error.contains("2 executions of yours have not ended"), "{error}");
        let result = alice.call("run_js", json!({"code": "1"})).await;
        assert!(result["isError"] == true && result.to_string().contains("too many"), "{result}");
        assert_eq!(submitted(&bob, LONG).await.status(), StatusCode::ACCEPTED, "each has its own");
        let cancel = format!("/api/executions/{}/cancel", first["execution_id"].as_str().unwrap());
        assert_eq!(alice.ask(Method::POST, &cancel, None).await.status, 200);
        assert_eq!(submitted(&alice, "1").await.status(), StatusCode::ACCEPTED);
    }
    // Without tokens all are one.
    let server = Server::start(&["--principal-rate-max=3", "--stateless"]).await;
    let anybody = Caller::new(&server.url, None);
    for _ in 0..3 {
        assert_eq!(submitted(&anybody, "1").await.status(), StatusCode::ACCEPTED);
    }
    let refused = submitted(&anybody, "1").await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
    let call = run_js(anybody.request(Method::POST, "/mcp"), 1, json!({"code": "1"}));
    let said = strangers::said(call).await;
    assert!(said.text.contains("too often: 3 scripts a minute"), "{said:?}");
    assert!(server.metric("mcp_v8_executions_refused_total{reason=\"too_often\"}").await >= 2.0);
}

#[tokio::test]
async fn a_server_does_not_start_with_what_cannot_be() {
    let said = |words: &[&str]| {
        let state = tempfile::tempdir().unwrap();
        let output = Command::new(mcp_v8_tests::binary("mcp-v8"))
            .args(words)
            .arg(format!("--session-db-path={}", state.path().display()))
            .env_remove("PORT")
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        assert!(!output.status.success(), "{words:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let port = format!("--http-port={}", free_port());
    for (words, expected) in [
        // Over stdin and stdout there are no tokens.
        (vec!["--jwks-url=https://i.example/k"], "--http-port or --sse-port"),
        (vec![&port, "--jwks-url=http://i.example/k"], "--jwks-allow-http"),
        (vec![&port, "--jwks-url=/nonexistent/k.json"], "/nonexistent/k.json"),
        (vec![&port, "--jwks-url=/etc/hostname"], "no JSON Web Key Set"),
        (vec![&port, "--tls-cert=/nonexistent/c", "--tls-key=/nonexistent/k"], "--tls-cert"),
        (vec![&port, "--tls-cert=/nonexistent/c"], "--tls-key"),
    ] {
        let error = said(&words);
        assert!(error.contains(expected), "{words:?}: {error}");
    }
}

/// A connection that says nothing after it was opened.
async fn silent(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).await.unwrap()
}

/// Whether the other side has closed it by now.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    let reading = tokio::time::timeout(Duration::from_secs(1), stream.read(&mut byte));
    matches!(reading.await, Ok(Ok(0) | Err(_)))
}
