//! `conduit admin explain`.

use std::fmt::Write as _;

use clap::Args;

use crate::admin::explain::{Explain, Explanation};
use crate::admin::receipts::LineView;
use crate::cli::{ConfigArg, Exit, Failure, output, session};
use crate::domain::request_id::RequestId;

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
        if self.json {
            output::json(&explanation)?;
        } else {
            describe(&explanation)?;
        }
        if explanation.adds_up {
            return Ok(());
        }
        Err(Failure::new(Exit::Failed, format!("the receipt of {} does not add up", self.request)))
    }
}

fn describe(explanation: &Explanation) -> Result<(), Failure> {
    let receipt = &explanation.receipt;
    output::answer(&facts(explanation))?;
    if !receipt.lines.is_empty() {
        let mut rows: Vec<_> = receipt.lines.iter().map(row).collect();
        let (sum, rounded) = (explanation.sum_usd.clone(), explanation.rounded_usd.to_string());
        rows.push(total("sum", sum));
        rows.push(total("rounded up", rounded));
        let heading = ["Class", "Count", "USD per million", "Nano-USD", "USD", "Rate"];
        output::table(&heading, &rows, &[1, 2, 3, 4])?;
    }
    let because = &explanation.because;
    output::answer(&format!("cost      {} USD: {because}\n", receipt.cost_usd))?;
    attempts(explanation)
}

fn facts(explanation: &Explanation) -> String {
    let receipt = &explanation.receipt;
    let key_name = receipt.key_name.as_deref().unwrap_or_default();
    let first_byte =
        receipt.first_byte_ms.map_or_else(String::new, |ms| format!("{ms} ms to the first byte, "));
    let of = receipt.of.map(|of| ("attempt", format!("at {of}")));
    let provider_cost =
        receipt.provider_cost_usd.map(|cost| ("provider", format!("says it cost {cost} USD")));
    let facts = [
        Some(("request", receipt.id.to_string())),
        of,
        Some(("key", format!("{} {key_name}", receipt.key_id))),
        Some((
            "model",
            format!("{} at {} as {}", receipt.model, receipt.provider, receipt.upstream_model),
        )),
        Some(("endpoint", receipt.endpoint.clone())),
        Some(("began", receipt.began.to_string())),
        Some(("posted", receipt.at.to_string())),
        Some(("took", format!("{first_byte}{} ms in all", receipt.total_ms))),
        Some(("status", format!("{}, {}", receipt.status, receipt.ending.name()))),
        Some(("metered", receipt.metered.name().to_owned())),
        Some(("price", format!("{}, {} tier", receipt.price, receipt.service_tier))),
        provider_cost,
        Some(("held", format!("{} USD", receipt.held_usd))),
    ];
    let mut text = String::new();
    for (name, value) in facts.into_iter().flatten() {
        let _ = writeln!(text, "{name:<10}{}", value.trim_end());
    }
    text
}

fn row(line: &LineView) -> Vec<String> {
    let why = match (line.why.as_str(), &line.model) {
        (why, None) => why.to_owned(),
        ("", Some(model)) => format!("of {model}"),
        (why, Some(model)) => format!("{why}, of {model}"),
    };
    vec![
        line.class.clone(),
        line.count.to_string(),
        line.usd_per_million.to_string(),
        line.nano_usd.clone(),
        line.usd.clone(),
        why,
    ]
}

fn total(name: &str, usd: String) -> Vec<String> {
    let empty = String::new;
    vec![name.to_owned(), empty(), empty(), empty(), usd, empty()]
}

fn attempts(explanation: &Explanation) -> Result<(), Failure> {
    if explanation.attempts.is_empty() {
        return Ok(());
    }
    let rows = explanation.attempts.iter().map(|attempt| {
        vec![
            attempt.id.to_string(),
            attempt.provider.clone(),
            attempt.upstream_model.clone(),
            attempt.status.to_string(),
            attempt.ending.name().to_owned(),
            attempt.metered.name().to_owned(),
            attempt.cost_usd.to_string(),
        ]
    });
    let rows: Vec<_> = rows.collect();
    let heading = ["Other attempt", "Provider", "Model", "Status", "Ending", "Metered", "Cost USD"];
    output::table(&heading, &rows, &[3, 6])?;
    output::answer(&format!("in all    {} USD\n", explanation.with_attempts_usd))
}
