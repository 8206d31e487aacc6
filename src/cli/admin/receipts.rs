//! `conduit admin receipts` and `conduit admin explain`.

use std::fmt::Write as _;

use clap::Args;

use crate::admin::receipts::{Explain, Explanation, ListReceipts, PAGE, ReceiptView};
use crate::cli::session::Session;
use crate::cli::{ConfigArg, Failure, csv, output, session};
use crate::domain::pattern::Pattern;
use crate::domain::request_id::RequestId;
use crate::domain::window::Timestamp;
use crate::store::Statuses;

#[derive(Debug, Args)]
pub(in crate::cli) struct Receipts {
    /// Only of this key, by id or name
    #[arg(long)]
    key: Option<String>,
    /// Only of these models, with * for any run of characters
    #[arg(long, value_parser = Pattern::new)]
    model: Option<Pattern>,
    /// Posted from then on: 7d, 12h, or a date like 2027-01-31 [default: all there is]
    #[arg(long, value_name = "WHEN", value_parser = super::ago)]
    since: Option<Timestamp>,
    /// Posted before then
    #[arg(long, value_name = "WHEN", value_parser = super::ago)]
    until: Option<Timestamp>,
    /// Answered so: 200, 4xx
    #[arg(long)]
    status: Option<Statuses>,
    /// Only of calls that a crash broke off: what was held for them was posted
    #[arg(long)]
    recovered: bool,
    /// At most so many, the newest
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    limit: usize,
    /// Print JSON, for programs
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV, for spreadsheets
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    config: ConfigArg,
}

const HEADING: [&str; 13] = [
    "Request",
    "Posted",
    "Key",
    "Name",
    "Model",
    "Provider",
    "Status",
    "Ending",
    "Metered",
    "Input tokens",
    "Output tokens",
    "Cost USD",
    "Held USD",
];
const NUMBERS: [usize; 5] = [6, 9, 10, 11, 12];

impl Receipts {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let mut session = Session::open(&self.config)?;
        if self.csv {
            output::answer(&csv::heading(&HEADING))?;
            return self.each_page(&mut session, |page| {
                let lines: Vec<_> = page.iter().map(|receipt| csv::row(&row(receipt))).collect();
                output::answer(&lines.concat())
            });
        }
        if self.json {
            return self.json(&mut session);
        }
        let mut rows = Vec::new();
        self.each_page(&mut session, |page| {
            rows.extend(page.iter().map(row));
            Ok(())
        })?;
        output::table(&HEADING, &rows, &NUMBERS)
    }

    /// One array, a page at a time.
    fn json(&self, session: &mut Session) -> Result<(), Failure> {
        let mut before = "[\n";
        self.each_page(session, |page| {
            for receipt in page {
                let text = serde_json::to_string(receipt).map_err(std::io::Error::from)?;
                output::answer(&format!("{before}  {text}"))?;
                before = ",\n";
            }
            Ok(())
        })?;
        output::answer(if before == "[\n" { "[]\n" } else { "\n]\n" })
    }

    /// Hands over page after page, of which only one is held in memory.
    fn each_page(
        &self,
        session: &mut Session,
        mut each: impl FnMut(&[ReceiptView]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut left = self.limit;
        let mut after = None;
        while left > 0 {
            let page = session.run(ListReceipts {
                key: self.key.clone(),
                model: self.model.clone(),
                since: self.since,
                until: self.until,
                status: self.status,
                recovered: self.recovered,
                limit: left.min(PAGE),
                after,
            })?;
            each(&page)?;
            left -= page.len().min(left);
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.place()),
                _ => break,
            }
        }
        Ok(())
    }
}

fn row(receipt: &ReceiptView) -> Vec<String> {
    vec![
        receipt.id.to_string(),
        receipt.at.to_string(),
        receipt.key_id.to_string(),
        receipt.key_name.clone().unwrap_or_default(),
        receipt.model.clone(),
        receipt.provider.clone(),
        receipt.status.to_string(),
        receipt.ending.name().to_owned(),
        receipt.metered.name().to_owned(),
        receipt.input_tokens.to_string(),
        receipt.output_tokens.to_string(),
        receipt.cost_usd.to_string(),
        receipt.held_usd.to_string(),
    ]
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ExplainArgs {
    /// The id of the call: x-conduit-request-id in its answer
    request: RequestId,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArg,
}

impl ExplainArgs {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let explanation = session::run(&self.config, Explain { id: self.request })?;
        if self.json { output::json(&explanation) } else { describe(&explanation) }
    }
}

fn describe(explanation: &Explanation) -> Result<(), Failure> {
    let receipt = &explanation.receipt;
    let key_name = receipt.key_name.as_deref().unwrap_or_default();
    let first_byte =
        receipt.first_byte_ms.map_or_else(String::new, |ms| format!("{ms} ms to the first byte, "));
    let mut text = String::new();
    for (name, value) in [
        ("request", receipt.id.to_string()),
        ("key", format!("{} {key_name}", receipt.key_id)),
        (
            "model",
            format!("{} at {} as {}", receipt.model, receipt.provider, receipt.upstream_model),
        ),
        ("endpoint", receipt.endpoint.clone()),
        ("began", receipt.began.to_string()),
        ("posted", receipt.at.to_string()),
        ("took", format!("{first_byte}{} ms in all", receipt.total_ms)),
        ("status", format!("{}, {}", receipt.status, receipt.ending.name())),
        ("metered", receipt.metered.name().to_owned()),
        ("price", format!("{}, {} tier", receipt.price, receipt.service_tier)),
        ("held", format!("{} USD", receipt.held_usd)),
    ] {
        let _ = writeln!(text, "{name:<10}{}", value.trim_end());
    }
    output::answer(&text)?;
    if !receipt.lines.is_empty() {
        let rows = receipt.lines.iter().map(|line| {
            let price = line.usd_per_million.to_string();
            vec![line.class.clone(), line.count.to_string(), price, line.usd.clone()]
        });
        let mut rows: Vec<_> = rows.collect();
        let sum = explanation.sum_usd.clone();
        rows.push(vec!["sum".to_owned(), String::new(), String::new(), sum]);
        output::table(&["Class", "Count", "USD per million", "USD"], &rows, &[1, 2, 3])?;
    }
    output::answer(&format!("cost      {} USD: {}\n", receipt.cost_usd, explanation.because))
}
