//! Verbs about keys: make, list, show, limit, rotate, disable, enable, revoke.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{AdminError, Desk, Verb};
use crate::clock;
use crate::domain::key::{KeyId, KeyRecord, KeyStatus, Limits, Retiring};
use crate::domain::money::Money;
use crate::domain::pattern::Pattern;
use crate::domain::window::{Period, Timestamp};
use crate::ledger::Standing;
use crate::ledger::account::Account;

/// The longest name or tag.
const LONGEST_NAME: usize = 128;

/// What may be shown of a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    pub windows: Vec<Standing>,
    pub calls_in_flight: u64,
}

/// A key with the secret that is shown this once.
#[derive(Serialize, Deserialize)]
pub struct NewSecret {
    pub secret: String,
    #[serde(flatten)]
    pub key: KeyView,
}

fn view(desk: &Desk, account: &Account, now: Timestamp) -> KeyView {
    let record = account.record();
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

fn check_name(what: &str, text: &str) -> Result<(), AdminError> {
    let problem = if text.trim().is_empty() {
        "must not be empty"
    } else if text.len() > LONGEST_NAME {
        "is longer than 128 bytes"
    } else if text.chars().any(char::is_control) {
        "must not hold control characters"
    } else if text.starts_with("sk-") {
        // Whoever pastes a secret here by mistake must not find it in lists and logs.
        "looks like a secret"
    } else {
        return Ok(());
    };
    Err(AdminError::Invalid(format!("{what} {problem}")))
}

/// Makes a key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CreateKey {
    pub name: String,
    pub limits: Limits,
    pub expires_at: Option<Timestamp>,
    pub models: Vec<Pattern>,
    pub tags: Vec<(String, String)>,
}

impl Verb for CreateKey {
    type Answer = NewSecret;
    const PATH: &'static str = "keys/create";

    fn run(self, desk: &Desk) -> Result<NewSecret, AdminError> {
        check_name("the name of a key", &self.name)?;
        if self.name.parse::<KeyId>().is_ok() {
            return Err(AdminError::Invalid("the name of a key must not be a key id".to_owned()));
        }
        for (name, value) in &self.tags {
            check_name("the name of a tag", name)?;
            check_name("the value of a tag", value)?;
        }
        let now = clock::now();
        if self.expires_at.is_some_and(|end| end <= now) {
            return Err(AdminError::Invalid("the key would have expired already".to_owned()));
        }
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
        };
        let account = desk.ledger.create_key(record, now)?;
        tracing::info!(key.id = %account.id(), key.name = account.record().name, "key created");
        Ok(NewSecret { secret: secret.reveal(), key: view(desk, &account, now) })
    }
}

/// Lists keys; revoked ones only when asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListKeys {
    pub all: bool,
}

impl Verb for ListKeys {
    type Answer = Vec<KeyView>;
    const PATH: &'static str = "keys/list";

    fn run(self, desk: &Desk) -> Result<Vec<KeyView>, AdminError> {
        let now = clock::now();
        let accounts = desk.ledger.directory().all();
        let views = accounts.iter().map(|account| view(desk, account, now));
        Ok(views.filter(|key| self.all || key.status != KeyStatus::Revoked).collect())
    }
}

/// Shows one key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShowKey {
    pub key: String,
}

impl Verb for ShowKey {
    type Answer = KeyView;
    const PATH: &'static str = "keys/show";

    fn run(self, desk: &Desk) -> Result<KeyView, AdminError> {
        Ok(view(desk, &*find(desk, &self.key)?, clock::now()))
    }
}

/// What becomes of one limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change<T> {
    #[default]
    Keep,
    Clear,
    Set(T),
}

/// Changes or clears limits; the next call finds them changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetLimits {
    pub key: String,
    #[serde(default)]
    pub daily: Change<Money>,
    #[serde(default)]
    pub weekly: Change<Money>,
    #[serde(default)]
    pub monthly: Change<Money>,
}

impl Verb for SetLimits {
    type Answer = KeyView;
    const PATH: &'static str = "keys/limits";

    fn run(self, desk: &Desk) -> Result<KeyView, AdminError> {
        change(desk, &self.key, "limits changed", |key| {
            let changes = [self.daily, self.weekly, self.monthly];
            for (period, change) in Period::ALL.into_iter().zip(changes) {
                match change {
                    Change::Keep => {}
                    Change::Clear => key.limits.set(period, None),
                    Change::Set(limit) => key.limits.set(period, Some(limit)),
                }
            }
            Ok(())
        })
    }
}

/// Gives a key a new secret; the old one stays good for a while.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    pub key: String,
    pub grace_ms: u64,
}

impl Verb for RotateKey {
    type Answer = NewSecret;
    const PATH: &'static str = "keys/rotate";

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
}

/// Closes a key for a while, or opens it again.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetDisabled {
    pub key: String,
    pub disabled: bool,
}

impl Verb for SetDisabled {
    type Answer = KeyView;
    const PATH: &'static str = "keys/disable";

    fn run(self, desk: &Desk) -> Result<KeyView, AdminError> {
        let done = if self.disabled { "key disabled" } else { "key enabled" };
        change(desk, &self.key, done, |key| {
            key.disabled = self.disabled;
            Ok(())
        })
    }
}

/// Closes a key for good. Its receipts stay.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeKey {
    pub key: String,
}

impl Verb for RevokeKey {
    type Answer = KeyView;
    const PATH: &'static str = "keys/revoke";

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
