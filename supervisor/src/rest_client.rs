//! A server as the command line sees it: through its REST interface.

use std::path::{Path, PathBuf};

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Where a server is unless somebody says otherwise.
pub const URL_DEFAULT: &str = "http://127.0.0.1:3000";

/// Why a server does not answer as asked.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// It is not reached, or what is there is none of ours.
    #[error("--url {url}: {problem}")]
    Url {
        /// Where.
        url: String,
        /// Why.
        problem: String,
    },
    /// What came cannot be written, or the token not be read.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It says no.
    #[error("{status}: {error}")]
    Refused {
        /// The status.
        status: u16,
        /// Its sentence.
        error: String,
    },
}

/// A server.
#[derive(Debug)]
pub struct RestServer {
    url: String,
    /// For requests to it.
    pub client: Client,
}

impl RestServer {
    /// At this URL, with the bearer token in a file if there is one.
    ///
    /// # Errors
    /// [`RestError`] for what is no URL, and for a file without a token.
    pub fn new(url: &str, token_file: Option<&Path>) -> Result<Self, RestError> {
        // Somebody may have installed one already; then that one serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let failed = |problem: String| RestError::Url { url: url.to_owned(), problem };
        let parsed = reqwest::Url::parse(url).map_err(|error| failed(error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") || parsed.host().is_none() {
            return Err(failed(format!("expected something like {URL_DEFAULT}")));
        }
        let headers = token_file.map(authorization).transpose()?.unwrap_or_default();
        let client = Client::builder().default_headers(headers);
        let client = client.build().map_err(|error| failed(error.to_string()))?;
        Ok(Self { url: url.trim_end_matches('/').to_owned(), client })
    }

    /// The URL of a path on it.
    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// The URL of a path whose pieces may be any text.
    ///
    /// # Errors
    /// [`RestError::Url`].
    pub fn pieces(&self, pieces: &[&str]) -> Result<reqwest::Url, RestError> {
        let failed =
            |problem: &str| RestError::Url { url: self.url.clone(), problem: problem.to_owned() };
        let mut url = reqwest::Url::parse(&self.url).map_err(|error| failed(&error.to_string()))?;
        url.path_segments_mut()
            .map_err(|()| failed("it has no path"))?
            .pop_if_empty()
            .extend(pieces);
        Ok(url)
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, RestError> {
        let answer = self.answered(request).await?;
        answer.json().await.map_err(|error| self.failed(&error))
    }

    /// Sends a request and reads its answer as it is.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn read(&self, request: RequestBuilder) -> Result<Vec<u8>, RestError> {
        let answer = self.answered(request).await?;
        Ok(answer.bytes().await.map_err(|error| self.failed(&error))?.into())
    }

    fn failed(&self, error: &reqwest::Error) -> RestError {
        let mut problem = error.to_string();
        // The reason ("connection refused") is in the sources.
        let mut source = std::error::Error::source(error);
        while let Some(inner) = source {
            problem = format!("{problem}: {inner}");
            source = inner.source();
        }
        RestError::Url { url: self.url.clone(), problem }
    }

    async fn answered(&self, request: RequestBuilder) -> Result<Response, RestError> {
        let response = request.send().await.map_err(|error| self.failed(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body: Value = response.json().await.unwrap_or_default();
        let error = body["error"].as_str().unwrap_or("no reason given").to_owned();
        Err(RestError::Refused { status: status.as_u16(), error })
    }
}

/// The header with the token in a file.
fn authorization(path: &Path) -> Result<HeaderMap, RestError> {
    let failed = |error| RestError::File { path: path.to_owned(), error };
    let token = std::fs::read_to_string(path).map_err(failed)?;
    let none = || std::io::Error::other("there is no token in it; accepted: one line of ASCII");
    let mut value =
        HeaderValue::try_from(format!("Bearer {}", token.trim())).map_err(|_| failed(none()))?;
    if token.trim().is_empty() {
        return Err(failed(none()));
    }
    value.set_sensitive(true);
    Ok(HeaderMap::from_iter([(AUTHORIZATION, value)]))
}
