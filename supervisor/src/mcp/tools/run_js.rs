//! `run_js`: run a script and, by default, wait for its end.
//!
//! Console lines travel as progress notifications while it runs, if the client asked for them.
//! Cancelling or dropping the call cancels the script. One that outlasts its call goes on, as a task
//! where the client knows those.

use std::collections::BTreeMap;
use std::sync::Arc;

use rmcp::model::{
    CallToolResponse, CallToolResult, JsonObject, ProgressNotificationParam, ProgressToken, Tool,
    ToolAnnotations,
};
use rmcp::service::{Peer, RequestContext, RoleServer};
use schemars::JsonSchema;
use serde::Deserialize;

use super::get_artifact::block;
use super::get_execution::fitted_result;
use super::{cut_with_notice, define, fits, message_bytes, parse, refuse, result, session};
use crate::access::Principal;
use crate::app::App;
use crate::executions::model::{RunResult, Status};
use crate::executions::{Execution, StopCause, Submit, Wait};
use crate::limits::{
    CODE_BYTES_MAX, MCP_MESSAGE_BYTES_MAX, PROGRESS_BYTES_MAX, PROGRESS_END_MAX, PROGRESS_PAUSE,
    WAIT_SECS_DEFAULT,
};
use crate::mcp::tasks;
use crate::observe::Origin;
use crate::sessions::heap_id;

pub(super) const NAME: &str = "run_js";

const DESCRIPTION: &str = "Run JavaScript or TypeScript in an isolated V8 process and return what it \
printed and its value.\n\
\n\
- `output`: everything printed with console.log and its kin.\n\
- `result`: the value of the last expression, or of `export default`.\n\
- `error`: message and stack with line numbers of your code, when it failed.\n\
- `heap`: where a `session`, `heap` or `tags` was given, the name of the state that is left.\n\
- `artifacts`: keys of what it left with artifact(key, mimeType, bytes), such as artifact(\"a.svg\", \
\"image/svg+xml\", text); bytes are a string, an ArrayBuffer or a Uint8Array. Small ones follow as \
images and text; others are read with get_artifact.\n\
\n\
The code is one ES module: top-level await works, import does not. There are timers, crypto \
(getRandomValues, randomUUID) and performance.now, but no files, network, process or environment. \
Without `session` every call begins fresh. With it, what is on globalThis stays for the next call in \
that session (globalThis.rows = …; not const, let or function, which are the module's own), and a \
script that fails changes nothing. Waits up to `wait_secs` for the end; a script that takes longer goes on, and get_execution finds it by \
`execution_id`.\n\
\n\
Example: {\"code\": \"const a = [3, 1, 2].sort(); console.log(a); a.length\"} gives output \
\"[1,2,3]\\n\" and result \"3\".";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// JavaScript or TypeScript source of one ES module.
    code: Option<String>,
    /// Path of a script on the server, instead of `code`; only where the operator allows it.
    file: Option<String>,
    /// Heap limit in MiB.
    #[schemars(range(min = 8, max = 4096))]
    heap_memory_max_mb: Option<u64>,
    /// Wall clock limit in seconds.
    #[schemars(range(min = 1, max = 300))]
    execution_timeout_secs: Option<u64>,
    /// Seconds to wait for the end; 0 returns at once, with status "running" or as a task.
    #[schemars(range(min = 0, max = 300), default = "default_wait")]
    wait_secs: Option<u64>,
    /// A retry with the same key and the same arguments finds the first execution instead of
    /// running the code again.
    #[schemars(length(min = 1, max = 256))]
    idempotency_key: Option<String>,
    /// Go on in this session: what earlier scripts in it left in globals is there, and what this one
    /// leaves is kept. Made if there is none of that name.
    #[schemars(length(min = 1, max = 256))]
    session: Option<String>,
    /// Begin with this heap, which an earlier call returned, instead of where the session stands.
    /// 64 hexadecimal digits.
    heap: Option<String>,
    /// Tags of the heap that this script leaves, to find it by with query_heaps_by_tags.
    #[serde(default)]
    tags: Option<BTreeMap<String, String>>,
}

fn default_wait() -> Option<u64> {
    Some(WAIT_SECS_DEFAULT)
}

/// With the operator's description instead of ours, if there is one.
pub(super) fn definition(description: Option<&str>) -> Tool {
    let description = description.unwrap_or(DESCRIPTION).to_owned();
    define::<Arguments, RunResult>(NAME, "Run JavaScript or TypeScript", description)
        .with_annotations(
            ToolAnnotations::new().read_only(false).destructive(false).open_world(false),
        )
}

pub(super) async fn call(
    app: &App,
    by: Principal,
    arguments: JsonObject,
    context: RequestContext<RoleServer>,
) -> Result<CallToolResponse, CallToolResult> {
    let arguments: Arguments = parse(arguments)?;
    let session = session(app, arguments.session, &context)?;
    let heap = arguments.heap.as_deref().map(|heap| heap_id("heap", heap));
    let heap = heap.transpose().map_err(refuse)?;
    let wait = Wait::seconds("wait_secs", arguments.wait_secs.unwrap_or(WAIT_SECS_DEFAULT))
        .map_err(refuse)?;
    let code = match (arguments.code, arguments.file) {
        (Some(_), Some(_)) => {
            return Err(refuse("run_js: provide either `code` or `file`, not both"));
        }
        (None, None) => return Err(refuse("run_js: provide `code`")),
        (Some(code), None) => code,
        (None, Some(file)) => read_file(app, &file).await?,
    };
    let submit = Submit {
        code,
        heap_memory_max_mb: arguments.heap_memory_max_mb,
        execution_timeout_secs: arguments.execution_timeout_secs,
        idempotency_key: arguments.idempotency_key,
        session,
        heap,
        tags: arguments.tags.unwrap_or_default(),
        origin: context.extensions.get::<Origin>().cloned(),
    };
    let keyed = submit.idempotency_key.is_some();
    let waits = !wait.duration().is_zero();
    // Whoever retries with a key finds the execution again, so a lost call does not cancel it.
    let submitted = app.executions.submit_guarded(by, submit, waits && !keyed).await;
    let (execution, on_drop) = submitted.map_err(refuse)?;
    if !waits {
        return Ok(response(app, by, &execution, &context).await);
    }
    let progress = context.meta.get_progress_token();
    let following = async {
        match progress {
            Some(token) => follow(&execution, &context.peer, token).await,
            None => execution.finished().await,
        }
    };
    tokio::select! {
        biased;
        // The client has cancelled the call, or its connection is gone: the library does not say
        // which. One with a key goes on either way; cancel_execution stops it.
        () = context.ct.cancelled() => {
            if !keyed {
                // One that has ended needs no cancelling.
                let _ = app.executions.stop(&execution, StopCause::Cancelled);
            }
        }
        () = wait.bound(&app.executions, following) => {}
    }
    if let Some(on_drop) = on_drop {
        on_drop.disarm();
    }
    Ok(response(app, by, &execution, &context).await)
}

/// The end of a script, or that it goes on.
async fn response(
    app: &App,
    by: Principal,
    execution: &Execution,
    context: &RequestContext<RoleServer>,
) -> CallToolResponse {
    if !execution.ended() && tasks::known_to_client(context) {
        return tasks::created(execution).into();
    }
    answer(app, by, execution).await.into()
}

/// What there is of an execution, as this tool answers it.
pub(in crate::mcp) async fn answer(
    app: &App,
    by: Principal,
    execution: &Execution,
) -> CallToolResult {
    let run = fitted(execution.run_result());
    let failed = !matches!(run.status, Status::Running | Status::Completed);
    let mut answer = result(&run, failed);
    let artifacts = app.executions.artifacts(by);
    let mut left = MCP_MESSAGE_BYTES_MAX.saturating_sub(message_bytes(&run));
    for key in &run.artifacts {
        // Whatever does not fit, or is gone by now, is read with get_artifact.
        let Ok(info) = artifacts.info(key).await else { continue };
        let own = info.execution_id == run.execution_id;
        if !own || info.size_bytes > (left as u64).saturating_sub(BLOCK_BYTES) {
            continue;
        }
        let Ok(mut content) = artifacts.get(key).await else { continue };
        if let Some(block) = block(&mut content, left.saturating_sub(BLOCK_BYTES as usize)) {
            left = left.saturating_sub(serde_json::to_string(&block).map_or(0, |json| json.len()));
            answer.content.push(block);
        }
    }
    answer
}

/// Bytes that a block takes around what it shows, at most.
const BLOCK_BYTES: u64 = 512;

/// Cuts output and result until the answer fits a message.
fn fitted(run: RunResult) -> RunResult {
    let mut fitted = run.clone();
    let mut bytes = MCP_MESSAGE_BYTES_MAX / 2;
    while !fits(&fitted) && bytes > 1 {
        if run.output.len() > bytes {
            let notice = format!(
                "\n[output cut here, at the size limit of an answer: it has {} bytes; read on with \
                 get_execution_output]\n",
                run.output.len()
            );
            fitted.output = cut_with_notice(&run.output, bytes, &notice);
        }
        fitted.result = run.result.as_deref().map(|result| fitted_result(result, bytes));
        bytes /= 2;
    }
    fitted
}

async fn read_file(app: &App, file: &str) -> Result<String, CallToolResult> {
    if !app.allow_file {
        return Err(refuse(
            "`file` is not allowed on this server (the operator can allow it with \
             --allow-run-js-file); send the source as `code`",
        ));
    }
    let failed = |error: &dyn std::fmt::Display| refuse(format!("`file` {file}: {error}"));
    let metadata = tokio::fs::metadata(file).await.map_err(|error| failed(&error))?;
    if !metadata.is_file() {
        return Err(failed(&"is not a regular file"));
    }
    if metadata.len() > CODE_BYTES_MAX as u64 {
        return Err(failed(&format!("is larger than {CODE_BYTES_MAX} bytes")));
    }
    tokio::fs::read_to_string(file).await.map_err(|error| failed(&error))
}

/// Sends console text as progress until the execution has ended and everything is sent.
async fn follow(execution: &Arc<Execution>, peer: &Peer<RoleServer>, token: ProgressToken) {
    let mut changed = execution.subscribe();
    let (mut sent_bytes, mut sent_messages) = (0, 0_u32);
    loop {
        changed.borrow_and_update();
        let ended = execution.ended();
        let page = execution.output_from(sent_bytes, PROGRESS_BYTES_MAX as u64);
        // Whole lines only, unless a line is longer than a message or the script is over.
        let text = match page.data.rfind('\n') {
            Some(newline) => &page.data[..=newline],
            None if ended || page.data.len() + 4 > PROGRESS_BYTES_MAX => page.data.as_str(),
            None => "",
        };
        if text.is_empty() {
            if ended {
                return;
            }
            if changed.changed().await.is_err() {
                return;
            }
            continue;
        }
        sent_bytes += text.len() as u64;
        sent_messages += 1;
        let message = text.strip_suffix('\n').unwrap_or(text).to_owned();
        let notification = ProgressNotificationParam::new(token.clone(), f64::from(sent_messages))
            .with_message(message);
        let over = async {
            execution.finished().await;
            tokio::time::sleep(PROGRESS_END_MAX).await;
        };
        tokio::select! {
            sent = peer.notify_progress(notification) => if sent.is_err() {
                // Nobody listens any more; the outcome still matters.
                execution.finished().await;
                return;
            },
            // The library does not answer for what was sent when the input of the connection ended,
            // and waits for us. The outcome has all of the text.
            () = over => return,
        }
        if !ended {
            tokio::time::sleep(PROGRESS_PAUSE).await;
        }
    }
}
