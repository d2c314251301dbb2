//! `mcp-v8 cluster backup`, `check-backup` and `restore`.

use std::path::{Path, PathBuf};

use mcp_v8_cluster::backup::restore::{Plan, Restored, restore};
use mcp_v8_cluster::backup::save::Partial;
use mcp_v8_cluster::backup::{Summary, check, stopped};
use serde_json::{Value, json};
use uuid::Uuid;

use super::client::{Client, OperateError};
use super::table::table;
use crate::cli::args::NODE_ID_DEFAULT;
use crate::cli::{BackupArgs, RestoreArgs};

/// Saves the state of a running cluster.
pub async fn take(client: &Client, args: &BackupArgs, json: bool) -> Result<String, OperateError> {
    // What is wrong with the path is said before a node does the work.
    let mut partial = Partial::create(&args.out)?;
    let proof = client.download("/raft/backup", partial.file()).await?;
    let asked = client.clone();
    let keep = move || partial.keep(|backup| asked.check_backup(&proof, backup));
    let summary = blocking(keep).await?;
    Ok(shown(&args.out, &summary, json))
}

/// Saves the state in the store of a node that is stopped.
pub async fn take_stopped(
    directory: &Path,
    args: &BackupArgs,
    json: bool,
) -> Result<String, OperateError> {
    let mut partial = Partial::create(&args.out)?;
    let name = args.node_id.clone().unwrap_or_else(|| NODE_ID_DEFAULT.to_owned());
    let path = directory.join(format!("cluster-{name}"));
    let summary = blocking(move || {
        stopped::take(&path, &name, partial.file())?;
        partial.keep(|_| Ok(()))
    })
    .await?;
    Ok(shown(&args.out, &summary, json))
}

/// Says what a file holds.
pub async fn checked(file: &Path, json: bool) -> Result<String, OperateError> {
    let path = file.to_owned();
    let summary = blocking(move || Ok(check(&path)?)).await?;
    Ok(shown(file, &summary, json))
}

/// Makes the store of a founder of a new cluster.
pub async fn restored(args: &RestoreArgs, json: bool) -> Result<String, OperateError> {
    let config = args.node().map_err(OperateError::Flags)?;
    let peers = args.founders().map_err(OperateError::Flags)?;
    let token = match &args.cluster_token {
        Some(token) if !token.is_empty() => token.clone(),
        None if peers.is_empty() => Uuid::new_v4().to_string(),
        _ => return Err(OperateError::Token(Uuid::new_v4())),
    };
    let plan = Plan {
        file: args.file.clone(),
        store: config.path.clone(),
        name: config.name.clone(),
        advertise: config.advertise.clone(),
        peers,
        token: token.clone(),
    };
    let made = blocking(move || Ok(restore(&plan)?)).await?;
    let (start, others) = next_steps(args, &config.name, &token, &made);
    let backup = &made.backup;
    if json {
        let founders: Vec<Value> = made
            .founders
            .iter()
            .map(|(name, address)| json!({ "name": name, "address": address }))
            .collect();
        let shown = json!({
            "store": config.path,
            "cluster_id": made.cluster_id,
            "applied_index": made.applied_index,
            "founders": founders,
            "backup": backup,
            "start": start,
            "restore_others": others,
        });
        return Ok(serde_json::to_string_pretty(&shown).unwrap_or_default());
    }
    let mut text = format!(
        "{} holds the state of cluster {} up to entry {}, for the new cluster {}.\n",
        config.path.display(),
        backup.cluster_id,
        backup.applied_index,
        made.cluster_id
    );
    if !others.is_empty() {
        text += "\nThe same on the other founders, with this backup; the new cluster's id must be \
                 the same:\n\n";
        others.iter().for_each(|line| text += &format!("  {line}\n"));
    }
    text += &format!(
        "\nThen start this node with the ports for its clients, and the secret or the certificates, that it had:\n\n  {start}"
    );
    Ok(text)
}

/// The command that starts this node, and those that restore the others.
fn next_steps(
    args: &RestoreArgs,
    name: &str,
    token: &str,
    made: &Restored,
) -> (String, Vec<String>) {
    let directory = shell(&args.session_db_path.display().to_string());
    let flags = |name: &str, address: &str| {
        let port = address.rsplit_once(':').map_or("", |(_, port)| port);
        let port = match (&args.cluster_port, name == args.node_id) {
            (Some(own), true) => own.to_string(),
            _ => port.to_owned(),
        };
        let mut flags = format!(" --node-id={name}");
        if !address.is_empty() {
            flags += &format!(" --cluster-port={port} --advertise-addr={address}");
        }
        let peers: Vec<String> = made
            .founders
            .iter()
            .filter(|(other, _)| other != name)
            .map(|(other, address)| format!("{other}@{address}"))
            .collect();
        if !peers.is_empty() {
            flags += &format!(" --peers={}", peers.join(","));
        }
        format!("{flags} --session-db-path={directory}")
    };
    let mut others = Vec::new();
    let mut start = String::new();
    for (founder, address) in &made.founders {
        let flags = flags(founder, address);
        if founder == name {
            start = format!("mcp-v8 --http-port=3000{flags}");
        } else {
            let file = shell(&args.file.display().to_string());
            let token = shell(token);
            others.push(format!("mcp-v8 cluster restore {file}{flags} --cluster-token={token}"));
        }
    }
    (start, others)
}

/// A word as a shell takes it.
fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@,+=%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OperateError> + Send + 'static,
) -> Result<T, OperateError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(OperateError::Refused(error.to_string())),
    }
}

fn shown(file: &Path, summary: &Summary, json: bool) -> String {
    if json {
        let mut shown = serde_json::to_value(summary).unwrap_or_default();
        shown["file"] = json!(PathBuf::from(file));
        return serde_json::to_string_pretty(&shown).unwrap_or_default();
    }
    let row = vec![
        summary.cluster_id.to_string(),
        summary.applied_index.to_string(),
        summary.term.to_string(),
        summary.rows.to_string(),
        summary.bytes.to_string(),
    ];
    let table = table(&["CLUSTER", "ENTRY", "TERM", "ROWS", "BYTES"], &[row]);
    format!("{} is whole, SHA-256 {}\n\n{table}", file.display(), summary.sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell_when_they_must_be() {
        assert_eq!(shell("/var/lib/mcp-v8"), "/var/lib/mcp-v8");
        assert_eq!(shell("it's"), r"'it'\''s'");
        assert_eq!(shell(""), "''");
    }
}
