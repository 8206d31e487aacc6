//! `conduit admin status`.

use std::fmt::Write as _;

use clap::Args;

use crate::admin::certificates::CertificateStatus;
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

/// Days and hours, hours and minutes, or what is less.
fn length(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / 1_048_576),
    }
}

fn certificate(one: &CertificateStatus) -> String {
    let until = one.valid_until.map_or("none yet".to_owned(), |end| format!("valid until {end}"));
    let next = one.next_order.map(|next| format!(", ordered next at {next}")).unwrap_or_default();
    let mut line = format!("tls       {}: {}, {until}{next}", one.listener, one.source);
    if let Some(why) = &one.last_failure {
        let _ = write!(line, "\n          the last order failed: {why}");
    }
    line
}

fn describe(status: &Status) -> String {
    let running =
        if status.running { "running" } else { "not running: the store was opened for this" };
    let mut lines = vec![
        format!("server    {running}"),
        format!("version   {}", status.build),
        format!(
            "store     {}, format {}, {} and {} of journal",
            status.store,
            status.store_format,
            size(status.store_bytes),
            size(status.journal_bytes)
        ),
        format!("keys      {}", status.keys),
        format!("teams     {}", status.teams),
        format!("calls     {} under way, {} waiting", status.calls_under_way, status.calls_waiting),
        format!("on hold   {} USD", status.held_usd),
    ];
    if let (Some(since), Some(uptime)) = (status.started_at, status.uptime_ms) {
        lines.insert(1, format!("up        {}, since {since}", length(uptime)));
    }
    if !status.admin_listen.is_empty() {
        lines.insert(2, format!("admin     {}", status.admin_listen.join(", ")));
    }
    if !status.listen.is_empty() {
        lines.insert(2, format!("listens   {}", status.listen.join(", ")));
    }
    lines.extend(status.certificates.iter().map(certificate));
    if !status.cooling.is_empty() {
        lines.push(format!("cooling   {}", status.cooling.join(", ")));
    }
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
