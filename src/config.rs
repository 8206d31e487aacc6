//! The configuration: one TOML file, checked as a whole, and the environment.
//!
//! `file` is what was written, `check` decides what is true, `model` is what is in force, `live`
//! swaps it while calls run. Only this module reads the file, the environment and provider keys; a
//! configuration with a problem must never come into force, not even in part.

mod base_url;
pub mod certificate;
mod check;
mod file;
pub mod live;
mod model;
mod paths;
mod price;
mod problem;
mod reader;
mod routes;
pub mod schema;
mod secrets;
mod shape;

use std::fs;
use std::path::Path;

pub use base_url::BaseUrl;
pub use certificate::Certificate;
pub use check::{Secrets, check};
pub use live::{Live, Snapshot};
pub use model::{
    Acme, Admin, Alerts, Aws, Binding, ClientGone, Config, Credentials, ExtraHeader, Limits, Log,
    LogFormat, MetricsFor, Override, Provider, Routing, Server, Sticky, Store, Timeouts, Tls,
    Tracing, Webhook,
};
pub use paths::Paths;
pub use problem::{Problem, Problems};
pub use routes::{Candidate, Route, RouteMatch, Routes, Target};
pub use secrets::Environment;

/// Every option with its default and what it does; valid as it is.
pub const EXAMPLE: &str = include_str!("../conduit.toml.example");

/// Reads and checks a file.
///
/// # Errors
/// All that is wrong with it, or that it cannot be read.
pub fn load(
    path: &Path,
    environment: &Environment<'_>,
    secrets: Secrets,
) -> Result<Config, Problems> {
    check(path, &read(path)?, environment, secrets)
}

/// Reads a file as text.
pub(crate) fn read(path: &Path) -> Result<String, Problems> {
    let problems = |message: String| {
        let list = vec![Problem::nowhere(message)];
        Problems::new(path.display().to_string(), "", &[], list)
    };
    let bytes = fs::read(path).map_err(|e| problems(format!("the file cannot be read: {e}")))?;
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()]
            .split(|byte| *byte == b'\n')
            .count();
        problems(format!("the file is not text in UTF-8: see line {line}"))
    })
}

/// The process environment. A variable that is not text counts as absent.
pub fn process_environment(name: &str) -> Option<String> {
    std::env::var_os(name)?.into_string().ok()
}
