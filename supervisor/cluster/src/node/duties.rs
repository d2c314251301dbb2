//! What a node does by itself: it renews its lease; a leader looks after the others.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use uuid::Uuid;

use super::asking::{JoinBody, post_join, statuses};
use super::{Node, ProposeError};
use crate::auth::now_ms;
use crate::auth::tls::Tls;
use crate::command::{
    Command, Expire, ExpireMcpSessions, Found, NodeDown, NodeUp, Owner, Reassign, Reply,
};
use crate::limits::{
    EXECUTION_BYTES_DEFAULT, EXECUTION_ROWS_DEFAULT, EXPIRE_AFTER_MS_DEFAULT, FENCE_MS,
    MCP_SESSION_KEPT_MS, RENEW_MS, TLS_LOOK_MS,
};
use crate::net::message::{Request, Response};
use crate::state::{executions, mcp, nodes};

/// How often a node looks whether something is to be done.
pub(super) const LOOK: Duration = Duration::from_millis(250);

/// Commands that forget old executions, at most, in one look; each forgets 256.
const EXPIRES_PER_LOOK: usize = 32;

/// How long a node without a leader waits before it tells the cluster its address.
const SILENT: Duration = Duration::from_secs(2);

/// The error of an execution that nobody is left to run, as owners describe errors.
pub const NODE_LOST: &str = r#"{"kind":"node_lost","message":"The node that ran the script was lost, and so were the attempts after it. Run it again.","stack":null,"line":null,"column":null}"#;

/// Takes an epoch and keeps it; takes another one when it was lost.
pub async fn renew(node: Node) {
    let gone = node.inner.gone.clone();
    tokio::select! {
        () = gone.cancelled() => {}
        () = keep_epoch(&node) => {}
    }
}

async fn keep_epoch(node: &Node) {
    tell_address(node).await;
    loop {
        node.room_returns().await;
        founded(node).await;
        let incarnation = Uuid::new_v4();
        let up = NodeUp {
            node: node.name().to_owned(),
            incarnation,
            runs_scripts: node.config().runs_scripts
                && !node.inner.departing.load(Ordering::Acquire),
        };
        // The lease begins at the earliest when this is sent.
        let sent = Instant::now();
        let epoch = match node.propose(Command::NodeUp(up)).await {
            Ok(proposed) => match proposed.reply {
                Reply::Epoch(epoch) => epoch,
                _ => continue,
            },
            Err(error) => {
                tracing::info!(%error, "this node cannot come up yet");
                node.inner.looking.send_replace(Some(error.to_string()));
                tell_address(node).await;
                sleep(LOOK).await;
                continue;
            }
        };
        tracing::info!(epoch, "this node is up");
        node.inner.looking.send_replace(None);
        node.inner.epoch.send_replace(Some((epoch, incarnation)));
        if node.inner.departing.load(Ordering::Acquire) {
            // It was told to stop while it came up.
            node.takes_no_more().await;
        }
        if let Some(application) = node.inner.application.get() {
            // What the cluster gave to this epoch before we knew that it is ours.
            application.replaced();
        }
        hold(node, epoch, sent).await;
        // From here on what runs here may run elsewhere.
        node.inner.epoch.send_replace(None);
        if let Some(application) = node.inner.application.get() {
            application.fenced();
        }
        if node.is_full() {
            // Nobody needs to wait for the end of the lease.
            node.give_up(epoch).await;
        }
        // Whatever ended it may be there still.
        sleep(LOOK).await;
    }
}

/// Returns once the cluster has its id: nothing is taken before it can be told apart from another's.
async fn founded(node: &Node) {
    let mut applied = node.inner.applied.clone();
    // What cannot be read now cannot be later either; whatever needs it says so.
    while nodes::cluster(&node.rows()).is_ok_and(|cluster| cluster.is_none()) {
        if node.is_leader() && found(node).await.is_ok() {
            continue;
        }
        let _ = timeout(LOOK, applied.changed()).await;
    }
}

/// Gives the cluster its id, if it has none.
async fn found(node: &Node) -> Result<(), ProposeError> {
    node.propose(Command::Found(Found { cluster: Uuid::new_v4() })).await.map(drop)
}

/// Renews until the epoch is over or may be.
async fn hold(node: &Node, epoch: u64, mut acknowledged: Instant) {
    let mut every = interval(Duration::from_millis(RENEW_MS));
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let fence = Duration::from_millis(FENCE_MS);
    loop {
        if node.is_full() && !node.votes_alone() {
            tracing::warn!(epoch, "the disk is too full: this node gives away what it runs");
            return;
        }
        let left = (acknowledged + fence).saturating_duration_since(Instant::now());
        if left.is_zero() {
            tracing::warn!(
                epoch,
                "no leader has heard of this node for too long: it stops what it runs"
            );
            return;
        }
        let sent = Instant::now();
        let renewal = renewal(node, epoch);
        match timeout(left.min(Duration::from_millis(RENEW_MS)), renewal).await {
            Ok(Some(true)) => acknowledged = sent,
            Ok(Some(false)) => {
                tracing::warn!(
                    epoch,
                    "the cluster has declared this node lost: it stops what it runs"
                );
                return;
            }
            Ok(None) => {
                sleep(LOOK).await;
                continue;
            }
            Err(_) => continue,
        }
        every.tick().await;
    }
}

/// Whether the leader still knows this epoch; `None` without an answer.
async fn renewal(node: &Node, epoch: u64) -> Option<bool> {
    let leader = node.leader()?;
    let request = Request::Renew { node: node.name().to_owned(), epoch };
    let response = if Some(&leader) == node.id().as_ref() {
        node.renewed(node.name(), epoch)
    } else {
        let patience = Duration::from_millis(RENEW_MS);
        node.peer(&leader)?.call(&request, patience).await.ok()?
    };
    match response {
        Response::Renewed(known) => Some(known),
        _ => None,
    }
}

impl Node {
    /// Whether nobody else votes: what this node gives away, nobody could take.
    pub(super) fn votes_alone(&self) -> bool {
        let Some(metrics) = self.metrics() else { return true };
        metrics.membership_config.membership().voter_ids().nth(1).is_none()
    }

    fn is_member(&self, name: &str) -> bool {
        self.inner.context.members().keys().any(|id| id.name() == name)
    }

    /// A node has given a sign of life.
    pub(super) fn renewed(&self, name: &str, epoch: u64) -> Response {
        let (Some(metrics), true) = (self.metrics(), self.is_leader()) else {
            return Response::NotLeader(self.leader());
        };
        if self.without_majority().is_some() {
            return Response::NotLeader(None);
        }
        if !self.is_member(name) {
            return Response::Renewed(false);
        }
        match nodes::node(&self.rows(), name) {
            Ok(Some(row)) if row.epoch > epoch || (row.epoch == epoch && !row.up) => {
                Response::Renewed(false)
            }
            Ok(_) => {
                self.inner.leases.renew(metrics.current_term, name, epoch);
                Response::Renewed(true)
            }
            Err(error) => Response::Unknown(error.to_string()),
        }
    }
}

/// Tells the cluster where this node is, when that is not what the cluster thinks.
async fn tell_address(node: &Node) {
    let config = node.config();
    if config.alone() {
        return;
    }
    let begun = Instant::now();
    let mut refused = String::new();
    loop {
        let members = node.inner.context.members();
        let known = node.id().and_then(|id| members.get(&id).cloned());
        let right = known.as_ref().is_some_and(|member| member.address == config.advertise);
        if right && node.leader().is_some() {
            return;
        }
        if !right && node.is_leader() && begun.elapsed() <= SILENT * 2 {
            // There may be nobody else to tell.
            if let Err(problem) = node.join(JoinBody::of(node)).await {
                tracing::warn!(%problem, "this node's address is not noted");
            }
            sleep(LOOK).await;
            continue;
        }
        if known.is_some() && node.inner.context.cluster().is_none() {
            // A founder: what it has founded is not begun yet, and whoever leads at those addresses leads
            // another cluster.
            return;
        }
        // Found by its old address or not at all: nobody contacts it.
        if begun.elapsed() > SILENT || (known.is_some() && !right) {
            let context = &node.inner.context;
            for address in statuses(context, context.others()).await.into_keys() {
                match post_join(node, &address).await {
                    Ok(()) => return,
                    Err(problem) if problem.to_string() != refused => {
                        tracing::warn!(%address, %problem, "this node's address is not noted");
                        refused = problem.to_string();
                    }
                    Err(_) => {}
                }
            }
            if begun.elapsed() > SILENT * 2 {
                return;
            }
        }
        sleep(LOOK).await;
    }
}

/// Takes up certificates that have changed.
pub async fn look_at_certificates(node: Node) {
    loop {
        sleep(Duration::from_millis(TLS_LOOK_MS)).await;
        let context = Arc::clone(&node.inner.context);
        let looking = tokio::task::spawn_blocking(move || {
            context.auth.credentials.tls.as_ref().map(Tls::reload)
        });
        match looking.await {
            Ok(Some(Ok(true))) => tracing::info!("new certificates, for new connections"),
            Ok(Some(Err(error))) => {
                tracing::error!(%error, "the new certificates are not used, the old ones are");
            }
            // Nothing new; or the node is stopping.
            Ok(Some(Ok(false)) | None) | Err(_) => {}
        }
    }
}

/// What a leader does as long as it leads.
pub async fn lead(node: Node) {
    let mut every = interval(LOOK);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looks = 0_u64;
    loop {
        every.tick().await;
        keep_cluster(&node).await;
        if !node.is_leader() || node.is_full() || node.without_majority().is_some() {
            continue;
        }
        looks += 1;
        if let Err(error) = look(&node, looks).await {
            tracing::warn!(%error, "a duty of the leader failed; trying again");
        }
    }
}

/// Notes the id of the cluster once it is known.
async fn keep_cluster(node: &Node) {
    if node.store().identity().cluster.is_some() {
        return;
    }
    if let Ok(Some(cluster)) = nodes::cluster(&node.rows())
        && let Err(error) =
            node.store().set_identity(|identity| identity.cluster = Some(cluster)).await
    {
        tracing::error!(%error, "the id of the cluster cannot be kept");
    }
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

async fn look(node: &Node, looks: u64) -> Result<(), Failed> {
    if nodes::cluster(&node.rows())?.is_none() {
        found(node).await?;
    }
    let all = nodes::nodes(&node.rows())?;
    let up: Vec<(String, u64)> =
        all.iter().filter(|(_, row)| row.up).map(|(name, row)| (name.clone(), row.epoch)).collect();
    let term = node.metrics().map_or(0, |metrics| metrics.current_term);
    let gone = up.iter().filter(|(name, _)| !node.is_member(name)).cloned();
    let gone = gone.map(|node| (node, "it is no member any more"));
    let expired = node.inner.leases.expired(term, &up).into_iter();
    let expired = expired.map(|node| (node, "it has not renewed its lease"));
    for ((name, epoch), why) in expired.chain(gone).collect::<Vec<_>>() {
        tracing::warn!(node = name, epoch, "lost: {why}");
        node.propose(Command::NodeDown(NodeDown { node: name, epoch })).await?;
    }
    reassign(node).await?;
    node.look_after_members().await;
    // By age about once in ten seconds, by number as soon as there are too many.
    let mut due = looks.is_multiple_of(40);
    for _ in 0..EXPIRES_PER_LOOK {
        let kept = executions::kept(&node.rows())?;
        due |= kept.rows > EXECUTION_ROWS_DEFAULT || kept.bytes > EXECUTION_BYTES_DEFAULT;
        if !std::mem::take(&mut due) {
            break;
        }
        let expire = Expire {
            before_ms: now_ms().saturating_sub(EXPIRE_AFTER_MS_DEFAULT),
            rows_max: EXECUTION_ROWS_DEFAULT,
            bytes_max: EXECUTION_BYTES_DEFAULT,
        };
        let index = node.propose(Command::Expire(expire)).await?.index;
        // Or the next look would count what is gone.
        node.applied_to(index).await?;
    }
    let before_ms = now_ms().saturating_sub(MCP_SESSION_KEPT_MS);
    if mcp::oldest_use_ms(&node.rows())?.is_some_and(|oldest| oldest < before_ms) {
        node.propose(Command::ExpireMcpSessions(ExpireMcpSessions { before_ms })).await?;
    }
    Ok(())
}

/// Gives executions of lost nodes to others.
async fn reassign(node: &Node) -> Result<(), Failed> {
    let all = nodes::nodes(&node.rows())?;
    let is_up = |owner: &Owner| {
        all.iter().any(|(name, row)| *name == owner.node && row.up && row.epoch == owner.epoch)
    };
    let mut load: Vec<(usize, Owner)> =
        node.runners()?.into_iter().map(|owner| (0, owner)).collect();
    let running = executions::running(&node.rows())?;
    for (_, row) in &running {
        if let Some((count, _)) = load.iter_mut().find(|(_, owner)| *owner == row.owner) {
            *count += 1;
        }
    }
    for (execution, row) in running.iter().filter(|(_, row)| !is_up(&row.owner)) {
        let to = load.iter_mut().min_by_key(|(count, _)| *count);
        // Nobody runs scripts at the moment: somebody will.
        let Some((count, to)) = to else { return Ok(()) };
        *count += 1;
        tracing::info!(execution_id = %execution, attempt = row.attempt, to = to.node, "its node was lost: given to another");
        let reassign = Reassign {
            execution: *execution,
            from_attempt: row.attempt,
            to: Some(to.clone()),
            at_ms: now_ms(),
            error: NODE_LOST.to_owned(),
        };
        node.propose(Command::Reassign(reassign)).await?;
    }
    Ok(())
}

/// For the metrics: whether Raft itself has failed.
impl Node {
    /// Returns when Raft has stopped by itself, with the reason: the process should end then.
    ///
    /// Looks now and then: to be woken with every change of the metrics would cost each commit
    /// several turns of this thread.
    pub async fn failed(&self) -> String {
        loop {
            if let Some(raft) = self.raft()
                && let Err(error) = &raft.metrics().borrow_watched().running_state
            {
                return error.to_string();
            }
            sleep(LOOK).await;
        }
    }
}
