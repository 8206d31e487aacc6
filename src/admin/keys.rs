//! Verbs about keys: make, list, show, change, limit, rotate, disable, enable, revoke.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::change::Change;
use super::forms::{EndpointName, Name};
use super::{AdminError, Desk, Verb, teams};
use crate::clock;
use crate::domain::access::TOKEN_PREFIX;
use crate::domain::budget::Enforcement;
use crate::domain::cidr::Cidr;
use crate::domain::key::{Controls, KeyId, KeyRecord, KeyStatus, Limits, Retiring};
use crate::domain::money::Money;
use crate::domain::pattern::Pattern;
use crate::domain::window::{Period, Timestamp};
use crate::ledger::Standing;
use crate::ledger::account::Account;
use crate::provider::endpoint::Endpoint;

/// The longest name or tag, in characters.
const LONGEST_NAME: usize = 128;

/// What may be shown of a key.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct KeyView {
    pub id: KeyId,
    pub name: String,
    pub status: KeyStatus,
    /// The last characters of the secret.
    pub secret_ends_in: String,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    /// Until when the secret before the last rotation is still good.
    pub old_secret_until: Option<Timestamp>,
    pub models: Vec<Pattern>,
    pub tags: Vec<(String, String)>,
    /// Requests per minute.
    pub rpm: Option<u64>,
    /// Tokens per minute.
    pub tpm: Option<u64>,
    /// Calls at the same time.
    pub parallel: Option<u64>,
    /// The endpoints it may call; none listed means all.
    pub endpoints: Vec<String>,
    /// The networks it may be used from; none listed means all.
    pub allow_ips: Vec<Cidr>,
    /// How its limits are applied, where that is not how the configuration says.
    pub enforcement: Option<Enforcement>,
    /// The name of its team.
    pub team: Option<String>,
    pub windows: Vec<Standing>,
    pub calls_in_flight: u64,
}

/// A key with the secret that is shown this once.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct NewSecret {
    pub secret: String,
    #[serde(flatten)]
    pub key: KeyView,
}

fn view(desk: &Desk, account: &Account, now: Timestamp) -> KeyView {
    let record = account.record();
    let controls = &record.controls;
    let old = record.retiring.map(|old| old.until).filter(|until| now < *until);
    KeyView {
        id: record.id,
        name: record.name.clone(),
        status: record.status(now),
        secret_ends_in: record.tail.clone(),
        created_at: record.created,
        expires_at: record.expires,
        revoked_at: record.revoked,
        old_secret_until: old,
        models: record.models.clone(),
        tags: record.tags.clone(),
        rpm: controls.rpm,
        tpm: controls.tpm,
        parallel: controls.parallel,
        endpoints: controls.endpoints.clone(),
        allow_ips: controls.allow_ips.clone(),
        enforcement: controls.enforcement,
        team: account.team().map(|team| team.record().name.clone()),
        windows: account.standing(&desk.ledger.policy().windows, now).to_vec(),
        calls_in_flight: account.in_flight().0,
    }
}

/// Finds a key by its id, or by its name: of several that had a name, the one that is not revoked.
pub(super) fn find(desk: &Desk, wanted: &str) -> Result<Arc<Account>, AdminError> {
    let missing =
        || AdminError::NotFound(format!("there is no key with the id or name `{wanted}`"));
    if let Ok(id) = wanted.parse::<KeyId>() {
        return desk.ledger.directory().by_id(id).ok_or_else(missing);
    }
    let all = desk.ledger.directory().all();
    let mut named: Vec<_> = all.into_iter().filter(|a| a.record().name == wanted).collect();
    if let Some(index) = named.iter().position(|a| a.record().revoked.is_none()) {
        return Ok(named.swap_remove(index));
    }
    match named.len() {
        0 => Err(missing()),
        1 => Ok(named.swap_remove(0)),
        count => Err(AdminError::Conflict(format!(
            "{count} revoked keys were called `{wanted}`: name one by its id"
        ))),
    }
}

pub(super) fn check_name(member: &'static str, what: &str, text: &str) -> Result<(), AdminError> {
    let problem = if text.trim().is_empty() {
        "must not be empty"
    } else if text.chars().count() > LONGEST_NAME {
        "is longer than 128 characters"
    } else if text.chars().any(char::is_control) {
        "must not hold control characters"
    } else if text.starts_with("sk-") || text.starts_with(TOKEN_PREFIX) {
        // Whoever pastes a secret here by mistake must not find it in lists and logs.
        "looks like a secret"
    } else {
        return Ok(());
    };
    Err(AdminError::wrong(member, format!("{what} {problem}")))
}

fn check_key_name(name: &str) -> Result<(), AdminError> {
    check_name("name", "the name of a key", name)?;
    if name.parse::<KeyId>().is_ok() {
        return Err(AdminError::wrong("name", "the name of a key must not be a key id"));
    }
    Ok(())
}

fn check_tags(tags: &[(String, String)]) -> Result<(), AdminError> {
    for (name, value) in tags {
        check_name("tags", "the name of a tag", name)?;
        check_name("tags", "the value of a tag", value)?;
    }
    Ok(())
}

pub(super) fn check_expiry(expires: Option<Timestamp>) -> Result<(), AdminError> {
    if expires.is_some_and(|end| end <= clock::now()) {
        let message = "`expires_at` has passed: it would have expired already";
        return Err(AdminError::Conflict(message.to_owned()));
    }
    Ok(())
}

fn check_controls(controls: &Controls) -> Result<(), AdminError> {
    let counts = [
        ("rpm", "requests per minute", controls.rpm),
        ("tpm", "tokens per minute", controls.tpm),
        ("parallel", "calls at the same time", controls.parallel),
    ];
    for (member, what, count) in counts {
        if count == Some(0) {
            let message = format!("0 {what} would allow no call: to close a key, disable it");
            return Err(AdminError::wrong(member, message));
        }
    }
    let known = Endpoint::ALL.map(Endpoint::name);
    if let Some(odd) = controls.endpoints.iter().find(|path| !known.contains(&path.as_str())) {
        let known = known.join(", ");
        let message = format!("there is no endpoint `{odd}`: the endpoints are {known}");
        return Err(AdminError::wrong("endpoints", message));
    }
    Ok(())
}

/// Makes a key.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CreateKey {
    #[schemars(with = "Name")]
    pub name: String,
    pub limits: Limits,
    pub expires_at: Option<Timestamp>,
    pub models: Vec<Pattern>,
    #[schemars(with = "Vec<(Name, Name)>")]
    pub tags: Vec<(String, String)>,
    #[schemars(range(min = 1))]
    pub rpm: Option<u64>,
    #[schemars(range(min = 1))]
    pub tpm: Option<u64>,
    #[schemars(range(min = 1))]
    pub parallel: Option<u64>,
    #[schemars(with = "Vec<EndpointName>")]
    pub endpoints: Vec<String>,
    pub allow_ips: Vec<Cidr>,
    pub enforcement: Option<Enforcement>,
    /// The id or name of a team.
    pub team: Option<String>,
}

impl Verb for CreateKey {
    type Answer = NewSecret;
    const PATH: &'static str = "keys/create";
    const CHANGES: bool = true;

    fn run(self, desk: &Desk) -> Result<NewSecret, AdminError> {
        check_key_name(&self.name)?;
        check_tags(&self.tags)?;
        check_expiry(self.expires_at)?;
        let team = self.team.as_deref().map(|team| teams::find(desk, team)).transpose()?;
        let controls = Controls {
            rpm: self.rpm,
            tpm: self.tpm,
            parallel: self.parallel,
            endpoints: self.endpoints,
            allow_ips: self.allow_ips,
            enforcement: self.enforcement,
            team: team.map(|team| team.id()),
        };
        check_controls(&controls)?;
        let now = clock::now();
        let secret = clock::new_secret()?;
        let record = KeyRecord {
            id: clock::new_key_id()?,
            name: self.name,
            hash: secret.hash(),
            tail: secret.tail(),
            retiring: None,
            created: now,
            expires: self.expires_at,
            disabled: false,
            revoked: None,
            limits: self.limits,
            models: self.models,
            tags: self.tags,
            controls,
        };
        let account = desk.ledger.create_key(record, now)?;
        tracing::info!(key.id = %account.id(), key.name = account.record().name, "key created");
        Ok(NewSecret { secret: secret.reveal(), key: view(desk, &account, now) })
    }

    fn target(answer: &NewSecret) -> Option<String> {
        Some(answer.key.id.to_string())
    }
}

/// Lists keys, oldest first; revoked ones only when asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListKeys {
    pub all: bool,
    /// How many at most.
    pub limit: Option<usize>,
    /// Only those that were made after this one.
    pub after: Option<KeyId>,
}

impl Verb for ListKeys {
    type Answer = Vec<KeyView>;
    const PATH: &'static str = "keys/list";
    const CHANGES: bool = false;

    fn run(self, desk: &Desk) -> Result<Vec<KeyView>, AdminError> {
        let now = clock::now();
        let mut accounts = desk.ledger.directory().all();
        if let Some(after) = self.after {
            let place = accounts.iter().position(|account| account.id() == after);
            accounts.drain(..place.map_or(accounts.len(), |place| place + 1));
        }
        let wanted =
            accounts.into_iter().filter(|account| self.all || account.record().revoked.is_none());
        let views = wanted.map(|account| view(desk, &account, now));
        Ok(views.take(self.limit.unwrap_or(usize::MAX)).collect())
    }
}

/// Shows one key.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowKey {
    pub key: String,
}

impl Verb for ShowKey {
    type Answer = KeyView;
    const PATH: &'static str = "keys/show";
    const CHANGES: bool = false;

    fn run(self, desk: &Desk) -> Result<KeyView, AdminError> {
        Ok(view(desk, &*find(desk, &self.key)?, clock::now()))
    }
}

/// Changes each limit as it says, in the order of [`Period::ALL`].
pub(super) fn set_limits(limits: &mut Limits, changes: [Change<Money>; 3]) {
    for (period, change) in Period::ALL.into_iter().zip(changes) {
        let mut limit = limits.get(period);
        change.apply(&mut limit);
        limits.set(period, limit);
    }
}

/// Changes or clears limits; the next call finds them changed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetLimits {
    pub key: String,
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    pub daily: Change<Money>,
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    pub weekly: Change<Money>,
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    pub monthly: Change<Money>,
}

impl Verb for SetLimits {
    type Answer = KeyView;
    const PATH: &'static str = "keys/limits";
    const CHANGES: bool = true;

    fn run(self, desk: &Desk) -> Result<KeyView, AdminError> {
        change(desk, &self.key, "limits changed", |key| {
            let changes = [self.daily, self.weekly, self.monthly];
            set_limits(&mut key.limits, changes);
            Ok(())
        })
    }

    fn target(answer: &KeyView) -> Option<String> {
        Some(answer.id.to_string())
    }
}

/// Changes anything else about a key; the next call finds it changed.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SetKey {
    pub key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Name>")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Change::is_keep")]
    pub expires_at: Change<Timestamp>,
    #[serde(skip_serializing_if = "Change::is_keep")]
    pub models: Change<Vec<Pattern>>,
    #[serde(skip_serializing_if = "Change::is_keep")]
    #[schemars(with = "Change<Vec<(Name, Name)>>")]
    pub tags: Change<Vec<(String, String)>>,
    #[serde(skip_serializing_if = "Change::is_keep")]
    #[schemars(range(min = 1))]
    pub rpm: Change<u64>,
    #[serde(skip_serializing_if = "Change::is_keep")]
    #[schemars(range(min = 1))]
    pub tpm: Change<u64>,
    #[serde(skip_serializing_if = "Change::is_keep")]
    #[schemars(range(min = 1))]
    pub parallel: Change<u64>,
    #[serde(skip_serializing_if = "Change::is_keep")]
    #[schemars(with = "Change<Vec<EndpointName>>")]
    pub endpoints: Change<Vec<String>>,
    #[serde(skip_serializing_if = "Change::is_keep")]
    pub allow_ips: Change<Vec<Cidr>>,
    #[serde(skip_serializing_if = "Change::is_keep")]
    pub enforcement: Change<Enforcement>,
    /// The id or name of a team.
    #[serde(skip_serializing_if = "Change::is_keep")]
    pub team: Change<String>,
}

impl Verb for SetKey {
    type Answer = KeyView;
    const PATH: &'static str = "keys/set";
    const CHANGES: bool = true;

    fn run(self, desk: &Desk) -> Result<KeyView, AdminError> {
        if let Some(name) = &self.name {
            check_key_name(name)?;
        }
        if let Change::Set(tags) = &self.tags {
            check_tags(tags)?;
        }
        if let Change::Set(expires) = self.expires_at {
            check_expiry(Some(expires))?;
        }
        let team = match &self.team {
            Change::Keep => Change::Keep,
            Change::Clear => Change::Clear,
            Change::Set(team) => Change::Set(teams::find(desk, team)?.id()),
        };
        change(desk, &self.key, "key changed", |key| {
            if let Some(name) = self.name {
                key.name = name;
            }
            self.expires_at.apply(&mut key.expires);
            self.models.apply_list(&mut key.models);
            self.tags.apply_list(&mut key.tags);
            let controls = &mut key.controls;
            self.rpm.apply(&mut controls.rpm);
            self.tpm.apply(&mut controls.tpm);
            self.parallel.apply(&mut controls.parallel);
            self.endpoints.apply_list(&mut controls.endpoints);
            self.allow_ips.apply_list(&mut controls.allow_ips);
            self.enforcement.apply(&mut controls.enforcement);
            team.apply(&mut controls.team);
            check_controls(controls)
        })
    }

    fn target(answer: &KeyView) -> Option<String> {
        Some(answer.id.to_string())
    }
}

/// Gives a key a new secret; the old one stays good for a while.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    pub key: String,
    /// How long the old secret stays good; 0 ends it at once.
    #[serde(default = "a_day")]
    #[schemars(range(max = 3_155_760_000_000_u64))]
    pub grace_ms: u64,
}

const fn a_day() -> u64 {
    86_400_000
}

impl Verb for RotateKey {
    type Answer = NewSecret;
    const PATH: &'static str = "keys/rotate";
    const CHANGES: bool = true;

    fn run(self, desk: &Desk) -> Result<NewSecret, AdminError> {
        let secret = clock::new_secret()?;
        let (hash, tail) = (secret.hash(), secret.tail());
        let until = clock::now().plus_millis(self.grace_ms);
        let key = change(desk, &self.key, "secret rotated", |key| {
            key.retiring = (self.grace_ms > 0).then_some(Retiring { hash: key.hash, until });
            key.hash = hash;
            key.tail = tail;
            Ok(())
        })?;
        Ok(NewSecret { secret: secret.reveal(), key })
    }

    fn target(answer: &NewSecret) -> Option<String> {
        Some(answer.key.id.to_string())
    }
}

/// Closes a key for a while, or opens it again.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetDisabled {
    pub key: String,
    pub disabled: bool,
}

impl Verb for SetDisabled {
    type Answer = KeyView;
    const PATH: &'static str = "keys/disable";
    const CHANGES: bool = true;

    fn run(self, desk: &Desk) -> Result<KeyView, AdminError> {
        let done = if self.disabled { "key disabled" } else { "key enabled" };
        change(desk, &self.key, done, |key| {
            key.disabled = self.disabled;
            Ok(())
        })
    }

    fn target(answer: &KeyView) -> Option<String> {
        Some(answer.id.to_string())
    }
}

/// Closes a key for good. Its receipts stay.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeKey {
    pub key: String,
}

impl Verb for RevokeKey {
    type Answer = KeyView;
    const PATH: &'static str = "keys/revoke";
    const CHANGES: bool = true;

    fn run(self, desk: &Desk) -> Result<KeyView, AdminError> {
        let account = find(desk, &self.key)?;
        let now = clock::now();
        if account.record().revoked.is_some() {
            return Ok(view(desk, &account, now));
        }
        change(desk, &self.key, "key revoked", |key| {
            key.revoked = Some(now);
            key.retiring = None;
            Ok(())
        })
    }

    fn target(answer: &KeyView) -> Option<String> {
        Some(answer.id.to_string())
    }
}

/// Changes a key that is not revoked.
fn change(
    desk: &Desk,
    wanted: &str,
    done: &str,
    apply: impl FnOnce(&mut KeyRecord) -> Result<(), AdminError>,
) -> Result<KeyView, AdminError> {
    let id = find(desk, wanted)?.id();
    let account = desk.ledger.change_key(id, |key| {
        if key.revoked.is_some() {
            return Err(AdminError::Conflict(format!("key {id} is revoked, which is final")));
        }
        apply(key)
    })?;
    tracing::info!(key.id = %id, key.name = account.record().name, "{done}");
    Ok(view(desk, &account, clock::now()))
}
