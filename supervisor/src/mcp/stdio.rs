//! MCP over stdin and stdout: newline-delimited JSON-RPC, and nothing else on stdout.

use rmcp::ServiceExt;
use tokio_util::sync::CancellationToken;

use super::Mcp;
use crate::app::SharedApp;

/// Serves until stdin ends or `stop`.
///
/// # Errors
/// When the handshake fails.
pub async fn serve(app: SharedApp, stop: CancellationToken) -> Result<(), String> {
    let stdio = rmcp::transport::stdio();
    let running = match Mcp::new(app).serve_with_ct(stdio, stop.clone()).await {
        Ok(running) => running,
        // A stop, or a client that went away before it said hello, is no failure of ours.
        Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(_) if stop.is_cancelled() => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    running.waiting().await.map(drop).map_err(|error| error.to_string())
}
