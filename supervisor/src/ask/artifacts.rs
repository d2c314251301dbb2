//! `mcp-v8 artifacts …`.

use super::{Printed, change, done, shown};
use crate::artifacts::{ArtifactInfo, ArtifactList};
use crate::cli::{ArtifactsArgs, ArtifactsCommand};
use crate::limits::LIST_MAX;
use crate::operate::table;
use crate::rest_client::{RestError, RestServer};

pub(super) async fn ask(args: &ArtifactsArgs) -> Result<Printed, RestError> {
    let server = RestServer::new(&args.server.url, args.server.token_file.as_deref())?;
    let as_json = args.server.json;
    let client = &server.client;
    Ok(match &args.command {
        ArtifactsCommand::List => {
            let artifacts = all(&server).await?;
            shown(as_json, &artifacts, || rows(&artifacts)).into()
        }
        ArtifactsCommand::Get { key, output } => {
            let bytes = server.read(client.get(server.pieces(&["api", "artifacts", key])?)).await?;
            match output {
                None => Printed::Bytes(bytes),
                Some(path) => {
                    let written = tokio::fs::write(path, &bytes).await;
                    written.map_err(|error| RestError::File { path: path.clone(), error })?;
                    done(as_json, format!("{}: {} bytes", path.display(), bytes.len())).into()
                }
            }
        }
        ArtifactsCommand::Delete { key } => {
            change(&server, client.delete(server.pieces(&["api", "artifacts", key])?)).await?;
            done(as_json, format!("{key} is deleted")).into()
        }
    })
}

async fn all(server: &RestServer) -> Result<Vec<ArtifactInfo>, RestError> {
    let (mut artifacts, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let mut request =
            server.client.get(server.path("/api/artifacts")).query(&[("limit", LIST_MAX)]);
        if let Some(cursor) = &cursor {
            request = request.query(&[("cursor", cursor)]);
        }
        let page: ArtifactList = server.send(request).await?;
        artifacts.extend(page.artifacts);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(artifacts);
        }
    }
}

fn rows(artifacts: &[ArtifactInfo]) -> String {
    let row = |artifact: &ArtifactInfo| {
        let ArtifactInfo { created_at, size_bytes, mime_type, key, .. } = artifact;
        vec![created_at.clone(), size_bytes.to_string(), mime_type.clone(), key.clone()]
    };
    let rows: Vec<_> = artifacts.iter().map(row).collect();
    table(&["CREATED", "BYTES", "TYPE", "KEY"], &rows)
}
