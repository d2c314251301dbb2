//! MCP over stdin and stdout: newline-delimited JSON-RPC, and nothing else on stdout.
//!
//! # Contract
//! * A line that is no message is answered: -32700 when it is no JSON, -32600 when it is no
//!   JSON-RPC message, with its id where it has one (JSON-RPC 2.0 §5). One past
//!   [`BODY_BYTES_MAX`] is answered -32600 too.
//! * When the client closes its end, or does not take what we write, scripts that still run have
//!   [`STDIO_DRAIN_MAX`] to finish and answer; clients kill a server that takes longer to go.
//! * When [`serve`] returns, everything has been written.

use futures_util::{SinkExt, future};
use rmcp::ServiceExt;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::service::ServerInitializeError;
use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, PollSender};

use super::Handler;
use crate::app::SharedApp;
use crate::limits::{BODY_BYTES_MAX, STDIO_DRAIN_MAX, STDIO_QUEUE_DEPTH_MAX};

/// Lines on their way to stdout.
type Lines = mpsc::Sender<Vec<u8>>;

/// Serves until the client is gone or `stop`.
///
/// # Errors
/// When the conversation fails otherwise.
pub async fn serve(app: SharedApp, stop: CancellationToken) -> Result<(), String> {
    // Its input has ended; it does not take our output.
    let (gone, deaf) = (CancellationToken::new(), CancellationToken::new());
    let stop = stop.child_token();
    let (lines, to_write) = mpsc::channel(STDIO_QUEUE_DEPTH_MAX);
    let (messages, received) = mpsc::channel(STDIO_QUEUE_DEPTH_MAX);
    let writer = tokio::spawn(write_lines(to_write, deaf.clone()));
    let reading = read_messages(BufReader::new(tokio::io::stdin()), messages, lines.clone());
    let end_of_input = gone.clone();
    let reader = tokio::spawn(async move {
        reading.await;
        end_of_input.cancel();
    });
    let (executions, end) = (app.executions.clone(), stop.clone());
    let drain = tokio::spawn(async move {
        tokio::select! {
            () = gone.cancelled() => executions.drain(STDIO_DRAIN_MAX).await,
            () = deaf.cancelled() => {
                executions.drain(STDIO_DRAIN_MAX).await;
                end.cancel();
            }
        }
    });
    let sink = PollSender::new(lines).with(|message: ServerJsonRpcMessage| {
        let mut line = serde_json::to_vec(&message).unwrap_or_default();
        line.push(b'\n');
        future::ready(Ok::<_, tokio_util::sync::PollSendError<Vec<u8>>>(line))
    });
    let transport = (sink, ReceiverStream::new(received));
    let talked = match Handler::local(app).serve_with_ct(transport, stop.clone()).await {
        Ok(running) => running.waiting().await.map(drop).map_err(|error| error.to_string()),
        // A stop, or a client that went away before it said hello, is no failure of ours.
        Err(ServerInitializeError::ConnectionClosed(_)) => Ok(()),
        Err(_) if stop.is_cancelled() => Ok(()),
        Err(error) => Err(error.to_string()),
    };
    // The sink is gone; without the reader's copy the writer ends when it has written all.
    reader.abort();
    drain.abort();
    let _ = reader.await;
    writer.await.map_err(|error| error.to_string())?;
    talked
}

/// Writes lines until there are no more, or nobody takes them.
async fn write_lines(mut lines: mpsc::Receiver<Vec<u8>>, deaf: CancellationToken) {
    let mut stdout = tokio::io::stdout();
    while let Some(line) = lines.recv().await {
        let written = async {
            stdout.write_all(&line).await?;
            stdout.flush().await
        };
        if written.await.is_err() {
            deaf.cancel();
            return;
        }
    }
}

/// Passes messages on until the end of the input.
async fn read_messages(
    mut input: impl AsyncBufRead + Unpin,
    messages: mpsc::Sender<ClientJsonRpcMessage>,
    lines: Lines,
) {
    while let Some(line) = next_line(&mut input).await {
        let answer = match line {
            Line::Whole(line) => match parse(&line) {
                Ok(None) => continue,
                Ok(Some(message)) => match messages.send(*message).await {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                Err(answer) => answer,
            },
            Line::TooLong => {
                let message = format!("the message is longer than {BODY_BYTES_MAX} bytes");
                refusal(Value::Null, -32600, &message)
            }
        };
        let mut line = answer.to_string().into_bytes();
        line.push(b'\n');
        if lines.send(line).await.is_err() {
            return;
        }
    }
}

enum Line {
    Whole(Vec<u8>),
    TooLong,
}

/// The next line, never holding more than the bound; `None` at the end.
async fn next_line(input: &mut (impl AsyncBufRead + Unpin)) -> Option<Line> {
    let mut line = Vec::new();
    let mut too_long = false;
    loop {
        let buffer = input.fill_buf().await.ok()?;
        if buffer.is_empty() {
            return (!line.is_empty()).then_some(Line::Whole(line));
        }
        let newline = buffer.iter().position(|byte| *byte == b'\n');
        let piece = &buffer[..newline.unwrap_or(buffer.len())];
        if line.len() + piece.len() > BODY_BYTES_MAX {
            too_long = true;
            line = Vec::new();
        } else if !too_long {
            line.extend_from_slice(piece);
        }
        let used = newline.map_or(buffer.len(), |at| at + 1);
        input.consume(used);
        if newline.is_some() {
            return Some(if too_long { Line::TooLong } else { Line::Whole(line) });
        }
    }
}

/// A message, nothing for a blank line, or the answer to what is neither.
fn parse(line: &[u8]) -> Result<Option<Box<ClientJsonRpcMessage>>, Value> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    match serde_json::from_slice(line) {
        Ok(message) => Ok(Some(Box::new(message))),
        Err(error) => Err(match serde_json::from_slice::<Value>(line) {
            Err(error) => refusal(Value::Null, -32700, &format!("not JSON: {error}")),
            Ok(value) => {
                let id = value.get("id").filter(|id| id.is_string() || id.is_number());
                let message = format!("not a JSON-RPC message: {error}");
                refusal(id.cloned().unwrap_or_default(), -32600, &message)
            }
        }),
    }
}

fn refusal(id: Value, code: i32, message: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(line: &[u8]) -> Value {
        parse(line).unwrap_err()
    }

    #[test]
    fn what_is_no_message_is_answered_with_its_id() {
        for line in [&b"garbage{{"[..], b"\xff\xfe", b"{"] {
            let answer = answer(line);
            assert_eq!((&answer["id"], &answer["error"]["code"]), (&Value::Null, &json!(-32700)));
        }
        for (line, id) in
            [("[]", json!(null)), ("null", json!(null)), ("{\"id\":10,\"x\":1}", json!(10))]
        {
            let answer = answer(line.as_bytes());
            assert_eq!((&answer["id"], &answer["error"]["code"]), (&id, &json!(-32600)), "{line}");
        }
        assert!(parse(b" \r").unwrap().is_none());
        let ping = br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        assert!(parse(ping).unwrap().is_some());
    }

    #[tokio::test]
    async fn a_line_at_the_bound_is_read_and_one_byte_more_is_told_of_and_skipped() {
        let mut input = vec![b' '; BODY_BYTES_MAX];
        input.push(b'\n');
        input.extend(vec![b' '; BODY_BYTES_MAX + 1]);
        input.extend(b"\nlast");
        let mut input = &input[..];
        assert!(
            matches!(next_line(&mut input).await, Some(Line::Whole(line)) if line.len() == BODY_BYTES_MAX)
        );
        assert!(matches!(next_line(&mut input).await, Some(Line::TooLong)));
        assert!(matches!(next_line(&mut input).await, Some(Line::Whole(line)) if line == b"last"));
        assert!(next_line(&mut input).await.is_none());
    }
}
