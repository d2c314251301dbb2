//! How a node finds its cluster: which node it is, and whether it founds one.
//!
//! # Contract
//! * A node that has been a member is that member again, whatever it is told.
//! * Founders: a node that was never a member and names peers answers nothing but its status until
//!   a majority of the list, itself included, is there with the same list and was never a member
//!   either. Then each of them starts with the same first entry, so it does not matter which do.
//! * Once any of the list is a member, nobody founds: those that are left have their disk noted and wait to
//!   be contacted. One whose name is known with another disk joins as a new node instead.
//! * `--join` never founds.
//! * One that was a cluster of its own, and still is, does not start with the name of another node: which of
//!   the two histories should count is not ours to say.
//! * Whoever does not prove what is asked for counts as not there, and it is told why.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::sleep;

use super::asking::{JoinError, post_join, statuses};
use super::config::Config;
use super::founders::{self, fingerprint};
use super::status::{MemberStatus, Status};
use super::{Node, StartError};
use crate::store::{LogStore, Machine, Store};
use crate::types::{Member, NodeId};

/// Between two looks around.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The first membership.
type Founders = BTreeMap<NodeId, Member>;

impl Config {
    /// Refuses to tell a node of others that its store knows nothing of: it would go on alone, in a cluster
    /// of its own, and they without it.
    pub(super) fn check_others(
        &self,
        store: &Store,
        log: &LogStore,
        machine: &Machine,
    ) -> Result<(), StartError> {
        let flag = match (&self.join, self.peers.is_empty()) {
            (Some(_), _) => "--join",
            (None, false) => "--peers",
            (None, true) => return Ok(()),
        };
        let founded = store.identity().founders;
        if founded.is_none_or(|founders| founders.len() > 1) || !machine.is_alone(log) {
            return Ok(());
        }
        let (path, to) = (store.path().to_owned(), self.advertise.clone());
        Err(StartError::Alone { flag, path, to })
    }
}

/// Finds out which node this is; and the first membership, if it is a founder. `None` when it can
/// never be told.
pub async fn find(node: &Node) -> Option<(NodeId, Option<Founders>)> {
    let config = node.config();
    let identity = node.store().identity();
    if let Some(id) = identity.node {
        // openraft refuses to begin again what has begun.
        return Some((id, identity.founders));
    }
    let mut fingerprint = None;
    let found = if let Some(join) = &config.join {
        let id = NodeId::joined(&config.name, identity.storage);
        ask_in(node, std::slice::from_ref(join)).await;
        (id, None)
    } else if config.peers.is_empty() {
        // Alone: a cluster of one, that others can join if it has a port.
        let id = NodeId::founder(&config.name);
        let founders = [(id.clone(), this_member(node, Some(identity.storage)))].into();
        (id, Some(founders))
    } else {
        let (found, list) = look_around(node).await;
        fingerprint = list.map(|list| founders::fingerprint(&list));
        found
    };
    let (id, founders) = found.clone();
    let kept = node
        .store()
        .set_identity(|identity| {
            identity.node = Some(id);
            identity.founders = founders;
            identity.fingerprint = fingerprint;
        })
        .await;
    if let Err(error) = kept {
        tracing::error!(%error, "the identity of this node cannot be kept");
        node.inner.looking.send_replace(Some(error.to_string()));
        return None;
    }
    Some(found)
}

fn this_member(node: &Node, storage: Option<uuid::Uuid>) -> Member {
    let config = node.config();
    Member {
        address: config.advertise.clone(),
        storage,
        votes: !config.learner,
        runs_scripts: config.runs_scripts,
    }
}

/// Looks at the peers until it is clear who this node is. With the list of founders, once all have
/// a name.
async fn look_around(node: &Node) -> ((NodeId, Option<Founders>), Option<String>) {
    let config = node.config();
    let mut said = String::new();
    loop {
        let peers = config.peers.iter().map(|peer| peer.address.clone());
        let answered = statuses(&node.inner.context, peers).await;
        let (seen, strange) = others(config, node.store().identity().storage, answered);
        let list = named(config, &seen).map(|list| founders_list(config, &list));
        let waiting = match decide(node, &seen) {
            Decision::Found(founders) => {
                return ((NodeId::founder(&config.name), Some(founders)), list);
            }
            Decision::Wait => {
                tracing::info!("the cluster exists; waiting for its leader");
                return ((NodeId::founder(&config.name), None), list);
            }
            Decision::JoinAgain => {
                tracing::warn!(
                    "the cluster knows this node with another disk: joining as a new one"
                );
                let seeds: Vec<String> = seen.keys().cloned().collect();
                ask_in(node, &seeds).await;
                let id = NodeId::joined(&config.name, node.store().identity().storage);
                return ((id, None), None);
            }
            Decision::Claim => match claim(node, &seen).await {
                // The next look shows as whom.
                Ok(()) => "the cluster has noted this node's disk".to_owned(),
                Err(JoinError::Refused(problem)) => problem,
                // It may be this node's vote that a leader lacks. Who leads by the statuses says nothing:
                // they name the last one until there is another.
                Err(JoinError::Unanswered(problem)) => {
                    tracing::info!(problem, "the cluster exists and nobody leads it; waiting");
                    return ((NodeId::founder(&config.name), None), list);
                }
            },
            Decision::LookAgain(waiting) => {
                let trouble = node.inner.context.troubles.text();
                let reasons: Vec<String> =
                    [waiting].into_iter().chain(strange).chain(trouble).collect();
                reasons.join(". ")
            }
        };
        if waiting != said {
            tracing::info!("{waiting}");
            node.inner.looking.send_replace(Some(waiting.clone()));
            said = waiting;
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// The statuses of those that are other nodes, each once, under the names that they were given; and
/// what is wrong with the rest. A status says who has written it, and not who has handed it on: one's
/// own can come back from another address.
fn others(
    config: &Config,
    own: uuid::Uuid,
    answered: BTreeMap<String, Status>,
) -> (BTreeMap<String, Status>, Vec<String>) {
    let mut known: BTreeMap<uuid::Uuid, String> = BTreeMap::new();
    let (mut seen, mut strange) = (BTreeMap::new(), Vec::new());
    for (address, status) in answered {
        let name = &status.node_id;
        let given = config.peers.iter().find(|peer| peer.address == address);
        if status.storage_id == own {
            strange.push(format!("{address} is this node itself"));
        } else if let Some(other) = known.get(&status.storage_id) {
            strange.push(format!("{address} is the same node as {other}, '{name}'"));
        } else if let Some(given) = given.and_then(|peer| peer.name.as_ref())
            && given != name
        {
            strange.push(format!("{address} is '{name}', and --peers says '{given}'"));
        } else if config.name == *name {
            strange.push(format!("{address} has the name of this node, '{name}'"));
        } else {
            known.insert(status.storage_id, address.clone());
            seen.insert(address, status);
        }
    }
    (seen, strange)
}

enum Decision {
    /// Start with this membership.
    Found(Founders),
    /// Start and wait.
    Wait,
    /// Not every member knows whether it has met another disk of this name: ask the leader, whose word counts.
    Claim,
    /// Join under a new id.
    JoinAgain,
    /// Not yet, and why.
    LookAgain(String),
}

/// What the statuses of the peers, by address, mean.
fn decide(node: &Node, seen: &BTreeMap<String, Status>) -> Decision {
    let config = node.config();
    let storage = node.store().identity().storage;
    if let Some(status) = seen.values().find(|status| status.member) {
        if let Some(mismatch) = mismatch(config, seen, status) {
            return Decision::LookAgain(mismatch);
        }
        // Not every member has met this node's disk before.
        let members = seen.values().filter(|status| status.member).flat_map(|one| &one.members);
        let mine: Vec<_> = members.filter(|member| member.name == config.name).collect();
        let is_this =
            |member: &&MemberStatus| member.storage_id == Some(storage) && !member.id.contains('~');
        if mine.iter().any(is_this) {
            return Decision::Wait;
        }
        if mine.iter().any(|member| member.storage_id.is_some()) {
            return Decision::JoinAgain;
        }
        if !mine.is_empty() {
            return Decision::Claim;
        }
        return Decision::LookAgain(format!(
            "the cluster that {} belongs to does not know this node, '{}': it has the members {}. \
             Start this node with --join={} to enter it",
            status.node_id,
            config.name,
            names(status),
            config.peers[0].address,
        ));
    }
    let Some(list) = named(config, seen) else {
        return Decision::LookAgain(
            "waiting for the peers that --peers gives no name for".to_owned(),
        );
    };
    let mut names: Vec<&str> = list.iter().map(|(name, _)| name.as_str()).collect();
    names.push(&config.name);
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Decision::LookAgain(format!("two founders have the name '{}'", twice[0]));
    }
    let ours = founders_list(config, &list);
    if let Some(other) = seen.values().find(|status| {
        status.founders.as_deref().is_some_and(|founders| !same_list(founders, &ours))
    }) {
        return Decision::LookAgain(format!(
            "--peers does not match: this node was started with {ours}, {} with {}. Make the lists \
             the same on all nodes, each without itself",
            other.node_id,
            other.founders.as_deref().unwrap_or_default(),
        ));
    }
    let all = config.peers.len() + 1;
    let here = seen.len() + 1;
    if here * 2 <= all {
        let missing: Vec<&str> = config
            .peers
            .iter()
            .map(|peer| peer.address.as_str())
            .filter(|address| !seen.contains_key(*address))
            .collect();
        return Decision::LookAgain(format!(
            "waiting for a majority of {all} founders; not reached: {}",
            missing.join(", ")
        ));
    }
    let mut founders: Founders = list
        .into_iter()
        .map(|(name, address)| {
            // The same on every founder: what only some of them know stays out.
            (NodeId::founder(&name), Member::founder(&address))
        })
        .collect();
    founders.insert(NodeId::founder(&config.name), Member::founder(&config.advertise));
    Decision::Found(founders)
}

/// Whether the cluster that exists was founded with another list than this node was given.
fn mismatch(config: &Config, seen: &BTreeMap<String, Status>, status: &Status) -> Option<String> {
    let ours = founders_list(config, &named(config, seen)?);
    let theirs: Vec<u64> = seen.values().filter_map(|status| status.fingerprint).collect();
    if theirs.is_empty() || theirs.contains(&fingerprint(&ours)) {
        return None;
    }
    let members: Vec<String> =
        status.members.iter().map(|member| format!("{}@{}", member.name, member.address)).collect();
    Some(format!(
        "--peers does not match: this node was started with {ours}, and the cluster that {} belongs \
         to with another list; its members are {}. Give this node their list without itself, or \
         --join={} to enter as a new one",
        status.node_id,
        members.join(","),
        config.peers[0].address,
    ))
}

fn names(status: &Status) -> String {
    let names: Vec<&str> = status.members.iter().map(|member| member.name.as_str()).collect();
    names.join(", ")
}

/// The peers with their names, those that were not given taken from their statuses.
fn named(config: &Config, seen: &BTreeMap<String, Status>) -> Option<Vec<(String, String)>> {
    let named = |peer: &super::config::Seed| {
        let name = peer.name.clone();
        let name = name.or_else(|| Some(seen.get(&peer.address)?.node_id.clone()))?;
        Some((name, peer.address.clone()))
    };
    config.peers.iter().map(named).collect()
}

fn founders_list(config: &Config, peers: &[(String, String)]) -> String {
    let mut all = peers.to_vec();
    all.push((config.name.clone(), config.advertise.clone()));
    super::founders::list(&all)
}

/// Whether two lists name the same addresses, and the same names where both give one.
fn same_list(one: &str, other: &str) -> bool {
    let parts = |list: &str| {
        let mut parts: Vec<(String, String)> = list
            .split(',')
            .filter_map(|part| part.split_once('@'))
            .map(|(name, address)| (address.to_owned(), name.to_owned()))
            .collect();
        parts.sort_unstable();
        parts
    };
    let (one, other) = (parts(one), parts(other));
    one.len() == other.len()
        && one.iter().zip(&other).all(|((address_a, name_a), (address_b, name_b))| {
            address_a == address_b && (name_a == name_b || name_a == "?" || name_b == "?")
        })
}

/// Asks the members, in turn, to have the leader note this node's disk under its name. Where the leader has
/// met another one it lets this node in as a new one.
async fn claim(node: &Node, seen: &BTreeMap<String, Status>) -> Result<(), JoinError> {
    let mut last = JoinError::Unanswered("no member is reached".to_owned());
    for (member, _) in seen.iter().filter(|(_, status)| status.member) {
        match post_join(node, member).await {
            Ok(()) => return Ok(()),
            Err(JoinError::Refused(why)) => {
                let why = format!("{member} does not note this node's disk: {why}");
                return Err(JoinError::Refused(why));
            }
            Err(unanswered) => last = unanswered,
        }
    }
    Err(last)
}

/// Asks members of a cluster, in turn and again, to let this node in.
async fn ask_in(node: &Node, seeds: &[String]) {
    let mut said = String::new();
    loop {
        for seed in seeds {
            match post_join(node, seed).await {
                Ok(()) => return,
                Err(problem) => {
                    let waiting = format!("{seed} does not let this node in: {problem}");
                    if waiting != said {
                        tracing::warn!("{waiting}; trying again");
                        node.inner.looking.send_replace(Some(waiting.clone()));
                        said = waiting;
                    }
                }
            }
        }
        sleep(LOOK_AGAIN * 5).await;
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::node::config::Seed;

    fn status(name: &str, storage: u128) -> Status {
        let status = json!({
            "node_id": name, "role": "Follower", "leader_id": null, "term": 0, "commit_index": 0,
            "last_applied": 0, "log_length": 0, "peers": [], "peer_addrs": {}, "learners": [],
            "is_learner": false, "cluster_id": null, "storage_id": Uuid::from_u128(storage),
            "member": false, "founders": null, "fingerprint": null, "waiting_for": null,
            "members": [], "snapshot_index": 0, "peer_auth": "secret", "instance": null,
        });
        serde_json::from_value(status).unwrap()
    }

    #[test]
    fn statuses_that_are_not_of_other_nodes_under_their_names_do_not_count() {
        let peer = |name: Option<&str>, address: &str| Seed {
            name: name.map(str::to_owned),
            address: address.to_owned(),
        };
        let peers = vec![peer(Some("node2"), "b:1"), peer(None, "c:1"), peer(None, "d:1")];
        let config = Config { peers, ..Config::single("node1", PathBuf::new()) };
        let told = |answered: &[(&str, &str, u128)]| {
            let answered = answered
                .iter()
                .map(|(address, name, storage)| ((*address).to_owned(), status(name, *storage)));
            let (seen, strange) = others(&config, Uuid::from_u128(1), answered.collect());
            (seen.into_keys().collect::<Vec<_>>().join(","), strange.join("; "))
        };
        assert_eq!(told(&[("b:1", "node2", 2), ("c:1", "x", 3)]), ("b:1,c:1".into(), "".into()));
        // Its own, handed on by somebody.
        let (seen, strange) = told(&[("b:1", "node1", 1), ("c:1", "node1", 1)]);
        assert_eq!(seen, "");
        assert_eq!(strange, "b:1 is this node itself; c:1 is this node itself");
        // Another's, twice.
        let (seen, strange) = told(&[("b:1", "node2", 2), ("c:1", "node2", 2)]);
        assert_eq!((&*seen, &*strange), ("b:1", "c:1 is the same node as b:1, 'node2'"));
        let (seen, strange) = told(&[("b:1", "node3", 3), ("d:1", "node1", 4)]);
        assert_eq!(seen, "");
        assert!(strange.contains("b:1 is 'node3', and --peers says 'node2'"), "{strange}");
        assert!(strange.contains("d:1 has the name of this node, 'node1'"), "{strange}");
    }

    #[test]
    fn lists_are_the_same_whatever_their_order_and_with_names_left_out() {
        let one = "node1@a:1,node2@b:1,node3@c:1";
        assert!(same_list(one, "node3@c:1,node1@a:1,?@b:1"));
        assert!(!same_list(one, "node1@a:1,node2@b:1"));
        assert!(!same_list(one, "node1@a:1,node2@b:1,node3@d:1"));
        assert!(!same_list(one, "node1@a:1,node2@b:1,node4@c:1"));
        assert_ne!(fingerprint(one), fingerprint("node1@a:1"));
    }
}
