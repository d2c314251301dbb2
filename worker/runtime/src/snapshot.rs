//! The startup snapshot: an isolate's heap with the globals defined, made once at build time.

use crate::engine;
use crate::globals::{self, InstallError};

/// Why the snapshot could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BakeError {
    /// A global could not be defined.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// V8 made no blob.
    #[error("V8 could not write the heap to a snapshot")]
    Blob,
    /// Hash seeds would be the same in every process.
    #[error("the snapshot cannot be rehashed: every process would share one hash seed")]
    NotRehashable,
}

/// Bakes the startup snapshot.
///
/// # Errors
/// [`BakeError`] says which step failed. V8 itself aborts the process for what it cannot store.
pub fn bake() -> Result<Vec<u8>, BakeError> {
    engine::initialize();
    let mut isolate = v8::Isolate::snapshot_creator(Some(globals::external_references()), None);
    let installed = {
        v8::scope!(let scope, &mut isolate);
        let context = v8::Context::new(scope, v8::ContextOptions::default());
        scope.set_default_context(context);
        let scope = &mut v8::ContextScope::new(scope, context);
        globals::install(scope).map(|_| ())
    };
    // Code of warmed functions is kept: what has run once need not be compiled again.
    let blob = isolate.create_blob(v8::FunctionCodeHandling::Keep);
    installed?;
    let blob = blob.ok_or(BakeError::Blob)?;
    if !blob.can_be_rehashed() {
        return Err(BakeError::NotRehashable);
    }
    Ok(blob.to_vec())
}
