//! Runs a script in a worker of this process's own, without a server.

use std::sync::Arc;
use std::time::Duration;

use super::{ExecError, show_output};
use crate::access::Principal;
use crate::access::limit::PrincipalLimits;
use crate::cli::ExecArgs;
use crate::executions::model::ExecutionInfo;
use crate::executions::{Execution, Executions, KeepHeaps, Settings, StopCause, Submit};
use crate::limits::{
    CONSOLE_BYTES_MAX, EXECUTION_TIMEOUT_SECS_DEFAULT, HEAP_MB_DEFAULT, PAGE_BYTES_MAX,
};
use crate::pool::{Pool, PoolSettings, Processes};
use crate::server::worker_path;

pub(super) async fn run(args: &ExecArgs, code: String) -> Result<ExecutionInfo, ExecError> {
    let heap_mb = args.heap_memory_max.unwrap_or(HEAP_MB_DEFAULT);
    let pool = Pool::start(PoolSettings {
        worker_path: worker_path(args.worker_path.as_deref())?,
        sandbox: args.sandbox,
        // One script: a template would serve no second one.
        processes: Processes::Exec,
        warm: true,
        idle_workers: 1,
        heap_bytes: heap_mb * 1024 * 1024,
    })?;
    let settings = Settings {
        concurrent_max: 1,
        heap_mb,
        timeout_secs: args.timeout.unwrap_or(EXECUTION_TIMEOUT_SECS_DEFAULT),
        // A person sees the output as it comes; only what waits to be shown is held.
        console_bytes: CONSOLE_BYTES_MAX,
        drain: Duration::ZERO,
        keep_heaps: KeepHeaps::Never,
        principals: PrincipalLimits::default(),
    };
    let executions = Executions::start(settings, pool.clone(), None);
    let submit = Submit { code, ..Submit::default() };
    let execution = executions.submit(Principal::EVERYBODY, submit).await?;
    tokio::select! {
        () = show(&execution) => {}
        interrupted = tokio::signal::ctrl_c() => {
            if interrupted.is_ok() {
                // It may have ended in this moment; then there is nothing to stop.
                let _ = executions.stop(&execution, StopCause::Cancelled);
            }
            show(&execution).await;
        }
    }
    pool.stop().await;
    Ok(execution.info())
}

/// Shows console text until the execution has ended.
async fn show(execution: &Arc<Execution>) {
    let mut changed = execution.subscribe();
    let mut shown = 0;
    loop {
        changed.borrow_and_update();
        let ended = execution.ended();
        loop {
            let page = execution.output_from(shown, PAGE_BYTES_MAX);
            if page.data.is_empty() {
                break;
            }
            shown = page.end_byte;
            show_output(&page.data);
        }
        if ended || changed.changed().await.is_err() {
            return;
        }
    }
}
