//! `conduit admin teams`.

use std::fmt::Write as _;

use clap::{Args, Subcommand};

use super::keys::{Changes, Common, spent_of, windows_table};
use crate::admin::teams::{CreateTeam, DeleteTeam, ListTeams, SetTeamLimits, ShowTeam, TeamView};
use crate::cli::{Failure, output, session};
use crate::domain::key::Limits;
use crate::domain::money::Money;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Teams {
    /// Make a team; put keys in it with `conduit keys set KEY --team NAME`
    Create(Create),
    /// List the teams
    List(List),
    /// Show one team and its keys
    Show(One),
    /// Change or clear limits; the next call finds them changed
    #[command(visible_alias = "limit")]
    Limits(LimitsArgs),
    /// Delete a team that no key is in
    Delete(One),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Create {
    /// What to call it: "research"
    name: String,
    /// The most its keys may spend together in 24 hours, in dollars: 5, 2.50, 0.001
    #[arg(long, value_name = "USD")]
    daily: Option<Money>,
    /// The most they may spend in 7 days
    #[arg(long, value_name = "USD")]
    weekly: Option<Money>,
    /// The most they may spend in 30 days
    #[arg(long, value_name = "USD")]
    monthly: Option<Money>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct One {
    /// Its id or name
    team: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct LimitsArgs {
    /// Its id or name
    team: String,
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    common: Common,
}

impl Teams {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run(),
            Self::List(list) => list.run(),
            Self::Show(one) => {
                let team = session::run(&one.common.config, ShowTeam { team: one.team })?;
                if one.common.json { output::json(&team) } else { describe(&team) }
            }
            Self::Limits(limits) => limits.run(),
            Self::Delete(one) => {
                let team = session::run(&one.common.config, DeleteTeam { team: one.team })?;
                done(&team, "is deleted", one.common.json)
            }
        }
    }
}

impl Create {
    fn run(self) -> Result<(), Failure> {
        let limits = Limits { daily: self.daily, weekly: self.weekly, monthly: self.monthly };
        let team = session::run(&self.common.config, CreateTeam { name: self.name, limits })?;
        done(&team, "is made", self.common.json)
    }
}

impl List {
    fn run(self) -> Result<(), Failure> {
        let teams = session::run(&self.common.config, ListTeams {})?;
        if self.common.json {
            return output::json(&teams);
        }
        if teams.is_empty() && output::is_terminal() {
            output::note("there are no teams; make one with: conduit admin teams create NAME");
            return Ok(());
        }
        let heading = ["ID", "Name", "Keys", "Daily", "Weekly", "Monthly"];
        let rows: Vec<_> = teams.iter().map(row).collect();
        output::table(&heading, &rows, &[2, 3, 4, 5])
    }
}

fn row(team: &TeamView) -> Vec<String> {
    let mut row = vec![team.id.to_string(), team.name.clone(), team.keys.len().to_string()];
    row.extend(team.windows.iter().map(spent_of));
    row
}

impl LimitsArgs {
    fn run(self) -> Result<(), Failure> {
        let [daily, weekly, monthly] = self.changes.each();
        let verb = SetTeamLimits { team: self.team, daily, weekly, monthly };
        let team = session::run(&self.common.config, verb)?;
        if self.common.json { output::json(&team) } else { describe(&team) }
    }
}

fn done(team: &TeamView, what: &str, json: bool) -> Result<(), Failure> {
    if json {
        return output::json(team);
    }
    output::note(&format!("team {} `{}` {what}", team.id, team.name));
    Ok(())
}

fn describe(team: &TeamView) -> Result<(), Failure> {
    let keys: Vec<_> = team.keys.iter().map(|key| key.name.as_str()).collect();
    let mut text = String::new();
    for (name, value) in [
        ("id", team.id.to_string()),
        ("name", team.name.clone()),
        ("created", team.created_at.to_string()),
        ("keys", keys.join(", ")),
    ] {
        let _ = writeln!(text, "{name:<12}{value}");
    }
    output::answer(&text)?;
    windows_table(&team.windows)
}
