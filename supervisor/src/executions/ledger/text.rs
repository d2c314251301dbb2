//! Texts that are too long for the command they belong to are sent ahead in pieces.

use mcp_v8_cluster::command::{self, Command, PartKind, Reply, Text};
use mcp_v8_cluster::node::Node;
use uuid::Uuid;

use crate::limits::{INLINE_TEXT_BYTES_MAX, TEXT_PART_BYTES, TEXT_PARTS_AT_ONCE};

/// Why a text is not sent ahead.
pub(super) enum PutError {
    /// The execution has ended, or another attempt of it counts.
    Over,
    /// It may be tried again.
    Failed(String),
}

/// Sends a text ahead if it is long.
pub(super) async fn put(
    node: &Node,
    execution: Uuid,
    attempt: u32,
    kind: PartKind,
    text: &str,
) -> Result<Text, PutError> {
    if text.len() <= INLINE_TEXT_BYTES_MAX {
        return Ok(Text::Inline(text.to_owned()));
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut at = TEXT_PART_BYTES.min(rest.len());
        while !rest.is_char_boundary(at) {
            at -= 1;
        }
        let (piece, after) = rest.split_at(at);
        pieces.push(piece);
        rest = after;
    }
    for (first, together) in (0_u32..).zip(pieces.chunks(TEXT_PARTS_AT_ONCE)) {
        let first = first * TEXT_PARTS_AT_ONCE as u32;
        let sending = (first..).zip(together).map(|(number, piece)| {
            let part =
                command::Part { execution, attempt, kind, number, text: (*piece).to_owned() };
            node.propose(Command::Part(part))
        });
        for sent in futures_util::future::join_all(sending).await {
            match sent.map_err(|error| PutError::Failed(error.to_string()))?.reply {
                Reply::Done => {}
                Reply::EndedBefore | Reply::Fenced | Reply::NoExecution => {
                    return Err(PutError::Over);
                }
                other => return Err(PutError::Failed(format!("{other:?}"))),
            }
        }
    }
    Ok(Text::Parts(u32::try_from(pieces.len()).unwrap_or(u32::MAX)))
}
