//! What MCP arguments and REST requests have in common: the session in the headers, output pages, and
//! errors that name the field.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::error::Category;
use utoipa::IntoParams;

use crate::executions::{PageBy, SubmitError, check_range, check_session};
use crate::limits::{PAGE_BYTES_DEFAULT, PAGE_BYTES_MAX, PAGE_LINES_DEFAULT, PAGE_LINES_MAX};

/// The header that names a session.
const SESSION_HEADER: &str = "x-mcp-session-id";

/// The session that the headers name, if they do.
///
/// # Errors
/// [`SubmitError::Invalid`] for what is no name of one.
pub fn session_of(headers: &HeaderMap) -> Result<Option<String>, SubmitError> {
    let Some(value) = headers.get(SESSION_HEADER) else { return Ok(None) };
    let field = "X-MCP-Session-Id";
    let Ok(name) = std::str::from_utf8(value.as_bytes()) else {
        let problem = "is not valid UTF-8; accepted: any text".to_owned();
        return Err(SubmitError::Invalid { field, problem });
    };
    check_session(field, name)?;
    Ok(Some(name.to_owned()))
}

/// Tags in a query: a JSON object of texts.
///
/// # Errors
/// [`SubmitError::Invalid`] for anything else.
pub fn tags_of(text: &str) -> Result<BTreeMap<String, String>, SubmitError> {
    serde_json::from_str(text).map_err(|error| {
        let problem =
            format!("is not a JSON object of texts, like {{\"stage\":\"clean\"}}: {error}");
        SubmitError::Invalid { field: "tags", problem }
    })
}

/// Which page of the console output to read.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// First line, from 1. Default 1.
    pub line_offset: Option<u64>,
    /// Most lines. Default 100.
    pub line_limit: Option<u64>,
    /// First byte, from 0. Given, the page is counted in bytes.
    pub byte_offset: Option<u64>,
    /// Most bytes. Default 4096.
    pub byte_limit: Option<u64>,
}

impl PageQuery {
    /// The page that is meant.
    ///
    /// # Errors
    /// [`SubmitError::Invalid`] for a number outside its bounds.
    pub fn page(&self) -> Result<PageBy, SubmitError> {
        if let Some(offset) = self.byte_offset {
            let limit = self.byte_limit.unwrap_or(PAGE_BYTES_DEFAULT);
            check_range("byte_limit", limit, 1, PAGE_BYTES_MAX, "")?;
            return Ok(PageBy::Bytes { offset, limit });
        }
        let offset = self.line_offset.unwrap_or(1);
        check_range("line_offset", offset, 1, u64::MAX, "")?;
        let limit = self.line_limit.unwrap_or(PAGE_LINES_DEFAULT);
        check_range("line_limit", limit, 1, PAGE_LINES_MAX, "")?;
        Ok(PageBy::Lines { offset, limit })
    }
}

/// A JSON error with the path of the field it is about.
pub fn json_error(whole: &str, error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    if matches!(error.inner().classify(), Category::Syntax | Category::Eof) {
        return format!("{whole}: malformed JSON: {}", error.inner());
    }
    match error.path().to_string().as_str() {
        "." | "?" => format!("{whole}: {}", error.inner()),
        path => format!("`{path}`: {}", error.inner()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_pass_at_their_bounds_and_fail_one_past_them() {
        let lines = |offset, limit| {
            PageQuery { line_offset: Some(offset), line_limit: Some(limit), ..Default::default() }
                .page()
        };
        assert_eq!(
            lines(1, PAGE_LINES_MAX),
            Ok(PageBy::Lines { offset: 1, limit: PAGE_LINES_MAX })
        );
        assert!(lines(0, 1).is_err() && lines(1, 0).is_err());
        assert!(lines(1, PAGE_LINES_MAX + 1).is_err());
        let bytes = |limit| {
            PageQuery { byte_offset: Some(0), byte_limit: Some(limit), ..Default::default() }.page()
        };
        assert_eq!(bytes(PAGE_BYTES_MAX), Ok(PageBy::Bytes { offset: 0, limit: PAGE_BYTES_MAX }));
        assert!(bytes(0).is_err() && bytes(PAGE_BYTES_MAX + 1).is_err());
    }

    #[test]
    fn a_session_comes_from_the_header_if_that_is_a_name() {
        let headers = |value: &[u8]| {
            let value = axum::http::HeaderValue::from_bytes(value).unwrap();
            HeaderMap::from_iter([(axum::http::HeaderName::from_static(SESSION_HEADER), value)])
        };
        assert_eq!(session_of(&HeaderMap::new()), Ok(None));
        assert_eq!(session_of(&headers("größe 1".as_bytes())), Ok(Some("größe 1".to_owned())));
        for bad in [&b""[..], b"\xff", "s".repeat(257).as_bytes()] {
            let error = session_of(&headers(bad)).unwrap_err().to_string();
            assert!(error.starts_with("`X-MCP-Session-Id` is"), "{error}");
        }
    }
}
