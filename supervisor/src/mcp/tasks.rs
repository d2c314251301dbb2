//! The tasks extension (`io.modelcontextprotocol/tasks`): an execution is a task.
//!
//! # Contract
//! * The id of a task is the id of its execution, so any node answers for any task, also for an
//!   execution that began as something else: over REST, or at a client that knows no tasks.
//! * A task is answered only once its execution is accepted: in a cluster, committed. Whoever has its
//!   id finds it.
//! * How a script ended, errors and timeouts included, is the *result* of a completed task, as `run_js`
//!   would have answered it. What was cancelled is `cancelled`; nothing is `failed`, since no answer
//!   of `run_js` is an error of the protocol.

use rmcp::ErrorData;
use rmcp::model::{
    CreateTaskResult, DetailedTask, GetTaskResult, ProtocolVersion, Task, TaskPayload, TaskStatus,
};
use rmcp::service::{RequestContext, RoleServer};
use serde_json::{Value, json};

use crate::access::Principal;
use crate::app::App;
use crate::executions::model::Status;
use crate::executions::{CancelError, Execution, LookupError};
use crate::limits::{TASK_KEPT_MS, TASK_POLL_MS};

use super::tools;

/// Whether a call may be answered with a task: its client has to say, with this request, that it knows
/// what that is. Earlier revisions have no such answer.
pub(super) fn known_to_client(context: &RequestContext<RoleServer>) -> bool {
    // Revisions are dates, so they compare as text.
    let has_tasks =
        |version: ProtocolVersion| version.as_str() >= ProtocolVersion::V_2026_07_28.as_str();
    context.protocol_version().is_some_and(has_tasks)
        && context.client_capabilities().is_some_and(|client| client.supports_tasks())
}

/// The answer to a call whose script goes on.
pub(super) fn created(execution: &Execution) -> CreateTaskResult {
    CreateTaskResult::new(task(execution))
}

/// `tasks/get`.
///
/// # Errors
/// For an id that no execution has, and where nobody can say.
pub(super) async fn get(app: &App, by: Principal, id: &str) -> Result<GetTaskResult, ErrorData> {
    let execution = app.executions.get(by, id).await.map_err(refused)?;
    let payload = match execution.status() {
        Status::Running => TaskPayload::Working,
        Status::Cancelled => TaskPayload::Cancelled,
        Status::Completed | Status::Failed | Status::TimedOut => {
            let answer = tools::answer_of(app, by, &execution).await;
            match serde_json::to_value(answer) {
                Ok(Value::Object(result)) => TaskPayload::Completed { result },
                _ => return Err(ErrorData::internal_error("the result cannot be shown", None)),
            }
        }
    };
    Ok(GetTaskResult::new(DetailedTask::new(task(&execution), payload)))
}

/// `tasks/update`: scripts ask their clients for nothing, so there is nothing that an answer could be
/// to, and what nobody has asked for is ignored.
///
/// # Errors
/// As for [`get`].
pub(super) async fn update(app: &App, by: Principal, id: &str) -> Result<(), ErrorData> {
    app.executions.get(by, id).await.map(drop).map_err(refused)
}

/// `tasks/cancel`. A task that is over stays as it is.
///
/// # Errors
/// As for [`get`].
pub(super) async fn cancel(app: &App, by: Principal, id: &str) -> Result<(), ErrorData> {
    match app.executions.cancel(by, id).await {
        Ok(()) | Err(CancelError::NotRunning { .. }) => Ok(()),
        Err(CancelError::Lookup(error)) => Err(refused(error)),
    }
}

/// What every answer says of a task.
fn task(execution: &Execution) -> Task {
    let summary = execution.summary();
    let status = match summary.status {
        Status::Running => TaskStatus::Working,
        Status::Cancelled => TaskStatus::Cancelled,
        Status::Completed | Status::Failed | Status::TimedOut => TaskStatus::Completed,
    };
    let changed = summary.completed_at.unwrap_or_else(|| summary.started_at.clone());
    Task::new(summary.execution_id, status, summary.started_at, changed)
        .with_ttl_ms(TASK_KEPT_MS)
        .with_poll_interval_ms(TASK_POLL_MS)
}

fn refused(error: LookupError) -> ErrorData {
    match &error {
        LookupError::NotFound(id) => {
            ErrorData::invalid_params(format!("no task '{id}'"), Some(json!({ "taskId": id })))
        }
        LookupError::Unavailable(_) => ErrorData::internal_error(error.to_string(), None),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use uuid::Uuid;

    use super::*;
    use crate::executions::StopCause;
    use crate::executions::model::{ErrorDetail, ErrorKind};

    #[test]
    fn a_task_is_named_and_dated_as_its_execution() {
        let id = Uuid::now_v7();
        let execution = Execution::new(Principal::EVERYBODY, id, None);
        let begun = serde_json::to_value(created(&execution)).unwrap();
        assert_eq!(begun["resultType"], "task");
        assert_eq!(begun["taskId"], id.to_string());
        assert_eq!(begun["status"], "working");
        assert_eq!(begun["createdAt"], begun["lastUpdatedAt"]);
        assert_eq!(begun["ttlMs"], TASK_KEPT_MS);
        assert_eq!(begun["pollIntervalMs"], TASK_POLL_MS);
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        execution.end_as(Ok(None), later).unwrap();
        let ended = serde_json::to_value(task(&execution)).unwrap();
        assert_eq!(ended["status"], "completed");
        assert_ne!(ended["createdAt"], ended["lastUpdatedAt"]);
    }

    #[test]
    fn every_end_has_its_status() {
        let ended = |outcome| {
            let execution = Execution::new(Principal::EVERYBODY, Uuid::now_v7(), None);
            execution.end_as(outcome, SystemTime::now()).unwrap();
            task(&execution).status
        };
        let error = |kind| Err(ErrorDetail::new(kind, "no"));
        assert_eq!(ended(Ok(Some("1".to_owned()))), TaskStatus::Completed);
        assert_eq!(ended(error(ErrorKind::ScriptError)), TaskStatus::Completed);
        assert_eq!(ended(error(ErrorKind::TimedOut)), TaskStatus::Completed);
        assert_eq!(ended(error(ErrorKind::NodeLost)), TaskStatus::Completed);
        assert_eq!(ended(Err(StopCause::Cancelled.detail())), TaskStatus::Cancelled);
    }

    #[test]
    fn an_unknown_task_is_an_invalid_parameter_and_silence_is_not() {
        let unknown = refused(LookupError::NotFound("x".to_owned()));
        assert_eq!(unknown.code, rmcp::model::ErrorCode::INVALID_PARAMS);
        assert_eq!(unknown.data, Some(json!({ "taskId": "x" })));
        let silence = refused(LookupError::Unavailable("no majority".to_owned()));
        assert_eq!(silence.code, rmcp::model::ErrorCode::INTERNAL_ERROR);
    }
}
