//! The commands: what can be said, and who carries it out.

mod admin;
mod check;
mod config;
mod doctor;
mod import;
mod init;
mod manual;
mod output;
mod quickstart;
mod serve;
mod session;
mod starter;
mod version;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::admin::{AdminError, csv};
use crate::config::{Environment, process_environment};
use crate::logging;
use crate::version::{VERSION, line};

/// A gateway between your programs and LLM providers: API keys of its own, spending limits that hold,
/// an exact bill.
#[derive(Debug, Parser)]
#[command(name = "conduit", version = VERSION, long_version = line(), max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Try it: make a data folder, a configuration and a key, and serve on this machine
    Quickstart(quickstart::Quickstart),
    /// Make a configuration, a store and the admin password, and serve nothing yet
    Init(init::Init),
    /// Serve calls
    Serve(serve::Serve),
    /// Check a configuration without putting it in force
    #[command(visible_alias = "validate")]
    Check(check::Check),
    /// The configuration file: check it, print an example or its JSON Schema
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Make a configuration and keys of what another gateway has
    #[command(subcommand)]
    Import(import::Import),
    /// Look at everything the gateway needs, and say what to do where something is not well
    Doctor(doctor::Doctor),
    /// Manage keys, read and check the bill, back up, see how the server is doing
    #[command(subcommand)]
    Admin(admin::Admin),
    /// Manage keys: the same as `conduit admin keys`
    #[command(subcommand, visible_alias = "key")]
    Keys(admin::keys::Keys),
    /// Say what this program was built from
    Version(version::ShowVersion),
    /// Print completions for a shell
    #[command(hide = true)]
    Completions(manual::Completions),
    /// Write the pages of the manual
    #[command(hide = true)]
    Man(manual::Man),
}

/// Which configuration a command is about.
#[derive(Clone, Debug, Args)]
struct ConfigArg {
    /// The configuration file [default: ./conduit.toml, ./conduit-data/conduit.toml or
    /// /etc/conduit/conduit.toml, whichever is there first]
    #[arg(long, short, value_name = "FILE", env = "CONDUIT_CONFIG", global = true)]
    config: Option<PathBuf>,
}

impl ConfigArg {
    fn path(&self) -> Result<PathBuf, Failure> {
        const PLACES: [&str; 3] =
            ["conduit.toml", "conduit-data/conduit.toml", "/etc/conduit/conduit.toml"];
        if let Some(path) = &self.config {
            return Ok(path.clone());
        }
        let found = PLACES.iter().map(PathBuf::from).find(|place| place.exists());
        found.ok_or_else(|| Failure {
            exit: Exit::Config,
            message: format!(
                "there is no configuration: none of {} exists. Name one with --config, or begin \
                 with `conduit init` or `conduit quickstart`",
                PLACES.join(", ")
            ),
        })
    }
}

/// What an exit code says, so that scripts can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Exit {
    Failed = 1,
    /// clap's own, for a command line that makes no sense.
    Usage = 2,
    NotFound = 3,
    Conflict = 4,
    /// `EX_UNAVAILABLE` of sysexits.h.
    Unavailable = 69,
    /// `EX_NOPERM`.
    NotPermitted = 77,
    /// `EX_CONFIG`: systemd is told not to restart for it.
    Config = 78,
}

/// Why a command was not carried out.
#[derive(Debug)]
struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        let exit = match &error {
            AdminError::NotFound(_) => Exit::NotFound,
            AdminError::Conflict(_) => Exit::Conflict,
            AdminError::Invalid(_) | AdminError::Wrong { .. } => Exit::Usage,
            AdminError::Failed(_) => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Failed, error.to_string())
    }
}

/// The environment of this process.
const fn environment() -> &'static Environment<'static> {
    &process_environment
}

/// Carries out the command line of this process.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    // ring, because rustls alone brings no cryptography; a second installation is no harm.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let outcome = match cli.command {
        Command::Quickstart(quickstart) => quickstart.run(),
        Command::Init(init) => init.run(),
        Command::Serve(serve) => serve.run(),
        Command::Check(check) => check.run(),
        Command::Config(config) => config.run(),
        Command::Import(import) => import.run(),
        Command::Version(version) => version.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Admin(admin) => admin.run(),
        Command::Keys(keys) => keys.run(),
    };
    logging::finish();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&failure.message);
            ExitCode::from(failure.exit as u8)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_makes_sense() {
        Cli::command().debug_assert();
    }
}
