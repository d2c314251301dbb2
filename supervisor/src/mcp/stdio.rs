//! MCP over stdin and stdout: newline-delimited JSON-RPC, and nothing else on stdout.
//!
//! When the client closes its end, scripts that still run have [`STDIO_DRAIN_MAX`] to finish and
//! answer; clients kill a server that takes longer than a few seconds to go.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rmcp::ServiceExt;
use tokio::io::{AsyncRead, ReadBuf, Stdin};
use tokio_util::sync::CancellationToken;

use super::Mcp;
use crate::app::SharedApp;
use crate::limits::STDIO_DRAIN_MAX;

/// Serves until stdin ends or `stop`.
///
/// # Errors
/// When the handshake fails.
pub async fn serve(app: SharedApp, stop: CancellationToken) -> Result<(), String> {
    let ended = CancellationToken::new();
    let (stdin, stdout) = rmcp::transport::stdio();
    let stdin = TellEnd { stdin, ended: ended.clone() };
    let executions = app.executions.clone();
    tokio::spawn(async move {
        ended.cancelled().await;
        executions.drain(STDIO_DRAIN_MAX).await;
    });
    let running = match Mcp::new(app).serve_with_ct((stdin, stdout), stop.clone()).await {
        Ok(running) => running,
        // A stop, or a client that went away before it said hello, is no failure of ours.
        Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(_) if stop.is_cancelled() => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    running.waiting().await.map(drop).map_err(|error| error.to_string())
}

/// Stdin that says when it has ended.
struct TellEnd {
    stdin: Stdin,
    ended: CancellationToken,
}

impl AsyncRead for TellEnd {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stdin).poll_read(context, buffer);
        let read_nothing = buffer.filled().len() == before && buffer.remaining() > 0;
        if matches!(&polled, Poll::Ready(Err(_))) || (polled.is_ready() && read_nothing) {
            self.ended.cancel();
        }
        polled
    }
}
