//! `mcp-v8 sessions …`.

use serde_json::json;

use super::{change, done, short, shown};
use crate::cli::{SessionsArgs, SessionsCommand};
use crate::limits::LIST_MAX;
use crate::operate::table;
use crate::rest_client::{RestError, RestServer};
use crate::sessions::{SessionList, Snapshot, SnapshotList};

/// How much of a step's source a line shows.
const CODE_CHARS: usize = 60;

pub(super) async fn ask(args: &SessionsArgs) -> Result<String, RestError> {
    let server = RestServer::new(&args.server.url, args.server.token_file.as_deref())?;
    let as_json = args.server.json;
    let (client, session) = (&server.client, |name: &str, what: &[&str]| {
        server.pieces(&[&["api", "sessions", name], what].concat())
    });
    match &args.command {
        SessionsCommand::List => {
            let names = names(&server).await?;
            Ok(shown(as_json, &names, || names.join("\n")))
        }
        SessionsCommand::Show { name } => {
            let url = session(name, &["snapshots"])?;
            let (mut entries, mut cursor) = (Vec::new(), None);
            loop {
                let mut request = client.get(url.clone()).query(&[("limit", LIST_MAX)]);
                if let Some(cursor) = cursor {
                    request = request.query(&[("cursor", cursor)]);
                }
                let page: SnapshotList = server.send(request).await?;
                entries.extend(page.entries);
                cursor = page.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
            Ok(shown(as_json, &entries, || history(&entries)))
        }
        SessionsCommand::Fork { name, from, heap } => {
            let body = match (from, heap) {
                (Some(from), _) => json!({ "session": from }),
                (None, heap) => json!({ "heap": heap }),
            };
            change(&server, client.post(session(name, &["fork"])?).json(&body)).await?;
            Ok(done(as_json, format!("{name} is there")))
        }
        SessionsCommand::Reset { name, heap } => {
            let body = heap.as_ref().map_or(json!({}), |heap| json!({ "heap": heap }));
            change(&server, client.post(session(name, &["reset"])?).json(&body)).await?;
            let to = heap.as_deref().map_or("its beginning".to_owned(), |heap| short(Some(heap)));
            Ok(done(as_json, format!("{name} stands at {to}")))
        }
        SessionsCommand::Delete { name } => {
            change(&server, client.delete(session(name, &[])?)).await?;
            Ok(done(as_json, format!("{name} is forgotten")))
        }
    }
}

async fn names(server: &RestServer) -> Result<Vec<String>, RestError> {
    let (mut names, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let request = server.client.get(server.path("/api/sessions"));
        let mut request = request.query(&[("limit", LIST_MAX)]);
        if let Some(cursor) = &cursor {
            request = request.query(&[("cursor", cursor)]);
        }
        let page: SessionList = server.send(request).await?;
        names.extend(page.sessions);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(names);
        }
    }
}

fn history(entries: &[Snapshot]) -> String {
    let rows: Vec<Vec<String>> = entries
        .iter()
        .map(|entry| {
            let code = entry.code.as_deref().unwrap_or_default();
            let mut line: String = code
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .chars()
                .take(CODE_CHARS)
                .collect();
            if line.is_empty() {
                line = "(moved on request)".to_owned();
            }
            vec![
                entry.index.unwrap_or_default().to_string(),
                entry.timestamp.clone().unwrap_or_default(),
                short(entry.input_heap.as_ref().and_then(Option::as_deref)),
                short(entry.output_heap.as_ref().and_then(Option::as_deref)),
                line,
            ]
        })
        .collect();
    table(&["STEP", "ENDED", "FROM", "HEAP", "CODE"], &rows)
}
