//! `conduit admin verify`.

use std::path::PathBuf;

use clap::Args;

use crate::admin::verify::{VerifyBooks, VerifyReport};
use crate::cli::{ConfigArg, Exit, Failure, output, session};
use crate::store::verify_file;

#[derive(Debug, Args)]
pub(in crate::cli) struct Verify {
    /// A backup, instead of the store
    file: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArg,
}

impl Verify {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let report: VerifyReport = match &self.file {
            Some(file) => verify_file(file)?.into(),
            None => session::run(&self.config, VerifyBooks {})?,
        };
        if self.json {
            output::json(&report)?;
        } else {
            describe(&report)?;
        }
        if report.agrees {
            return Ok(());
        }
        let count = report.differences.len();
        let noun = if count == 1 { "difference" } else { "differences" };
        Err(Failure::new(Exit::Failed, format!("the books do not add up: {count} {noun}")))
    }
}

fn describe(report: &VerifyReport) -> Result<(), Failure> {
    let heading = ["Of", "What", "Expected", "Found"];
    let rows = report.differences.iter().map(|difference| {
        let (expected, found) = (difference.expected.clone(), difference.found.clone());
        vec![difference.owner.clone(), difference.what.clone(), expected, found]
    });
    let rows: Vec<_> = rows.collect();
    if !rows.is_empty() {
        return output::table(&heading, &rows, &[2, 3]);
    }
    output::answer(&format!(
        "the books add up: {} keys, {} receipts and {} deleted ones, {} hourly totals, {} \
         adjustments, {} USD\n",
        report.keys,
        report.receipts,
        report.pruned_receipts,
        report.hourly_totals,
        report.adjustments,
        report.cost_usd
    ))
}
