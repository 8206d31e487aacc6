//! `conduit admin`: keys, teams, the bill, the state of the server.

pub(super) mod keys;
mod status;
mod teams;
mod usage;

use clap::Subcommand;

use super::Failure;

#[derive(Debug, Subcommand)]
pub(super) enum Admin {
    /// Make, list, limit, rotate and revoke keys
    #[command(subcommand, visible_alias = "key")]
    Keys(keys::Keys),
    /// Make, list, limit and delete teams: keys that share limits
    #[command(subcommand, visible_alias = "team")]
    Teams(teams::Teams),
    /// Add up what was used and what it cost
    Usage(usage::Usage),
    /// Say how the server is doing
    Status(status::ShowStatus),
}

impl Admin {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Keys(keys) => keys.run(),
            Self::Teams(teams) => teams.run(),
            Self::Usage(usage) => usage.run(),
            Self::Status(status) => status.run(),
        }
    }
}
