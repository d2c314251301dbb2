//! The keys that tokens are verified with, from where their issuer publishes them.
//!
//! # Contract
//! * They are fetched at the start, every [`JWKS_REFRESH`], and when a token names one that is not
//!   known: then a few times at once and every [`JWKS_WANTED_EVERY`], whoever asks how often.
//! * What is fetched is bounded in time and bytes, comes over HTTPS, from this machine or from a file,
//!   and follows no redirection.
//! * Keys that cannot be fetched again stay for [`JWKS_STALE_MAX`]; then nobody has access until they
//!   can. A set without keys takes all back.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use reqwest::{Client, StatusCode, Url, redirect};
use tokio::io::AsyncReadExt;
use tokio::sync::{Notify, watch};

use super::bucket::{Bucket, Rate};
use super::key::{Key, parse_set};
use crate::limits::{
    JWKS_BYTES_MAX, JWKS_FETCH_MAX, JWKS_REFRESH, JWKS_RETRY, JWKS_STALE_MAX, JWKS_WANTED_BURST,
    JWKS_WANTED_EVERY,
};

const WANTED: Rate = Rate { burst: JWKS_WANTED_BURST, every: JWKS_WANTED_EVERY };

/// Where keys are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// At a URL.
    Url(Url),
    /// In a file.
    File(PathBuf),
}

impl Source {
    /// What the operator has written: a URL, or the path of a file. `any_http`: also without TLS, from
    /// other machines.
    ///
    /// # Errors
    /// What would be accepted.
    pub fn parse(text: &str, any_http: bool) -> Result<Self, String> {
        const ACCEPTED: &str = "accepted: https://…, http:// at a loopback address, file:///PATH, or \
                                an absolute path";
        if text.starts_with('/') {
            return Ok(Self::File(text.into()));
        }
        let url = Url::parse(text).map_err(|error| format!("'{text}': {error}; {ACCEPTED}"))?;
        match url.scheme() {
            "file" => match url.to_file_path() {
                Ok(path) => Ok(Self::File(path)),
                Err(()) => Err(format!("'{text}' names no file of this machine; {ACCEPTED}")),
            },
            "https" => Ok(Self::Url(url)),
            "http" if any_http || is_loopback(&url) => Ok(Self::Url(url)),
            "http" => Err(format!(
                "'{text}': whoever is on the way to it could put keys of their own in; {ACCEPTED}. \
                 Where the network is trusted: --jwks-allow-http"
            )),
            _ => Err(format!("'{text}': {ACCEPTED}")),
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let plain = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    plain == "localhost" || plain.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[derive(Debug)]
struct State {
    keys: Arc<[Key]>,
    /// When they were fetched.
    fetched: Option<Instant>,
    /// Why they could not be fetched the last time.
    problem: Option<String>,
    /// Fetches that have begun.
    begun: u64,
    /// The fetch that somebody waits for.
    wanted: u64,
    turns: Bucket,
}

/// The keys, as far as they are known.
#[derive(Debug)]
pub struct Jwks {
    source: Source,
    client: Client,
    state: RwLock<State>,
    wake: Arc<Notify>,
    /// Fetches that are over.
    done: watch::Sender<u64>,
}

impl Jwks {
    /// Fetches them, and again and again from then on. What cannot be fetched now may be later.
    ///
    /// # Errors
    /// For a file that cannot be used.
    pub async fn start(source: Source) -> Result<Arc<Self>, String> {
        // Somebody may have installed one already; then that one serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client =
            Client::builder().redirect(redirect::Policy::none()).timeout(JWKS_FETCH_MAX);
        if let Source::Url(url) = &source {
            client = client.https_only(url.scheme() == "https");
            if is_loopback(url) {
                client = client.no_proxy();
            }
        }
        let client = client.build().map_err(|error| error.to_string())?;
        let now = Instant::now();
        let state = State {
            keys: Arc::from([]),
            fetched: None,
            problem: None,
            begun: 0,
            wanted: 0,
            turns: Bucket::full(WANTED, now),
        };
        let (state, done) = (RwLock::new(state), watch::Sender::new(0));
        let jwks = Arc::new(Self { source, client, state, wake: Arc::default(), done });
        let first = jwks.fetch().await;
        if let (Err(problem), Source::File(_)) = (&first, &jwks.source) {
            return Err(problem.clone());
        }
        // Ends when nobody needs the keys any more.
        let (weak, wake) = (Arc::downgrade(&jwks), Arc::clone(&jwks.wake));
        let mut good = first.is_ok();
        tokio::spawn(async move {
            loop {
                let pause = if good { JWKS_REFRESH } else { JWKS_RETRY };
                // Either way they are fetched.
                let _ = tokio::time::timeout(pause, wake.notified()).await;
                let Some(jwks) = weak.upgrade() else { return };
                good = jwks.fetch().await.is_ok();
            }
        });
        Ok(jwks)
    }

    /// The keys.
    ///
    /// # Errors
    /// Why there are none that count.
    pub fn keys(&self) -> Result<Arc<[Key]>, String> {
        self.keys_at(Instant::now())
    }

    fn keys_at(&self, now: Instant) -> Result<Arc<[Key]>, String> {
        let state = self.state.read();
        let problem = || state.problem.clone().unwrap_or_default();
        match state.fetched {
            None => Err(format!("the keys of tokens are not known: {}", problem())),
            Some(at) if now.saturating_duration_since(at) > JWKS_STALE_MAX => {
                let hours = JWKS_STALE_MAX.as_secs() / 3600;
                Err(format!("the keys of tokens are older than {hours} hours: {}", problem()))
            }
            Some(_) => Ok(Arc::clone(&state.keys)),
        }
    }

    /// How old the keys are; none when there are none.
    pub fn age(&self) -> Option<Duration> {
        self.state.read().fetched.map(|at| at.elapsed())
    }

    /// A key is not known: returns when they were fetched once more, or that is not its turn yet, or
    /// takes too long. Says whether they were fetched.
    pub async fn wanted(&self) -> bool {
        let Some(wanted) = self.want(Instant::now()) else { return false };
        let mut done = self.done.subscribe();
        // One that is under way, and one that begins after it.
        let waiting = done.wait_for(|done| *done >= wanted);
        tokio::time::timeout(2 * JWKS_FETCH_MAX, waiting).await.is_ok_and(|done| done.is_ok())
    }

    /// The number of a fetch that begins after this, if there may be one.
    fn want(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.write();
        // Others wait for it already.
        if state.wanted <= state.begun {
            state.turns.take(WANTED, now).ok()?;
            state.wanted = state.begun + 1;
            self.wake.notify_one();
        }
        Some(state.wanted)
    }

    async fn fetch(&self) -> Result<(), String> {
        let number = {
            let mut state = self.state.write();
            state.begun += 1;
            state.begun
        };
        let fetched = match tokio::time::timeout(JWKS_FETCH_MAX, self.read()).await {
            Ok(read) => read.and_then(|json| parse_set(&json)),
            Err(_) => Err(format!("no answer within {} seconds", JWKS_FETCH_MAX.as_secs())),
        };
        let outcome = self.take(fetched);
        self.done.send_modify(|done| *done = (*done).max(number));
        outcome
    }

    /// Takes what was fetched over, or notes why it was not.
    fn take(&self, fetched: Result<(Vec<Key>, usize), String>) -> Result<(), String> {
        let mut state = self.state.write();
        match fetched {
            Ok((keys, passed_over)) => {
                if state.keys[..] != keys || state.fetched.is_none() {
                    let kids: Vec<&str> =
                        keys.iter().filter_map(|key| key.kid.as_deref()).collect();
                    tracing::info!(?kids, passed_over, "keys of tokens");
                    state.keys = keys.into();
                }
                state.fetched = Some(Instant::now());
                state.problem = None;
                Ok(())
            }
            Err(problem) => {
                let problem = format!("--jwks-url: {problem}");
                tracing::warn!(problem, "the keys of tokens cannot be fetched");
                state.problem = Some(problem.clone());
                Err(problem)
            }
        }
    }

    async fn read(&self) -> Result<Vec<u8>, String> {
        let too_long = || format!("it has more than {JWKS_BYTES_MAX} bytes");
        match &self.source {
            Source::File(path) => {
                let failed = |error: std::io::Error| format!("{}: {error}", path.display());
                let file = tokio::fs::File::open(path).await.map_err(failed)?;
                let mut bytes = Vec::new();
                let most = JWKS_BYTES_MAX as u64 + 1;
                file.take(most).read_to_end(&mut bytes).await.map_err(failed)?;
                if bytes.len() > JWKS_BYTES_MAX { Err(too_long()) } else { Ok(bytes) }
            }
            Source::Url(url) => {
                let asking = self.client.get(url.clone()).header("accept", "application/json");
                let mut answer =
                    asking.send().await.map_err(|error| whole(&error.without_url()))?;
                if answer.status() != StatusCode::OK {
                    return Err(format!("the answer is {}, not 200", answer.status()));
                }
                let mut bytes = Vec::new();
                while let Some(chunk) =
                    answer.chunk().await.map_err(|error| whole(&error.without_url()))?
                {
                    if bytes.len() + chunk.len() > JWKS_BYTES_MAX {
                        return Err(too_long());
                    }
                    bytes.extend_from_slice(&chunk);
                }
                Ok(bytes)
            }
        }
    }
}

/// An error with what is behind it: the reason ("connection refused") is there.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const SET: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    fn file(text: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        file
    }

    #[test]
    fn where_keys_come_from_is_https_this_machine_or_a_file() {
        let parse = |text| Source::parse(text, false);
        assert!(matches!(parse("https://i.example/jwks"), Ok(Source::Url(_))));
        for loopback in ["http://127.0.0.1:80/k", "http://[::1]/k", "http://localhost:1/k"] {
            assert!(matches!(parse(loopback), Ok(Source::Url(_))), "{loopback}");
        }
        let path = Source::File("/etc/k.json".into());
        assert_eq!(parse("/etc/k.json"), Ok(path.clone()));
        assert_eq!(parse("file:///etc/k.json"), Ok(path));
        for (text, expected) in [
            ("http://i.example/k", "--jwks-allow-http"),
            ("http://127.0.0.1.i.example/k", "--jwks-allow-http"),
            ("http://localhost.i.example/k", "--jwks-allow-http"),
            ("ftp://i.example/k", "accepted: https://"),
            ("k.json", "accepted: https://"),
            ("file://i.example/k", "accepted: https://"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(Source::parse("http://i.example/k", true).is_ok());
    }

    #[tokio::test]
    async fn a_file_has_as_many_bytes_as_may_be_and_not_one_more() {
        let padded =
            |bytes: usize| file((SET.to_owned() + &" ".repeat(bytes - SET.len())).as_bytes());
        let at = padded(JWKS_BYTES_MAX);
        let jwks = Jwks::start(Source::File(at.path().into())).await.unwrap();
        assert_eq!(jwks.keys().unwrap().len(), 1);
        let past = padded(JWKS_BYTES_MAX + 1);
        let error = Jwks::start(Source::File(past.path().into())).await.unwrap_err();
        assert!(error.contains("more than"), "{error}");
        let missing = Jwks::start(Source::File("/nonexistent/k".into())).await.unwrap_err();
        assert!(missing.contains("--jwks-url") && missing.contains("/nonexistent/k"), "{missing}");
    }

    #[tokio::test]
    async fn keys_stay_when_they_cannot_be_fetched_up_to_the_bound_and_not_past_it() {
        let file = file(SET.as_bytes());
        let jwks = Jwks::start(Source::File(file.path().into())).await.unwrap();
        let fetched = jwks.state.read().fetched.unwrap();
        drop(file);
        assert!(jwks.wanted().await, "it was tried");
        assert_eq!(jwks.state.read().fetched, Some(fetched));
        assert!(jwks.keys_at(fetched + JWKS_STALE_MAX).is_ok());
        let error = jwks.keys_at(fetched + JWKS_STALE_MAX + Duration::from_nanos(1)).unwrap_err();
        assert!(error.contains("older than 24 hours") && error.contains("--jwks-url"), "{error}");
    }

    #[tokio::test]
    async fn a_set_without_keys_takes_them_back_and_what_is_no_set_does_not() {
        let file = file(SET.as_bytes());
        let jwks = Jwks::start(Source::File(file.path().into())).await.unwrap();
        std::fs::write(file.path(), "<html>").unwrap();
        assert!(jwks.wanted().await);
        assert_eq!(jwks.keys().unwrap().len(), 1);
        std::fs::write(file.path(), "{\"keys\":[]}").unwrap();
        assert!(jwks.wanted().await);
        assert_eq!(jwks.keys().unwrap().len(), 0);
    }

    #[tokio::test]
    async fn unknown_keys_are_asked_for_a_few_times_and_then_now_and_then() {
        let file = file(SET.as_bytes());
        let jwks = Jwks::start(Source::File(file.path().into())).await.unwrap();
        let now = Instant::now();
        let mut wanted = 0;
        for _ in 0..JWKS_WANTED_BURST {
            let number = jwks.want(now).unwrap();
            // Whoever comes meanwhile waits for the same.
            assert_eq!(jwks.want(now), Some(number));
            assert!(number > wanted);
            wanted = number;
            let mut done = jwks.done.subscribe();
            done.wait_for(|done| *done >= number).await.unwrap();
        }
        assert_eq!(jwks.want(now), None);
        assert_eq!(jwks.want(now + JWKS_WANTED_EVERY / 2), None);
        assert!(jwks.want(now + JWKS_WANTED_EVERY).is_some());
    }
}
