//! `conduit keys` and `conduit admin keys`.

use std::fmt::Write as _;

use clap::{Args, Subcommand};

use crate::admin::keys::{
    Change, CreateKey, KeyView, ListKeys, NewSecret, RevokeKey, RotateKey, SetDisabled, SetLimits,
    ShowKey,
};
use crate::cli::{ConfigArg, Exit, Failure, output, session};
use crate::clock;
use crate::domain::key::Limits;
use crate::domain::money::Money;
use crate::domain::pattern::Pattern;
use crate::domain::window::{Timestamp, parse_duration_ms};
use crate::ledger::Standing;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Keys {
    /// Make a key; its secret is shown this once, on standard output
    Create(Create),
    /// List the keys
    List(List),
    /// Show one key
    Show(Show),
    /// Change or clear limits; the next call finds them changed
    #[command(visible_alias = "limit")]
    Limits(LimitsArgs),
    /// Give a key a new secret; the old one stays good for a while
    Rotate(Rotate),
    /// Close a key until it is enabled again
    Disable(One),
    /// Open a disabled key again
    Enable(One),
    /// Close a key for good
    Revoke(One),
}

/// The options that every command about keys has.
#[derive(Debug, Args)]
pub(in crate::cli) struct Common {
    #[command(flatten)]
    config: ConfigArg,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Create {
    /// What to call it: "Production Server"
    name: String,
    /// The most it may spend in 24 hours, in dollars: 5, 2.50, 0.001
    #[arg(long, value_name = "USD")]
    daily: Option<Money>,
    /// The most it may spend in 7 days
    #[arg(long, value_name = "USD")]
    weekly: Option<Money>,
    /// The most it may spend in 30 days
    #[arg(long, value_name = "USD")]
    monthly: Option<Money>,
    /// When it ends: 90d, 12h, or a date like 2027-01-31
    #[arg(long, value_name = "WHEN", value_parser = expiry)]
    expires: Option<Timestamp>,
    /// The models it may use, with * for any run of characters: 'gpt-*,claude-*' [default: all]
    #[arg(long, value_delimiter = ',', value_parser = Pattern::new)]
    models: Vec<Pattern>,
    /// A name and a value to find it by; may be given several times
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = tag)]
    tags: Vec<(String, String)>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    /// List revoked keys too
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Show {
    /// Its id or name
    key: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
#[group(id = "changes", required = true, multiple = true)]
struct Changes {
    /// Dollars for 24 hours, or `none`
    #[arg(long, value_name = "USD", value_parser = change)]
    daily: Option<Change<Money>>,
    /// Dollars for 7 days, or `none`
    #[arg(long, value_name = "USD", value_parser = change)]
    weekly: Option<Change<Money>>,
    /// Dollars for 30 days, or `none`
    #[arg(long, value_name = "USD", value_parser = change)]
    monthly: Option<Change<Money>>,
    /// Clear all limits that are not set by the same command
    #[arg(long)]
    clear: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct LimitsArgs {
    /// Its id or name
    key: String,
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Rotate {
    /// Its id or name
    key: String,
    /// How long the old secret stays good; 0s ends it at once
    #[arg(long, default_value = "24h", value_parser = parse_duration_ms)]
    grace: u64,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct One {
    /// Its id or name
    key: String,
    #[command(flatten)]
    common: Common,
}

fn expiry(text: &str) -> Result<Timestamp, String> {
    match parse_duration_ms(text) {
        Ok(length) => Ok(clock::now().plus_millis(length)),
        Err(_) => text.parse().map_err(|_| {
            format!("`{text}` is neither a length of time (90d, 12h) nor a date (2027-01-31)")
        }),
    }
}

fn tag(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once('=').ok_or_else(|| format!("`{text}` is not of the form name=value"))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn change(text: &str) -> Result<Change<Money>, String> {
    match text {
        "none" | "off" => Ok(Change::Clear),
        amount => amount.parse().map(Change::Set).map_err(|error| format!("{error}, or `none`")),
    }
}

impl Keys {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run(),
            Self::List(list) => list.run(),
            Self::Show(show) => {
                let key = session::run(&show.common.config, ShowKey { key: show.key })?;
                if show.common.json { output::json(&key) } else { describe(&key) }
            }
            Self::Limits(limits) => limits.run(),
            Self::Rotate(rotate) => {
                let verb = RotateKey { key: rotate.key, grace_ms: rotate.grace };
                let made = session::run(&rotate.common.config, verb)?;
                hand_over(&made, rotate.common.json)
            }
            Self::Disable(one) => one.switch(true),
            Self::Enable(one) => one.switch(false),
            Self::Revoke(one) => {
                let key = session::run(&one.common.config, RevokeKey { key: one.key })?;
                done(&key, "is revoked", one.common.json)
            }
        }
    }
}

impl One {
    fn switch(self, disabled: bool) -> Result<(), Failure> {
        let verb = SetDisabled { key: self.key, disabled };
        let key = session::run(&self.common.config, verb)?;
        done(&key, if disabled { "is disabled" } else { "is enabled" }, self.common.json)
    }
}

impl Create {
    fn run(self) -> Result<(), Failure> {
        let verb = CreateKey {
            name: self.name,
            limits: Limits { daily: self.daily, weekly: self.weekly, monthly: self.monthly },
            expires_at: self.expires,
            models: self.models,
            tags: self.tags,
        };
        let made = session::run(&self.common.config, verb)?;
        hand_over(&made, self.common.json)
    }
}

/// Shows a secret, this once: alone on standard output, so that `KEY=$(conduit keys create ci)` works.
fn hand_over(made: &NewSecret, json: bool) -> Result<(), Failure> {
    if json {
        return output::json(made);
    }
    output::note(&format!(
        "key {} `{}`: copy its secret, it is shown only now",
        made.key.id, made.key.name
    ));
    if let Some(until) = made.key.old_secret_until {
        output::note(&format!("the old secret stays good until {until}"));
    }
    output::answer(&format!("{}\n", made.secret))
}

fn done(key: &KeyView, what: &str, json: bool) -> Result<(), Failure> {
    if json {
        return output::json(key);
    }
    output::note(&format!("key {} `{}` {what}", key.id, key.name));
    Ok(())
}

impl List {
    fn run(self) -> Result<(), Failure> {
        let keys = session::run(&self.common.config, ListKeys { all: self.all })?;
        if self.common.json {
            return output::json(&keys);
        }
        if keys.is_empty() && output::is_terminal() {
            output::note("there are no keys yet; make one with: conduit keys create NAME");
            return Ok(());
        }
        let heading = ["ID", "Name", "Status", "Ends in", "Daily", "Weekly", "Monthly", "Expires"];
        let rows: Vec<_> = keys.iter().map(row).collect();
        output::table(&heading, &rows, &[4, 5, 6])
    }
}

fn row(key: &KeyView) -> Vec<String> {
    let mut row = vec![
        key.id.to_string(),
        key.name.clone(),
        key.status.name().to_owned(),
        key.secret_ends_in.clone(),
    ];
    row.extend(key.windows.iter().map(spent_of));
    row.push(key.expires_at.map_or_else(|| "never".to_owned(), |at| at.to_string()));
    row
}

/// `0.25 of 5.00`, or only what was spent where there is no limit.
fn spent_of(standing: &Standing) -> String {
    match standing.limit {
        Some(limit) => format!("{} of {limit}", standing.spent),
        None => standing.spent.to_string(),
    }
}

impl LimitsArgs {
    fn run(self) -> Result<(), Failure> {
        let changes = self.changes;
        let unset = if changes.clear { Change::Clear } else { Change::Keep };
        let verb = SetLimits {
            key: self.key,
            daily: changes.daily.unwrap_or(unset),
            weekly: changes.weekly.unwrap_or(unset),
            monthly: changes.monthly.unwrap_or(unset),
        };
        let key = session::run(&self.common.config, verb)?;
        if self.common.json { output::json(&key) } else { describe(&key) }
    }
}

fn describe(key: &KeyView) -> Result<(), Failure> {
    let never = || "never".to_owned();
    let models: Vec<_> = key.models.iter().map(Pattern::as_str).collect();
    let tags: Vec<_> = key.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut text = String::new();
    for (name, value) in [
        ("id", key.id.to_string()),
        ("name", key.name.clone()),
        ("status", key.status.name().to_owned()),
        ("secret", format!("…{}", key.secret_ends_in)),
        ("created", key.created_at.to_string()),
        ("expires", key.expires_at.map_or_else(never, |at| at.to_string())),
        ("models", if models.is_empty() { "all".to_owned() } else { models.join(", ") }),
        ("tags", tags.join(", ")),
    ] {
        let _ = writeln!(text, "{name:<9}{value}");
    }
    if let Some(until) = key.old_secret_until {
        let _ = writeln!(text, "the secret before the last rotation is good until {until}");
    }
    output::answer(&text)?;
    let rows: Vec<_> = key.windows.iter().map(window_row).collect();
    output::table(
        &["Window", "Limit", "Spent", "Held", "Remaining", "Resets at"],
        &rows,
        &[1, 2, 3, 4],
    )
}

fn window_row(standing: &Standing) -> Vec<String> {
    let or_dash = |amount: Option<Money>| amount.map_or_else(|| "–".to_owned(), |a| a.to_string());
    vec![
        standing.period.name().to_owned(),
        or_dash(standing.limit),
        standing.spent.to_string(),
        standing.held.to_string(),
        or_dash(standing.remaining),
        standing.resets_at.to_string(),
    ]
}

impl From<clap::Error> for Failure {
    fn from(error: clap::Error) -> Self {
        Self::new(Exit::Usage, error.to_string())
    }
}
