//! `mcp-v8`: parses the command line and runs what it says.

use std::io::Write as _;
use std::process::ExitCode;

use mcp_v8_supervisor::ask::{self, Ask};
use mcp_v8_supervisor::cli::{self, Command, ObserveArgs};
use mcp_v8_supervisor::observe::logs::{self, LogFormat};
use mcp_v8_supervisor::{allocator, exec, http, operate, reference, server};

/// Exit code of a command line or start that failed, as clap uses it.
const EXIT_USAGE: u8 = 2;

/// The program.
pub fn main() -> ExitCode {
    allocator::configure();
    let args = match cli::parse(std::env::args_os()) {
        Ok(args) => args,
        // Help and version go to stdout with code 0, errors to stderr with code 2.
        Err(error) => error.exit(),
    };
    if args.print_openapi {
        // Whoever reads it may have had enough.
        let _ = writeln!(std::io::stdout(), "{}", http::openapi());
        return ExitCode::SUCCESS;
    }
    // `exec` shows a person one script; the server's own events would only be in the way.
    // What is in the environment about logs is for a server.
    match &args.command {
        Some(_) => logs::init(LogFormat::Pretty, None, "error"),
        None => {
            let ObserveArgs { log_format, log_level, .. } = &args.observe;
            logs::init(*log_format, log_level.as_deref(), &logs::server_default());
        }
    }

    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("mcp-v8: cannot start: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let code = match args.command {
        Some(Command::Exec(exec)) => runtime.block_on(exec::run(exec)),
        Some(Command::Sessions(args)) => runtime.block_on(ask::run(Ask::Sessions(args))),
        Some(Command::Heaps(args)) => runtime.block_on(ask::run(Ask::Heaps(args))),
        Some(Command::Executions(args)) => runtime.block_on(ask::run(Ask::Executions(args))),
        Some(Command::Artifacts(args)) => runtime.block_on(ask::run(Ask::Artifacts(args))),
        Some(Command::Cluster(cluster)) => runtime.block_on(operate::run(cluster)),
        Some(Command::Reference(args)) => match reference::run(&args.directory, args.check) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("mcp-v8: {error}");
                ExitCode::FAILURE
            }
        },
        None => match runtime.block_on(server::run(args)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("mcp-v8: {error}");
                ExitCode::from(EXIT_USAGE)
            }
        },
    };
    // A blocked read of stdin cannot be interrupted; it must not hold up the end.
    runtime.shutdown_background();
    code
}
