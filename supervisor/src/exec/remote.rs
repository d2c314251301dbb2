//! Runs a script on a server through its REST interface.

use reqwest::{Client, RequestBuilder};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{ExecError, show_output};
use crate::cli::ExecArgs;
use crate::executions::model::{ExecutionInfo, OutputPage, Status};
use crate::limits::PAGE_BYTES_MAX;

/// Seconds that one request waits for more output.
const POLL_SECS: u64 = 30;

pub(super) async fn run(
    url: &str,
    args: &ExecArgs,
    code: String,
) -> Result<ExecutionInfo, ExecError> {
    let server = Server::new(url)?;
    let mut request = json!({ "code": code });
    if let Some(secs) = args.timeout {
        request["execution_timeout_secs"] = secs.into();
    }
    if let Some(mb) = args.heap_memory_max {
        request["heap_memory_max_mb"] = mb.into();
    }
    let accepted: Value =
        server.send(server.client.post(server.path("/api/exec")).json(&request)).await?;
    let id = accepted["execution_id"].as_str().unwrap_or_default().to_owned();
    tokio::select! {
        shown = server.show(&id) => shown?,
        interrupted = tokio::signal::ctrl_c() => {
            if interrupted.is_ok() {
                let cancel = server.path(&format!("/api/executions/{id}/cancel"));
                // 400 when it has ended by itself; the state read below says which.
                let _: Result<Value, _> = server.send(server.client.post(cancel)).await;
            }
        }
    }
    server.send(server.client.get(server.path(&format!("/api/executions/{id}")))).await
}

struct Server {
    url: String,
    client: Client,
}

impl Server {
    fn new(url: &str) -> Result<Self, ExecError> {
        // Somebody may have installed one already; then that one serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let failed = |problem: String| ExecError::Url { url: url.to_owned(), problem };
        let parsed = reqwest::Url::parse(url).map_err(|error| failed(error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") || parsed.host().is_none() {
            return Err(failed("expected something like http://127.0.0.1:3000".to_owned()));
        }
        let client = Client::builder().build().map_err(|error| failed(error.to_string()))?;
        Ok(Self { url: url.trim_end_matches('/').to_owned(), client })
    }

    fn path(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ExecError> {
        let failed = |error: reqwest::Error| {
            let mut problem = error.to_string();
            // The reason ("connection refused") is in the sources.
            let mut source = std::error::Error::source(&error);
            while let Some(inner) = source {
                problem = format!("{problem}: {inner}");
                source = inner.source();
            }
            ExecError::Url { url: self.url.clone(), problem }
        };
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        if status.is_success() {
            return response.json().await.map_err(failed);
        }
        let body: Value = response.json().await.unwrap_or_default();
        let error = body["error"].as_str().unwrap_or("no reason given").to_owned();
        Err(ExecError::Refused { status: status.as_u16(), error })
    }

    /// Shows console text until the execution has ended.
    async fn show(&self, id: &str) -> Result<(), ExecError> {
        let mut offset = 0;
        loop {
            let request =
                self.client.get(self.path(&format!("/api/executions/{id}/output"))).query(&[
                    ("byte_offset", offset),
                    ("byte_limit", PAGE_BYTES_MAX),
                    ("wait", POLL_SECS),
                ]);
            let page: OutputPage = self.send(request).await?;
            show_output(&page.data);
            offset = page.next_byte_offset;
            if page.status != Status::Running && !page.has_more {
                return Ok(());
            }
        }
    }
}
