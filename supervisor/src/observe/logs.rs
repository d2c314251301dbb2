//! How log lines look, and which there are.
//!
//! # Contract
//! * Lines go to stderr. `auto` writes JSON when stderr is the journal of systemd (`JOURNAL_STREAM`
//!   names it, systemd.exec(5)), and text otherwise, coloured on a terminal.
//! * Which lines: `--log-level` wherever it was given (flag, environment, file); else `RUST_LOG`; else
//!   `info`. Of openraft, which would tell every vote, of rmcp, which tells what callers write, and below
//!   `info` of sled there is only what a filter names.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// What of these is logged unless a filter names them. What matters of openraft we say ourselves; rmcp
/// tells what its callers write, as they wrote it and as often as they like.
const QUIET: [&str; 2] = ["openraft=error", "rmcp=off"];

/// The same where everything is logged.
const QUIET_BELOW_INFO: &str = "sled=info";

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// JSON for the journal of systemd, otherwise text.
    #[default]
    Auto,
    /// Text for people, coloured on a terminal.
    Pretty,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// Whether it means JSON, for this process.
    pub fn is_json(self) -> bool {
        match self {
            Self::Json => true,
            Self::Pretty => false,
            Self::Auto => {
                let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
                rustix::fs::fstat(std::io::stderr().as_fd())
                    .is_ok_and(|stat| is_stream(&stream, stat.st_dev, stat.st_ino))
            }
        }
    }
}

/// Whether `JOURNAL_STREAM` names this file.
fn is_stream(named: &str, device: u64, inode: u64) -> bool {
    named
        .split_once(':')
        .is_some_and(|(dev, ino)| dev.parse() == Ok(device) && ino.parse() == Ok(inode))
}

/// Checks what `--log-level` was given.
///
/// # Errors
/// What is accepted.
pub fn filter(text: &str) -> Result<String, String> {
    let accepted = "accepted: off, error, warn, info, debug, trace, or a list like \
                    info,mcp_v8_supervisor::observe=debug";
    let is_level = |word: &str| LEVELS.contains(&word.to_ascii_lowercase().as_str());
    let mut directives = text.split(',').map(str::trim);
    // A name without a level would mean all that there is of it: mostly a level that is misspelt.
    if !directives.all(|directive| is_level(directive) || directive.contains('=')) {
        return Err(accepted.to_owned());
    }
    EnvFilter::builder().parse(text).map_err(|error| format!("{error}; {accepted}"))?;
    Ok(with_quiet_libraries(text))
}

/// A filter, with what goes for libraries that it does not name.
fn with_quiet_libraries(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let mut directives = lower.split(',').map(str::trim);
    let everything = directives.any(|directive| ["debug", "trace"].contains(&directive));
    let below_info = everything.then_some(QUIET_BELOW_INFO);
    let mut filter = text.to_owned();
    for quiet in QUIET.into_iter().chain(below_info) {
        let library = quiet.split('=').next().unwrap_or_default();
        if !lower.split(',').any(|directive| directive.trim().starts_with(library)) {
            filter = format!("{filter},{quiet}");
        }
    }
    filter
}

/// Begins to log. `level` is what [`filter`] gave; without one, what `RUST_LOG` says, and else
/// `default`.
pub fn init(format: LogFormat, level: Option<&str>, default: &str) {
    let filter = match level {
        Some(level) => EnvFilter::new(level),
        None => EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default)),
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if format.is_json() {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(true).init();
    } else {
        lines.with_ansi(std::io::stderr().is_terminal()).init();
    }
}

/// What a server logs unless it is told otherwise.
pub fn server_default() -> String {
    with_quiet_libraries("info")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_known_by_device_and_inode() {
        assert!(is_stream("8:1234", 8, 1234));
        for other in ["8:1235", "9:1234", "", "8", "8:", "a:b", "8:1234:5"] {
            assert!(!is_stream(other, 8, 1234), "{other}");
        }
    }

    #[test]
    fn a_filter_leaves_libraries_quiet_that_it_does_not_name() {
        assert_eq!(filter("debug").unwrap(), "debug,openraft=error,rmcp=off,sled=info");
        assert_eq!(filter("WARN").unwrap(), "WARN,openraft=error,rmcp=off");
        let list = "info,mcp_v8_supervisor::observe=debug";
        assert_eq!(filter(list).unwrap(), format!("{list},openraft=error,rmcp=off"));
        for named in ["debug,openraft=warn,rmcp=debug,sled=off", "off,openraft::core=info,rmcp=off"]
        {
            assert_eq!(filter(named).unwrap(), named);
        }
        for bad in ["", "loud", "info,verbose", "a=loud", "debug,"] {
            let error = filter(bad).unwrap_err();
            assert!(error.contains("accepted: off, error, warn, info"), "{bad}: {error}");
        }
    }
}
