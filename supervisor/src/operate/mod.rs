//! `mcp-v8 cluster …`: what an operator asks of a running cluster, through any of its nodes.
//!
//! # Contract
//! * Talks to the cluster port of one node; what the leader must do is passed on there. `restore`,
//!   `check-backup` and a backup of a stopped node talk to nobody.
//! * A table by default, JSON with `--json`. Exit code 0: done; 1: refused, with what to do next; 2:
//!   the node was not reached or does not prove what the operator does, or the flags are wrong.

mod backup;
mod client;
mod table;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use mcp_v8_cluster::node::status::Status;
use serde_json::json;

use self::client::{Client, OperateError};
pub use self::table::table;
use crate::cli::{ClusterArgs, ClusterCommand};
use crate::limits::DRAIN_SECS_MAX;

/// How long a drain is waited for: the longest drain time, and what follows it.
const DRAIN_MAX: Duration = Duration::from_secs(DRAIN_SECS_MAX + 30);

/// How often it is looked at.
const DRAIN_LOOK: Duration = Duration::from_millis(200);

/// Runs one command.
pub async fn run(args: ClusterArgs) -> ExitCode {
    match command(&args).await {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("mcp-v8: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

async fn command(args: &ClusterArgs) -> Result<String, OperateError> {
    let client = || Client::new(&args.node, &args.proof.sources());
    match &args.command {
        ClusterCommand::Backup(backup) => match &backup.session_db_path {
            Some(directory) => backup::take_stopped(directory, backup, args.json).await,
            None => backup::take(&client()?, backup, args.json).await,
        },
        ClusterCommand::CheckBackup { file } => backup::checked(file, args.json).await,
        ClusterCommand::Restore(restore) => backup::restored(restore, args.json).await,
        ClusterCommand::Status => {
            let client = client()?;
            let asked = client.status().await?;
            let mut statuses = Vec::new();
            for member in &asked.members {
                let status = if member.name == asked.node_id {
                    Some(asked.clone())
                } else {
                    client.at(&member.address).status().await.ok()
                };
                statuses.push((member.name.clone(), member.address.clone(), status));
            }
            if statuses.is_empty() {
                // It has not found its cluster yet.
                statuses.push((asked.node_id.clone(), args.node.clone(), Some(asked.clone())));
            }
            Ok(if args.json { json_of(&statuses) } else { shown(&asked, &statuses) })
        }
        ClusterCommand::Members => {
            let status = client()?.leader_status().await?;
            Ok(if args.json {
                serde_json::to_string_pretty(&status.members).unwrap_or_default()
            } else {
                members(&status)
            })
        }
        ClusterCommand::Join { name, address, learner } => {
            let body = json!({ "node_id": name, "addr": address, "as_learner": learner });
            client()?.post("/raft/join", &body).await?;
            Ok(done(args.json, format!("{name} is let in; see `mcp-v8 cluster members`")))
        }
        ClusterCommand::Leave { name } => {
            client()?.post("/raft/leave", &json!({ "node_id": name })).await?;
            Ok(done(args.json, format!("{name} is no member any more; stop its process")))
        }
        ClusterCommand::Drain { name } => {
            let client = client()?;
            client.post("/raft/drain", &json!({ "node_id": name })).await?;
            let status = client.status().await?;
            let member = status.members.iter().find(|member| member.name == *name);
            let address = member.map_or(args.node.clone(), |member| member.address.clone());
            let at = if status.node_id == *name { client } else { client.at(&address) };
            let begun = Instant::now();
            while at.status().await?.draining != Some(0) {
                if begun.elapsed() > DRAIN_MAX {
                    let problem = format!("{name} still has executions; ask again");
                    return Err(OperateError::Refused(problem));
                }
                tokio::time::sleep(DRAIN_LOOK).await;
            }
            Ok(done(args.json, format!("{name} runs no scripts any more; start it again to undo")))
        }
        ClusterCommand::TransferLeader { to } => {
            let client = client()?;
            client.post("/raft/transfer-leader", &json!({ "to": to })).await?;
            let leader = client.status().await?.leader_id.unwrap_or_default();
            Ok(done(args.json, format!("{leader} leads")))
        }
    }
}

fn done(json: bool, text: String) -> String {
    if json { json!({ "ok": true }).to_string() } else { text }
}

type Seen = (String, String, Option<Status>);

fn json_of(statuses: &[Seen]) -> String {
    let nodes: Vec<_> = statuses
        .iter()
        .map(
            |(name, address, status)| json!({ "name": name, "address": address, "status": status }),
        )
        .collect();
    serde_json::to_string_pretty(&nodes).unwrap_or_default()
}

fn shown(asked: &Status, statuses: &[Seen]) -> String {
    let rows: Vec<Vec<String>> = statuses
        .iter()
        .map(|(name, address, status)| match status {
            Some(status) => vec![
                name.clone(),
                address.clone(),
                status.role.clone(),
                status.term.to_string(),
                status.commit_index.to_string(),
                status.last_applied.to_string(),
                status.log_length.to_string(),
            ],
            None => {
                let mut row = vec![name.clone(), address.clone(), "not reached".to_owned()];
                row.resize(7, "-".to_owned());
                row
            }
        })
        .collect();
    let head = ["NODE", "ADDRESS", "ROLE", "TERM", "COMMITTED", "APPLIED", "LOG"];
    let cluster = asked.cluster_id.map_or("not formed yet".to_owned(), |id| id.to_string());
    let leader = asked.leader_id.as_deref().unwrap_or("none");
    let mut text = format!("cluster {cluster}, leader {leader}\n\n{}", table(&head, &rows));
    if asked.peer_auth == "none" {
        text += "\n\nNothing is proven between nodes (peer_auth none): whoever reaches a cluster port \
                 can join and remove nodes";
    }
    let mut waiting: Vec<(&str, &str)> = statuses
        .iter()
        .filter_map(|(name, _, status)| Some((&**name, status.as_ref()?.waiting_for.as_deref()?)))
        .collect();
    waiting.extend(asked.waiting_for.as_deref().map(|waiting| (&*asked.node_id, waiting)));
    waiting.dedup();
    for (name, waiting) in waiting {
        text += &format!("\n\n{name}: {waiting}");
    }
    text
}

fn members(status: &Status) -> String {
    let rows: Vec<Vec<String>> = status
        .members
        .iter()
        .map(|member| {
            vec![
                member.name.clone(),
                member.address.clone(),
                if member.voter { "voter" } else { "learner" }.to_owned(),
                member.lag.map_or("-".to_owned(), |lag| lag.to_string()),
                member.storage_id.map_or("-".to_owned(), |id| id.to_string()),
            ]
        })
        .collect();
    table(&["NODE", "ADDRESS", "VOTES", "BEHIND", "DISK"], &rows)
}
