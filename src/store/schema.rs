//! Tables, their encodings and the format's version: the only file that says how things are laid out.
//!
//! Values are versioned bytes of our own, never redb's composite types, whose encoding is redb's to
//! change.

use std::collections::HashSet;
use std::path::Path;

use redb::{ReadTransaction, TableDefinition, TableHandle, WriteTransaction};

use super::StoreError;
use super::vault::Vault;
use crate::domain::adjustment::Corrected;
use crate::domain::budget::Remembered;
use crate::domain::codec::{DecodeError, Decoder, Encoder};
use crate::domain::money::Money;
use crate::domain::window::Timestamp;

/// The format this program writes. Raised whenever an older program could misread a newer file, and
/// whenever something has to be done to an older file: then [`super::migration`] gets a step.
pub const FORMAT: u64 = 4;

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
/// Id → [`crate::domain::adjustment::Adjustment`], in the order they were made.
pub(super) const ADJUSTMENTS: TableDefinition<'_, u128, &[u8]> =
    TableDefinition::new("adjustments");
/// Key id → [`super::Totals`] of the receipts that were deleted because of their age.
pub(super) const PRUNED: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("pruned");
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

/// Hash of a session's secret → [`crate::domain::access::SessionRecord`].
pub(super) const SESSIONS: TableDefinition<'_, &[u8], &[u8]> =
    TableDefinition::new("admin_sessions");
/// Hash of a token → [`crate::domain::access::TokenRecord`].
pub(super) const TOKENS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("admin_tokens");
/// Whose it is → what is kept of a password.
pub(super) const PASSWORDS: TableDefinition<'_, &str, &[u8]> =
    TableDefinition::new("admin_passwords");
/// Id → [`crate::domain::audit::AuditRecord`], in the order of their time.
pub(super) const AUDIT: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("audit");
/// Hash of an idempotency key → what came of the request that had it.
pub(super) const REPEATS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("admin_repeats");

const FORMAT_KEY: &str = "format";
/// The last journal segment whose records are in the tables.
pub(super) const STORED_KEY: &str = "journal_stored";
/// When the latest of the receipts was posted that were deleted because of their age.
pub(super) const PRUNED_KEY: &str = "pruned_through";
/// A mark of the rule that the accounts' windows follow.
pub(super) const RULE_KEY: &str = "window_rule";

/// Checks that the file is ours and of a format this program knows, and makes the tables that are not
/// there: a backup has no sessions. Returns the format of one that has to be migrated first.
pub(super) fn prepare(vault: &Vault, path: &Path) -> Result<Option<u64>, StoreError> {
    let read = vault.begin_read()?;
    match check(&read, path)? {
        Some(found) if found < FORMAT => return Ok(Some(found)),
        Some(_) if has_tables(&read)? => return Ok(None),
        _ => {}
    }
    let write = vault.begin_write()?;
    mark_current(&write)?;
    open_tables(&write)?;
    write.commit()?;
    Ok(None)
}

/// Says that all is laid out as [`FORMAT`] has it.
pub(super) fn mark_current(write: &WriteTransaction) -> Result<(), StoreError> {
    write.open_table(META)?.insert(FORMAT_KEY, FORMAT)?;
    Ok(())
}

macro_rules! tables {
    ($($table:ident),*) => {
        /// Makes the tables that are not there.
        pub(super) fn open_tables(write: &WriteTransaction) -> Result<(), StoreError> {
            $(write.open_table($table)?;)*
            Ok(())
        }

        /// Whether all of them are there.
        fn has_tables(read: &ReadTransaction) -> Result<bool, StoreError> {
            let names: HashSet<_> =
                read.list_tables()?.map(|table| table.name().to_owned()).collect();
            Ok([$($table.name()),*].iter().all(|name| names.contains(*name)))
        }
    };
}

tables!(
    KEYS,
    ACCOUNTS,
    RECEIPTS,
    HOURS,
    ADJUSTMENTS,
    PRUNED,
    OPEN,
    TEAMS,
    TEAM_ACCOUNTS,
    TEAM_HOURS,
    AUDIT,
    SESSIONS,
    TOKENS,
    PASSWORDS,
    REPEATS
);

/// Whether a file has a table: one of an earlier format may not.
pub(super) fn has<K: redb::Key + 'static, V: redb::Value + 'static>(
    read: &ReadTransaction,
    table: TableDefinition<'_, K, V>,
) -> Result<bool, StoreError> {
    match read.open_table(table) {
        Ok(_) => Ok(true),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The format of a file that this program can read; `None` if there is nothing in it.
pub(super) fn check(read: &ReadTransaction, path: &Path) -> Result<Option<u64>, StoreError> {
    let found = match read.open_table(META) {
        Ok(meta) => meta.get(FORMAT_KEY)?.map(|format| format.value()),
        Err(redb::TableError::TableDoesNotExist(_)) => None,
        Err(error) => return Err(error.into()),
    };
    match found {
        Some(found) if found > FORMAT => {
            Err(StoreError::Newer { path: path.to_owned(), found, known: FORMAT })
        }
        None if read.list_tables()?.next().is_some() => {
            let reason = "it is a redb database of another program".to_owned();
            Err(StoreError::Foreign { path: path.to_owned(), reason })
        }
        found => Ok(found),
    }
}

/// What an account, of a key or of a team, has posted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// Since the key or team was made.
    pub(super) calls: u64,
    pub(super) corrected: Corrected,
    pub(super) windows: Remembered,
}

/// The first stores wrote 1 before there were adjustments, and some with them wrote it as well: what is
/// there tells.
const ACCOUNT_VERSION: u64 = 2;

impl Account {
    pub(super) fn encode(&self) -> Vec<u8> {
        let windows = &self.windows;
        let mut out = Encoder::new();
        out.number(ACCOUNT_VERSION);
        out.number(windows.total.nano());
        out.number(self.calls);
        for (start, posted) in windows.starts.iter().zip(&windows.posted) {
            out.number(start.millis());
            out.number(posted.nano());
        }
        out.number(self.corrected.charged.nano());
        out.number(self.corrected.credited.nano());
        for (credited, replaced) in windows.credited.iter().zip(&windows.replaced) {
            out.number(credited.nano());
            out.optional(replaced.map(Timestamp::millis));
        }
        out.finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Decoder::new(bytes);
        input.version(ACCOUNT_VERSION)?;
        let mut account = Self::default();
        let windows = &mut account.windows;
        windows.total = Money::from_nano(input.number()?);
        account.calls = input.number()?;
        for (start, posted) in windows.starts.iter_mut().zip(&mut windows.posted) {
            *start = Timestamp::from_millis(input.number()?);
            *posted = Money::from_nano(input.number()?);
        }
        // The first stores knew no adjustments.
        if input.is_empty() {
            return Ok(account);
        }
        account.corrected.charged = Money::from_nano(input.number()?);
        account.corrected.credited = Money::from_nano(input.number()?);
        for (credited, replaced) in windows.credited.iter_mut().zip(&mut windows.replaced) {
            *credited = Money::from_nano(input.number()?);
            *replaced = input.optional()?.map(Timestamp::from_millis);
        }
        Ok(account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_reads_back() {
        let nano = Money::from_nano;
        let mut account = Account { calls: 3, ..Account::default() };
        account.windows.total = nano(70);
        account.windows.starts = [Timestamp::from_millis(9); 3];
        account.windows.posted = [nano(60); 3];
        account.corrected = Corrected { charged: nano(1), credited: nano(2) };
        account.windows.credited = [nano(2), nano(1), nano(0)];
        account.windows.replaced = [None, Some(Timestamp::from_millis(0)), None];
        assert_eq!(Account::decode(&account.encode()), Ok(account));
    }

    #[test]
    fn an_account_from_before_adjustments_is_read() {
        let mut account = Account { calls: 3, ..Account::default() };
        account.windows.total = Money::from_nano(70);
        account.windows.posted = [Money::from_nano(60); 3];
        // Two sums and, for each window, a credit and no replacement: all zero, a byte each.
        let whole = account.encode();
        let first = &whole[..whole.len() - 8];
        assert_eq!(Account::decode(first), Ok(account));
        assert_eq!(Account::decode(&first[..first.len() - 1]), Err(DecodeError::Truncated));
    }
}
