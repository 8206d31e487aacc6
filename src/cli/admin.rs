//! `conduit admin`: keys, teams, the bill, the books, the state of the server.

mod access;
mod adjust;
mod audit;
mod backup;
mod explain;
mod holds;
pub(super) mod keys;
pub(super) mod password;
mod prices;
mod receipts;
mod status;
mod teams;
mod usage;
mod verify;

use clap::Subcommand;

use super::Failure;
use crate::clock;
use crate::domain::window::{Timestamp, parse_duration_ms};

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
    /// List receipts, newest first
    Receipts(receipts::Receipts),
    /// Show how the cost of a call came about
    Explain(explain::ExplainArgs),
    /// Show what models cost and from where that is known; update the price catalogue
    Prices(prices::Prices),
    /// List what is set aside for calls under way
    Holds(holds::Holds),
    /// Charge a key or give it money back, besides what its calls cost
    Adjust(adjust::AdjustArgs),
    /// List adjustments, newest first
    Adjustments(adjust::Adjustments),
    /// Check that receipts, totals, adjustments and windows add up
    Verify(verify::Verify),
    /// Copy the store into a file, also while the server runs
    Backup(backup::Backup),
    /// Put a backup in the place of the store, which is kept; only while no server runs
    Restore(backup::Restore),
    /// Say how the server is doing
    Status(status::ShowStatus),
    /// Set the password of the admin API and the dashboard
    Password(password::Password),
    /// Make, list and revoke tokens of the admin API
    #[command(subcommand, visible_alias = "token")]
    Tokens(access::Tokens),
    /// List and end sessions of the dashboard
    #[command(subcommand, visible_alias = "session")]
    Sessions(access::Sessions),
    /// List who changed what, newest first
    Audit(audit::Audit),
}

impl Admin {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Keys(keys) => keys.run(),
            Self::Teams(teams) => teams.run(),
            Self::Usage(usage) => usage.run(),
            Self::Receipts(receipts) => receipts.run(),
            Self::Explain(explain) => explain.run(),
            Self::Prices(prices) => prices.run(),
            Self::Holds(holds) => holds.run(),
            Self::Adjust(adjust) => adjust.run(),
            Self::Adjustments(adjustments) => adjustments.run(),
            Self::Verify(verify) => verify.run(),
            Self::Backup(backup) => backup.run(),
            Self::Restore(restore) => restore.run(),
            Self::Status(status) => status.run(),
            Self::Password(password) => password.run(),
            Self::Tokens(tokens) => tokens.run(),
            Self::Sessions(sessions) => sessions.run(),
            Self::Audit(audit) => audit.run(),
        }
    }
}

/// An instant that is so long ago, or a date.
fn ago(text: &str) -> Result<Timestamp, String> {
    match parse_duration_ms(text) {
        Ok(length) => Ok(Timestamp::from_millis(clock::now().millis().saturating_sub(length))),
        Err(_) => text.parse().map_err(|_| {
            format!("`{text}` is neither a length of time (7d, 12h) nor a date (2027-01-31)")
        }),
    }
}
