//! `POST /api/exec`: run a script.
//!
//! JSON in, or the raw script as the body with its options in the query. 202 with the id at once;
//! with `?wait=S` 200 with everything once it has ended.

use std::collections::BTreeMap;

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::body;
use super::error::{ApiError, ErrorBody};
use crate::access::Caller;
use crate::app::SharedApp;
use crate::executions::model::{ExecutionWithOutput, Status};
use crate::executions::{Submit, Wait};
use crate::observe::Origin;
use crate::requests::{json_error, session_of, tags_of};
use crate::sessions::heap_id;

/// A script and its options.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    /// JavaScript or TypeScript: one ES module, top-level `await` works.
    code: String,
    /// Heap limit in MiB.
    #[schema(minimum = 8, maximum = 4096)]
    heap_memory_max_mb: Option<u64>,
    /// Wall clock limit in seconds.
    #[schema(minimum = 1, maximum = 300)]
    execution_timeout_secs: Option<u64>,
    /// Go on in this session, which is made if there is none of that name. Default: the header
    /// X-MCP-Session-Id.
    #[schema(min_length = 1, max_length = 256)]
    session: Option<String>,
    /// Begin with this heap, 64 hexadecimal digits, instead of where the session stands.
    heap: Option<String>,
    /// Tags of the heap that the script leaves.
    tags: Option<BTreeMap<String, String>>,
}

/// Options in the query.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExecQuery {
    /// Wait at most so many seconds for the end (0 to 300).
    wait: Option<u64>,
    /// With a raw body: heap limit in MiB.
    heap_memory_max_mb: Option<u64>,
    /// With a raw body: wall clock limit in seconds.
    execution_timeout_secs: Option<u64>,
    /// With a raw body: the session to go on in.
    session: Option<String>,
    /// With a raw body: the heap to begin with, 64 hexadecimal digits.
    heap: Option<String>,
    /// With a raw body: tags of the heap that the script leaves, a JSON object of texts.
    tags: Option<String>,
}

/// The id of an accepted script.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ExecAccepted {
    /// For `/api/executions/{id}`.
    execution_id: String,
}

/// Run a script
#[utoipa::path(
    post,
    path = "/api/exec",
    tag = "executions",
    params(
        ExecQuery,
        ("X-MCP-Session-Id" = Option<String>, Header, description = "The session, unless the request names one"),
        ("Idempotency-Key" = Option<String>, Header, description = "A retry with the same key and the same request finds the first execution"),
    ),
    request_body(
        description = "JSON, or the raw script with any other content type",
        content(
            (ExecRequest = "application/json", example = json!({"code": "console.log('hi'); 6 * 7"})),
            (String = "text/plain"),
        ),
    ),
    responses(
        (status = 200, description = "It ended within `wait`", body = ExecutionWithOutput),
        (status = 202, description = "Accepted; with `wait`, it still runs", body = ExecAccepted),
        (status = 400, description = "Malformed request", body = ErrorBody),
        (status = 404, description = "There is no such heap to begin with", body = ErrorBody),
        (status = 409, description = "The key was used for another request", body = ErrorBody),
        (status = 415, description = "Multipart body", body = ErrorBody),
        (status = 422, description = "The code killed workers and is quarantined", body = ErrorBody),
        (status = 429, description = "The caller has, or submits, more than it may", body = ErrorBody),
        (status = 503, description = "Overloaded, shutting down, or no worker starts", body = ErrorBody),
    )
)]
pub async fn exec(
    State(app): State<SharedApp>,
    Caller(by): Caller,
    query: Result<Query<ExecQuery>, QueryRejection>,
    origin: Option<Extension<Origin>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let Query(query) = query?;
    let wait = Wait::seconds("wait", query.wait.unwrap_or(0))?;
    let (submit, wait_given) = (submit(&query, &headers, body).await?, query.wait.is_some());
    let submit = Submit { origin: origin.map(|Extension(origin)| origin), ..submit };
    // A caller with a key can come back for the answer; one without it is the only one to know.
    let orphaned_by_drop = wait_given && submit.idempotency_key.is_none();
    let (execution, guard) = app.executions.submit_guarded(by, submit, orphaned_by_drop).await?;
    if wait_given {
        wait.until_finished(&app.executions, &execution).await;
    }
    if let Some(guard) = guard {
        guard.disarm();
    }
    let info = execution.info();
    if !wait_given || info.status == Status::Running {
        let accepted = ExecAccepted { execution_id: info.execution_id };
        return Ok((StatusCode::ACCEPTED, Json(accepted)).into_response());
    }
    Ok(Json(ExecutionWithOutput { info, output: execution.output() }).into_response())
}

async fn submit(query: &ExecQuery, headers: &HeaderMap, body: Body) -> Result<Submit, ApiError> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    if content_type.starts_with("multipart/") {
        let message =
            "multipart bodies are not accepted: send JSON, or the script itself as the body";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let body = body::read(body).await?;
    let idempotency_key = headers
        .get("idempotency-key")
        .map(|key| key.to_str().map(str::to_owned))
        .transpose()
        .map_err(|_| ApiError::bad_request("Idempotency-Key: only visible ASCII is accepted"))?;
    let submit = if content_type == "application/json" || content_type.ends_with("+json") {
        let ExecQuery { heap_memory_max_mb, execution_timeout_secs, session, heap, tags, .. } =
            query;
        let limits = heap_memory_max_mb.is_some() || execution_timeout_secs.is_some();
        if limits || session.is_some() || heap.is_some() || tags.is_some() {
            let message = "query: options in the query go with a raw body; put them into the JSON";
            return Err(ApiError::bad_request(message));
        }
        from_json(&body)?
    } else {
        Submit {
            code: text(body)?,
            heap_memory_max_mb: query.heap_memory_max_mb,
            execution_timeout_secs: query.execution_timeout_secs,
            idempotency_key: None,
            session: query.session.clone(),
            heap: query.heap.as_deref().map(|heap| heap_id("heap", heap)).transpose()?,
            tags: query.tags.as_deref().map(tags_of).transpose()?.unwrap_or_default(),
            origin: None,
        }
    };
    let session = match submit.session {
        Some(named) => Some(named),
        None => session_of(headers)?,
    };
    Ok(Submit { idempotency_key, session, ..submit })
}

fn from_json(body: &Bytes) -> Result<Submit, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let request: ExecRequest = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| ApiError::bad_request(json_error("body", &error)))?;
    json.end().map_err(|error| ApiError::bad_request(format!("body: {error}")))?;
    let heap = request.heap.as_deref().map(|heap| heap_id("heap", heap)).transpose()?;
    Ok(Submit {
        code: request.code,
        heap_memory_max_mb: request.heap_memory_max_mb,
        execution_timeout_secs: request.execution_timeout_secs,
        idempotency_key: None,
        session: request.session,
        heap,
        tags: request.tags.unwrap_or_default(),
        origin: None,
    })
}

fn text(body: Bytes) -> Result<String, ApiError> {
    String::from_utf8(body.into()).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        ApiError::bad_request(format!("body: not valid UTF-8 at byte {at}"))
    })
}
