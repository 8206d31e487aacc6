//! Keys in the store: made, read, changed. A key is never deleted, so that a bill keeps its name.

use redb::ReadableTable;

use super::schema::KEYS;
use super::teams::check_team;
use super::{Store, StoreError};
use crate::domain::key::{KeyId, KeyRecord};

impl Store {
    pub fn keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        let read = self.vault.begin_read()?;
        let table = read.open_table(KEYS)?;
        let mut keys = Vec::new();
        for row in table.iter()? {
            keys.push(KeyRecord::decode(row?.1.value())?);
        }
        Ok(keys)
    }

    /// Stores a new key and returns when it outlives the machine.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`] if a key that is not revoked has its name; [`StoreError::NoSuchTeam`].
    pub fn insert_key(&self, key: &KeyRecord) -> Result<(), StoreError> {
        self.vault.watched(self.try_insert_key(key))
    }

    fn try_insert_key(&self, key: &KeyRecord) -> Result<(), StoreError> {
        let write = self.vault.begin_write()?;
        {
            let mut table = write.open_table(KEYS)?;
            check_name(&table, key)?;
            table.insert(key.id.bits(), key.encode().as_slice())?;
        }
        check_team(&write, key)?;
        write.commit()?;
        Ok(())
    }

    /// Changes a key in one step and returns what it became, once that outlives the machine.
    ///
    /// # Errors
    /// [`StoreError::NoSuchKey`], as [`Store::insert_key`] for another name or team, or what `change` returns, in which case nothing was changed.
    pub fn change_key<E: From<StoreError>>(
        &self,
        id: KeyId,
        change: impl FnOnce(&mut KeyRecord) -> Result<(), E>,
    ) -> Result<KeyRecord, E> {
        let write = self.vault.begin_write()?;
        let changed = {
            let mut table = write.open_table(KEYS).map_err(StoreError::from)?;
            let mut key = match table.get(id.bits()).map_err(StoreError::from)? {
                Some(row) => KeyRecord::decode(row.value()).map_err(StoreError::from)?,
                None => return Err(StoreError::NoSuchKey.into()),
            };
            let name = key.name.clone();
            change(&mut key)?;
            if key.name != name {
                check_name(&table, &key)?;
            }
            let encoded = key.encode();
            table.insert(id.bits(), encoded.as_slice()).map_err(StoreError::from)?;
            key
        };
        check_team(&write, &changed)?;
        self.vault.watched(write.commit().map_err(StoreError::from))?;
        Ok(changed)
    }
}

/// Refuses a name that another key has; a revoked one does not need it any more.
fn check_name(
    table: &impl ReadableTable<u64, &'static [u8]>,
    key: &KeyRecord,
) -> Result<(), StoreError> {
    for row in table.iter()? {
        let other = KeyRecord::decode(row?.1.value())?;
        if other.name == key.name && other.revoked.is_none() && other.id != key.id {
            return Err(StoreError::NameTaken(key.name.clone()));
        }
    }
    Ok(())
}
