//! Gathers log lines and writes many at a time, on a thread of its own: a write for every call would cost
//! as much as the call, and nobody may wait for a disk or a collector that is slow.
//!
//! A line waits a fifth of a second at most; a warning or an error is written at once, with everything
//! before it. What does not fit while nothing can be written is dropped and counted. Who logs, reloads or
//! rotates must never wait for a place that is slow: only the thread and the end of the process do.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_millis(200);
/// What is written before its time: each write costs as much as a good part of its bytes.
const FULL: usize = 256 << 10;
/// What may wait at most.
const MOST: usize = 4 << 20;
/// Room that is kept for the next lines.
const KEPT: usize = 1 << 20;

/// Lines on their way to one place.
#[derive(Clone)]
pub(super) struct Buffer(Arc<Shared>);

struct Shared {
    /// Absent for standard error.
    path: Option<PathBuf>,
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
    /// The file has been renamed.
    renamed: bool,
    /// Nobody logs here any more.
    closed: bool,
}

/// Where lines go.
struct Place {
    /// Standard error without.
    file: Option<File>,
    /// What is written now; its room is used again.
    lines: Vec<u8>,
    /// The last line that was written lacks its end.
    is_torn: bool,
}

impl Place {
    fn new(file: Option<File>) -> Self {
        Self { file, lines: Vec::new(), is_torn: false }
    }

    /// Writes the lines, and says how many could not be if that goes wrong.
    fn write(&mut self) -> Result<(), (u64, io::Error)> {
        let lines = &self.lines;
        let mut out: &mut dyn Write = match &mut self.file {
            Some(file) => file,
            None => &mut io::stderr(),
        };
        // So that no line is spoiled but the one that was cut.
        let mended = if self.is_torn { write_all(&mut out, b"\n").1 } else { Ok(()) };
        let (written, result) = match mended {
            Ok(()) => write_all(&mut out, lines),
            Err(error) => (0, Err(error)),
        };
        if written > 0 {
            self.is_torn = lines[..written].last() != Some(&b'\n');
        }
        let lost = memchr::memchr_iter(b'\n', &lines[written..]).count() as u64;
        let result = result.map_err(|error| (lost, error));
        self.lines.clear();
        self.lines.shrink_to(KEPT);
        result
    }
}

/// Writes all, or says how much of it was written.
fn write_all(out: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match out.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
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
        Self::start(None, Place::new(None))
    }

    /// Lines for the end of a file, which is made if it is not there.
    pub(super) fn for_file(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        Self::start(Some(path.to_owned()), Place::new(Some(file)))
    }

    fn start(path: Option<PathBuf>, place: Place) -> io::Result<Self> {
        let buffer = Self(Arc::new(Shared {
            path,
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
        let mut was_written = true;
        loop {
            let mut waiting = unpoisoned(&self.0.waiting);
            let is_idle = |w: &Waiting| w.lines.is_empty() && !w.closed && !w.renamed;
            while is_idle(&waiting) {
                waiting = self.0.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            let is_soon = |w: &mut Waiting| !w.urgent && !w.closed && !w.renamed;
            let gathered = self.0.wake.wait_timeout_while(waiting, PATIENCE, is_soon);
            let mut waiting = gathered.unwrap_or_else(PoisonError::into_inner).0;
            let is_closed = waiting.closed;
            let is_renamed = std::mem::take(&mut waiting.renamed);
            drop(waiting);
            let written = self.flush_now();
            if was_written && let Err(error) = &written {
                self.complain("a log cannot be written, its lines are dropped", error);
            }
            was_written = written.is_ok();
            if is_renamed && let Err(error) = self.begin_anew() {
                self.complain("a log's file cannot be opened anew, the old one is kept", &error);
            }
            if is_closed {
                return;
            }
        }
    }

    /// Says on standard error what is wrong with a file. Of standard error itself there is nowhere to.
    fn complain(&self, what: &str, error: &io::Error) {
        if let Some(path) = &self.0.path {
            tracing::error!(file = %path.display(), "{what}: {error}");
        }
    }

    /// Writes what has gathered.
    ///
    /// # Errors
    /// If it cannot be written; what was lost is counted.
    pub(super) fn flush_now(&self) -> io::Result<()> {
        let mut place = unpoisoned(&self.0.place);
        {
            let mut waiting = unpoisoned(&self.0.waiting);
            waiting.urgent = false;
            std::mem::swap(&mut waiting.lines, &mut place.lines);
        }
        if place.lines.is_empty() {
            return Ok(());
        }
        place.write().map_err(|(lost, error)| {
            self.0.dropped.fetch_add(lost, Ordering::Relaxed);
            error
        })
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
        let is_late = waiting.closed;
        drop(waiting);
        if is_late {
            // It had begun before the place was changed, and there is no thread any more.
            let _ = self.flush_now();
        } else if was_empty || is_now {
            self.0.wake.notify_one();
        }
    }

    /// How many lines were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Whether it writes to this file.
    pub(super) fn is_for(&self, path: &Path) -> bool {
        self.0.path.as_deref() == Some(path)
    }

    /// Has the thread go on in a new file of the same name, for the old one has been renamed.
    pub(super) fn reopen(&self) {
        unpoisoned(&self.0.waiting).renamed = true;
        self.0.wake.notify_one();
    }

    /// Goes on in a new file of the same name.
    ///
    /// # Errors
    /// If it cannot be opened; the old one is written to until then.
    fn begin_anew(&self) -> io::Result<()> {
        if let Some(path) = &self.0.path {
            let mut place = unpoisoned(&self.0.place);
            *place = Place::new(Some(open(path)?));
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
        buffer.flush_now().unwrap();
        fs::rename(&path, &old).unwrap();
        buffer.push(b"two\n", false);
        buffer.reopen();
        let began = std::time::Instant::now();
        while !path.exists() {
            assert!(began.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(1));
        }
        // The thread has the place until it has changed it.
        buffer.push(b"three\n", false);
        buffer.flush_now().unwrap();
        assert_eq!((text(&old).as_str(), text(&path).as_str()), ("one\ntwo\n", "three\n"));
        buffer.close();
    }

    #[test]
    fn what_cannot_be_written_holds_nobody_up_and_is_counted() {
        // A device that takes nothing.
        let buffer = Buffer::for_file(Path::new("/dev/full")).unwrap();
        buffer.push(b"one\ntwo\n", false);
        // By the thread, or here.
        let _ = buffer.flush_now();
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

    #[test]
    fn a_line_that_was_cut_spoils_no_other() {
        /// Takes so many bytes, and then nothing.
        struct Full(usize);

        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let taken = bytes.len().min(self.0).min(3);
                self.0 -= taken;
                if taken == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let (written, result) = write_all(&mut Full(5), b"one\ntwo\n");
        assert_eq!((written, result.unwrap_err().kind()), (5, io::ErrorKind::StorageFull));
        assert_eq!(write_all(&mut Full(8), b"one\ntwo\n").0, 8);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let mut place = Place::new(Some(open(&path).unwrap()));
        for lines in ["one\ntw", "three\n", "four\n"] {
            place.lines.extend_from_slice(lines.as_bytes());
            place.write().unwrap();
        }
        assert_eq!(text(&path), "one\ntw\nthree\nfour\n");
    }

    #[test]
    fn what_comes_after_the_end_is_written_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let buffer = Buffer::for_file(&path).unwrap();
        buffer.close();
        buffer.push(b"late\n", false);
        let began = std::time::Instant::now();
        while text(&path) != "late\n" {
            assert!(began.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
