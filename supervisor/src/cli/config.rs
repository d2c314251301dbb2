//! The `--config` file: TOML or JSON, one key for each flag.
//!
//! Keys are the flags' long names, with `-` or `_`. Values become the flags' defaults, so they are
//! parsed and checked exactly as flags are.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use serde_json::Value;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("--config {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what its name says.
    #[error("--config {path}: not valid {format}: {problem}")]
    Parse {
        /// The file.
        path: String,
        /// TOML or JSON.
        format: &'static str,
        /// Where and why.
        problem: String,
    },
}

/// The configuration file named by flag or environment, if one is.
pub fn path(command: &clap::Command, arguments: &[OsString]) -> Option<PathBuf> {
    // Errors of the rest of the line are reported by the real parse.
    let found = command.clone().ignore_errors(true).try_get_matches_from(arguments).ok()?;
    found.get_one::<PathBuf>("config").cloned()
}

/// Reads the file into flag name and values.
///
/// # Errors
/// [`ConfigError`].
pub fn read(path: &Path) -> Result<BTreeMap<String, Value>, ConfigError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: shown.clone(), source })?;
    let json = path.extension().is_some_and(|extension| extension == "json");
    let format = if json { "JSON" } else { "TOML" };
    let parsed = if json {
        serde_json::from_str(&text).map_err(|error| error.to_string())
    } else {
        toml::from_str(&text).map_err(|error| error.to_string())
    };
    parsed.map_err(|problem| ConfigError::Parse { path: shown, format, problem })
}

/// Makes the file's values the defaults of their flags.
///
/// # Errors
/// A clap error for a key that is no flag or a value that is no scalar or list of scalars.
pub fn apply(
    mut command: clap::Command,
    path: &Path,
    values: BTreeMap<String, Value>,
) -> Result<clap::Command, clap::Error> {
    for (key, value) in values {
        let long = key.replace('_', "-");
        let id = command
            .get_arguments()
            .find(|arg| arg.get_long() == Some(&long) && long != "config")
            .map(|arg| arg.get_id().clone());
        let Some(id) = id else {
            let message = format!("{}: `{key}` is not an option; see --help", path.display());
            return Err(command.error(ErrorKind::UnknownArgument, message));
        };
        let Some(texts) = texts(&value) else {
            let message = format!(
                "{}: `{key}` must be a text, a number, true or false, or a list of these",
                path.display()
            );
            return Err(command.error(ErrorKind::InvalidValue, message));
        };
        command = command.mut_arg(id, |arg| arg.default_values(texts));
    }
    Ok(command)
}

fn texts(value: &Value) -> Option<Vec<String>> {
    let scalar = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    match value {
        Value::Array(items) => items.iter().map(scalar).collect(),
        other => scalar(other).map(|text| vec![text]),
    }
}
