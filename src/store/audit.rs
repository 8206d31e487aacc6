//! The audit log: an entry is added, gets its outcome once, and goes when it has been kept long enough.

use super::schema::AUDIT;
use super::{Store, StoreError};
use crate::domain::audit::{AuditId, AuditRecord, Outcome};
use crate::domain::window::Timestamp;

/// Which entries are wanted.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    pub since: Timestamp,
    /// Up to but not with this instant.
    pub until: Option<Timestamp>,
    pub verb: Option<String>,
    /// The id of what was made or changed.
    pub target: Option<String>,
    /// The id or name of who asked.
    pub by: Option<String>,
    pub outcome: Option<Outcome>,
    /// Only entries older than this one: where the page before ended.
    pub after: Option<AuditId>,
}

impl AuditFilter {
    fn wants(&self, entry: &AuditRecord) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        let by = &entry.by;
        let is_by = is(&self.by, by.id.as_deref())
            || is(&self.by, by.name.as_deref())
            || is(&self.by, Some(by.door.name()));
        is(&self.verb, Some(&entry.verb))
            && is(&self.target, entry.target.as_deref())
            && is_by
            && self.outcome.is_none_or(|outcome| outcome == entry.outcome)
    }
}

impl Store {
    /// Adds an entry and returns when it outlives the machine.
    pub fn add_audit(&self, entry: &AuditRecord) -> Result<(), StoreError> {
        self.change(|write| {
            let mut table = write.open_table(AUDIT)?;
            table.insert(entry.id.bits(), entry.encode().as_slice())?;
            Ok(())
        })
    }

    /// The latest entries that are wanted, newest first.
    pub fn latest_audit(
        &self,
        filter: &AuditFilter,
        limit: usize,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        let read = self.read()?;
        let table = read.open_table(AUDIT)?;
        let first = AuditId::first_of(filter.since).bits();
        let ends = [filter.until.map(AuditId::first_of), filter.after];
        let end = ends.into_iter().flatten().map(AuditId::bits).min().unwrap_or(u128::MAX);
        let mut found = Vec::new();
        if first >= end {
            return Ok(found);
        }
        for row in table.range(first..end)?.rev() {
            if found.len() >= limit {
                break;
            }
            let entry = AuditRecord::decode(row?.1.value())?;
            if filter.wants(&entry) {
                found.push(entry);
            }
        }
        Ok(found)
    }

    /// Deletes at most `most` entries from before `end`, and returns how many.
    pub fn prune_audit(&self, end: Timestamp, most: usize) -> Result<usize, StoreError> {
        let end = AuditId::first_of(end).bits();
        let old: Vec<u128> = {
            let read = self.read()?;
            let table = read.open_table(AUDIT)?;
            let rows = table.range(..end)?.take(most);
            rows.map(|row| Ok(row?.0.value())).collect::<Result<_, StoreError>>()?
        };
        if old.is_empty() {
            return Ok(0);
        }
        self.change(|write| {
            let mut table = write.open_table(AUDIT)?;
            for id in &old {
                table.remove(*id)?;
            }
            Ok(old.len())
        })
    }
}
