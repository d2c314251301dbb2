//! The entrance of the cluster port.
//!
//! # Contract
//! * TLS where it is configured; who calls is noted for the routes.
//! * One address has at most [`CLUSTER_CONNECTIONS_PER_ADDRESS_MAX`] connections, so that one stranger
//!   leaves room for everybody else.
//! * Whoever does not take what is sent to them within [`WRITE_STALL_MAX`] is closed.
//! * Handshakes are calculated on the threads that serve clients, not on the one that carries Raft.

use std::net::SocketAddr;

use axum::{Extension, Router};
use mcp_v8_cluster::net::places::Places;
use mcp_v8_cluster::net::transport::Transport;
use mcp_v8_cluster::node::Node;
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use super::patient::Patient;
use super::serve::Entrance;
use crate::limits::{CLUSTER_CONNECTIONS_PER_ADDRESS_MAX, CONNECTIONS_MAX};

/// Lets callers of the cluster port in.
#[derive(Debug, Clone)]
pub struct ClusterEntrance {
    node: Node,
    calculating: Handle,
    open: Places,
}

impl ClusterEntrance {
    /// Of this node; handshakes are calculated by `calculating`.
    pub fn new(node: Node, calculating: Handle) -> Self {
        Self { node, calculating, open: places() }
    }
}

/// Places for all connections of the port.
fn places() -> Places {
    Places::new(CONNECTIONS_MAX, CLUSTER_CONNECTIONS_PER_ADDRESS_MAX)
}

impl Entrance for ClusterEntrance {
    type Stream = Patient<Transport>;

    async fn enter(
        self,
        stream: TcpStream,
        from: SocketAddr,
        router: Router,
    ) -> Option<(Patient<Transport>, Router)> {
        let place = self.open.take(from.ip().to_canonical())?;
        let node = self.node.clone();
        let accepting = async move { Transport::accept(node.auth(), stream, from).await };
        let (stream, caller) = if self.node.auth().credentials.tls.is_some() {
            self.calculating.spawn(accepting).await.ok().flatten()?
        } else {
            accepting.await?
        };
        let stream = Patient::new(stream, Some(place));
        Some((stream, router.layer(Extension(caller))))
    }
}

#[cfg(test)]
mod tests {
    use mcp_v8_cluster::net::places::Place;

    use super::*;

    #[test]
    fn an_address_has_its_connections_and_not_one_more() {
        let (places, one, other) = (places(), [10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let own: Vec<Place> =
            (0..CLUSTER_CONNECTIONS_PER_ADDRESS_MAX).map(|_| places.take(one).unwrap()).collect();
        assert!(places.take(one).is_none() && places.take(other).is_some());
        drop(own);
    }
}
