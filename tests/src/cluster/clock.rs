//! Nodes whose wall clock can be stepped, without the machine's.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::{Cluster, name};
use crate::bin_dir;

impl Cluster {
    /// Lets the wall clock of a node be stepped, from its next start on. See `tests/clock`.
    pub fn own_clock(&self, node: usize) {
        let library = bin_dir().join("libmcp_v8_clock.so");
        assert!(library.exists(), "{} is not built", library.display());
        let file = self.clock_file(node);
        std::fs::write(&file, 0_i64.to_ne_bytes()).unwrap();
        self.set_env(node, "LD_PRELOAD", library.to_str().unwrap());
        self.set_env(node, "MCP_V8_CLOCK", file.to_str().unwrap());
    }

    /// Steps the wall clock of a node, now: so many seconds ahead of the machine's.
    pub fn step_clock(&self, node: usize, seconds: i64) {
        let file = std::fs::File::options().write(true).open(self.clock_file(node)).unwrap();
        // In one write, which the node sees at once or not yet.
        file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    fn clock_file(&self, node: usize) -> PathBuf {
        self.file(&format!("{}.clock", name(node)))
    }
}
