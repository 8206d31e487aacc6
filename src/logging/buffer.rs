//! Gathers log lines and writes many at a time, on a thread of its own: a write for every call would cost
//! as much as the call, and nobody may wait for a disk or a collector that is slow.
//!
//! A line waits a fifth of a second at most; a warning or an error is written at once, with everything
//! before it. What does not fit while nothing can be written is dropped and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_millis(200);
const FULL: usize = 64 << 10;
/// What may wait at most.
const MOST: usize = 4 << 20;

/// Lines on their way to one place.
#[derive(Clone)]
pub(super) struct Buffer(Arc<Shared>);

struct Shared {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    /// Held while lines are written, so that they stay in order; never by who logs.
    place: Mutex<Place>,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Somebody wants them written now.
    urgent: bool,
    /// Nobody logs here any more.
    closed: bool,
}

/// Where lines go.
enum Place {
    StandardError,
    File { path: PathBuf, file: File },
}

impl Place {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::StandardError => io::stderr().write_all(lines),
            Self::File { file, .. } => file.write_all(lines),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

fn unpoisoned<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Buffer {
    /// Lines for standard error.
    pub(super) fn for_standard_error() -> io::Result<Self> {
        Self::start(Place::StandardError)
    }

    /// Lines for the end of a file, which is made if it is not there.
    pub(super) fn for_file(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        Self::start(Place::File { path: path.to_owned(), file })
    }

    fn start(place: Place) -> io::Result<Self> {
        let buffer = Self(Arc::new(Shared {
            waiting: Mutex::default(),
            wake: Condvar::new(),
            place: Mutex::new(place),
            dropped: AtomicU64::new(0),
        }));
        let written = buffer.clone();
        std::thread::Builder::new().name("log".to_owned()).spawn(move || written.run())?;
        Ok(buffer)
    }

    /// Writes what has gathered, again and again.
    fn run(&self) {
        loop {
            let mut waiting = unpoisoned(&self.0.waiting);
            while waiting.lines.is_empty() && !waiting.closed {
                waiting = self.0.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            let is_soon = |waiting: &mut Waiting| !waiting.urgent && !waiting.closed;
            let gathered = self.0.wake.wait_timeout_while(waiting, PATIENCE, is_soon);
            let is_closed = gathered.unwrap_or_else(PoisonError::into_inner).0.closed;
            self.flush_now();
            if is_closed {
                return;
            }
        }
    }

    /// Writes what has gathered.
    pub(super) fn flush_now(&self) {
        let mut place = unpoisoned(&self.0.place);
        let lines = {
            let mut waiting = unpoisoned(&self.0.waiting);
            waiting.urgent = false;
            std::mem::take(&mut waiting.lines)
        };
        if !lines.is_empty() && place.write(&lines).is_err() {
            // There is nowhere to say that a log cannot be written, but it can be counted.
            let count = memchr::memchr_iter(b'\n', &lines).count();
            self.0.dropped.fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    /// Takes what belongs together: a line. Never waits for it to be written.
    pub(super) fn push(&self, line: &[u8], urgent: bool) {
        let mut waiting = unpoisoned(&self.0.waiting);
        if waiting.lines.len() + line.len() > MOST {
            drop(waiting);
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let was_empty = waiting.lines.is_empty();
        waiting.lines.extend_from_slice(line);
        let is_now = (urgent || waiting.lines.len() >= FULL) && !waiting.urgent;
        waiting.urgent |= is_now;
        drop(waiting);
        if was_empty || is_now {
            self.0.wake.notify_one();
        }
    }

    /// How many lines were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Whether it writes to this file.
    pub(super) fn is_for(&self, path: &Path) -> bool {
        matches!(&*unpoisoned(&self.0.place), Place::File { path: own, .. } if own == path)
    }

    /// Goes on in a new file of the same name: the old one has been renamed.
    ///
    /// # Errors
    /// If it cannot be opened; the old one is written to until then.
    pub(super) fn reopen(&self) -> io::Result<()> {
        self.flush_now();
        if let Place::File { path, file } = &mut *unpoisoned(&self.0.place) {
            *file = open(path)?;
        }
        Ok(())
    }

    /// Writes what has gathered and ends the thread.
    pub(super) fn close(&self) {
        unpoisoned(&self.0.waiting).closed = true;
        self.0.wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_file_that_was_renamed_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("a.log"), folder.path().join("a.log.1"));
        let buffer = Buffer::for_file(&path).unwrap();
        buffer.push(b"one\n", false);
        buffer.flush_now();
        fs::rename(&path, &old).unwrap();
        buffer.push(b"two\n", false);
        buffer.reopen().unwrap();
        buffer.push(b"three\n", false);
        buffer.flush_now();
        assert_eq!((text(&old).as_str(), text(&path).as_str()), ("one\ntwo\n", "three\n"));
        buffer.close();
    }

    #[test]
    fn what_cannot_be_written_holds_nobody_up_and_is_counted() {
        // A device that takes nothing.
        let buffer = Buffer::for_file(Path::new("/dev/full")).unwrap();
        buffer.push(b"one\ntwo\n", false);
        buffer.flush_now();
        assert_eq!(buffer.dropped(), 2);
        // Nobody writes while somebody has the place.
        let place = unpoisoned(&buffer.0.place);
        let line = vec![b'x'; 1 << 20];
        for _ in 0..8 {
            buffer.push(&line, false);
        }
        // The thread may have taken what came first out before it had to wait.
        assert!((2 + 3..=2 + 4).contains(&buffer.dropped()), "{}", buffer.dropped());
        drop(place);
        buffer.close();
    }

    #[test]
    fn a_warning_is_written_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let buffer = Buffer::for_file(&path).unwrap();
        let began = std::time::Instant::now();
        buffer.push(b"one\n", false);
        buffer.push(b"two\n", true);
        while text(&path) != "one\ntwo\n" {
            assert!(began.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(1));
        }
        buffer.close();
    }
}
