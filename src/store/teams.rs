//! Teams in the store: made, read, changed, and deleted once no key is in them.

use std::collections::HashMap;

use redb::{ReadableTable, WriteTransaction};

use super::schema::{Account, KEYS, TEAM_ACCOUNTS, TEAMS};
use super::{Store, StoreError};
use crate::domain::budget::Remembered;
use crate::domain::key::KeyRecord;
use crate::domain::team::{TeamId, TeamRecord};

impl Store {
    pub fn teams(&self) -> Result<Vec<TeamRecord>, StoreError> {
        let read = self.vault.begin_read()?;
        let mut teams = Vec::new();
        for row in read.open_table(TEAMS)?.iter()? {
            teams.push(TeamRecord::decode(row?.1.value())?);
        }
        Ok(teams)
    }

    /// What each team has posted in its latest windows.
    pub fn team_accounts(&self) -> Result<HashMap<TeamId, Remembered>, StoreError> {
        let read = self.vault.begin_read()?;
        let mut accounts = HashMap::new();
        for row in read.open_table(TEAM_ACCOUNTS)?.iter()? {
            let (team, value) = row?;
            let account = Account::decode(value.value())?;
            accounts.insert(TeamId::from_bits(team.value()), account.windows);
        }
        Ok(accounts)
    }

    /// Stores a new team and returns when it outlives the machine.
    ///
    /// # Errors
    /// [`StoreError::TeamNameTaken`] if there is one of this name.
    pub fn insert_team(&self, team: &TeamRecord) -> Result<(), StoreError> {
        let write = self.vault.begin_write()?;
        {
            let mut table = write.open_table(TEAMS)?;
            for row in table.iter()? {
                if TeamRecord::decode(row?.1.value())?.name == team.name {
                    return Err(StoreError::TeamNameTaken(team.name.clone()));
                }
            }
            table.insert(team.id.bits(), team.encode().as_slice())?;
        }
        write.commit()?;
        Ok(())
    }

    /// Changes a team in one step and returns what it became, once that outlives the machine.
    ///
    /// # Errors
    /// [`StoreError::NoSuchTeam`].
    pub fn change_team(
        &self,
        id: TeamId,
        change: impl FnOnce(&mut TeamRecord),
    ) -> Result<TeamRecord, StoreError> {
        let write = self.vault.begin_write()?;
        let changed = {
            let mut table = write.open_table(TEAMS)?;
            let row = table.get(id.bits())?.ok_or(StoreError::NoSuchTeam)?;
            let mut team = TeamRecord::decode(row.value())?;
            drop(row);
            change(&mut team);
            table.insert(id.bits(), team.encode().as_slice())?;
            team
        };
        write.commit()?;
        Ok(changed)
    }

    /// Deletes a team. What it spent stays in the store.
    ///
    /// # Errors
    /// [`StoreError::TeamInUse`] while a key is in it that is not revoked; [`StoreError::NoSuchTeam`].
    pub fn delete_team(&self, id: TeamId) -> Result<(), StoreError> {
        let write = self.vault.begin_write()?;
        let mut keys = 0;
        for row in write.open_table(KEYS)?.iter()? {
            let key = KeyRecord::decode(row?.1.value())?;
            keys += usize::from(key.controls.team == Some(id) && key.revoked.is_none());
        }
        if keys > 0 {
            return Err(StoreError::TeamInUse { keys });
        }
        if write.open_table(TEAMS)?.remove(id.bits())?.is_none() {
            return Err(StoreError::NoSuchTeam);
        }
        write.commit()?;
        Ok(())
    }
}

/// Refuses a key that says it is in a team there is not.
pub(super) fn check_team(write: &WriteTransaction, key: &KeyRecord) -> Result<(), StoreError> {
    let Some(team) = key.controls.team.filter(|_| key.revoked.is_none()) else { return Ok(()) };
    let is_there = write.open_table(TEAMS)?.get(team.bits())?.is_some();
    if is_there { Ok(()) } else { Err(StoreError::NoSuchTeam) }
}
