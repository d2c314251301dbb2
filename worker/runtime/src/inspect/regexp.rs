//! Flags of a regular expression.
//!
//! `RegExp.prototype.flags` runs getters that a script may replace, and V8's API has no reader of
//! its own here. Its serializer has: it writes pattern and flags as they are stored.

/// Letters of the flags, or nothing if V8 will not tell.
pub(super) fn flags(scope: &mut v8::PinScope<'_, '_>, regexp: v8::Local<'_, v8::RegExp>) -> String {
    v8::tc_scope!(let scope, scope);
    let context = scope.get_current_context();
    let serializer = v8::ValueSerializer::new(scope, Box::new(NoHost));
    if serializer.write_value(context, regexp.into()) != Some(true) {
        return String::new();
    }
    parse(&serializer.release()).unwrap_or_default()
}

/// Reads `R`, a string (`"` or `c`, length in bytes, the bytes), and the flags behind it.
fn parse(bytes: &[u8]) -> Option<String> {
    /// In the order of `RegExp.prototype.flags`, each with its bit in V8.
    const FLAGS: [(u32, char); 8] = [
        (1 << 7, 'd'),
        (1 << 0, 'g'),
        (1 << 1, 'i'),
        (1 << 2, 'm'),
        (1 << 5, 's'),
        (1 << 4, 'u'),
        (1 << 8, 'v'),
        (1 << 3, 'y'),
    ];
    let (_tag, rest) = bytes.split_first().filter(|(tag, _)| **tag == b'R')?;
    let (kind, rest) = rest.split_first()?;
    // Two-byte strings are padded to an even address.
    let rest = if *kind == 0 { rest.split_first()?.1 } else { rest };
    let (length, rest) = varint(rest)?;
    let (bits, _) = varint(rest.get(length as usize..)?)?;
    Some(FLAGS.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, letter)| letter).collect())
}

fn varint(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut value = 0_u32;
    for (at, byte) in bytes.iter().enumerate().take(5) {
        value |= u32::from(byte & 0x7f).checked_shl(7 * at as u32)?;
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

/// Nothing a regular expression holds needs the host.
struct NoHost;

impl v8::ValueSerializerImpl for NoHost {
    fn throw_data_clone_error<'s>(
        &self,
        _: &mut v8::PinScope<'s, '_>,
        _: v8::Local<'s, v8::String>,
    ) {
    }
}
