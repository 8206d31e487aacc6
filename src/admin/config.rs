//! The configuration as it is in force, and what is wrong with the file as it is now.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AdminError, Desk, Verb};
use crate::config::live::FailedReload;
use crate::config::{Live, Problem, Problems};
use crate::domain::window::Timestamp;

/// Asks which configuration is in force.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowConfig {}

/// The state of the configuration. Values are not shown: some are secrets.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ConfigView {
    pub file: String,
    /// How often a configuration was put in force since the start.
    pub generation: u64,
    pub in_force_since: Timestamp,
    /// BLAKE3 of the file's text that is in force.
    pub digest: String,
    pub providers: u64,
    pub models: u64,
    /// Environment variables that took the place of an option.
    pub overrides: Vec<OverrideView>,
    /// Options whose change takes effect at the next start.
    pub waiting_for_restart: Vec<String>,
    /// Why the file as it is now is not in force; the configuration in force is an earlier one.
    pub failure: Option<FailureView>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct OverrideView {
    pub variable: String,
    pub option: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FailureView {
    pub at: Timestamp,
    /// All problems with the lines they are in, as `conduit check` shows them.
    pub text: String,
    pub problems: Vec<ProblemView>,
}

/// One thing that is wrong with the file.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProblemView {
    pub message: String,
    /// A word or two for the place itself.
    pub label: Option<String>,
    pub help: Option<String>,
    /// Absent for what is not in the file, such as a variable.
    pub line: Option<u64>,
    pub column: Option<u64>,
}

impl Verb for ShowConfig {
    type Answer = ConfigView;
    const PATH: &'static str = "config";
    const CHANGES: bool = false;

    fn run(self, desk: &Desk) -> Result<ConfigView, AdminError> {
        let live = running(desk)?;
        let snapshot = live.snapshot();
        let config = &snapshot.config;
        let overrides = config.overrides.iter().map(|change| OverrideView {
            variable: change.variable.to_owned(),
            option: change.option.to_owned(),
        });
        Ok(ConfigView {
            file: live.path().display().to_string(),
            generation: snapshot.generation,
            in_force_since: snapshot.loaded_at,
            digest: snapshot.digest.to_hex().to_string(),
            providers: config.providers.len() as u64,
            models: config.routes.list().len() as u64,
            overrides: overrides.collect(),
            waiting_for_restart: snapshot.needs_restart.iter().map(|&o| o.to_owned()).collect(),
            failure: live.failed().map(|failed| failure(&failed)),
        })
    }
}

/// The configuration in force, which only a server has.
pub(super) fn running(desk: &Desk) -> Result<&Live, AdminError> {
    desk.live.as_deref().ok_or_else(|| {
        AdminError::Conflict("no server runs, so no configuration is in force".to_owned())
    })
}

fn failure(failed: &FailedReload) -> FailureView {
    let problems = &failed.problems;
    FailureView {
        at: failed.at,
        text: problems.render(false),
        problems: problems.list().iter().map(|problem| view(problems, problem)).collect(),
    }
}

fn view(problems: &Problems, problem: &Problem) -> ProblemView {
    let place = problem.span.as_ref().map(|span| problems.position(span.start));
    ProblemView {
        message: problem.message.clone(),
        label: Some(problem.label.clone()).filter(|label| !label.is_empty()),
        help: problem.help.clone(),
        line: place.map(|(line, _)| line as u64),
        column: place.map(|(_, column)| column as u64),
    }
}
