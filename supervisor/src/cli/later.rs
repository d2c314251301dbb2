//! Flags that existing users know and this release does not have yet.
//!
//! They are parsed so that the answer can be a sentence about them rather than "unexpected
//! argument". Giving one, by whatever way, ends the start.

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, FromArgMatches};

use super::args::LATER;

/// One flag of a later release.
#[derive(Debug)]
pub struct Flag {
    /// Its long name.
    pub long: &'static str,
    /// What will bring it.
    what: &'static str,
}

const POLICIES: &str = "policies and fetch";
const MODULES: &str = "external modules";
const UPSTREAM: &str = "calling other MCP servers from scripts";
const WASM: &str = "preloaded WebAssembly modules";
const FILES: &str = "file storage for scripts";

/// All of them.
pub const FLAGS: &[Flag] = &[
    Flag { long: "policies-json", what: POLICIES },
    Flag { long: "fetch-header", what: POLICIES },
    Flag { long: "fetch-header-config", what: POLICIES },
    Flag { long: "allow-external-modules", what: MODULES },
    Flag { long: "mcp-server", what: UPSTREAM },
    Flag { long: "mcp-config", what: UPSTREAM },
    Flag { long: "mcp-stubs", what: UPSTREAM },
    Flag { long: "wasm-module", what: WASM },
    Flag { long: "wasm-config", what: WASM },
    Flag { long: "fs-store", what: FILES },
    Flag { long: "fs-dir", what: FILES },
    Flag { long: "sandbox-manifest", what: FILES },
];

/// Adds the flags to a command; they hold nothing, since giving one ends the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct LaterArgs;

impl clap::Args for LaterArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        FLAGS.iter().fold(command, |command, flag| {
            let arg = Arg::new(flag.long)
                .long(flag.long)
                .help(flag.what)
                .help_heading(LATER)
                // With a value or without: either way the answer is the same sentence.
                .num_args(0..=1)
                .action(ArgAction::Append)
                .value_name("…");
            command.arg(arg)
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for LaterArgs {
    fn from_arg_matches(_: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self)
    }

    fn update_from_arg_matches(&mut self, _: &ArgMatches) -> Result<(), clap::Error> {
        Ok(())
    }
}

/// Refuses the first flag of a later release that was given.
///
/// # Errors
/// A clap error that names the flag and what it belongs to.
pub fn check(command: &mut clap::Command, matches: &ArgMatches) -> Result<(), clap::Error> {
    let given = FLAGS.iter().find(|flag| matches.value_source(flag.long).is_some());
    if let Some(Flag { long, what }) = given {
        let message = format!(
            "--{long} is not supported yet: {what} will come with a later release. \
             Leave it out to run without"
        );
        return Err(command.error(ErrorKind::InvalidValue, message));
    }
    Ok(())
}
