//! Adjustments in the store: entered together with the account rows they change, in one transaction,
//! so that a crash leaves all or nothing.

use redb::{ReadTransaction, ReadableTable, Table};

use super::schema::{ACCOUNTS, ADJUSTMENTS, Account, TEAM_ACCOUNTS, has};
use super::{Store, StoreError};
use crate::domain::adjustment::{Adjustment, AdjustmentId};
use crate::domain::key::KeyId;
use crate::domain::team::Owner;

impl Store {
    /// Enters an adjustment and returns when it outlives the machine. One that was entered under the
    /// same id before is returned instead, and nothing is changed.
    pub fn adjust(&self, adjustment: &Adjustment) -> Result<Option<Adjustment>, StoreError> {
        self.change(|write| {
            let mut entries = write.open_table(ADJUSTMENTS)?;
            if let Some(earlier) = entries.get(adjustment.id.bits())? {
                return Ok(Some(Adjustment::decode(earlier.value())?));
            }
            entries.insert(adjustment.id.bits(), adjustment.encode().as_slice())?;
            let key = Owner::Key(adjustment.key);
            correct(&mut write.open_table(ACCOUNTS)?, adjustment.key.bits(), key, adjustment)?;
            if let Some(part) = &adjustment.team {
                let mut accounts = write.open_table(TEAM_ACCOUNTS)?;
                correct(&mut accounts, part.team.bits(), Owner::Team(part.team), adjustment)?;
            }
            Ok(None)
        })
    }

    /// The latest adjustments, newest first; only those older than `after`, where that is given.
    pub fn latest_adjustments(
        &self,
        key: Option<KeyId>,
        after: Option<AdjustmentId>,
        limit: usize,
    ) -> Result<Vec<Adjustment>, StoreError> {
        let mut all = adjustments(&self.read()?)?;
        if let Some(after) = after {
            let place = all.iter().position(|adjustment| adjustment.id == after);
            all.truncate(place.unwrap_or(0));
        }
        all.retain(|adjustment| key.is_none_or(|wanted| wanted == adjustment.key));
        all.reverse();
        all.truncate(limit);
        Ok(all)
    }
}

fn correct(
    accounts: &mut Table<'_, u64, &[u8]>,
    row: u64,
    owner: Owner,
    adjustment: &Adjustment,
) -> Result<(), StoreError> {
    let account = accounts.get(row)?.map(|row| Account::decode(row.value())).transpose()?;
    let mut account = account.unwrap_or_default();
    if let Some((starts, counted)) = adjustment.part_of(owner) {
        account.corrected.add(adjustment.correction);
        account.windows.correct(&starts, adjustment.correction, &counted);
    }
    accounts.insert(row, account.encode().as_slice())?;
    Ok(())
}

/// All adjustments in the order they were made: a few, because people make them.
pub(super) fn adjustments(read: &ReadTransaction) -> Result<Vec<Adjustment>, StoreError> {
    let mut all = Vec::new();
    if !has(read, ADJUSTMENTS)? {
        return Ok(all);
    }
    for row in read.open_table(ADJUSTMENTS)?.iter()? {
        all.push(Adjustment::decode(row?.1.value())?);
    }
    all.sort_by_key(|adjustment| (adjustment.at, adjustment.id));
    Ok(all)
}
