//! Logs: text for people on a terminal, JSON for programs elsewhere, on standard error.
//!
//! The filter follows the configuration; the form stays what it was at the start.

mod buffer;
mod json;

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::Handle;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::config::LogFormat;
use buffer::Buffer;
use json::Json;

static BUFFER: OnceLock<Buffer> = OnceLock::new();

/// Libraries that announce every thread they start; a filter of the user's own overrides this.
const QUIET: &str = "actix_server=warn,actix_http=warn";

static FILTER: OnceLock<Handle<EnvFilter, Registry>> = OnceLock::new();

/// Starts logging. The first call decides; later ones only change the filter.
pub fn start(filter: &str, format: LogFormat) {
    if FILTER.get().is_some() {
        return set_filter(filter);
    }
    let (layer, handle) = reload::Layer::new(parse(filter));
    let is_text = match format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let registry = tracing_subscriber::registry().with(layer);
    let started = if is_text {
        let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let text = fmt::layer().with_writer(std::io::stderr).with_ansi(colours).with_target(false);
        registry.with(text).try_init()
    } else {
        let json = fmt::layer().event_format(Json);
        if let Ok(buffer) = Buffer::start() {
            let _ = BUFFER.set(buffer.clone());
            registry.with(json.with_writer(buffer)).try_init()
        } else {
            // Without a thread to gather them, lines are written one by one.
            registry.with(json.with_writer(std::io::stderr)).try_init()
        }
    };
    if started.is_ok() {
        let _ = FILTER.set(handle);
    }
}

/// Writes what has not been written yet: before the process ends.
pub fn finish() {
    if let Some(buffer) = BUFFER.get() {
        buffer.flush_now();
    }
}

/// Puts another filter in force.
pub fn set_filter(filter: &str) {
    if let Some(handle) = FILTER.get() {
        let _ = handle.reload(parse(filter));
    }
}

/// The configuration was checked; anything else falls back to what is useful.
fn parse(filter: &str) -> EnvFilter {
    EnvFilter::try_new(format!("{QUIET},{filter}"))
        .unwrap_or_else(|_| EnvFilter::new(format!("{QUIET},info")))
}
