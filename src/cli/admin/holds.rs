//! `conduit admin holds`.

use clap::Args;

use crate::admin::holds::{HoldView, ListHolds};
use crate::cli::{ConfigArg, Failure, output, session};

#[derive(Debug, Args)]
pub(in crate::cli) struct Holds {
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArg,
}

impl Holds {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let holds = session::run(&self.config, ListHolds {})?;
        if self.json {
            return output::json(&holds);
        }
        if holds.is_empty() && output::is_terminal() {
            output::note("nothing is on hold");
            return Ok(());
        }
        let heading = ["Request", "Key", "Name", "Model", "Provider", "Held USD", "Since", "Age s"];
        let rows: Vec<_> = holds.into_iter().map(row).collect();
        output::table(&heading, &rows, &[5, 7])
    }
}

fn row(hold: HoldView) -> Vec<String> {
    vec![
        hold.id.to_string(),
        hold.key_id.to_string(),
        hold.key_name.unwrap_or_default(),
        hold.model,
        hold.provider,
        hold.amount_usd.to_string(),
        hold.since.to_string(),
        format!("{}.{}", hold.age_ms / 1_000, hold.age_ms % 1_000 / 100),
    ]
}
