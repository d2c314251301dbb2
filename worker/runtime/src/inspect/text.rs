//! A bounded string, and the pieces that go into it.

/// Appends to a string up to a bound, and then drops what comes.
pub(super) struct Writer<'o> {
    out: &'o mut String,
    end: usize,
    full: bool,
}

impl<'o> Writer<'o> {
    /// At most `bytes_max` bytes behind what is in `out`.
    pub(super) fn new(out: &'o mut String, bytes_max: usize) -> Self {
        let end = out.len().saturating_add(bytes_max);
        Self { out, end, full: false }
    }

    /// Whether something was dropped.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Drops everything from here on.
    pub(super) fn close(&mut self) {
        self.full = true;
    }

    fn left(&self) -> usize {
        self.end - self.out.len()
    }

    pub(super) fn push(&mut self, text: &str) {
        if self.full {
            return;
        }
        let left = self.left();
        if text.len() <= left {
            self.out.push_str(text);
        } else {
            self.out.push_str(&text[..text.floor_char_boundary(left)]);
            self.full = true;
        }
    }

    /// A string of V8. No more of it is copied than there is room for.
    pub(super) fn push_v8(&mut self, isolate: &v8::Isolate, text: v8::Local<'_, v8::String>) {
        if self.full {
            return;
        }
        let copied = copy(isolate, text, self.left());
        self.push(&copied);
        // UTF-8 has at least one byte for every UTF-16 unit.
        self.full |= text.length() > copied.len();
    }

    /// A string of V8 as JSON has it.
    pub(super) fn push_quoted(&mut self, isolate: &v8::Isolate, text: v8::Local<'_, v8::String>) {
        if self.full {
            return;
        }
        let copied = copy(isolate, text, self.left());
        let mut quoted = String::with_capacity(copied.len() + 2);
        quote(&copied, &mut quoted);
        self.push(&quoted);
        self.full |= text.length() > copied.len();
    }
}

/// The first characters of `text`, in about `bytes_max` bytes of UTF-8. Lone surrogates become the
/// replacement character.
fn copy(isolate: &v8::Isolate, text: v8::Local<'_, v8::String>, bytes_max: usize) -> String {
    // Three bytes hold any unit; a pair takes four. One more character shows that there is more.
    let bytes = bytes_max.saturating_add(4).min(text.length().saturating_mul(3));
    let mut buffer = vec![0_u8; bytes];
    let flags = v8::WriteFlags::kReplaceInvalidUtf8;
    let written = text.write_utf8_v2(isolate, &mut buffer, flags, None);
    buffer.truncate(written);
    match String::from_utf8(buffer) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

/// Appends `text` as a JSON string.
pub(crate) fn quote(text: &str, out: &mut String) {
    out.push('"');
    let mut plain_from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0x08 => "\\b",
            0x0c => "\\f",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&text[plain_from..at]);
        if escape.is_empty() {
            out.push_str(&format!("\\u{byte:04x}"));
        } else {
            out.push_str(escape);
        }
        plain_from = at + 1;
    }
    out.push_str(&text[plain_from..]);
    out.push('"');
}

/// A time value as `Date.prototype.toISOString` gives it; none for an invalid date.
pub(super) fn iso_date(time_ms: f64) -> Option<String> {
    const MS_PER_DAY: i64 = 86_400_000;
    if !time_ms.is_finite() {
        return None;
    }
    let time_ms = time_ms as i64;
    let (days, ms) = (time_ms.div_euclid(MS_PER_DAY), time_ms.rem_euclid(MS_PER_DAY));
    // Howard Hinnant's civil_from_days: eras of 400 years, years that begin in March.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let year = match year {
        0..=9999 => format!("{year:04}"),
        _ => format!("{}{:06}", if year < 0 { '-' } else { '+' }, year.abs()),
    };
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    Some(format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000))
}
