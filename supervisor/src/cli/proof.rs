//! Options by which nodes and operators prove that they belong to a cluster.

use std::path::PathBuf;

use clap::ValueEnum;
use mcp_v8_cluster::auth::{NODE_FLAGS, OPERATOR_FLAGS, Sources};

use super::args::CLUSTER;

/// Of a node.
#[derive(Debug, Clone, clap::Args)]
pub struct NodeProof {
    /// A file with the secret that all nodes of the cluster share: 32 bytes or more that cannot be
    /// guessed (openssl rand -hex 32), readable by its owner only. Nodes and operators prove it to
    /// each other with every message; it hides nothing
    #[arg(long, value_name = "FILE", help_heading = CLUSTER)]
    pub cluster_secret_file: Option<PathBuf>,

    /// This node's certificate for TLS on the cluster port, in PEM, with what is between it and the
    /// authority. It must name the host in --advertise-addr, and be for servers and clients both
    #[arg(long, value_name = "FILE", help_heading = CLUSTER)]
    pub cluster_tls_cert: Option<PathBuf>,

    /// Its private key, in PEM
    #[arg(long, value_name = "FILE", help_heading = CLUSTER)]
    pub cluster_tls_key: Option<PathBuf>,

    /// The authority whose certificates nodes and operators must show, in PEM. It should sign for
    /// nobody else
    #[arg(long, value_name = "FILE", help_heading = CLUSTER)]
    pub cluster_tls_ca: Option<PathBuf>,

    /// `required`: do not start a cluster port without a secret or certificates
    #[arg(long, value_enum, default_value_t = ClusterAuth::Optional, help_heading = CLUSTER)]
    pub cluster_auth: ClusterAuth,
}

/// Whether the cluster port must ask for proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClusterAuth {
    /// The server does not start without something to prove.
    Required,
    /// Without anything it starts and warns.
    Optional,
}

impl NodeProof {
    /// The files that were given.
    pub fn sources(&self) -> Sources {
        Sources {
            flags: &NODE_FLAGS,
            secret: self.cluster_secret_file.clone(),
            cert: self.cluster_tls_cert.clone(),
            key: self.cluster_tls_key.clone(),
            ca: self.cluster_tls_ca.clone(),
        }
    }

    /// Whether the cluster port may not be without them.
    pub fn required(&self) -> bool {
        self.cluster_auth == ClusterAuth::Required
    }

    /// Which of the flags were given.
    pub fn given(&self) -> [(&'static str, bool); 5] {
        [
            ("--cluster-secret-file", self.cluster_secret_file.is_some()),
            ("--cluster-tls-cert", self.cluster_tls_cert.is_some()),
            ("--cluster-tls-key", self.cluster_tls_key.is_some()),
            ("--cluster-tls-ca", self.cluster_tls_ca.is_some()),
            ("--cluster-auth=required", self.required()),
        ]
    }
}

/// Of `mcp-v8 cluster`.
#[derive(Debug, Clone, clap::Args)]
pub struct OperatorProof {
    /// The secret that the nodes share [env: MCP_V8_CLUSTER_SECRET_FILE]
    #[arg(
        long,
        value_name = "FILE",
        global = true,
        env = "MCP_V8_CLUSTER_SECRET_FILE",
        hide_env = true
    )]
    pub secret_file: Option<PathBuf>,

    /// A certificate to show to nodes that speak TLS, in PEM [env: MCP_V8_CLUSTER_TLS_CERT]
    #[arg(
        long,
        value_name = "FILE",
        global = true,
        env = "MCP_V8_CLUSTER_TLS_CERT",
        hide_env = true
    )]
    pub tls_cert: Option<PathBuf>,

    /// Its private key [env: MCP_V8_CLUSTER_TLS_KEY]
    #[arg(
        long,
        value_name = "FILE",
        global = true,
        env = "MCP_V8_CLUSTER_TLS_KEY",
        hide_env = true
    )]
    pub tls_key: Option<PathBuf>,

    /// The authority of the nodes' certificates [env: MCP_V8_CLUSTER_TLS_CA]
    #[arg(
        long,
        value_name = "FILE",
        global = true,
        env = "MCP_V8_CLUSTER_TLS_CA",
        hide_env = true
    )]
    pub tls_ca: Option<PathBuf>,
}

impl OperatorProof {
    /// The files that were given.
    pub fn sources(&self) -> Sources {
        Sources {
            flags: &OPERATOR_FLAGS,
            secret: self.secret_file.clone(),
            cert: self.tls_cert.clone(),
            key: self.tls_key.clone(),
            ca: self.tls_ca.clone(),
        }
    }
}
