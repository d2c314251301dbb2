//! `mcp-v8 cluster …` beside the nodes, and the files it works with.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Cluster, NAMESPACES, name};
use crate::binary;

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub out: String,
    /// What it complained of.
    pub err: String,
}

impl Ended {
    /// What it printed, as JSON.
    pub fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.out).unwrap()
    }
}

impl Cluster {
    /// The command `mcp-v8 cluster` with these words, where it reaches every node.
    pub fn operator(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={NAMESPACES}/{}", self.hub))
            .arg(binary("mcp-v8"))
            .arg("cluster")
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs it to its end.
    pub async fn operate(&self, words: &[&str]) -> Ended {
        let mut command = self.operator(words);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// The directory that a node keeps everything in.
    pub fn disk(&self, node: usize) -> PathBuf {
        self.node(node).disk.clone()
    }

    /// The store of a node in it.
    pub fn store(&self, node: usize) -> PathBuf {
        self.disk(node).join(format!("cluster-{}", name(node)))
    }

    /// A path for a file of the test, beside the disks.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file of the test that only its owner can read.
    pub fn secret_file(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.file(name);
        std::fs::write(&path, contents).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }
}
