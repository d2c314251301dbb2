//! Options of `mcp-v8 sessions`, `heaps`, `executions` and `artifacts`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::rest_client::URL_DEFAULT;

/// The server that is asked.
#[derive(Debug, Clone, Args)]
pub struct Server {
    /// The --http-port of any node
    #[arg(long, value_name = "URL", global = true, default_value = URL_DEFAULT)]
    pub url: String,

    /// A file with the bearer token of whoever asks, where the server wants one
    #[arg(long, value_name = "FILE", global = true)]
    pub token_file: Option<PathBuf>,

    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// Options of `mcp-v8 sessions`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    mcp-v8 sessions list\n  \
    mcp-v8 sessions show analysis\n  \
    mcp-v8 sessions fork analysis-2 --from analysis\n  \
    mcp-v8 sessions reset analysis --heap 3f1c…\n\n\
    Exit code 0: done; 1: refused; 2: the server was not reached, or the flags are wrong.")]
pub struct SessionsArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub server: Server,

    /// What to do
    #[command(subcommand)]
    pub command: SessionsCommand,
}

/// What `mcp-v8 sessions` does.
#[derive(Debug, Clone, Subcommand)]
pub enum SessionsCommand {
    /// List sessions
    List,
    /// Show the history of a session
    Show {
        /// The session
        name: String,
    },
    /// Make a session as a copy of another, or at a heap
    #[command(group(clap::ArgGroup::new("source").required(true)))]
    Fork {
        /// The new session
        name: String,
        /// The session to copy
        #[arg(long, value_name = "NAME", group = "source")]
        from: Option<String>,
        /// The heap to begin with
        #[arg(long, value_name = "HASH", group = "source")]
        heap: Option<String>,
    },
    /// Put a session back at an earlier heap, or at its beginning
    Reset {
        /// The session
        name: String,
        /// The heap [default: an empty one]
        #[arg(long, value_name = "HASH")]
        heap: Option<String>,
    },
    /// Forget a session and its history
    Delete {
        /// The session
        name: String,
    },
}

/// Options of `mcp-v8 heaps`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    mcp-v8 heaps show 3f1c…\n  \
    mcp-v8 heaps tag 3f1c… stage=clean\n  \
    mcp-v8 heaps find stage=clean\n\n\
    Exit code 0: done; 1: refused; 2: the server was not reached, or the flags are wrong.")]
pub struct HeapsArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub server: Server,

    /// What to do
    #[command(subcommand)]
    pub command: HeapsCommand,
}

/// What `mcp-v8 heaps` does.
#[derive(Debug, Clone, Subcommand)]
pub enum HeapsCommand {
    /// Show what a heap takes and its tags
    Show {
        /// The heap
        hash: String,
    },
    /// Set tags of a heap
    Tag {
        /// The heap
        hash: String,
        /// The tags, KEY=VALUE
        #[arg(required = true, value_name = "KEY=VALUE", value_parser = pair)]
        tags: Vec<(String, String)>,
    },
    /// Delete tags of a heap
    Untag {
        /// The heap
        hash: String,
        /// Their keys [default: all]
        keys: Vec<String>,
    },
    /// Find heaps that have all of these tags
    Find {
        /// The tags, KEY=VALUE
        #[arg(required = true, value_name = "KEY=VALUE", value_parser = pair)]
        tags: Vec<(String, String)>,
    },
}

/// Options of `mcp-v8 executions`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    mcp-v8 executions list --limit 10\n  \
    mcp-v8 executions output 01990f3e-…\n\n\
    Exit code 0: done; 1: refused; 2: the server was not reached, or the flags are wrong.")]
pub struct ExecutionsArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub server: Server,

    /// What to do
    #[command(subcommand)]
    pub command: ExecutionsCommand,
}

/// What `mcp-v8 executions` does.
#[derive(Debug, Clone, Subcommand)]
pub enum ExecutionsCommand {
    /// List executions, newest first
    List {
        /// Most rows
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: u64,
    },
    /// Show an execution
    Show {
        /// Its id
        id: String,
    },
    /// Print what an execution has printed so far
    Output {
        /// Its id
        id: String,
    },
    /// Cancel an execution
    Cancel {
        /// Its id
        id: String,
    },
}

/// Options of `mcp-v8 artifacts`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    mcp-v8 artifacts list\n  \
    mcp-v8 artifacts get plot.png --output plot.png\n  \
    mcp-v8 artifacts delete plot.png\n\n\
    Exit code 0: done; 1: refused; 2: the server was not reached, or the flags are wrong.")]
pub struct ArtifactsArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub server: Server,

    /// What to do
    #[command(subcommand)]
    pub command: ArtifactsCommand,
}

/// What `mcp-v8 artifacts` does.
#[derive(Debug, Clone, Subcommand)]
pub enum ArtifactsCommand {
    /// List artifacts
    List,
    /// Print an artifact, or write it to a file
    Get {
        /// Its key
        key: String,
        /// The file, which is replaced
        #[arg(long, short, value_name = "FILE")]
        output: Option<std::path::PathBuf>,
    },
    /// Delete an artifact
    Delete {
        /// Its key
        key: String,
    },
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("accepted: KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
