//! Logs: text for people on a terminal, JSON for programs elsewhere, on standard error; the lines of calls
//! and of administrators' changes in files of their own, if the configuration names any.
//!
//! Filter, form and files follow the configuration. Nobody who logs waits for a line to be written.

mod buffer;
mod call;
mod json;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload::Handle;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt as format, reload};

pub(crate) use call::name;
pub use call::{Fields, Name, call};

use crate::config::{Log, LogFormat};
use buffer::Buffer;
use json::Json;

/// The target of the lines of calls.
pub const ACCESS: &str = "access";
/// The target of the lines of changes by administrators.
pub const AUDIT: &str = "audit";

/// Libraries that announce every thread they start; a filter of the user's own overrides this.
const QUIET: &str = "actix_server=warn,actix_http=warn";

static FILTER: OnceLock<Handle<EnvFilter, Registry>> = OnceLock::new();
/// Lines for standard error; absent where no thread could be started to write them.
static BUFFER: OnceLock<Buffer> = OnceLock::new();
static IS_TEXT: AtomicBool = AtomicBool::new(false);
/// Where the lines of each kind go that has a file.
static FILES: [(&str, ArcSwapOption<Buffer>); 2] =
    [(ACCESS, ArcSwapOption::const_empty()), (AUDIT, ArcSwapOption::const_empty())];

/// Starts logging as the configuration says. Later calls are as [`follow`].
pub fn start(log: &Log) {
    if FILTER.get().is_some() {
        return follow(log);
    }
    if let Ok(buffer) = Buffer::for_standard_error() {
        let _ = BUFFER.set(buffer);
    }
    let (filter, handle) = reload::Layer::new(parse(log));
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let form = Form { text: format::format().with_target(false) };
    let lines = format::layer().event_format(form).with_ansi(colours).with_writer(Lines);
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok() {
        let _ = FILTER.set(handle);
    }
    follow(log);
}

/// Puts the filter, the form and the files of a configuration in force.
pub fn follow(log: &Log) {
    if let Some(handle) = FILTER.get() {
        let _ = handle.reload(parse(log));
    }
    let is_text = match log.format {
        LogFormat::Auto => io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    IS_TEXT.store(is_text, Ordering::Relaxed);
    for ((_, place), path) in FILES.iter().zip([&log.access, &log.audit]) {
        turn_to(place, path.as_deref());
    }
}

/// Has the lines of one kind go to another file, or to where all others go.
fn turn_to(place: &ArcSwapOption<Buffer>, path: Option<&Path>) {
    let before = place.load_full();
    if before.as_deref().is_some_and(|before| path.is_some_and(|path| before.is_for(path))) {
        return;
    }
    let opened = path.map(|path| (path, Buffer::for_file(path)));
    let file = opened.and_then(|(path, opened)| match opened {
        Ok(file) => Some(file),
        Err(error) => {
            let file = path.display();
            tracing::error!(%file, "the file of a log cannot be opened, its lines stay here: {error}");
            None
        }
    });
    if before.is_none() && file.is_none() {
        return;
    }
    place.store(file.map(std::sync::Arc::new));
    if let Some(before) = before {
        before.close();
    }
}

/// Goes on in new files of the same names: for a signal that says that the old ones were renamed.
pub fn reopen() {
    for (_, place) in &FILES {
        if let Some(file) = &*place.load() {
            file.reopen();
        }
    }
}

/// How many lines were dropped because they could not be written, by where they were to go.
pub fn dropped() -> [(&'static str, u64); 3] {
    let main = BUFFER.get().map_or(0, Buffer::dropped);
    let of = |index: usize| {
        let (kind, place): &(&str, _) = &FILES[index];
        (*kind, place.load().as_ref().map_or(0, |file| file.dropped()))
    };
    [("main", main), of(0), of(1)]
}

/// Writes what has not been written yet: before the process ends.
pub fn finish() {
    if let Some(buffer) = BUFFER.get() {
        let _ = buffer.flush_now();
    }
    for (_, place) in &FILES {
        if let Some(file) = &*place.load() {
            let _ = file.flush_now();
        }
    }
}

/// The configuration was checked; anything else falls back to what is useful. Lines that have a file of
/// their own are wanted there, whatever else is not.
fn parse(log: &Log) -> EnvFilter {
    let own = |path: &Option<_>, kind: &str| {
        path.as_ref().map(|_| format!("{kind}=info,")).unwrap_or_default()
    };
    let own = own(&log.access, ACCESS) + &own(&log.audit, AUDIT);
    EnvFilter::try_new(format!("{QUIET},{own}{}", log.filter))
        .unwrap_or_else(|_| EnvFilter::new(format!("{QUIET},{own}info")))
}

/// The file of a target's own, if it has one.
fn file_of(target: &str) -> Option<arc_swap::Guard<Option<std::sync::Arc<Buffer>>>> {
    let (_, place) = FILES.iter().find(|(kind, _)| *kind == target)?;
    Some(place.load()).filter(|file| file.is_some())
}

/// Whether lines of a target are JSON where they go.
fn takes_json(target: &str) -> bool {
    FILTER.get().is_some() && (!IS_TEXT.load(Ordering::Relaxed) || file_of(target).is_some())
}

/// Text or JSON, as is in force when a line is written; files are JSON always.
struct Form {
    text: Format<Full>,
}

impl<S, N> FormatEvent<S, N> for Form
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if takes_json(event.metadata().target()) {
            return Json.format_event(context, writer, event);
        }
        self.text.format_event(context, writer, event)
    }
}

/// Takes lines to where they go.
struct Lines;

/// One line.
struct Line {
    file: Option<std::sync::Arc<Buffer>>,
    urgent: bool,
}

impl Line {
    fn new(target: &str, level: Level) -> Self {
        let file = file_of(target).and_then(|file| file.as_ref().map(std::sync::Arc::clone));
        // People who read along want to see each line when it comes.
        let urgent = level <= Level::WARN || IS_TEXT.load(Ordering::Relaxed);
        Self { file, urgent }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.file.as_deref().or_else(|| BUFFER.get()) {
            Some(buffer) => buffer.push(bytes, self.urgent),
            // Without a thread to gather them, lines are written one by one.
            None => io::stderr().write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { file: None, urgent: true }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line {
        Line::new(metadata.target(), *metadata.level())
    }
}
