//! `conduit admin receipts`.

use clap::Args;

use crate::admin::receipts::{ListReceipts, PAGE, ReceiptView};
use crate::cli::session::Session;
use crate::cli::{ConfigArg, Failure, csv, output};
use crate::domain::pattern::Pattern;
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
