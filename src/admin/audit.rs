//! Who changed what. Every door runs its verbs by [`perform`], which enters a change in the audit log
//! before it is tried, so that no change is without an entry, whatever happens in between.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{AdminError, Desk, Verb};
use crate::clock;
use crate::domain::audit::{Actor, AuditId, AuditRecord, Outcome, without_secrets};
use crate::domain::window::Timestamp;
use crate::logging::AUDIT;
use crate::store::AuditFilter;

/// Parameters that are longer are not kept.
const LONGEST_PARAMETERS: usize = 16 * 1024;
/// The most entries in one answer.
const PAGE: usize = 1_000;

/// Does what is asked. A change has an entry in the audit log, or is not made.
pub fn perform<V: Verb>(desk: &Desk, by: &Actor, verb: V) -> Result<V::Answer, AdminError> {
    if !V::CHANGES {
        return verb.run(desk);
    }
    let entry = Entry::begin(desk, by, V::PATH, &verb.recorded())?;
    let outcome = verb.run(desk);
    match &outcome {
        Ok(answer) => entry.done(desk, V::target(answer)),
        Err(error) => entry.not_done(desk, error),
    }
    outcome
}

/// An entry whose outcome is still to come.
#[must_use]
pub(super) struct Entry(AuditRecord);

impl Entry {
    pub(super) fn begin(
        desk: &Desk,
        by: &Actor,
        verb: &str,
        parameters: &Value,
    ) -> Result<Self, AdminError> {
        let entry = record(by, verb, parameters, Outcome::Begun)?;
        desk.ledger.store().add_audit(&entry)?;
        Ok(Self(entry))
    }

    pub(super) fn done(mut self, desk: &Desk, target: Option<String>) {
        self.0.outcome = Outcome::Done;
        self.0.target = target;
        self.end(desk);
    }

    pub(super) fn not_done(mut self, desk: &Desk, error: &AdminError) {
        let failed = matches!(error, AdminError::Failed(_));
        self.0.outcome = if failed { Outcome::Failed } else { Outcome::Refused };
        self.0.reason = Some(without_secrets(&error.to_string()).into_owned());
        self.end(desk);
    }

    fn end(self, desk: &Desk) {
        log(&self.0);
        if let Err(error) = desk.ledger.store().add_audit(&self.0) {
            // The entry stays, without an outcome.
            tracing::warn!(
                audit.id = %self.0.id,
                "the outcome of a change could not be entered in the audit log: {error}"
            );
        }
    }
}

/// Enters what was refused at the door.
pub(super) fn refused(desk: &Desk, by: &Actor, verb: &str, reason: &str) -> Result<(), AdminError> {
    let mut entry = record(by, verb, &json!({}), Outcome::Refused)?;
    entry.reason = Some(without_secrets(reason).into_owned());
    log(&entry);
    Ok(desk.ledger.store().add_audit(&entry)?)
}

/// Leaves out what was pasted into the wrong place: it is refused there, and must not stay here.
fn hide_secrets(value: &mut Value) {
    match value {
        Value::String(text) => *text = without_secrets(text).into_owned(),
        Value::Array(items) => items.iter_mut().for_each(hide_secrets),
        Value::Object(members) => members.values_mut().for_each(hide_secrets),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// One line for each change that was tried, and for what was refused at the door.
fn log(entry: &AuditRecord) {
    let by = &entry.by;
    tracing::info!(
        target: AUDIT,
        {
        audit.id = %entry.id,
        door = by.door.name(),
        by.id = by.id,
        by.name = by.name,
        client.address = by.address,
        verb = entry.verb,
        target.id = entry.target,
        parameters = entry.parameters,
        outcome = entry.outcome.name(),
        reason = entry.reason
        },
        "change"
    );
}

fn record(
    by: &Actor,
    verb: &str,
    parameters: &Value,
    outcome: Outcome,
) -> Result<AuditRecord, AdminError> {
    let mut parameters = parameters.clone();
    hide_secrets(&mut parameters);
    let mut parameters = parameters.to_string();
    if parameters.len() > LONGEST_PARAMETERS {
        parameters = json!({"bytes": parameters.len()}).to_string();
    }
    Ok(AuditRecord {
        id: AuditId::new(clock::now(), clock::random()?),
        by: by.clone(),
        verb: verb.to_owned(),
        target: None,
        parameters,
        outcome,
        reason: None,
    })
}

/// Lists the entries of the audit log, newest first.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListAudit {
    pub since: Option<Timestamp>,
    /// Up to but not with this instant.
    pub until: Option<Timestamp>,
    /// Only entries of this verb, as `keys/create`.
    pub verb: Option<String>,
    /// Only entries about what has this id.
    pub target: Option<String>,
    /// Only what was asked by this door, or by the one of this id or name.
    pub by: Option<String>,
    pub outcome: Option<Outcome>,
    /// How many at most; never more than 1000.
    pub limit: usize,
    /// Only those that are older than this one: the last of the page before.
    pub after: Option<AuditId>,
}

impl Default for ListAudit {
    fn default() -> Self {
        Self {
            since: None,
            until: None,
            verb: None,
            target: None,
            by: None,
            outcome: None,
            limit: 50,
            after: None,
        }
    }
}

/// An entry, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditView {
    pub id: AuditId,
    pub at: Timestamp,
    pub by: Actor,
    pub verb: String,
    /// The id of what was made or changed.
    pub target: Option<String>,
    /// What was asked for, without secrets.
    pub parameters: Value,
    pub outcome: Outcome,
    /// Why it was refused or failed.
    pub reason: Option<String>,
}

impl From<AuditRecord> for AuditView {
    fn from(entry: AuditRecord) -> Self {
        Self {
            id: entry.id,
            at: entry.id.at(),
            by: entry.by,
            verb: entry.verb,
            target: entry.target,
            parameters: serde_json::from_str(&entry.parameters).unwrap_or_default(),
            outcome: entry.outcome,
            reason: entry.reason,
        }
    }
}

impl Verb for ListAudit {
    type Answer = Vec<AuditView>;
    const PATH: &'static str = "audit";
    const CHANGES: bool = false;

    fn run(self, desk: &Desk) -> Result<Vec<AuditView>, AdminError> {
        let filter = AuditFilter {
            since: self.since.unwrap_or(Timestamp::MIN),
            until: self.until,
            verb: self.verb,
            target: self.target,
            by: self.by,
            outcome: self.outcome,
            after: self.after,
        };
        let entries = desk.ledger.store().latest_audit(&filter, self.limit.min(PAGE))?;
        Ok(entries.into_iter().map(AuditView::from).collect())
    }
}
