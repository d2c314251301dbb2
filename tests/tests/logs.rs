//! Log lines: their form, their ids, and what is not in them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};

use mcp_v8_tests::{binary, client, free_port, signal_process, until};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};

/// What no line may hold.
const SECRET: &str = "xyzzy-in-the-code";

/// A server whose stderr is a file.
struct Logged {
    child: Child,
    url: String,
    log: tempfile::NamedTempFile,
    _state: tempfile::TempDir,
}

impl Logged {
    /// Starts one; `journal`: as systemd starts it whose journal that file is.
    async fn start(journal: bool, rust_log: Option<&str>, flags: &[&str]) -> Self {
        let (state, log) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
        let port = free_port();
        let mut command = Command::new(binary("mcp-v8"));
        command
            .args(["--bind-host=127.0.0.1", &format!("--http-port={port}")])
            .arg(format!("--session-db-path={}", state.path().display()))
            .args(flags)
            .env_remove("RUST_LOG")
            .env_remove("JOURNAL_STREAM")
            .stdin(Stdio::null())
            .stderr(File::options().append(true).open(log.path()).unwrap());
        if journal {
            let file = log.as_file().metadata().unwrap();
            command.env("JOURNAL_STREAM", format!("{}:{}", file.dev(), file.ino()));
        }
        if let Some(filter) = rust_log {
            command.env("RUST_LOG", filter);
        }
        let child = command.spawn().unwrap();
        let server = Self { child, url: format!("http://127.0.0.1:{port}"), log, _state: state };
        until("the server to be ready", || async {
            let ready = client().get(format!("{}/readyz", server.url)).send().await.ok()?;
            (ready.status() == StatusCode::OK).then_some(())
        })
        .await;
        server
    }

    fn exec(&self, wait: u64) -> RequestBuilder {
        client().post(format!("{}/api/exec?wait={wait}", self.url))
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }

    /// Lines that are whole, as JSON.
    fn lines(&self) -> Vec<Value> {
        let text = self.text();
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect()
    }

    /// A line with this message and these fields.
    async fn line(&self, message: &str, fields: &[(&str, &str)]) -> Value {
        until(&format!("'{message}' with {fields:?}"), || async {
            let is_it = |line: &Value| {
                line["message"] == message && fields.iter().all(|(key, value)| line[*key] == *value)
            };
            self.lines().into_iter().find(is_it)
        })
        .await
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        signal_process(self.child.id(), rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn under_systemd_lines_are_json_with_the_ids_of_request_execution_and_session() {
    let server = Logged::start(true, Some("error"), &["--log-level=debug"]).await;
    let code = format!("console.log('{SECRET}'); throw new Error('{SECRET}')");
    let response = server
        .exec(60)
        .header("x-request-id", "request-1")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .header("authorization", format!("Bearer {SECRET}"))
        .header("mcp-session-id", SECRET)
        .json(&json!({ "code": code, "session": "s 1" }))
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["x-request-id"], "request-1");
    let run: Value = response.json().await.unwrap();
    let id = run["execution_id"].as_str().unwrap();
    let accepted = server.line("an execution is accepted", &[("execution_id", id)]).await;
    let ended = server.line("an execution has ended", &[("execution_id", id)]).await;
    for line in [&accepted, &ended] {
        for (key, value) in [
            ("session", "s 1"),
            ("request_id", "request-1"),
            ("trace_id", "0af7651916cd43dd8448eb211c80319c"),
            ("node", "node1"),
            ("level", "DEBUG"),
        ] {
            assert_eq!(line[key], value, "{key} in {line}");
        }
        assert_eq!(line["attempt"], 1, "{line}");
    }
    assert_eq!(
        (&ended["status"], &ended["error_kind"]),
        (&json!("failed"), &json!("script_error"))
    );
    assert!(ended["wall_ms"].is_u64() && ended["queued_ms"].is_u64(), "{ended}");
    let request = server.line("a request has ended", &[("route", "/api/exec")]).await;
    assert_eq!(request["spans"][0]["request_id"], "request-1", "{request}");

    // By MCP as well, with an id of the server's.
    let message = mcp_v8_tests::run_js(
        client().post(format!("{}/mcp", server.url)).header("x-request-id", "no good id"),
        1,
        json!({ "code": format!("'{SECRET}'") }),
    );
    let response = message.send().await.unwrap();
    let made = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert!(made.len() == 36 && made.split('-').count() == 5, "{made}");
    response.text().await.unwrap();
    server.line("an execution has ended", &[("request_id", &made), ("status", "completed")]).await;
    assert!(!server.text().contains(SECRET), "{}", server.text());
}

#[tokio::test]
async fn elsewhere_lines_are_text_and_a_format_that_is_named_is_used() {
    let server = Logged::start(false, None, &[]).await;
    assert!(server.text().contains(" INFO ") && server.text().contains("listening"));
    assert!(serde_json::from_str::<Value>(server.text().lines().next().unwrap()).is_err());
    assert!(!server.text().contains('\u{1b}'), "no colours in a file");
    let server = Logged::start(true, None, &["--log-format=pretty"]).await;
    assert!(server.text().contains(" INFO ") && server.text().contains("listening"));
    let server = Logged::start(false, None, &["--log-format=json"]).await;
    let lines = server.lines();
    assert!(lines.iter().all(|line| line["level"] != "DEBUG") && !lines.is_empty(), "{lines:?}");
}

#[tokio::test]
async fn which_lines_there_are_is_said_by_the_flag_or_else_by_rust_log() {
    let server = Logged::start(false, Some("debug"), &["--log-level=error"]).await;
    assert_eq!(server.text(), "");
    let server = Logged::start(false, Some("mcp_v8_supervisor=debug"), &[]).await;
    server.exec(60).body("1").send().await.unwrap();
    until("the end of an execution", || async {
        server.text().contains("an execution has ended").then_some(())
    })
    .await;
}

#[tokio::test]
async fn whoever_is_refused_all_the_time_does_not_fill_the_log() {
    let server = Logged::start(false, None, &["--log-format=json"]).await;
    let refusals = 200;
    for _ in 0..refusals {
        let refused = server.exec(60).json(&json!({ "code": "" })).send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    }
    let said = |server: &Logged| {
        let lines = server.lines();
        let mut said =
            lines.into_iter().filter(|line| line["message"] == "a submission was refused");
        let first = said.next().unwrap();
        assert_eq!((&first["level"], &first["reason"]), (&json!("WARN"), &json!("invalid")));
        1 + said.count()
    };
    assert!(said(&server) < refusals / 2, "{} lines", said(&server));
    let refused = until("how many were not said", || async {
        server.exec(60).json(&json!({ "code": "" })).send().await.unwrap();
        let lines = server.lines();
        lines.into_iter().find(|line| line["unsaid"].as_u64().is_some_and(|unsaid| unsaid > 0))
    })
    .await;
    assert_eq!(refused["reason"], "invalid");
}
