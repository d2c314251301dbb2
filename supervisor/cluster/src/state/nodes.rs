//! The cluster's id and its nodes.

use uuid::Uuid;

use super::rows::NodeRow;
use super::{Change, Rows, StateError, Transaction, keys, read};
use crate::command::{Found, NodeDown, NodeUp, Reply};

/// Gives the cluster its id, once.
pub fn found(state: &mut Transaction<'_>, found: &Found) -> Result<Reply, StateError> {
    if let Some(cluster) = state.get::<Uuid>(keys::CLUSTER)? {
        return Ok(Reply::Cluster(cluster));
    }
    state.put(keys::CLUSTER.to_vec(), &found.cluster);
    Ok(Reply::Cluster(found.cluster))
}

/// Begins an epoch of a node. Said again in the same run of its process, the epoch goes on; a node
/// that stops says so that it takes no more executions, which it cannot take back in that run.
pub fn up(state: &mut Transaction<'_>, index: u64, up: &NodeUp) -> Result<Reply, StateError> {
    let key = keys::node(&up.node);
    if let Some(row) = state.get::<NodeRow>(&key)?
        && row.incarnation == up.incarnation
        && row.up
    {
        let epoch = row.epoch;
        if row.runs_scripts && !up.runs_scripts {
            state.put(key, &NodeRow { runs_scripts: false, ..row });
            state.changes.push(Change::Nodes);
        }
        return Ok(Reply::Epoch(epoch));
    }
    let row = NodeRow {
        epoch: index,
        incarnation: up.incarnation,
        up: true,
        runs_scripts: up.runs_scripts,
    };
    state.put(key, &row);
    state.changes.push(Change::Nodes);
    Ok(Reply::Epoch(index))
}

/// Ends an epoch of a node.
pub fn down(state: &mut Transaction<'_>, down: &NodeDown) -> Result<Reply, StateError> {
    let key = keys::node(&down.node);
    if let Some(row) = state.get::<NodeRow>(&key)?
        && row.epoch == down.epoch
        && row.up
    {
        state.put(key, &NodeRow { up: false, ..row });
        state.changes.push(Change::Nodes);
    }
    Ok(Reply::Done)
}

/// The cluster's id, once it has one.
///
/// # Errors
/// [`StateError`].
pub fn cluster(rows: &dyn Rows) -> Result<Option<Uuid>, StateError> {
    read(rows, keys::CLUSTER)
}

/// A node.
///
/// # Errors
/// [`StateError`].
pub fn node(rows: &dyn Rows, name: &str) -> Result<Option<NodeRow>, StateError> {
    read(rows, &keys::node(name))
}

/// All nodes that were ever up, by name.
///
/// # Errors
/// [`StateError`].
pub fn nodes(rows: &dyn Rows) -> Result<Vec<(String, NodeRow)>, StateError> {
    let mut nodes = Vec::new();
    for (key, value) in rows.first(keys::NODES, usize::MAX)? {
        let name = String::from_utf8_lossy(&key[1..]).into_owned();
        nodes.push((name, super::decode_row(&key, &value)?));
    }
    Ok(nodes)
}
