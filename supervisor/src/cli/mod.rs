//! Command line, environment and configuration file.
//!
//! # Contract
//! * One definition of every option: the clap struct in [`args`]. The environment variable
//!   `MCP_V8_<FLAG>` and the key of the `--config` file follow from the flag's name.
//! * Precedence: flag, then environment, then file, then default.
//! * A flag of a later release is refused with a sentence that says so; none is silently ignored.

pub mod access;
pub mod args;
mod ask;
mod backup;
mod config;
mod later;
mod observe;
pub mod proof;

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

pub use self::args::{Args, ClusterArgs, ClusterCommand, Command, ExecArgs, ReferenceArgs};
pub use self::ask::{
    ArtifactsArgs, ArtifactsCommand, ExecutionsArgs, ExecutionsCommand, HeapsArgs, HeapsCommand,
    SessionsArgs, SessionsCommand,
};
pub use self::backup::{BackupArgs, RestoreArgs};
pub use self::observe::ObserveArgs;

/// Environment prefix of every flag.
const ENV_PREFIX: &str = "MCP_V8_";

/// Parses the command line, environment and configuration file.
///
/// # Errors
/// clap's error, to be printed with its own exit code; also `--help` and `--version`.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Args, clap::Error> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let mut command = command();
    // First pass: only to find the configuration file. Its values become defaults, which is what
    // puts them behind flags and environment.
    if let Some(path) = config::path(&command, &arguments) {
        let values = config::read(&path)
            .map_err(|error| command.clone().error(ErrorKind::Io, error.to_string()))?;
        command = config::apply(command, &path, values)?;
    }
    let matches = command.clone().try_get_matches_from(&arguments)?;
    later::check(&mut command, &matches)?;
    let args = Args::from_arg_matches(&matches)?;
    args.check().map_err(|message| command.error(ErrorKind::ArgumentConflict, message))?;
    Ok(args)
}

/// The command with its environment variables.
pub fn command() -> clap::Command {
    fn with_env(arg: clap::Arg) -> clap::Arg {
        match arg.get_long() {
            // Some of a subcommand's are called as the server's.
            Some(long) if !matches!(long, "help" | "version") && arg.get_env().is_none() => {
                let name = format!("{ENV_PREFIX}{}", long.to_uppercase().replace('-', "_"));
                arg.env(name).hide_env(true)
            }
            _ => arg,
        }
    }
    Args::command().mut_args(with_env).mut_subcommands(|command| command.mut_args(with_env))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::args::SESSION_DB_PATH_DEFAULT;
    use super::*;
    use crate::executions::KeepHeaps;

    fn parse_words(words: &[&str]) -> Result<Args, clap::Error> {
        parse(std::iter::once("mcp-v8").chain(words.iter().copied()).map(OsString::from))
    }

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let args = parse_words(&[]).unwrap();
        assert_eq!((args.http_port, args.sse_port), (None, None));
        assert_eq!((args.heap_memory_max, args.execution_timeout), (128, 30));
        assert_eq!(args.bind_host, "0.0.0.0");
        assert_eq!(args.session_db_path.to_str(), Some("/tmp/mcp-v8-sessions"));
    }

    #[test]
    fn numbers_pass_at_their_bounds_and_fail_one_past_them_by_name() {
        for (flag, at, past) in [
            ("execution-timeout", ["1", "300"], ["0", "301"]),
            ("heap-memory-max", ["8", "4096"], ["7", "4097"]),
            ("max-concurrent-executions", ["1", "1024"], ["0", "1025"]),
            ("console-bytes-max", ["1024", "16777216"], ["1023", "16777217"]),
            ("drain-timeout", ["0", "300"], ["-1", "301"]),
            ("cache-max-mb", ["64", "1048576"], ["63", "1048577"]),
        ] {
            for value in at {
                assert!(parse_words(&[&format!("--{flag}={value}")]).is_ok(), "{flag}={value}");
            }
            for value in past {
                let error = parse_words(&[&format!("--{flag}={value}")]).unwrap_err().to_string();
                assert!(error.contains(flag), "{error}");
            }
        }
    }

    #[test]
    fn a_file_gives_defaults_that_a_flag_overrides() {
        let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        writeln!(file, "http-port = 3100\nheap_memory_max = 64\nstateless = true").unwrap();
        writeln!(file, "allowed-hosts = [\"a.example\", \"b.example\"]").unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let args = parse_words(&["--config", &path, "--heap-memory-max=32"]).unwrap();
        assert_eq!((args.http_port, args.heap_memory_max, args.stateless), (Some(3100), 32, true));
        assert_eq!(args.allowed_hosts, ["a.example", "b.example"]);
    }

    #[test]
    fn json_is_read_too() {
        let mut file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
        write!(file, "{{\"sse-port\": 3200}}").unwrap();
        let path = format!("--config={}", file.path().display());
        assert_eq!(parse_words(&[&path]).unwrap().sse_port, Some(3200));
    }

    #[test]
    fn a_wrong_key_or_value_in_the_file_is_named() {
        for (text, expected) in [
            ("htp-port = 1", "htp-port"),
            ("http-port = 99999", "http-port"),
            ("http-port = [", "TOML"),
            ("[http]\nport = 1", "http"),
        ] {
            let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
            writeln!(file, "{text}").unwrap();
            let path = format!("--config={}", file.path().display());
            let error = parse_words(&[&path]).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_flag_of_a_later_release_is_refused_with_a_sentence() {
        for flag in later::FLAGS {
            for word in [format!("--{}=1", flag.long), format!("--{}", flag.long)] {
                let text = parse_words(&[&word]).unwrap_err().to_string();
                assert!(text.contains("not supported yet") && text.contains(flag.long), "{text}");
            }
        }
        let error = parse_words(&["--heap-store=s3"]).unwrap_err().to_string();
        assert!(error.contains("needs --s3-bucket"), "{error}");
        assert!(parse_words(&["--heap-store=none", "--stateless"]).is_ok());
    }

    #[test]
    fn which_scripts_leave_heaps_and_where_follows_from_all_spellings() {
        let parsed = |words: &[&str]| {
            let args = parse_words(words).unwrap();
            let (path, flag) = args.heaps_path();
            (args.keep_heaps(), path.display().to_string(), flag)
        };
        let default = format!("{SESSION_DB_PATH_DEFAULT}/heaps/node1");
        assert_eq!(parsed(&[]), (KeepHeaps::WhereAsked, default, "session-db-path"));
        assert_eq!(parsed(&["--heap-store=dir"]).0, KeepHeaps::Always);
        assert_eq!(parsed(&["--heap-store=none"]).0, KeepHeaps::Never);
        assert_eq!(parsed(&["--stateless"]).0, KeepHeaps::Never);
        let dir = (KeepHeaps::Always, "/h/n7".to_owned(), "directory-path");
        assert_eq!(parsed(&["--directory-path=/h", "--node-id=n7"]), dir);
        let dir = (KeepHeaps::WhereAsked, "/h/node1".to_owned(), "heap-dir");
        assert_eq!(parsed(&["--heap-dir=/h"]), dir);
    }

    #[test]
    fn what_contradicts_itself_about_heaps_and_sessions_is_refused() {
        let long = format!("--session-id={}", "s".repeat(257));
        for (words, expected) in [
            (&["--stateless", "--heap-store=dir"][..], "--stateless keeps nothing"),
            (&["--stateless", "--directory-path=/h"], "--stateless keeps nothing"),
            (&["--heap-store=none", "--heap-dir=/h"], "--heap-dir says where heaps are"),
            (&["--heap-dir=/h", "--directory-path=/h"], "--directory-path"),
            (&["--session-id=s", "--http-port=1"], "X-MCP-Session-Id"),
            (&["--session-id=s", "--stateless"], "--session-id needs heaps"),
            (&["--session-fork-from=s"], "--session-id"),
            (&["--session-id="], "--session-id"),
            (&[&long], "accepted: 1 to 256"),
        ] {
            let error = parse_words(words).unwrap_err().to_string();
            assert!(error.contains(expected), "{words:?}: {error}");
        }
        assert!(parse_words(&["--session-id=s", "--session-fork-from=t"]).is_ok());
    }

    #[test]
    fn an_operator_gives_files_as_a_server_does() {
        let words = ["cluster", "--secret-file=s", "status", "--tls-cert=c", "--tls-key=k"];
        let Some(Command::Cluster(args)) = parse_words(&words).unwrap().command else {
            panic!("no operator's command");
        };
        let auth = args.proof.sources();
        assert_eq!(auth.secret.as_deref(), Some(std::path::Path::new("s")));
        let error = auth.tls().unwrap_err().to_string();
        assert!(error.contains("--tls-ca is not"), "{error}");
        let envs: Vec<_> = command()
            .find_subcommand("cluster")
            .unwrap()
            .get_arguments()
            .filter_map(|arg| Some(arg.get_env()?.to_str()?.to_owned()))
            .collect();
        for env in ["SECRET_FILE", "TLS_CERT", "TLS_KEY", "TLS_CA"] {
            assert!(envs.contains(&format!("MCP_V8_CLUSTER_{env}")), "{envs:?}");
        }
    }

    #[test]
    fn proof_is_for_nodes_of_a_cluster() {
        for word in ["--cluster-secret-file=s", "--cluster-tls-ca=c", "--cluster-auth=required"] {
            let error = parse_words(&["--http-port=1", word]).unwrap_err().to_string();
            assert!(error.contains(word.split('=').next().unwrap()), "{error}");
            assert!(error.contains("give --cluster-port as well"), "{error}");
        }
        let node = ["--http-port=1", "--cluster-port=2"];
        let error = parse_words(&[&node[..], &["--cluster-auth=required"]].concat()).unwrap_err();
        assert!(error.to_string().contains("give --cluster-secret-file, or"), "{error}");
        let error = parse_words(&[&node[..], &["--cluster-tls-cert=c"]].concat()).unwrap_err();
        assert!(error.to_string().contains("--cluster-tls-key is not"), "{error}");
        let all = ["--cluster-auth=required", "--cluster-secret-file=s"];
        assert!(parse_words(&[&node[..], &all].concat()).is_ok());
    }

    #[test]
    fn stdio_and_exec_take_only_what_concerns_them() {
        assert!(parse_words(&["exec", "a.js", "--url=http://127.0.0.1:1"]).is_ok());
        assert!(parse_words(&["exec"]).is_err());
    }
}
