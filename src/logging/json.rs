//! One JSON object for each event: the time, the level, the message, and the fields as they are.
//!
//! There is a line for every call, and nothing of a call may cost what a log line usually does: it is
//! written into a buffer of the thread's, and handed on whole.

use std::cell::{Cell, RefCell};
use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::clock;
use crate::domain::window::Timestamp;

/// The longest buffer that a thread keeps for its next line.
const LONGEST_KEPT: usize = 16 << 10;

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
        with_line(*event.metadata().level(), |line| {
            let mut fields = Fields { line, result: Ok(()) };
            event.record(&mut fields);
            let result = fields.result;
            end(line);
            result.and_then(|()| writer.write_str(line))
        })
    }
}

/// Lends the thread's buffer with a line that is begun in it.
pub(super) fn with_line<T>(level: Level, write: impl FnOnce(&mut String) -> T) -> T {
    thread_local! {
        static LINE: Cell<String> = const { Cell::new(String::new()) };
    }
    // What a field shows may itself be something that logs: the buffer is away while it is in use.
    let mut line = LINE.take();
    line.clear();
    line.push_str(r#"{"timestamp":""#);
    write_time(&mut line, clock::now());
    line.push_str(r#"","level":""#);
    line.push_str(level.as_str());
    line.push('"');
    let written = write(&mut line);
    if line.capacity() <= LONGEST_KEPT {
        LINE.set(line);
    }
    written
}

/// Ends a line.
pub(super) fn end(line: &mut String) {
    line.push_str("}\n");
}

/// Writes each field as a member of the object that is open.
struct Fields<'a> {
    line: &'a mut String,
    result: fmt::Result,
}

impl Fields<'_> {
    fn named(&mut self, field: &Field) -> &mut String {
        write_name(self.line, field.name());
        self.line
    }
}

/// Begins a member. Field names are identifiers of this program.
pub(super) fn write_name(line: &mut String, name: &str) {
    line.push_str(",\"");
    line.push_str(name);
    line.push_str("\":");
}

/// Writes a text as a JSON string.
pub(super) fn write_text(line: &mut String, text: &str) {
    line.push('"');
    escape(line, text);
    line.push('"');
}

/// Writes an instant as RFC 3339. Most of its digits are those of the line before.
fn write_time(line: &mut String, now: Timestamp) {
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
        line.push_str(text);
    });
    for unit in [100, 10, 1] {
        line.push(digit(millis / unit));
    }
    line.push('Z');
}

/// The last digit of a number.
fn digit(number: u64) -> char {
    char::from(b'0' + u8::try_from(number % 10).unwrap_or(0))
}

pub(super) fn write_number(line: &mut String, number: u64) {
    if number >= 10 {
        write_number(line, number / 10);
    }
    line.push(digit(number));
}

impl Visit for Fields<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        write_number(self.named(field), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        let line = self.named(field);
        if value < 0 {
            line.push('-');
        }
        write_number(line, value.unsigned_abs());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.named(field).push_str(if value { "true" } else { "false" });
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        write_text(self.named(field), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let line = self.named(field);
        line.push('"');
        let result = write!(Escaped(line), "{value:?}");
        line.push('"');
        self.result = self.result.and(result);
    }
}

/// Escapes what passes through for the inside of a JSON string.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(self.0, text);
        Ok(())
    }
}

/// Writes text as the inside of a JSON string (RFC 8259, section 7).
fn escape(line: &mut String, text: &str) {
    let is_special = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    // Nearly always there is nothing, which is seen fastest by looking at all of it.
    if !text.bytes().fold(false, |found, byte| found | is_special(byte)) {
        return line.push_str(text);
    }
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate().filter(|(_, byte)| is_special(*byte)) {
        line.push_str(&text[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => line.push_str(r#"\""#),
            b'\\' => line.push_str(r"\\"),
            b'\n' => line.push_str(r"\n"),
            other => {
                line.push_str("\\u00");
                for half in [other >> 4, other & 15] {
                    line.extend(char::from_digit(half.into(), 16));
                }
            }
        }
    }
    line.push_str(&text[plain..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_becomes_the_inside_of_a_json_string() {
        for text in ["", "plain", "say \"hi\"", "a\\b", "line\nline\r\t\u{1b}[31m", "ß→🦀\u{7f}"]
        {
            let mut out = String::from("\"");
            escape(&mut out, text);
            out.push('"');
            assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn numbers_are_written_as_they_are_elsewhere() {
        for number in [0, 9, 10, 12_345, u64::MAX] {
            let mut out = String::new();
            write_number(&mut out, number);
            assert_eq!(out, number.to_string());
        }
    }

    #[test]
    fn times_are_written_as_they_are_shown_elsewhere() {
        for millis in [0, 1, 999, 1_000, 1_800_000_000_042, 1_800_000_000_999, 1_800_000_001_000] {
            let at = Timestamp::from_millis(millis);
            let mut out = String::new();
            write_time(&mut out, at);
            assert_eq!(out, at.to_string());
        }
    }
}
