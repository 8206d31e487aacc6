//! Gathers log lines and writes many at a time: a write for every call would cost as much as the call.
//!
//! A line waits a fifth of a second at most; a warning or an error takes everything before it along
//! at once. What a log collector does not take in time is the only thing that may hold up a caller.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

const PATIENCE: Duration = Duration::from_millis(200);
const FULL: usize = 64 << 10;

/// Lines on their way to standard error.
#[derive(Clone, Default)]
pub(super) struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    /// Writes what has gathered, again and again, on a thread of its own.
    pub(super) fn start() -> io::Result<Self> {
        let buffer = Self::default();
        let written = buffer.clone();
        std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            loop {
                std::thread::sleep(PATIENCE);
                written.flush_now();
            }
        })?;
        Ok(buffer)
    }

    /// Writes what has gathered.
    pub(super) fn flush_now(&self) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !lines.is_empty() {
            // There is nowhere to say that the log cannot be written.
            let _ = io::stderr().write_all(&lines);
            lines.clear();
        }
    }
}

/// Takes one line.
pub(super) struct Line<'a> {
    buffer: &'a Buffer,
    urgent: bool,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lines = self.buffer.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.extend_from_slice(bytes);
        let is_full = lines.len() >= FULL;
        drop(lines);
        if self.urgent || is_full {
            self.buffer.flush_now();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Buffer {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { buffer: self, urgent: true }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        Line { buffer: self, urgent: *metadata.level() <= Level::WARN }
    }
}
