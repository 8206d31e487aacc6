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
use crate::domain::codec::plain::is_plain;
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
            let line = std::str::from_utf8(line).map_err(|_| fmt::Error)?;
            result.and_then(|()| writer.write_str(line))
        })
    }
}

/// Lends the thread's buffer with a line that is begun in it.
pub(super) fn with_line<T>(level: Level, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    thread_local! {
        static LINE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }
    // What a field shows may itself be something that logs: the buffer is away while it is in use.
    let mut line = LINE.take();
    line.clear();
    line.extend_from_slice(br#"{"timestamp":""#);
    write_time(&mut line, clock::now());
    line.extend_from_slice(br#"","level":""#);
    line.extend_from_slice(level.as_str().as_bytes());
    line.push(b'"');
    let written = write(&mut line);
    if line.capacity() <= LONGEST_KEPT {
        LINE.set(line);
    }
    written
}

/// Ends a line.
pub(super) fn end(line: &mut Vec<u8>) {
    line.extend_from_slice(b"}\n");
}

/// Writes each field as a member of the object that is open.
struct Fields<'a> {
    line: &'a mut Vec<u8>,
    result: fmt::Result,
}

impl Fields<'_> {
    fn named(&mut self, field: &Field) -> &mut Vec<u8> {
        write_name(self.line, field.name());
        self.line
    }
}

/// Begins a member. Field names are identifiers of this program.
#[inline]
pub(super) fn write_name(line: &mut Vec<u8>, name: &str) {
    line.extend_from_slice(b",\"");
    line.extend_from_slice(name.as_bytes());
    line.extend_from_slice(b"\":");
}

/// Writes a text as a JSON string.
pub(super) fn write_text(line: &mut Vec<u8>, text: &str) {
    line.push(b'"');
    escape(line, text);
    line.push(b'"');
}

/// Writes an instant as RFC 3339. Most of its digits are those of the line before.
fn write_time(line: &mut Vec<u8>, now: Timestamp) {
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
        line.extend_from_slice(text.as_bytes());
    });
    line.extend_from_slice(&[digit(millis / 100), digit(millis / 10), digit(millis), b'Z']);
}

/// The last digit of a number.
fn digit(number: u64) -> u8 {
    b'0' + u8::try_from(number % 10).unwrap_or(0)
}

pub(super) fn write_flag(line: &mut Vec<u8>, flag: bool) {
    line.extend_from_slice(if flag { b"true" } else { b"false" });
}

pub(super) fn write_number(line: &mut Vec<u8>, mut number: u64) {
    /// Those of 2^64.
    const MOST: usize = 20;
    if number < 10 {
        return line.push(digit(number));
    }
    let mut digits = [0; MOST];
    let mut first = MOST;
    while first == MOST || number > 0 {
        first -= 1;
        digits[first] = digit(number);
        number /= 10;
    }
    line.extend_from_slice(&digits[first..]);
}

impl Visit for Fields<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        write_number(self.named(field), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        let line = self.named(field);
        if value < 0 {
            line.push(b'-');
        }
        write_number(line, value.unsigned_abs());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        write_flag(self.named(field), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        write_text(self.named(field), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let line = self.named(field);
        line.push(b'"');
        let result = write!(Escaped(line), "{value:?}");
        line.push(b'"');
        self.result = self.result.and(result);
    }
}

/// Escapes what passes through for the inside of a JSON string.
struct Escaped<'a>(&'a mut Vec<u8>);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(self.0, text);
        Ok(())
    }
}

/// Writes text as the inside of a JSON string (RFC 8259, section 7).
fn escape(line: &mut Vec<u8>, text: &str) {
    if is_plain(text.as_bytes()) {
        return line.extend_from_slice(text.as_bytes());
    }
    for byte in text.bytes() {
        match byte {
            b'"' => line.extend_from_slice(br#"\""#),
            b'\\' => line.extend_from_slice(br"\\"),
            b'\n' => line.extend_from_slice(br"\n"),
            ..b' ' => {
                const HALVES: [u8; 16] = *b"0123456789abcdef";
                line.extend_from_slice(b"\\u00");
                line.push(HALVES[usize::from(byte >> 4)]);
                line.push(HALVES[usize::from(byte & 15)]);
            }
            plain => line.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_becomes_the_inside_of_a_json_string() {
        for text in ["", "plain", "say \"hi\"", "a\\b", "line\nline\r\t\u{1b}[31m", "ß→🦀\u{7f}"]
        {
            let mut out = Vec::new();
            write_text(&mut out, text);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn numbers_are_written_as_they_are_elsewhere() {
        for number in [0, 9, 10, 12_345, u64::MAX] {
            let mut out = Vec::new();
            write_number(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }

    #[test]
    fn times_are_written_as_they_are_shown_elsewhere() {
        for millis in [0, 1, 999, 1_000, 1_800_000_000_042, 1_800_000_000_999, 1_800_000_001_000] {
            let at = Timestamp::from_millis(millis);
            let mut out = Vec::new();
            write_time(&mut out, at);
            assert_eq!(out, at.to_string().as_bytes());
        }
    }
}
