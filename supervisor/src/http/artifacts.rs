//! `/api/artifacts`: what scripts have left under names; the same on every node.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::error::{ApiError, ErrorBody};
use super::sessions::Done;
use crate::access::Caller;
use crate::app::SharedApp;
use crate::artifacts::{ArtifactList, Content};

type Key = Result<Path<String>, PathRejection>;

/// Which artifacts to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Most artifacts (1 to 1000). Default 1000.
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List artifacts in order of their keys
#[utoipa::path(
    get, path = "/api/artifacts", tag = "artifacts", params(ListQuery),
    responses(
        (status = 200, body = ArtifactList),
        (status = 400, body = ErrorBody),
        (status = 503, description = "The cluster has no majority", body = ErrorBody),
    )
)]
pub async fn list(
    State(app): State<SharedApp>,
    Caller(by): Caller,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<ArtifactList>, ApiError> {
    let Query(ListQuery { limit, cursor }) = query?;
    Ok(Json(app.executions.artifacts(by).list(limit, cursor).await?))
}

/// Read an artifact: its bytes as the script left them
#[utoipa::path(
    get, path = "/api/artifacts/{*key}", tag = "artifacts",
    params(("key" = String, Path, description = "The key; it may have slashes")),
    responses(
        (status = 200, description = "The bytes, with the media type that the script named",
            body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 400, description = "Not a key", body = ErrorBody),
        (status = 404, description = "There is no such artifact", body = ErrorBody),
        (status = 503, description = "The cluster has no majority, or no node that has the bytes \
            answers", body = ErrorBody),
    )
)]
pub async fn get(
    State(app): State<SharedApp>,
    Caller(by): Caller,
    key: Key,
) -> Result<Response, ApiError> {
    let Path(key) = key?;
    let Content { info, bytes } = app.executions.artifacts(by).get(&key).await?;
    // Known, although what counts requests hides it.
    let length = HeaderValue::from(bytes.len());
    let mut response = Body::from(bytes).into_response();
    // A type that was accepted is a header's text.
    let mime_type = HeaderValue::try_from(info.mime_type)
        .unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let disposition = HeaderValue::try_from(disposition(&info.key))
        .unwrap_or(HeaderValue::from_static("attachment"));
    for (name, value) in [
        (header::CONTENT_TYPE, mime_type),
        (header::CONTENT_LENGTH, length),
        (header::CONTENT_DISPOSITION, disposition),
        // A script chose type and bytes: nothing of it runs or shows as a page of this server.
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'")),
        // The same key may be something else in a moment.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ] {
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

/// Delete an artifact
#[utoipa::path(
    delete, path = "/api/artifacts/{*key}", tag = "artifacts",
    params(("key" = String, Path, description = "The key; it may have slashes")),
    responses(
        (status = 200, body = Done),
        (status = 400, description = "Not a key", body = ErrorBody),
        (status = 404, description = "There is no such artifact", body = ErrorBody),
        (status = 503, description = "The cluster has no majority", body = ErrorBody),
    )
)]
pub async fn delete(
    State(app): State<SharedApp>,
    Caller(by): Caller,
    key: Key,
) -> Result<Json<Done>, ApiError> {
    let Path(key) = key?;
    app.executions.artifacts(by).delete(&key).await?;
    Ok(Done::OK)
}

/// To be saved, under what follows the last slash of the key (RFC 6266, RFC 8187).
fn disposition(key: &str) -> String {
    let name = key.rsplit('/').find(|piece| !piece.is_empty()).unwrap_or_default();
    let mut text = "attachment; filename*=UTF-8''".to_owned();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => {
                text.push(char::from(byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::disposition;

    #[test]
    fn the_name_of_the_file_is_safe_whatever_the_key() {
        let name = |key| {
            disposition(key).strip_prefix("attachment; filename*=UTF-8''").unwrap().to_owned()
        };
        assert_eq!(name("plots/first one.png"), "first%20one.png");
        assert_eq!(name("ü\"; x=\\"), "%C3%BC%22%3B%20x%3D%5C");
        assert_eq!(name("a/"), "a");
        assert_eq!(name("/"), "");
    }
}
