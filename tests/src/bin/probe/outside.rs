//! The supervisor's side: runs every probe in a process of its own and sees how that ends.

use std::process::ExitCode;
use std::time::Duration;

use mcp_v8_protocol::{Job, JobLimits};
use mcp_v8_supervisor::pool::sandbox::Mode;
use mcp_v8_supervisor::pool::{Pool, PoolSettings, Processes};
use tokio_util::sync::CancellationToken;

use crate::attempt::EXIT_CODE;
use crate::table::{FAULTS_WHERE_MISSING, PROBES, Probe};

/// A template's children, and processes of their own: the order of [`Probe::expected`].
const WAYS: [Processes; 2] = [Processes::Fork, Processes::Exec];

/// Probes that run at once.
const AT_ONCE: usize = 2;

/// Long enough for a busy machine; no probe waits.
const WALL: Duration = Duration::from_secs(60);

/// Small ones, so that going past them costs the machine little.
const LIMITS: JobLimits =
    JobLimits { heap_bytes: 8 << 20, buffer_bytes: 8 << 20, console_bytes: 1024, cpu_secs: 1 };

/// Runs every probe in both ways, prints the table, and says what did not end as it must.
pub fn print_table() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ends = WAYS.map(|way| runtime.block_on(run_all(way)));
    let mut exit = ExitCode::SUCCESS;
    println!("| attempt | what it would give | a template's child | a single process |");
    println!("|---|---|---|---|");
    for (n, probe) in PROBES.iter().enumerate() {
        let seen = [&ends[0][n], &ends[1][n]];
        println!("| `{}` | {} | {} | {} |", probe.name, probe.gives, seen[0], seen[1]);
        if seen != probe.expected {
            eprintln!("{}: ended {seen:?}, must end {:?}", probe.name, probe.expected);
            exit = ExitCode::FAILURE;
        }
    }
    exit
}

async fn run_all(processes: Processes) -> Vec<String> {
    let settings = PoolSettings {
        worker_path: std::env::current_exe().unwrap(),
        // No probe is made in a process that is not shut in.
        sandbox: Mode::Required,
        processes,
        warm: false,
        idle_workers: AT_ONCE,
        heap_bytes: LIMITS.heap_bytes,
    };
    let pool = Pool::start(settings).unwrap();
    pool.first_sandbox().await.expect("this host can shut workers in");
    let mut ends = Vec::new();
    for probes in PROBES.chunks(AT_ONCE) {
        let running = probes.iter().map(|probe| tokio::spawn(run_one(pool.clone(), probe)));
        for end in running.collect::<Vec<_>>() {
            ends.push(end.await.unwrap());
        }
    }
    pool.stop().await;
    ends
}

/// How one ended: what it reports, or what its process died of.
async fn run_one(pool: Pool, probe: &Probe) -> String {
    let worker = pool.take().await.unwrap();
    let job = Job {
        execution_id: worker.pid().to_string(),
        attempt: 1,
        code: probe.name.to_owned().into(),
        limits: LIMITS,
        heap: None,
    };
    match worker.run(job, WALL, &CancellationToken::new(), |_| {}).await {
        Ok(said) => said.expect("a probe says how it ended"),
        Err(error) => in_words(&error.message, FAULTS_WHERE_MISSING.contains(&probe.name)),
    }
}

/// From what a caller is told of a process that said nothing.
fn in_words(message: &str, may_fault: bool) -> String {
    let number = |before: &str| {
        let (_, rest) = message.split_once(before)?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<i32>().ok()
    };
    match (number("(signal "), number("(exit code ")) {
        (Some(libc::SIGSYS), _) => "killed".to_owned(),
        (Some(libc::SIGSEGV), _) if may_fault => "killed".to_owned(),
        (Some(libc::SIGKILL), _) => "`SIGKILL`".to_owned(),
        (Some(libc::SIGXCPU), _) => "`SIGXCPU`".to_owned(),
        (_, Some(EXIT_CODE)) => "works".to_owned(),
        _ => message.to_owned(),
    }
}
