//! `conduit config`: the configuration file, checked, explained and described for editors.

use clap::{Args, Subcommand};

use super::{Failure, check, output};
use crate::config::{EXAMPLE, schema};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check a configuration without putting it in force: the same as `conduit check`
    #[command(visible_alias = "validate")]
    Check(check::Check),
    /// Print a configuration in which every option is explained
    Example,
    /// Print the JSON Schema of the configuration, for editors
    Schema(Schema),
}

#[derive(Debug, Args)]
pub(super) struct Schema {
    /// In one line
    #[arg(long)]
    compact: bool,
}

impl ConfigCommand {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Check(check) => check.run(),
            Self::Example => output::answer(EXAMPLE),
            Self::Schema(Schema { compact: true }) => {
                output::answer(&format!("{}\n", schema::schema()))
            }
            Self::Schema(Schema { compact: false }) => output::json(&schema::schema()),
        }
    }
}
