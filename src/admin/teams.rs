//! Verbs about teams: make, list, show, limit, delete.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::forms::Name;
use super::keys::{Change, check_name, set_limits};
use super::{AdminError, Desk, Verb};
use crate::clock;
use crate::domain::key::{KeyId, KeyStatus, Limits};
use crate::domain::money::Money;
use crate::domain::team::{TeamId, TeamRecord};
use crate::domain::window::Timestamp;
use crate::ledger::Standing;
use crate::ledger::team::Team;

/// What may be shown of a team.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TeamView {
    pub id: TeamId,
    pub name: String,
    pub created_at: Timestamp,
    pub windows: Vec<Standing>,
    pub keys: Vec<Member>,
    pub calls_in_flight: u64,
    pub calls_in_line: u64,
}

/// A key in a team.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Member {
    pub id: KeyId,
    pub name: String,
}

fn view(desk: &Desk, team: &Team) -> TeamView {
    let now = clock::now();
    let record = team.record();
    let keys = desk.ledger.directory().all().into_iter().map(|account| account.record());
    let members = keys
        .filter(|key| key.controls.team == Some(record.id))
        .filter(|key| key.status(now) != KeyStatus::Revoked)
        .map(|key| Member { id: key.id, name: key.name.clone() });
    let (in_flight, in_line) = team.in_flight();
    TeamView {
        id: record.id,
        name: record.name.clone(),
        created_at: record.created,
        windows: team.standing(&desk.ledger.policy().windows, now).to_vec(),
        keys: members.collect(),
        calls_in_flight: in_flight,
        calls_in_line: in_line as u64,
    }
}

/// Finds a team by its id or name.
pub(super) fn find(desk: &Desk, wanted: &str) -> Result<Arc<Team>, AdminError> {
    let missing =
        || AdminError::NotFound(format!("there is no team with the id or name `{wanted}`"));
    if let Ok(id) = wanted.parse::<TeamId>() {
        return desk.ledger.team(id).ok_or_else(missing);
    }
    let teams = desk.ledger.teams().into_iter();
    teams.into_iter().find(|team| team.record().name == wanted).ok_or_else(missing)
}

/// Makes a team.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CreateTeam {
    #[schemars(with = "Name")]
    pub name: String,
    pub limits: Limits,
}

impl Verb for CreateTeam {
    type Answer = TeamView;
    const PATH: &'static str = "teams/create";
    const CHANGES: bool = true;

    fn run(self, desk: &Desk) -> Result<TeamView, AdminError> {
        check_name("name", "the name of a team", &self.name)?;
        if self.name.parse::<TeamId>().is_ok() {
            return Err(AdminError::wrong("name", "the name of a team must not be a team id"));
        }
        if self.name == "none" {
            return Err(AdminError::wrong("name", "`none` means no team: choose another name"));
        }
        let created = clock::now();
        let id = clock::new_team_id()?;
        let record = TeamRecord { id, name: self.name, created, limits: self.limits };
        let team = desk.ledger.create_team(record, created)?;
        tracing::info!(team.id = %id, team.name = team.record().name, "team created");
        Ok(view(desk, &team))
    }

    fn target(answer: &TeamView) -> Option<String> {
        Some(answer.id.to_string())
    }
}

/// Lists teams.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListTeams {}

impl Verb for ListTeams {
    type Answer = Vec<TeamView>;
    const PATH: &'static str = "teams/list";
    const CHANGES: bool = false;

    fn run(self, desk: &Desk) -> Result<Vec<TeamView>, AdminError> {
        Ok(desk.ledger.teams().iter().map(|team| view(desk, team)).collect())
    }
}

/// Shows one team.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowTeam {
    pub team: String,
}

impl Verb for ShowTeam {
    type Answer = TeamView;
    const PATH: &'static str = "teams/show";
    const CHANGES: bool = false;

    fn run(self, desk: &Desk) -> Result<TeamView, AdminError> {
        Ok(view(desk, &*find(desk, &self.team)?))
    }
}

/// Changes or clears a team's limits; the next call of its keys finds them changed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetTeamLimits {
    pub team: String,
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    pub daily: Change<Money>,
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    pub weekly: Change<Money>,
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    pub monthly: Change<Money>,
}

impl Verb for SetTeamLimits {
    type Answer = TeamView;
    const PATH: &'static str = "teams/limits";
    const CHANGES: bool = true;

    fn run(self, desk: &Desk) -> Result<TeamView, AdminError> {
        let id = find(desk, &self.team)?.id();
        let changes = [self.daily, self.weekly, self.monthly];
        let team = desk.ledger.change_team(id, |team| set_limits(&mut team.limits, changes))?;
        tracing::info!(team.id = %id, team.name = team.record().name, "limits changed");
        Ok(view(desk, &team))
    }

    fn target(answer: &TeamView) -> Option<String> {
        Some(answer.id.to_string())
    }
}

/// Deletes a team that no key is in. What it spent stays in the bill of its keys.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteTeam {
    pub team: String,
}

impl Verb for DeleteTeam {
    type Answer = TeamView;
    const PATH: &'static str = "teams/delete";
    const CHANGES: bool = true;

    fn run(self, desk: &Desk) -> Result<TeamView, AdminError> {
        let team = find(desk, &self.team)?;
        desk.ledger.delete_team(team.id())?;
        tracing::info!(team.id = %team.id(), team.name = team.record().name, "team deleted");
        Ok(view(desk, &team))
    }

    fn target(answer: &TeamView) -> Option<String> {
        Some(answer.id.to_string())
    }
}
