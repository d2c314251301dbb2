//! State that a client carries and cannot change.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use rmcp::ErrorData;
use uuid::Uuid;

/// The key of this process.
#[derive(Debug)]
pub(super) struct Seal(hmac::Key);

impl Default for Seal {
    fn default() -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, Uuid::new_v4().as_bytes()))
    }
}

impl Seal {
    /// The state of a tool, for its client.
    pub(super) fn close(&self, tool: &str, state: &str) -> String {
        let state = format!("{tool}:{state}");
        let tag = hmac::sign(&self.0, state.as_bytes());
        format!("{}.{}", URL_SAFE_NO_PAD.encode(state), URL_SAFE_NO_PAD.encode(tag))
    }

    /// The state that [`Seal::close`] was given.
    ///
    /// # Errors
    /// For anything else.
    pub(super) fn open(&self, tool: &str, sealed: &str) -> Result<String, ErrorData> {
        let opened = || {
            let (state, tag) = sealed.split_once('.')?;
            let state = URL_SAFE_NO_PAD.decode(state).ok()?;
            let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
            hmac::verify(&self.0, &state, &tag).ok()?;
            let state = String::from_utf8(state).ok()?;
            state.strip_prefix(tool)?.strip_prefix(':').map(str::to_owned)
        };
        opened().ok_or_else(|| {
            ErrorData::invalid_params("`requestState` is not what this tool has given out", None)
        })
    }
}
