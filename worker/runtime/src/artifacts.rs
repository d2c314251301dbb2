//! `artifact(key, mimeType, bytes)`: leaves a named file for whoever asks the server for it.
//!
//! Nothing of it is seen before the script has completed. What is not accepted throws, so that a script
//! may go on without it; the bounds are [`Artifacts`].

use std::cell::{Ref, RefCell};
use std::rc::Rc;

use mcp_v8_protocol::limits::{
    ARTIFACT_BYTES_MAX, ARTIFACT_KEY_BYTES_MAX, ARTIFACT_TYPE_BYTES_MAX,
};
use mcp_v8_protocol::{ArtifactError, Artifacts};

use crate::console::ScriptSink;
use crate::errors;
use crate::state::State;

/// The way out for artifacts of one isolate.
#[derive(Default)]
pub(crate) struct Outlet {
    sink: RefCell<Option<Rc<dyn ScriptSink>>>,
    left: RefCell<Artifacts>,
}

impl Outlet {
    /// Says where artifacts go.
    pub(crate) fn open(&self, sink: Rc<dyn ScriptSink>) {
        self.sink.replace(Some(sink));
    }
}

/// Why nothing was left.
enum Refused {
    /// An argument is of another type.
    Type(String),
    /// It is past a bound.
    Range(String),
}

/// `artifact(key, mimeType, bytes)`, of a string, an `ArrayBuffer` or a view of one.
pub(crate) fn artifact(
    scope: &mut v8::PinScope<'_, '_>,
    args: v8::FunctionCallbackArguments<'_>,
    _: v8::ReturnValue<'_, v8::Value>,
) {
    match leave(scope, &args) {
        Ok(()) => {}
        Err(Refused::Type(problem)) => {
            errors::throw_type_error(scope, &format!("artifact: {problem}"));
        }
        Err(Refused::Range(problem)) => {
            errors::throw_range_error(scope, &format!("artifact: {problem}"));
        }
    }
}

fn leave(
    scope: &mut v8::PinScope<'_, '_>,
    args: &v8::FunctionCallbackArguments<'_>,
) -> Result<(), Refused> {
    let Some(state) = State::of(scope) else { return Ok(()) };
    let key = text(scope, args.get(0), "key", ARTIFACT_KEY_BYTES_MAX, ArtifactError::Key)?;
    let mime_type =
        text(scope, args.get(1), "mimeType", ARTIFACT_TYPE_BYTES_MAX, ArtifactError::Type)?;
    let bytes = length(scope, args.get(2))?;
    // Counted first: what is not accepted is not copied.
    let added = state.artifacts.left.borrow_mut().add(&key, &mime_type, bytes as u64);
    added.map_err(refused)?;
    let content = content(scope, args.get(2), bytes)?;
    let sink = Ref::map(state.artifacts.sink.borrow(), |sink| sink);
    if let Some(sink) = sink.as_ref() {
        sink.artifact(&key, &mime_type, &content);
    }
    Ok(())
}

fn refused(error: ArtifactError) -> Refused {
    match error {
        ArtifactError::Key | ArtifactError::Type => Refused::Type(error.to_string()),
        _ => Refused::Range(error.to_string()),
    }
}

/// An argument that must be a string. One that is far too long is not copied.
fn text(
    scope: &mut v8::PinScope<'_, '_>,
    value: v8::Local<'_, v8::Value>,
    name: &str,
    bytes_max: usize,
    error: ArtifactError,
) -> Result<String, Refused> {
    let Ok(string) = v8::Local::<v8::String>::try_from(value) else {
        return Err(Refused::Type(format!("{name} must be a string")));
    };
    if string.length() > bytes_max {
        return Err(refused(error));
    }
    Ok(string.to_rust_string_lossy(scope))
}

const CONTENT: &str = "bytes must be a string, an ArrayBuffer, or a view such as a Uint8Array";

/// How many bytes the content has.
fn length(
    scope: &mut v8::PinScope<'_, '_>,
    value: v8::Local<'_, v8::Value>,
) -> Result<usize, Refused> {
    if let Ok(string) = v8::Local::<v8::String>::try_from(value) {
        return Ok(string.utf8_length(scope));
    }
    if let Ok(view) = v8::Local::<v8::ArrayBufferView>::try_from(value) {
        return Ok(view.byte_length());
    }
    match v8::Local::<v8::ArrayBuffer>::try_from(value) {
        Ok(buffer) if buffer.was_detached() => {
            Err(Refused::Type("the ArrayBuffer was transferred and has no bytes".to_owned()))
        }
        Ok(buffer) => Ok(buffer.byte_length()),
        Err(_) => Err(Refused::Type(CONTENT.to_owned())),
    }
}

/// The content itself.
fn content(
    scope: &mut v8::PinScope<'_, '_>,
    value: v8::Local<'_, v8::Value>,
    bytes: usize,
) -> Result<Vec<u8>, Refused> {
    let mut content = Vec::new();
    let full = |_| Refused::Range("there is no memory left for a copy of the bytes".to_owned());
    content.try_reserve_exact(bytes).map_err(full)?;
    if let Ok(string) = v8::Local::<v8::String>::try_from(value) {
        content.resize(bytes, 0);
        // A lone surrogate becomes U+FFFD, which has as many bytes.
        let flags = v8::WriteFlags::kReplaceInvalidUtf8;
        let written = string.write_utf8_v2(scope, &mut content, flags, None);
        content.truncate(written);
        return Ok(content);
    }
    let (store, from) = match v8::Local::<v8::ArrayBufferView>::try_from(value) {
        Ok(view) => (view.get_backing_store(), view.byte_offset()),
        Err(_) => {
            let buffer = v8::Local::<v8::ArrayBuffer>::try_from(value);
            (buffer.ok().map(|buffer| buffer.get_backing_store()), 0)
        }
    };
    if let Some(store) = store {
        content.extend(store.iter().skip(from).take(bytes).map(std::cell::Cell::get));
    }
    debug_assert!(content.len() <= ARTIFACT_BYTES_MAX as usize);
    Ok(content)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use mcp_v8_protocol::limits::{ARTIFACT_BYTES_MAX, ARTIFACTS_MAX};

    use crate::testing::run;

    fn left(code: &str) -> Vec<(String, String, Vec<u8>)> {
        let ran = run(code);
        assert!(matches!(ran.outcome, mcp_v8_protocol::Outcome::Completed { .. }), "{ran:?}");
        ran.artifacts
    }

    /// What `f` throws, as text.
    const SAID: &str =
        "const said = f => { try { f(); return 'nothing' } catch (e) { return `${e}` } };";

    fn said(code: &str) -> String {
        run(&format!("{SAID} {code}")).result().unwrap()
    }

    #[test]
    fn strings_buffers_and_views_are_left_as_they_are() {
        let left = left(
            "artifact('a.txt', 'text/plain; charset=utf-8', 'h\\u00e9 \\ud800!');
             const all = new Uint8Array([0, 1, 2, 255, 4]);
             artifact('all', 'application/octet-stream', all.buffer);
             artifact('part', 'a/b', all.subarray(2, 4));
             artifact('view', 'a/b', new DataView(all.buffer, 3));
             artifact('none', 'a/b', '');
             const grown = new Uint8Array(new ArrayBuffer(2, {maxByteLength: 9}));
             grown.buffer.resize(3); artifact('grown', 'a/b', grown);
             artifact('a.txt', 'text/plain', 'again')",
        );
        let short: Vec<_> = left.iter().map(|(key, _, bytes)| (key.as_str(), &bytes[..])).collect();
        let expected: Vec<(&str, &[u8])> = vec![
            ("a.txt", "h\u{e9} \u{fffd}!".as_bytes()),
            ("all", &[0, 1, 2, 255, 4]),
            ("part", &[2, 255]),
            ("view", &[255, 4]),
            ("none", &[]),
            ("grown", &[0, 0, 0]),
            ("a.txt", b"again"),
        ];
        assert_eq!(short, expected);
        assert_eq!(left[0].1, "text/plain; charset=utf-8");
    }

    #[test]
    fn what_is_no_artifact_throws_and_the_script_goes_on() {
        let code = "[[], ['k'], ['k', 'a/b'], [1, 'a/b', ''], ['k', null, ''], ['k', 'a/b', 5],
              ['k', 'a/b', [1]], ['', 'a/b', ''], ['a\\nb', 'a/b', ''], ['k', 'png', ''],
              ['k'.repeat(1e6), 'a/b', ''], ['k', 'a/'.padEnd(1e6, 'b'), '']]
             .map(args => said(() => artifact(...args)).split(':').slice(0, 2).join(':'))
             .filter(said => said !== 'TypeError: artifact').length";
        assert_eq!(said(code), "0");
        let code = "const gone = new ArrayBuffer(4); gone.transfer();
                    said(() => artifact('k', 'a/b', gone))";
        let expected = "TypeError: artifact: the ArrayBuffer was transferred and has no bytes";
        assert_eq!(said(code), expected);
        let code = "said(() => artifact('k', 'a/b', {}))";
        let expected = "TypeError: artifact: bytes must be a string, an ArrayBuffer, or a view such \
                        as a Uint8Array";
        assert_eq!(said(code), expected);
        assert_eq!(
            said("[artifact.name, artifact.length, typeof artifact]"),
            "[\"artifact\",3,\"function\"]"
        );
    }

    #[test]
    fn as_much_as_may_be_is_left_and_not_one_byte_more() {
        let code = format!(
            "const most = new Uint8Array({ARTIFACT_BYTES_MAX}); most[most.length - 1] = 7;
             artifact('a', 'a/b', most);
             let said; try {{ artifact('b', 'a/b', new ArrayBuffer({ARTIFACT_BYTES_MAX} + 1)) }}
             catch (e) {{ said = e }}
             if (!(said instanceof RangeError)) throw said;
             try {{ artifact('b', 'a/b', 'e'.repeat({ARTIFACT_BYTES_MAX} + 1)); throw 1 }}
             catch (e) {{ if (!(e instanceof RangeError)) throw e }}
             for (let i = 1; i < {ARTIFACTS_MAX}; i++) artifact('b' + i, 'a/b', '');
             try {{ artifact('c', 'a/b', ''); throw 1 }}
             catch (e) {{ if (!(e instanceof RangeError)) throw e }}"
        );
        let left = left(&code);
        assert_eq!(left.len(), ARTIFACTS_MAX);
        assert_eq!(left[0].2.len() as u64, ARTIFACT_BYTES_MAX);
        assert_eq!(left[0].2.last(), Some(&7));
    }
}
