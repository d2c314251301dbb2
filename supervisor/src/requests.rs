//! What MCP arguments and REST requests have in common: fields that are known but not supported
//! yet, output pages, and errors that name the field.

use axum::http::HeaderMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::error::Category;
use utoipa::IntoParams;

use crate::executions::{PageBy, SubmitError, check_range};
use crate::limits::{PAGE_BYTES_DEFAULT, PAGE_BYTES_MAX, PAGE_LINES_DEFAULT, PAGE_LINES_MAX};

/// A field of a later release: whether it was given, whatever its value.
pub type Later = Option<serde::de::IgnoredAny>;

/// Refuses the first field of a later release that was given: state that is not kept must not look
/// kept.
///
/// # Errors
/// [`SubmitError::Invalid`] naming it.
pub fn refuse_later(fields: [(&'static str, &Later); 3]) -> Result<(), SubmitError> {
    match fields.iter().find(|(_, value)| value.is_some()) {
        Some((field, _)) => Err(not_yet(field)),
        None => Ok(()),
    }
}

fn not_yet(field: &'static str) -> SubmitError {
    let problem = "is not supported yet: every script starts with a fresh heap; leave it out";
    SubmitError::Invalid { field, problem: problem.to_owned() }
}

/// Refuses the header that names a session.
///
/// # Errors
/// [`SubmitError::Invalid`] naming it.
pub fn session_header(headers: &HeaderMap) -> Result<(), SubmitError> {
    if headers.contains_key("x-mcp-session-id") { Err(not_yet("X-MCP-Session-Id")) } else { Ok(()) }
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
    fn a_field_of_a_later_release_is_named() {
        let given = Some(serde::de::IgnoredAny);
        let error = refuse_later([("heap", &None), ("session", &given), ("tags", &None)]);
        assert!(error.unwrap_err().to_string().starts_with("`session` is not supported yet"));
        assert!(refuse_later([("heap", &None), ("session", &None), ("tags", &None)]).is_ok());
    }
}
