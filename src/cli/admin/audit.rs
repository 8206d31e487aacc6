//! `conduit admin audit`: who changed what.

use clap::Args;

use super::keys::Common;
use crate::admin::audit::{AuditView, ListAudit};
use crate::cli::{Failure, output, session};
use crate::domain::window::Timestamp;

#[derive(Debug, Args)]
pub(in crate::cli) struct Audit {
    /// From when on: 7d, 12h, or a date like 2027-01-31 [default: all there is]
    #[arg(long, value_name = "WHEN", value_parser = super::ago)]
    since: Option<Timestamp>,
    /// Only changes of this kind: keys/create
    #[arg(long)]
    verb: Option<String>,
    /// Only changes of what has this id
    #[arg(long, value_name = "ID")]
    target: Option<String>,
    /// Only changes by a token's or a session's id or name, or a door: socket, stranger
    #[arg(long)]
    by: Option<String>,
    /// How many at most
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    common: Common,
}

impl Audit {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let verb = ListAudit {
            since: self.since,
            verb: self.verb,
            target: self.target,
            by: self.by,
            limit: self.limit,
            ..ListAudit::default()
        };
        let entries = session::run(&self.common.config, verb)?;
        if self.common.json {
            return output::json(&entries);
        }
        let heading = ["At", "By", "What", "Of", "Outcome", "Asked"];
        output::table(&heading, &entries.iter().map(row).collect::<Vec<_>>(), &[])
    }
}

fn row(entry: &AuditView) -> Vec<String> {
    let outcome = match &entry.reason {
        Some(reason) => format!("{}: {reason}", entry.outcome.name()),
        None => entry.outcome.name().to_owned(),
    };
    vec![
        entry.at.to_string(),
        entry.by.to_string(),
        entry.verb.clone(),
        entry.target.clone().unwrap_or_default(),
        outcome,
        entry.parameters.to_string(),
    ]
}
