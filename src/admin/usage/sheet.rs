//! A usage report as a spreadsheet reads it: the same by every door.
//!
//! Its columns follow from what the report is by: there is none that nothing could stand in.

use super::{UsageLine, UsageReport};
use crate::admin::csv;
use crate::store::{Grouping, Step};

/// A column: its heading, and what stands in it.
type Column = (&'static str, fn(&UsageReport, &UsageLine) -> String);

const HOUR: Column = ("hour", |_, row| shown(row.hour.as_ref()));
/// As they call it where the report's days are those of.
const DAY: Column =
    ("day", |report, row| row.day.map(|day| report.zone.date(day).to_string()).unwrap_or_default());
const KEY: [Column; 2] = [
    ("key_id", |_, row| shown(row.key_id.as_ref())),
    ("key_name", |_, row| shown(row.key_name.as_ref())),
];
const PROVIDER: Column = ("provider", |_, row| shown(row.provider.as_ref()));
/// Adjustments are of no model.
const MODEL: Column =
    ("model", |_, row| row.model.clone().unwrap_or_else(|| "(adjustments)".to_owned()));

const SUMS: [Column; 12] = [
    ("calls", |_, row| row.calls.to_string()),
    ("failed", |_, row| row.failed.to_string()),
    ("estimated", |_, row| row.estimated.to_string()),
    ("input_tokens", |_, row| row.input_tokens.to_string()),
    ("cached_input_tokens", |_, row| row.cached_input_tokens.to_string()),
    ("output_tokens", |_, row| row.output_tokens.to_string()),
    ("cost_usd", |_, row| row.cost_usd.to_string()),
    ("adjusted_usd", |_, row| row.corrected().to_string()),
    ("first_byte_median_ms", |_, row| shown(row.first_byte_ms.median.as_ref())),
    ("first_byte_p95_ms", |_, row| shown(row.first_byte_ms.p95.as_ref())),
    ("total_median_ms", |_, row| shown(row.total_ms.median.as_ref())),
    ("total_p95_ms", |_, row| shown(row.total_ms.p95.as_ref())),
];

fn shown(value: Option<&impl ToString>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

fn columns(report: &UsageReport) -> Vec<Column> {
    let mut columns = match report.by.step(report.per) {
        Some(Step::Hour) => vec![HOUR],
        Some(Step::Day) => vec![DAY],
        None => Vec::new(),
    };
    match report.by {
        Grouping::Hour | Grouping::Day => {}
        Grouping::Key => columns.extend(KEY),
        Grouping::Model => columns.extend([PROVIDER, MODEL]),
        Grouping::Provider => columns.push(PROVIDER),
    }
    columns.extend(SUMS);
    columns
}

/// The rows under a heading.
pub fn csv(report: &UsageReport) -> String {
    let columns = columns(report);
    let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
    let mut text = csv::heading(&names);
    for row in &report.rows {
        let fields: Vec<_> = columns.iter().map(|(_, field)| field(report, row)).collect();
        text.push_str(&csv::row(&fields));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(by: Grouping, per: Option<Step>, row: UsageLine) -> UsageReport {
        UsageReport {
            since: "2027-01-01".parse().unwrap(),
            until: None,
            by,
            per,
            zone: "Pacific/Auckland".parse().unwrap(),
            rows: vec![row],
            total: UsageLine::default(),
        }
    }

    #[test]
    fn there_is_a_column_for_all_that_a_report_is_by_and_for_nothing_else() {
        for (by, per, expected) in [
            (Grouping::Hour, None, "hour,calls"),
            (Grouping::Day, None, "day,calls"),
            (Grouping::Day, Some(Step::Hour), "hour,calls"),
            (Grouping::Key, None, "key_id,key_name,calls"),
            (Grouping::Model, Some(Step::Day), "day,provider,model,calls"),
            (Grouping::Provider, None, "provider,calls"),
        ] {
            let text = csv(&report(by, per, UsageLine::default()));
            assert!(text.starts_with(expected), "{text}");
            assert!(text.lines().next().unwrap().ends_with(",total_median_ms,total_p95_ms"));
        }
    }

    #[test]
    fn a_day_is_the_date_where_it_began() {
        // Midnight in New Zealand, in its summer.
        let day = Some("2027-01-31T11:00:00Z".parse().unwrap());
        let row = UsageLine { day, calls: 3, ..UsageLine::default() };
        let text = csv(&report(Grouping::Day, None, row));
        assert!(text.lines().nth(1).unwrap().starts_with("2027-02-01,3,0,"), "{text}");
    }
}
