//! `mcp-v8 heaps …`.

use std::collections::BTreeMap;

use serde_json::json;

use super::{change, done, shown};
use crate::cli::{HeapsArgs, HeapsCommand};
use crate::rest_client::{RestError, RestServer};
use crate::sessions::{HeapInfo, TaggedHeaps};

pub(super) async fn ask(args: &HeapsArgs) -> Result<String, RestError> {
    let server = RestServer::new(&args.server.url, args.server.token_file.as_deref())?;
    let as_json = args.server.json;
    let client = &server.client;
    match &args.command {
        HeapsCommand::Show { hash } => {
            let url = server.pieces(&["api", "heaps", hash])?;
            let heap: HeapInfo = server.send(client.get(url)).await?;
            Ok(shown(as_json, &heap, || {
                let parent = heap.parent.as_deref().unwrap_or("none: it stands by itself");
                let tags = line(&heap.tags);
                let HeapInfo { heap, stored_bytes, .. } = &heap;
                format!(
                    "heap    {heap}\nstored  {stored_bytes} bytes\nagainst {parent}\ntags    {tags}"
                )
            }))
        }
        HeapsCommand::Tag { hash, tags } => {
            let tags: BTreeMap<_, _> = tags.iter().cloned().collect();
            let url = server.pieces(&["api", "heaps", hash, "tags"])?;
            change(&server, client.put(url).json(&json!({ "tags": tags }))).await?;
            Ok(done(as_json, "tagged".to_owned()))
        }
        HeapsCommand::Untag { hash, keys } => {
            let url = server.pieces(&["api", "heaps", hash, "tags"])?;
            let mut request = client.delete(url);
            if !keys.is_empty() {
                request = request.query(&[("keys", keys.join(","))]);
            }
            change(&server, request).await?;
            Ok(done(as_json, "untagged".to_owned()))
        }
        HeapsCommand::Find { tags } => {
            let tags: BTreeMap<_, _> = tags.iter().cloned().collect();
            let url = server.path("/api/heaps");
            let request = client.get(url).query(&[("tags", json!(tags).to_string())]);
            let found: TaggedHeaps = server.send(request).await?;
            Ok(shown(as_json, &found.results, || {
                let rows = found.results.iter();
                rows.map(|row| format!("{}  {}", row.heap, line(&row.tags)))
                    .collect::<Vec<_>>()
                    .join("\n")
            }))
        }
    }
}

fn line(tags: &BTreeMap<String, String>) -> String {
    tags.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}
