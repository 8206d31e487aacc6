//! One JSON object for each event: the time, the level, the message, and the fields as they are.
//!
//! Written straight into the line's buffer: there is a line for every call, and nothing of a call may
//! cost what a log line usually does.

use std::cell::RefCell;
use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::clock;
use crate::domain::window::Timestamp;

pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        writer.write_str(r#"{"timestamp":""#)?;
        write_time(&mut writer, clock::now())?;
        writer.write_str(r#"","level":""#)?;
        writer.write_str(event.metadata().level().as_str())?;
        writer.write_char('"')?;
        let mut fields = Fields { out: &mut writer, result: Ok(()) };
        event.record(&mut fields);
        fields.result?;
        writer.write_str("}\n")
    }
}

/// Writes each field as a member of the object that is open.
struct Fields<'a, W> {
    out: &'a mut W,
    result: fmt::Result,
}

impl<W: Write> Fields<'_, W> {
    fn member(&mut self, field: &Field, value: impl FnOnce(&mut W) -> fmt::Result) {
        if self.result.is_ok() {
            self.result = self.named(field).and_then(|()| value(self.out));
        }
    }

    /// Field names are identifiers of this program.
    fn named(&mut self, field: &Field) -> fmt::Result {
        self.out.write_str(",\"")?;
        self.out.write_str(field.name())?;
        self.out.write_str("\":")
    }
}

/// Writes an instant as RFC 3339. Most of its digits are those of the line before.
fn write_time(out: &mut impl Write, now: Timestamp) -> fmt::Result {
    thread_local! {
        static SECOND: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
    }
    let (second, millis) = (now.millis() / 1_000, now.millis() % 1_000);
    SECOND.with_borrow_mut(|(known, text)| {
        if *known != second {
            let whole = Timestamp::from_millis(second * 1_000).to_string();
            whole.strip_suffix("000Z").unwrap_or_default().clone_into(text);
            *known = second;
        }
        out.write_str(text)
    })?;
    for unit in [100, 10, 1] {
        out.write_char(char::from(b'0' + u8::try_from(millis / unit % 10).unwrap_or(0)))?;
    }
    out.write_char('Z')
}

impl<W: Write> Visit for Fields<'_, W> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field, |out| write!(out, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field, |out| write!(out, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field, |out| write!(out, "{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.member(field, |out| {
            out.write_char('"')?;
            Escaped(out).write_str(value)?;
            out.write_char('"')
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.member(field, |out| {
            out.write_char('"')?;
            write!(Escaped(out), "{value:?}")?;
            out.write_char('"')
        });
    }
}

/// Escapes what passes through for the inside of a JSON string (RFC 8259, section 7).
struct Escaped<'a, W>(&'a mut W);

impl<W: Write> Write for Escaped<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
            return self.0.write_str(text);
        }
        let mut plain = 0;
        for (at, byte) in text.bytes().enumerate() {
            if byte >= b' ' && byte != b'"' && byte != b'\\' {
                continue;
            }
            self.0.write_str(&text[plain..at])?;
            plain = at + 1;
            match byte {
                b'"' => self.0.write_str(r#"\""#)?,
                b'\\' => self.0.write_str(r"\\")?,
                b'\n' => self.0.write_str(r"\n")?,
                other => write!(self.0, "\\u{other:04x}")?,
            }
        }
        self.0.write_str(&text[plain..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_becomes_the_inside_of_a_json_string() {
        for text in ["", "plain", "say \"hi\"", "a\\b", "line\nline\r\t\u{1b}[31m", "ß→🦀\u{7f}"]
        {
            let mut out = String::from("\"");
            Escaped(&mut out).write_str(text).unwrap();
            out.push('"');
            assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn times_are_written_as_they_are_shown_elsewhere() {
        for millis in [0, 1, 999, 1_000, 1_800_000_000_042, 1_800_000_000_999, 1_800_000_001_000] {
            let at = Timestamp::from_millis(millis);
            let mut out = String::new();
            write_time(&mut out, at).unwrap();
            assert_eq!(out, at.to_string());
        }
    }
}
