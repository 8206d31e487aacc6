//! `conduit admin adjust` and `conduit admin adjustments`.

use clap::Args;

use crate::admin::AdminError;
use crate::admin::adjust::{Adjust, AdjustmentView, ListAdjustments};
use crate::cli::{ConfigArg, Exit, Failure, environment, output, session};
use crate::clock;
use crate::domain::adjustment::{AdjustmentId, Correction};

#[derive(Debug, Args)]
pub(in crate::cli) struct AdjustArgs {
    /// The key, by id or name
    key: String,
    /// Dollars: 0.50 charges the key, -0.50 gives it back. A credit takes from each of the key's
    /// present windows at most what was spent in it
    #[arg(value_name = "USD", allow_negative_numbers = true)]
    amount: Correction,
    /// Why, for whoever reads the bill
    #[arg(long, value_name = "TEXT")]
    why: String,
    /// Who adjusts [default: the user at the terminal]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// The id of an earlier try whose answer was lost: what it did is not done twice
    #[arg(long)]
    id: Option<AdjustmentId>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArg,
}

impl AdjustArgs {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let random = clock::random().map_err(AdminError::from)?;
        let id = self.id.unwrap_or_else(|| AdjustmentId::new(clock::now(), random));
        let verb = Adjust {
            id: Some(id),
            key: self.key,
            amount_usd: self.amount,
            why: self.why,
            by: self.by.unwrap_or_else(user),
        };
        let made = session::run(&self.config, verb).map_err(|mut failure| {
            if failure.exit == Exit::Failed {
                let hint = format!("; try again with --id {id}, to adjust only once");
                failure.message.push_str(&hint);
            }
            failure
        })?;
        if self.json {
            return output::json(&made);
        }
        let name = made.key_name.as_deref().unwrap_or_default();
        output::note(&format!("{} USD for key {} `{name}`", made.amount_usd, made.key_id));
        for window in &made.windows {
            if window.counted_usd != made.amount_usd.amount() {
                output::note(&format!(
                    "in the {} window only {}: no more was spent in it",
                    window.period, window.counted_usd
                ));
            }
        }
        output::answer(&format!("{}\n", made.id))
    }
}

/// Whoever is at the terminal, also behind sudo; a claim, not a proof.
fn user() -> String {
    let names = ["SUDO_USER", "USER", "LOGNAME"].into_iter();
    names.filter_map(environment()).find(|name| !name.is_empty()).unwrap_or_default()
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Adjustments {
    /// Only of this key, by id or name
    #[arg(long)]
    key: Option<String>,
    /// At most so many, the newest
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    limit: usize,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArg,
}

impl Adjustments {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let verb = ListAdjustments { key: self.key, limit: self.limit, after: None };
        let all = session::run(&self.config, verb)?;
        if self.json {
            return output::json(&all);
        }
        if all.is_empty() && output::is_terminal() {
            output::note("nothing was ever adjusted");
            return Ok(());
        }
        let heading = ["Id", "When", "Key", "Name", "USD", "By", "Why"];
        let rows: Vec<_> = all.into_iter().map(row).collect();
        output::table(&heading, &rows, &[4])
    }
}

fn row(adjustment: AdjustmentView) -> Vec<String> {
    vec![
        adjustment.id.to_string(),
        adjustment.at.to_string(),
        adjustment.key_id.to_string(),
        adjustment.key_name.unwrap_or_default(),
        adjustment.amount_usd.to_string(),
        adjustment.by,
        adjustment.why,
    ]
}
