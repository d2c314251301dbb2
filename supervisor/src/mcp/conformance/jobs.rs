//! Tools that are answered with tasks. Those that run for a while are executions, and their tasks the
//! product's; those that wait for their client, or end as no execution does, are kept here.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use parking_lot::Mutex;
use rmcp::model::{
    CallToolResponse, ClientCapabilities, CreateTaskResult, DetailedTask, GetTaskResult,
    InputRequests, InputResponses, Task, TaskPayload, TaskStatus,
};
use rmcp::{ErrorData, ServerHandler};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::calls::text;
use super::rounds::{Questions, ask, filled, user};
use super::{Call, Reply, made};
use crate::executions::model::rfc3339;

/// How often a client is to look, in milliseconds.
const POLL_MS: u64 = 100;

/// How long a task may count on being kept, in milliseconds.
const KEPT_MS: u64 = 3_600_000;

/// Tasks that are no executions.
#[derive(Debug, Default)]
pub(super) struct Jobs(Mutex<HashMap<String, Job>>);

#[derive(Debug)]
struct Job {
    begun: SystemTime,
    /// Questions without an answer; once there are none, it has ended.
    open: BTreeMap<String, Value>,
    end: TaskPayload,
}

impl Job {
    fn task(&self, id: &str) -> Task {
        let begun = rfc3339(self.begun);
        Task::new(id, TaskStatus::Working, begun.clone(), begun)
            .with_ttl_ms(KEPT_MS)
            .with_poll_interval_ms(POLL_MS)
    }
}

impl Jobs {
    fn begin(&self, open: Questions, end: TaskPayload) -> CreateTaskResult {
        let open = open.into_iter().map(|(key, question)| (key.to_owned(), question)).collect();
        let job = Job { begun: SystemTime::now(), open, end };
        let id = Uuid::new_v4().to_string();
        let created = CreateTaskResult::new(job.task(&id));
        self.0.lock().insert(id, job);
        created
    }

    /// What a client sees of a task.
    pub(super) fn get(&self, id: &str) -> Option<GetTaskResult> {
        let jobs = self.0.lock();
        let job = jobs.get(id)?;
        let payload = if job.open.is_empty() {
            job.end.clone()
        } else {
            let open: Map<String, Value> = job.open.clone().into_iter().collect();
            let input_requests: InputRequests = made(open.into()).ok()?;
            TaskPayload::InputRequired { input_requests }
        };
        Some(GetTaskResult::new(DetailedTask::new(job.task(id), payload)))
    }

    /// Takes answers; whether there is such a task.
    pub(super) fn answer(&self, id: &str, answers: &InputResponses) -> bool {
        let mut jobs = self.0.lock();
        let Some(job) = jobs.get_mut(id) else { return false };
        job.open.retain(|key, _| !answers.contains_key(key));
        true
    }

    /// Cancels a task unless it has ended; whether there is such a task.
    pub(super) fn cancel(&self, id: &str) -> bool {
        let mut jobs = self.0.lock();
        let Some(job) = jobs.get_mut(id) else { return false };
        if !job.open.is_empty() {
            job.open.clear();
            job.end = TaskPayload::Cancelled;
        }
        true
    }
}

/// A task that completes with a text.
fn completes(said: &str) -> TaskPayload {
    let mut result = Map::new();
    result.insert("resultType".to_owned(), "complete".into());
    if let Value::Object(content) = text(said) {
        result.extend(content);
    }
    TaskPayload::Completed { result }
}

pub(super) async fn call(call: Call<'_>) -> Reply {
    let knows_tasks =
        call.context.client_capabilities().is_some_and(|client| client.supports_tasks());
    let name = call.request.name.clone();
    if &*name != "slow_compute" && !knows_tasks {
        let required = ClientCapabilities::builder().enable_tasks().build();
        return Err(ErrorData::missing_required_client_capability(required));
    }
    let jobs = &call.fixtures.state.jobs;
    let begin = |open, end| Ok(CallToolResponse::from(jobs.begin(open, end)));
    match &*name {
        "slow_compute" => {
            let arguments = call.request.arguments.as_ref();
            let seconds = arguments.and_then(|arguments| arguments.get("seconds")?.as_u64());
            let seconds = seconds.unwrap_or_default();
            let code = format!(
                "await new Promise(done => setTimeout(done, {})); 'computed for {seconds} s'",
                seconds * 1000,
            );
            run(call, code, knows_tasks).await
        }
        "failing_job" => {
            let code =
                "await new Promise(done => setTimeout(done, 1000)); throw new Error('failed')";
            run(call, code.to_owned(), true).await
        }
        "protocol_error_job" => {
            let mut error = Map::new();
            error.insert("code".to_owned(), (-32603).into());
            error.insert("message".to_owned(), "the job has ended with an error".into());
            begin(Questions::new(), TaskPayload::Failed { error })
        }
        "confirm_delete" => {
            let question = user("Delete it?", "confirm", "boolean");
            begin([("confirm", question)].into(), completes("Deleted."))
        }
        "multi_input" => {
            let questions = [
                ("first", user("What is your name?", "name", "string")),
                ("second", user("Is that so?", "confirm", "boolean")),
            ];
            begin(questions.into(), completes("Two answers."))
        }
        _ => match filled(call.request.input_responses.as_ref(), "user_name", "name") {
            Some(name) => {
                let code = format!("'Hello, ' + {name} + '!'");
                run(call, code, true).await
            }
            None => {
                let question = user("What is your name?", "name", "string");
                ask(&call.context, [("user_name", question)].into(), None).map(Into::into)
            }
        },
    }
}

/// Runs a script as the product's tool does: as a task at once, or to its end.
async fn run(mut call: Call<'_>, code: String, as_task: bool) -> Reply {
    let wait = if as_task { 0 } else { 60 };
    call.request.name = "run_js".into();
    let arguments = json!({"code": code, "wait_secs": wait, "execution_timeout_secs": 120});
    call.request.arguments = Some(made(arguments)?);
    call.fixtures.product.call_tool(call.request, call.context).await
}
