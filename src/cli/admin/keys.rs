//! `conduit keys` and `conduit admin keys`.

use std::fmt::Write as _;

use clap::{Args, Subcommand};

use crate::admin::keys::{
    Change, CreateKey, KeyView, ListKeys, NewSecret, RevokeKey, RotateKey, SetDisabled, SetKey,
    SetLimits, ShowKey,
};
use crate::cli::{ConfigArg, Failure, output, session};
use crate::clock;
use crate::domain::budget::Enforcement;
use crate::domain::cidr::Cidr;
use crate::domain::key::Limits;
use crate::domain::money::Money;
use crate::domain::pattern::Pattern;
use crate::domain::window::{Timestamp, parse_duration_ms};
use crate::ledger::Standing;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Keys {
    /// Make a key; its secret is shown this once, on standard output
    Create(Box<Create>),
    /// List the keys
    List(List),
    /// Show one key
    Show(Show),
    /// Change or clear limits; the next call finds them changed
    #[command(visible_alias = "limit")]
    Limits(LimitsArgs),
    /// Change anything else about a key; the next call finds it changed
    Set(Box<Set>),
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
    pub(super) config: ConfigArg,
    /// Print JSON, for programs
    #[arg(long)]
    pub(super) json: bool,
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
    /// Requests per minute at most
    #[arg(long, value_name = "N")]
    rpm: Option<u64>,
    /// Tokens per minute at most, of prompts and answers together
    #[arg(long, value_name = "N")]
    tpm: Option<u64>,
    /// Calls at the same time at most
    #[arg(long, value_name = "N")]
    parallel: Option<u64>,
    /// The endpoints it may call: chat/completions,embeddings [default: all]
    #[arg(long, value_name = "PATHS", value_delimiter = ',')]
    endpoints: Vec<String>,
    /// The networks it may be used from: 10.0.0.0/8,192.0.2.1 [default: all]
    #[arg(long = "allow-ip", value_name = "NETWORKS", value_delimiter = ',')]
    allow_ips: Vec<Cidr>,
    /// Whether its limits are ceilings (hard) or only stop what comes after them (soft)
    /// [default: what the configuration says]
    #[arg(long, value_name = "hard|soft", value_parser = enforcement)]
    enforcement: Option<Enforcement>,
    /// The team whose limits its calls must fit too, by its name or id
    #[arg(long, value_name = "TEAM")]
    team: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
#[group(id = "settings", required = true, multiple = true)]
struct Settings {
    /// What to call it from now on
    #[arg(long)]
    name: Option<String>,
    /// When it ends: 90d, 12h, a date, or `none`
    #[arg(long, value_name = "WHEN", value_parser = change_with(expiry))]
    expires: Option<Change<Timestamp>>,
    /// The models it may use, or `none` to lift the restriction
    #[arg(long, value_name = "NAMES", value_parser = change_list(Pattern::new))]
    models: Option<Change<Vec<Pattern>>>,
    /// Names and values to find it by, in place of those it has: env=prod,app=x, or `none`
    #[arg(long, value_name = "NAME=VALUE", value_parser = change_list(tag))]
    tags: Option<Change<Vec<(String, String)>>>,
    /// Requests per minute, or `none`
    #[arg(long, value_name = "N", value_parser = change_with(count))]
    rpm: Option<Change<u64>>,
    /// Tokens per minute, or `none`
    #[arg(long, value_name = "N", value_parser = change_with(count))]
    tpm: Option<Change<u64>>,
    /// Calls at the same time, or `none`
    #[arg(long, value_name = "N", value_parser = change_with(count))]
    parallel: Option<Change<u64>>,
    /// The endpoints it may call, or `none` to lift the restriction
    #[arg(long, value_name = "PATHS", value_parser = change_list(text))]
    endpoints: Option<Change<Vec<String>>>,
    /// The networks it may be used from, or `none` to lift the restriction
    #[arg(long = "allow-ip", value_name = "NETWORKS", value_parser = change_list(network))]
    allow_ips: Option<Change<Vec<Cidr>>>,
    /// How its limits are applied, or `none` for what the configuration says
    #[arg(long, value_name = "hard|soft", value_parser = change_with(enforcement))]
    enforcement: Option<Change<Enforcement>>,
    /// Its team, or `none`
    #[arg(long, value_name = "TEAM", value_parser = change_with(text))]
    team: Option<Change<String>>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Set {
    /// Its id or name
    key: String,
    #[command(flatten)]
    settings: Settings,
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
pub(super) struct Changes {
    /// Dollars for 24 hours, or `none`
    #[arg(long, value_name = "USD", value_parser = change_with(dollars))]
    daily: Option<Change<Money>>,
    /// Dollars for 7 days, or `none`
    #[arg(long, value_name = "USD", value_parser = change_with(dollars))]
    weekly: Option<Change<Money>>,
    /// Dollars for 30 days, or `none`
    #[arg(long, value_name = "USD", value_parser = change_with(dollars))]
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

pub(super) fn expiry(text: &str) -> Result<Timestamp, String> {
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

fn dollars(text: &str) -> Result<Money, String> {
    text.parse().map_err(|error| format!("{error}, or `none`"))
}

fn count(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is neither a whole number nor `none`"))
}

#[expect(clippy::unnecessary_wraps, reason = "all parsers have one shape")]
fn text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

fn network(text: &str) -> Result<Cidr, String> {
    text.parse()
}

fn enforcement(text: &str) -> Result<Enforcement, String> {
    match text {
        "hard" => Ok(Enforcement::Hard),
        "soft" => Ok(Enforcement::Soft),
        _ => Err(format!("`{text}` is neither `hard` nor `soft`")),
    }
}

type Parser<T> = fn(&str) -> Result<T, String>;

fn means_none(text: &str) -> bool {
    matches!(text, "none" | "off")
}

/// Reads a value to set, or the word that clears it.
fn change_with<T>(
    read: Parser<T>,
) -> impl Fn(&str) -> Result<Change<T>, String> + Clone + Send + Sync + 'static
where
    T: 'static,
{
    move |text| if means_none(text) { Ok(Change::Clear) } else { read(text).map(Change::Set) }
}

/// The same for a list with commas.
fn change_list<T>(
    read: Parser<T>,
) -> impl Fn(&str) -> Result<Change<Vec<T>>, String> + Clone + Send + Sync + 'static
where
    T: 'static,
{
    move |text| {
        if means_none(text) {
            return Ok(Change::Clear);
        }
        text.split(',').map(read).collect::<Result<_, _>>().map(Change::Set)
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
            Self::Set(set) => set.run(),
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
            rpm: self.rpm,
            tpm: self.tpm,
            parallel: self.parallel,
            endpoints: self.endpoints,
            allow_ips: self.allow_ips,
            enforcement: self.enforcement,
            team: self.team,
        };
        let made = session::run(&self.common.config, verb)?;
        hand_over(&made, self.common.json)
    }
}

impl Set {
    fn run(self) -> Result<(), Failure> {
        let settings = self.settings;
        let verb = SetKey {
            key: self.key,
            name: settings.name,
            expires_at: settings.expires.unwrap_or_default(),
            models: settings.models.unwrap_or_default(),
            tags: settings.tags.unwrap_or_default(),
            rpm: settings.rpm.unwrap_or_default(),
            tpm: settings.tpm.unwrap_or_default(),
            parallel: settings.parallel.unwrap_or_default(),
            endpoints: settings.endpoints.unwrap_or_default(),
            allow_ips: settings.allow_ips.unwrap_or_default(),
            enforcement: settings.enforcement.unwrap_or_default(),
            team: settings.team.unwrap_or_default(),
        };
        let key = session::run(&self.common.config, verb)?;
        if self.common.json { output::json(&key) } else { describe(&key) }
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
        let keys =
            session::run(&self.common.config, ListKeys { all: self.all, ..ListKeys::default() })?;
        if self.common.json {
            return output::json(&keys);
        }
        if keys.is_empty() && output::is_terminal() {
            output::note("there are no keys yet; make one with: conduit keys create NAME");
            return Ok(());
        }
        let heading = [
            "ID", "Name", "Status", "Ends in", "Daily", "Weekly", "Monthly", "Expires", "Team",
            "Controls",
        ];
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
    row.push(key.team.clone().unwrap_or_default());
    let short = controls(key).into_iter().map(|(name, value)| format!("{name}={value}"));
    row.push(short.collect::<Vec<_>>().join(" "));
    row
}

/// What restricts a key beside its limits, by the names of the options.
fn controls(key: &KeyView) -> Vec<(&'static str, String)> {
    let mut set = Vec::new();
    for (name, count) in [("rpm", key.rpm), ("tpm", key.tpm), ("parallel", key.parallel)] {
        set.extend(count.map(|count| (name, count.to_string())));
    }
    if !key.endpoints.is_empty() {
        set.push(("endpoints", key.endpoints.join(",")));
    }
    if !key.allow_ips.is_empty() {
        let networks: Vec<_> = key.allow_ips.iter().map(ToString::to_string).collect();
        set.push(("allow-ip", networks.join(",")));
    }
    match key.enforcement {
        Some(Enforcement::Hard) => set.push(("enforcement", "hard".to_owned())),
        Some(Enforcement::Soft) => set.push(("enforcement", "soft".to_owned())),
        None => {}
    }
    set
}

/// `0.25 of 5.00`, or only what was spent where there is no limit.
pub(super) fn spent_of(standing: &Standing) -> String {
    match standing.limit {
        Some(limit) => format!("{} of {limit}", standing.spent),
        None => standing.spent.to_string(),
    }
}

impl Changes {
    /// What becomes of each limit.
    pub(super) fn each(&self) -> [Change<Money>; 3] {
        let unset = if self.clear { Change::Clear } else { Change::Keep };
        [self.daily, self.weekly, self.monthly].map(|change| change.unwrap_or(unset))
    }
}

impl LimitsArgs {
    fn run(self) -> Result<(), Failure> {
        let [daily, weekly, monthly] = self.changes.each();
        let verb = SetLimits { key: self.key, daily, weekly, monthly };
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
        let _ = writeln!(text, "{name:<12}{value}");
    }
    if let Some(team) = &key.team {
        let _ = writeln!(text, "{:<12}{team}", "team");
    }
    for (name, value) in controls(key) {
        let _ = writeln!(text, "{name:<12}{value}");
    }
    if let Some(until) = key.old_secret_until {
        let _ = writeln!(text, "the secret before the last rotation is good until {until}");
    }
    output::answer(&text)?;
    windows_table(&key.windows)
}

pub(super) fn windows_table(windows: &[Standing]) -> Result<(), Failure> {
    let rows: Vec<_> = windows.iter().map(window_row).collect();
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
