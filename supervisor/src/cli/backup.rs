//! Options of `mcp-v8 cluster backup` and `restore`.

use std::path::PathBuf;

use clap::value_parser;
use mcp_v8_cluster::node::config::{self as node, Seed};

use super::args::{NODE_ID_DEFAULT, SESSION_DB_PATH_DEFAULT, peer};

/// Options of `mcp-v8 cluster backup`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  \
    mcp-v8 cluster --node=10.0.0.1:4000 backup --out=mcp-v8.backup\n  \
    mcp-v8 cluster backup --out=mcp-v8.backup --session-db-path=/var/lib/mcp-v8 --node-id=node1")]
pub struct BackupArgs {
    /// The file to write. One of that name is replaced once the new one is whole
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,

    /// Ask no node: read the store of one that is stopped, in this directory (its
    /// --session-db-path)
    #[arg(long, value_name = "DIR")]
    pub session_db_path: Option<PathBuf>,

    /// With --session-db-path: the --node-id of that node [default: node1]
    #[arg(long, value_name = "ID", requires = "session_db_path")]
    pub node_id: Option<String>,
}

/// Options of `mcp-v8 cluster restore`: where the store goes, and the founders of the new cluster, as
/// the server is told of them.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  \
    mcp-v8 cluster restore mcp-v8.backup --session-db-path=/var/lib/mcp-v8\n  \
    mcp-v8 cluster restore mcp-v8.backup --node-id=node1 --cluster-port=4000 \\\n      \
        --advertise-addr=10.0.0.1:4000 --peers=node2@10.0.0.2:4000,node3@10.0.0.3:4000 \\\n      \
        --session-db-path=/var/lib/mcp-v8 --cluster-token=after-the-fire-of-may")]
pub struct RestoreArgs {
    /// The backup
    pub file: PathBuf,

    /// Name of the node
    #[arg(long, value_name = "ID", default_value = NODE_ID_DEFAULT)]
    pub node_id: String,

    /// Directory of everything that is kept on disk; the store is made in it, in cluster-NODE_ID
    #[arg(long, value_name = "DIR", default_value = SESSION_DB_PATH_DEFAULT)]
    pub session_db_path: PathBuf,

    /// The node's cluster port. Without: a server that is alone
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..))]
    pub cluster_port: Option<u16>,

    /// Where other nodes reach this node's cluster port [default: NODE_ID:CLUSTER_PORT]
    #[arg(long, value_name = "HOST:PORT", requires = "cluster_port")]
    pub advertise_addr: Option<String>,

    /// The other founders of the new cluster, ID@HOST:PORT separated by commas, each with its id.
    /// Without: this node founds it alone, and others can join it
    #[arg(
        long, value_name = "PEERS", value_delimiter = ',', value_parser = peer,
        requires = "cluster_port"
    )]
    pub peers: Vec<Seed>,

    /// A text that makes the new cluster's id: the same for every founder, and another one each time
    /// a backup is restored. Needed with --peers
    #[arg(long, value_name = "TEXT")]
    pub cluster_token: Option<String>,
}

impl RestoreArgs {
    /// What the node will be told when it is started.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn node(&self) -> Result<node::Config, String> {
        let advertise = self.cluster_port.map(|port| {
            self.advertise_addr.clone().unwrap_or_else(|| format!("{}:{port}", self.node_id))
        });
        let path = self.session_db_path.join(format!("cluster-{}", self.node_id));
        let config = node::Config {
            advertise: advertise.unwrap_or_default(),
            peers: self.peers.clone(),
            ..node::Config::single(&self.node_id, path)
        };
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }

    /// Names and addresses of the other founders.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn founders(&self) -> Result<Vec<(String, String)>, String> {
        let named = |peer: &Seed| {
            let name = peer.name.clone().ok_or_else(|| {
                format!(
                    "--peers: '{}' has no id; a restore needs the id of every founder: \
                     ID@HOST:PORT",
                    peer.address
                )
            })?;
            Ok((name, peer.address.clone()))
        };
        self.peers.iter().map(named).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        restore: RestoreArgs,
    }

    fn parsed(words: &[&str]) -> Result<RestoreArgs, clap::Error> {
        let line = Line::try_parse_from(["restore", "file"].iter().chain(words))?;
        Ok(line.restore)
    }

    #[test]
    fn a_restore_takes_the_flags_of_the_server_and_checks_them_the_same_way() {
        let alone = parsed(&[]).unwrap();
        let config = alone.node().unwrap();
        assert!(config.alone() && config.path.ends_with("mcp-v8-sessions/cluster-node1"));
        let words = ["--cluster-port=4000", "--peers=node2@b:4000,c:4000", "--cluster-token=t"];
        let several = parsed(&words).unwrap();
        assert_eq!(several.node().unwrap().advertise, "node1:4000");
        assert!(several.founders().unwrap_err().contains("'c:4000' has no id"));
        let itself = parsed(&["--cluster-port=4000", "--peers=node1@b:4000"]).unwrap();
        assert!(itself.node().is_err());
        for needs_port in ["--peers=node2@b:4000", "--advertise-addr=a:4000"] {
            assert!(parsed(&[needs_port]).unwrap_err().to_string().contains("--cluster-port"));
        }
    }
}
