//! `conduit admin status`.

use clap::Args;

use crate::admin::status::{ReportStatus, Status};
use crate::cli::{ConfigArg, Failure, output, session};

#[derive(Debug, Args)]
pub(in crate::cli) struct ShowStatus {
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArg,
}

impl ShowStatus {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let status = session::run(&self.config, ReportStatus {})?;
        if self.json { output::json(&status) } else { output::answer(&describe(&status)) }
    }
}

fn describe(status: &Status) -> String {
    let running =
        if status.running { "running" } else { "not running: the store was opened for this" };
    let mut lines = vec![
        format!("server    {running}"),
        format!("version   {}", status.version),
        format!("store     {}", status.store),
        format!("keys      {}", status.keys),
        format!("on hold   {} USD", status.held_usd),
    ];
    if let Some(trouble) = &status.trouble {
        lines.push(format!("trouble   {trouble}"));
    }
    if let Some(config) = &status.config {
        let (generation, since) = (config.generation, config.in_force_since);
        lines.push(format!(
            "config    {}, version {generation}, in force since {since}",
            config.file
        ));
        if !config.waiting_for_restart.is_empty() {
            lines.push(format!(
                "          waits for a restart: {}",
                config.waiting_for_restart.join(", ")
            ));
        }
        if let Some(error) = &config.last_error {
            lines.push("          the file as it is now is NOT in force:".to_owned());
            lines.push(error.trim_end().to_owned());
        }
    }
    lines.push(String::new());
    lines.join("\n")
}
