//! `mcp-v8 executions …`.

use super::{change, done, short, shown};
use crate::cli::{ExecutionsArgs, ExecutionsCommand};
use crate::executions::model::{ExecutionInfo, ExecutionList, OutputPage};
use crate::limits::PAGE_BYTES_MAX;
use crate::operate::table;
use crate::rest_client::{RestError, RestServer};

pub(super) async fn ask(args: &ExecutionsArgs) -> Result<String, RestError> {
    let server = RestServer::new(&args.server.url, args.server.token_file.as_deref())?;
    let as_json = args.server.json;
    let client = &server.client;
    let of = |id: &str, what: &[&str]| server.pieces(&[&["api", "executions", id], what].concat());
    match &args.command {
        ExecutionsCommand::List { limit } => {
            let request = client.get(server.path("/api/executions")).query(&[("limit", limit)]);
            let list: ExecutionList = server.send(request).await?;
            Ok(shown(as_json, &list.executions, || {
                let rows: Vec<_> = list
                    .executions
                    .iter()
                    .map(|row| {
                        let ended = row.completed_at.clone().unwrap_or("-".to_owned());
                        let status = row.status.as_str().to_owned();
                        vec![row.execution_id.clone(), status, row.started_at.clone(), ended]
                    })
                    .collect();
                table(&["EXECUTION", "STATUS", "ACCEPTED", "ENDED"], &rows)
            }))
        }
        ExecutionsCommand::Show { id } => {
            let info: ExecutionInfo = server.send(client.get(of(id, &[])?)).await?;
            Ok(shown(as_json, &info, || {
                let mut text = format!(
                    "execution {}\nstatus    {}\naccepted  {}\nended     {}\nheap      {}",
                    info.execution_id,
                    info.status.as_str(),
                    info.started_at,
                    info.completed_at.as_deref().unwrap_or("-"),
                    short(info.heap.as_deref()),
                );
                for (name, value) in [("result", &info.result), ("error", &info.error)] {
                    if let Some(value) = value {
                        text += &format!("\n{name:<10}{value}");
                    }
                }
                text
            }))
        }
        ExecutionsCommand::Output { id } => {
            let (mut text, mut offset) = (String::new(), 0);
            loop {
                let range = [("byte_offset", offset), ("byte_limit", PAGE_BYTES_MAX)];
                let request = client.get(of(id, &["output"])?).query(&range);
                let page: OutputPage = server.send(request).await?;
                text += &page.data;
                offset = page.next_byte_offset;
                if !page.has_more {
                    return Ok(shown(as_json, &text, || text.clone()));
                }
            }
        }
        ExecutionsCommand::Cancel { id } => {
            change(&server, client.post(of(id, &["cancel"])?)).await?;
            Ok(done(as_json, format!("{id} is cancelled")))
        }
    }
}
