//! `conduit admin usage`.

use clap::{Args, ValueEnum};

use crate::admin::usage::{self, ReportUsage, UsageLine, UsageReport};
use crate::cli::{ConfigArg, Failure, output, session};
use crate::domain::pattern::Pattern;
use crate::domain::window::Timestamp;
use crate::store::Grouping;

#[derive(Debug, Args)]
pub(in crate::cli) struct Usage {
    /// Only this key, by id or name
    #[arg(long)]
    key: Option<String>,
    /// Only these models, with * for any run of characters
    #[arg(long, value_parser = Pattern::new)]
    model: Option<Pattern>,
    /// From when on: 7d, 12h, or a date like 2027-01-31; counted from the start of that hour
    /// [default: all there is]
    #[arg(long, value_name = "WHEN", value_parser = super::ago)]
    since: Option<Timestamp>,
    /// Until when, without that hour [default: now]
    #[arg(long, value_name = "WHEN", value_parser = super::ago)]
    until: Option<Timestamp>,
    /// What to add up by
    #[arg(long, value_enum, default_value_t = By::Day)]
    by: By,
    /// Print JSON, for programs
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV, for spreadsheets
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    Hour,
    Day,
    Key,
    Model,
    Provider,
}

impl Usage {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let by = match self.by {
            By::Hour => Grouping::Hour,
            By::Day => Grouping::Day,
            By::Key => Grouping::Key,
            By::Model => Grouping::Model,
            By::Provider => Grouping::Provider,
        };
        let verb = ReportUsage {
            key: self.key,
            model: self.model,
            since: self.since,
            until: self.until,
            by,
            per: None,
            zone: None,
        };
        let report = session::run(&self.config, verb)?;
        if self.json {
            return output::json(&report);
        }
        if self.csv {
            return output::answer(&usage::csv(&report));
        }
        let rows = report.rows.iter().map(|line| row(&report, line)).collect();
        table(&report, rows)
    }
}

/// How many columns are sums.
const SUMS: usize = 7;

fn heading(by: Grouping) -> Vec<&'static str> {
    let mut heading = match by {
        Grouping::Hour => vec!["Hour"],
        Grouping::Day => vec!["Day"],
        Grouping::Key => vec!["Key", "Name"],
        Grouping::Model => vec!["Provider", "Model"],
        Grouping::Provider => vec!["Provider"],
    };
    heading.extend([
        "Calls",
        "Failed",
        "Input tokens",
        "of them cached",
        "Output tokens",
        "Cost USD",
        "Adjusted USD",
    ]);
    heading
}

fn row(report: &UsageReport, line: &UsageLine) -> Vec<String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let mut row = match report.by {
        Grouping::Hour => vec![line.hour.map(|hour| hour.to_string()).unwrap_or_default()],
        // A day in UTC: what stands before the T.
        Grouping::Day => {
            let day = line.day.map(|day| day.to_string()).unwrap_or_default();
            vec![day.split('T').next().unwrap_or_default().to_owned()]
        }
        Grouping::Key => {
            vec![line.key_id.map(|id| id.to_string()).unwrap_or_default(), text(&line.key_name)]
        }
        Grouping::Model if line.model.is_none() => vec![String::new(), "(adjustments)".to_owned()],
        Grouping::Model => vec![text(&line.provider), text(&line.model)],
        Grouping::Provider if line.provider.is_none() => vec!["(adjustments)".to_owned()],
        Grouping::Provider => vec![text(&line.provider)],
    };
    row.extend(sums(line));
    row
}

fn sums(line: &UsageLine) -> [String; SUMS] {
    [
        line.calls.to_string(),
        line.failed.to_string(),
        line.input_tokens.to_string(),
        line.cached_input_tokens.to_string(),
        line.output_tokens.to_string(),
        line.cost_usd.to_string(),
        line.corrected().to_string(),
    ]
}

fn table(report: &UsageReport, mut rows: Vec<Vec<String>>) -> Result<(), Failure> {
    let heading = heading(report.by);
    let names = heading.len() - SUMS;
    if output::is_terminal() {
        let mut total = vec!["total".to_owned()];
        total.resize(names, String::new());
        total.extend(sums(&report.total));
        rows.push(total);
    }
    let numbers: Vec<_> = (names..heading.len()).collect();
    output::table(&heading, &rows, &numbers)
}
