//! Runs a script on a server through its REST interface.

use serde_json::{Value, json};

use super::{ExecError, show_output};
use crate::cli::ExecArgs;
use crate::executions::model::{ExecutionInfo, OutputPage, Status};
use crate::limits::PAGE_BYTES_MAX;
use crate::rest_client::{RestError, RestServer};

/// Seconds that one request waits for more output.
const POLL_SECS: u64 = 30;

pub(super) async fn run(
    url: &str,
    args: &ExecArgs,
    code: String,
) -> Result<ExecutionInfo, ExecError> {
    let server = RestServer::new(url, args.token_file.as_deref())?;
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
    Ok(server.send(server.client.get(server.path(&format!("/api/executions/{id}")))).await?)
}

impl RestServer {
    /// Shows console text until the execution has ended.
    async fn show(&self, id: &str) -> Result<(), RestError> {
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
