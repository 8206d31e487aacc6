//! Tables, their encodings and the format's version: the only file that says how things are laid out.
//!
//! Values are versioned bytes of our own, never redb's composite types, whose encoding is redb's to
//! change.

use std::path::Path;

use redb::TableDefinition;

use super::StoreError;
use super::vault::Vault;
use crate::domain::budget::Remembered;
use crate::domain::codec::{DecodeError, Decoder, Encoder};
use crate::domain::money::Money;
use crate::domain::window::Timestamp;

/// The format this program writes. Raised whenever an older program could misread a newer file.
pub(super) const FORMAT: u64 = 1;

/// Names and numbers of the store itself.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Key id → [`crate::domain::key::KeyRecord`].
pub(super) const KEYS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("keys");
/// Key id → [`Account`].
pub(super) const ACCOUNTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("accounts");
/// (posted at, sequence) of the last receipt in a run → the run, one receipt after another.
pub(super) const RECEIPTS: TableDefinition<'_, (u64, u64), &[u8]> =
    TableDefinition::new("receipts");
/// (hour, key id, provider and model) → [`super::Totals`].
pub(super) const HOURS: TableDefinition<'_, (u64, u64, &str), &[u8]> =
    TableDefinition::new("hours");
/// Request id → the hold of a call that had not ended when the journal was last put away, as a record
/// of the journal.
pub(super) const OPEN: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("open_holds");

/// Team id → [`crate::domain::team::TeamRecord`].
pub(super) const TEAMS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("teams");
/// Team id → [`Account`].
pub(super) const TEAM_ACCOUNTS: TableDefinition<'_, u64, &[u8]> =
    TableDefinition::new("team_accounts");
/// (team id, hour) → nano-USD posted.
pub(super) const TEAM_HOURS: TableDefinition<'_, (u64, u64), u64> =
    TableDefinition::new("team_hours");

const FORMAT_KEY: &str = "format";
/// The last journal segment whose records are in the tables.
pub(super) const STORED_KEY: &str = "journal_stored";

/// Checks that the file is ours and of a format this program knows, and makes its tables.
pub(super) fn prepare(vault: &Vault, path: &Path) -> Result<(), StoreError> {
    if let Some(found) = format(vault)? {
        return if found > FORMAT {
            Err(StoreError::Newer { path: path.to_owned(), found, known: FORMAT })
        } else {
            Ok(())
        };
    }
    let write = vault.begin_write()?;
    if write.list_tables()?.next().is_some() {
        let reason = "it is a redb database of another program".to_owned();
        return Err(StoreError::Foreign { path: path.to_owned(), reason });
    }
    write.open_table(META)?.insert(FORMAT_KEY, FORMAT)?;
    write.open_table(KEYS)?;
    write.open_table(ACCOUNTS)?;
    write.open_table(RECEIPTS)?;
    write.open_table(HOURS)?;
    write.open_table(OPEN)?;
    write.open_table(TEAMS)?;
    write.open_table(TEAM_ACCOUNTS)?;
    write.open_table(TEAM_HOURS)?;
    write.commit()?;
    Ok(())
}

fn format(vault: &Vault) -> Result<Option<u64>, StoreError> {
    let read = vault.begin_read()?;
    match read.open_table(META) {
        Ok(meta) => Ok(meta.get(FORMAT_KEY)?.map(|format| format.value())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What an account, of a key or of a team, has posted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// Since the key or team was made.
    pub(super) total: Money,
    pub(super) calls: u64,
    pub(super) windows: Remembered,
}

const ACCOUNT_VERSION: u64 = 1;

impl Account {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.number(ACCOUNT_VERSION);
        out.number(self.total.nano());
        out.number(self.calls);
        for (start, posted) in self.windows.starts.iter().zip(&self.windows.posted) {
            out.number(start.millis());
            out.number(posted.nano());
        }
        out.finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Decoder::new(bytes);
        input.version(ACCOUNT_VERSION)?;
        let mut account = Self {
            total: Money::from_nano(input.number()?),
            calls: input.number()?,
            windows: Remembered::default(),
        };
        for period in 0..3 {
            account.windows.starts[period] = Timestamp::from_millis(input.number()?);
            account.windows.posted[period] = Money::from_nano(input.number()?);
        }
        Ok(account)
    }
}
