//! Putting the journal away: the same code brings the tables up to date every few seconds and after
//! a crash, so what a crash needs is tried all day long.
//!
//! One transaction takes in everything up to a segment: receipts, totals, accounts, and which holds
//! are open. From then on those segments mean nothing any more, whether they are deleted, deleted in
//! part, or come back after the power failed: they must never be read again.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::hash_map::Entry;
use std::io;
use std::sync::Arc;

use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use super::disk::Disk;
use super::journal::{PutAway, records_of};
use super::record::{Gist, OpenHold, Post, Record, frames};
use super::schema::{
    ACCOUNTS, Account, HOURS, META, OPEN, RECEIPTS, STORED_KEY, TEAM_ACCOUNTS, TEAM_HOURS,
};
use super::vault::Vault;
use super::{StoreError, Totals};
use crate::domain::budget::Starts;
use crate::domain::codec::{DecodeError, Decoder};
use crate::domain::key::KeyId;
use crate::domain::money::Money;
use crate::domain::receipt::KnownNames;
use crate::domain::request_id::RequestId;
use crate::domain::team::Share;
use crate::domain::window::Timestamp;
use crate::map::Map;

/// How large a row of receipts may grow: large enough to cost little each, small enough that reading
/// one does not mean reading a thousand. With its place it fits into 16 KiB, for pages double in size.
const RUN_BYTES: usize = (16 << 10) - 64;

/// About how many bytes of a journal a call takes, with its hold and its ending.
const USUAL_CALL: usize = 320;

/// How far apart the receipts of a row may be, in milliseconds: a row stands under its last receipt,
/// and whoever looks for an earlier one must know how far to look.
pub(super) const RUN_SPAN_MS: u64 = 60_000;

/// Puts segments into the tables.
pub(super) struct Cabinet {
    vault: Arc<Vault>,
    disk: Arc<dyn Disk>,
}

/// What some segments say.
#[derive(Default)]
pub(super) struct Digest<'a> {
    calls: Calls<'a>,
    rows: Vec<Row<'a>>,
    hours: Map<Hour<'a>, Totals>,
    /// Of each post the key and the windows it counts in, and what was posted.
    costs: Vec<(KeyId, Starts, Money)>,
    /// Those of the posts that count for a team too: its part, the hour and the cost.
    shares: Vec<(Share, u64, Money)>,
}

/// Calls: the hold as it is written, or nothing where the call has ended.
type Calls<'a> = Map<RequestId, Option<&'a [u8]>>;

/// A receipt as it goes into a row.
struct Row<'a> {
    at: Timestamp,
    id: RequestId,
    receipt: Cow<'a, [u8]>,
}

/// What totals are of: an hour, a key, a provider and a model.
type Hour<'a> = (u64, KeyId, &'a str, &'a str);

impl Cabinet {
    pub(super) const fn new(vault: Arc<Vault>, disk: Arc<dyn Disk>) -> Self {
        Self { vault, disk }
    }

    /// Brings the tables up to date after a start. Returns the last segment's number and the holds
    /// that are open.
    pub(super) fn recover(&mut self) -> Result<(u64, Vec<OpenHold>), StoreError> {
        let last = self.disk.list()?.last().copied().unwrap_or(0).max(self.stored()?);
        self.put_away(last)?;
        self.forget(last);
        Ok((last, open_holds(&self.vault.begin_read()?)?))
    }

    fn stored(&self) -> Result<u64, StoreError> {
        let read = self.vault.begin_read()?;
        let stored = read.open_table(META)?.get(STORED_KEY)?;
        Ok(stored.map_or(0, |number| number.value()))
    }

    fn write(&self, digest: Digest<'_>, last: u64) -> Result<(), StoreError> {
        let write = self.vault.begin_write()?;
        digest.write(&write, last)?;
        write.commit()?;
        Ok(())
    }

    fn try_put_away(&self, last: u64) -> Result<(), StoreError> {
        let stored = self.stored()?;
        if last <= stored {
            return Ok(());
        }
        let numbers = self.disk.list()?.into_iter().filter(|n| stored < *n && *n <= last);
        let segments = numbers.map(|number| self.disk.read(number));
        let segments = segments.collect::<io::Result<Vec<_>>>()?;
        let mut digest = Digest::with_room(segments.iter().map(Vec::len).sum());
        let mut known = KnownNames::default();
        for segment in &segments {
            digest.read(segment, &mut known)?;
        }
        self.write(digest, last)
    }
}

/// The holds that were open when the journal was last put away.
pub(super) fn open_holds(read: &ReadTransaction) -> Result<Vec<OpenHold>, StoreError> {
    let mut open = Vec::new();
    for row in read.open_table(OPEN)?.iter()? {
        if let Record::Hold(hold) = Record::decode(&mut Decoder::new(row?.1.value()))? {
            open.push(hold);
        }
    }
    Ok(open)
}

impl PutAway for Cabinet {
    fn put_away(&mut self, last: u64) -> Result<(), StoreError> {
        self.vault.watched(self.try_put_away(last))
    }

    fn forget(&mut self, last: u64) {
        let segments = self.disk.list().unwrap_or_default();
        for number in segments.into_iter().filter(|number| *number <= last) {
            if let Err(error) = self.disk.remove(number) {
                tracing::warn!(
                    "journal segment {number} is put away but cannot be deleted: {error}"
                );
            }
        }
    }
}

impl<'a> Digest<'a> {
    /// With room for what segments of so many bytes usually hold.
    fn with_room(bytes: usize) -> Self {
        let calls = bytes / USUAL_CALL;
        let mut digest = Self::default();
        digest.calls.reserve(calls);
        digest.rows.reserve(calls);
        digest.costs.reserve(calls);
        digest
    }

    fn read(&mut self, segment: &'a [u8], known: &mut KnownNames<'a>) -> Result<(), StoreError> {
        for record in frames(records_of(segment).unwrap_or_default()) {
            match Gist::read(record, known)? {
                Gist::Hold(id) => self.hold(id, record),
                Gist::Post(post) => self.post(post)?,
                Gist::Void(id) => self.void(id),
            }
        }
        Ok(())
    }

    /// Takes a hold as it is written, or what it has become.
    pub(super) fn hold(&mut self, id: RequestId, record: &'a [u8]) {
        // One that has ended stays so: records are in no order.
        if let Some(hold) = self.calls.entry(id).or_insert(Some(record)) {
            *hold = record;
        }
    }

    /// Takes an ending at nothing.
    pub(super) fn void(&mut self, id: RequestId) {
        self.end(id);
    }

    /// Takes an ending at a cost.
    pub(super) fn post(&mut self, post: Post<'a>) -> Result<(), DecodeError> {
        let Post { starts, share, receipt } = post;
        if !self.end(receipt.id) {
            return Ok(());
        }
        let hour = receipt.at.hour().millis();
        let place = (hour, receipt.key, receipt.provider, receipt.model);
        self.hours.entry(place).or_default().add_receipt(&receipt);
        self.costs.push((receipt.key, starts, receipt.cost));
        self.shares.extend(share.map(|share| (share, hour, receipt.cost)));
        let (at, id) = (receipt.at, receipt.id);
        self.rows.push(Row { at, id, receipt: receipt.as_written_now()? });
        Ok(())
    }

    /// Whether the call has not ended before.
    fn end(&mut self, id: RequestId) -> bool {
        self.calls.insert(id, None) != Some(None)
    }

    /// Enters what it holds, from segments up to `last`.
    pub(super) fn write(self, write: &WriteTransaction, last: u64) -> Result<(), StoreError> {
        write.open_table(META)?.insert(STORED_KEY, last)?;
        write_receipts(write, self.rows, last)?;
        write_hours(write, self.hours)?;
        write_accounts(write, &self.costs)?;
        write_teams(write, &self.shares)?;
        write_open(write, &self.calls)
    }
}

/// Receipts go in as runs: one row for many, in the order they were posted.
fn write_receipts(
    write: &WriteTransaction,
    mut rows: Vec<Row<'_>>,
    last: u64,
) -> Result<(), StoreError> {
    let mut table = write.open_table(RECEIPTS)?;
    // They come nearly in order, and many in each millisecond.
    rows.sort_by_key(|row| row.at);
    for together in rows.chunk_by_mut(|one, other| one.at == other.at) {
        together.sort_unstable_by_key(|row| row.id);
    }
    // The segment's number makes a sequence that no other row has.
    let mut sequence = last << 24;
    let mut run = Vec::with_capacity(RUN_BYTES);
    let mut rest = rows.as_slice();
    while let Some(first) = rest.first() {
        run.clear();
        let mut end = first.at;
        let fits = |row: &&Row<'_>| {
            let has_room = run.is_empty() || run.len() + row.receipt.len() <= RUN_BYTES;
            let fits = has_room && row.at.millis_since(first.at) <= RUN_SPAN_MS;
            if fits {
                run.extend_from_slice(&row.receipt);
                end = row.at;
            }
            fits
        };
        let count = rest.iter().take_while(fits).count();
        table.insert((end.millis(), sequence), run.as_slice())?;
        sequence += 1;
        rest = &rest[count..];
    }
    Ok(())
}

fn write_hours(write: &WriteTransaction, hours: Map<Hour<'_>, Totals>) -> Result<(), StoreError> {
    let mut table = write.open_table(HOURS)?;
    let mut hours: Vec<_> = hours.into_iter().collect();
    hours.sort_unstable_by_key(|(place, _)| *place);
    for ((hour, key, provider, model), mut totals) in hours {
        let model = super::report::place(provider, model);
        let place = (hour, key.bits(), model.as_str());
        if let Some(earlier) = table.get(place)? {
            totals.add(&Totals::decode(earlier.value())?);
        }
        table.insert(place, totals.encode().as_slice())?;
    }
    Ok(())
}

fn write_accounts(
    write: &WriteTransaction,
    costs: &[(KeyId, Starts, Money)],
) -> Result<(), StoreError> {
    let mut table = write.open_table(ACCOUNTS)?;
    let mut accounts: Map<u64, Account> = Map::default();
    for (key, starts, cost) in costs {
        let account = account(&mut accounts, &table, key.bits())?;
        account.calls += 1;
        account.windows.post(starts, *cost);
    }
    for (key, account) in accounts {
        table.insert(key, account.encode().as_slice())?;
    }
    Ok(())
}

/// The account of a key or a team, as its table had it before.
fn account<'a>(
    accounts: &'a mut Map<u64, Account>,
    table: &impl ReadableTable<u64, &'static [u8]>,
    whose: u64,
) -> Result<&'a mut Account, StoreError> {
    match accounts.entry(whose) {
        Entry::Occupied(entry) => Ok(entry.into_mut()),
        Entry::Vacant(entry) => {
            let row = table.get(whose)?;
            let account = row.map(|row| Account::decode(row.value())).transpose()?;
            Ok(entry.insert(account.unwrap_or_default()))
        }
    }
}

fn write_teams(write: &WriteTransaction, shares: &[(Share, u64, Money)]) -> Result<(), StoreError> {
    let mut table = write.open_table(TEAM_ACCOUNTS)?;
    let mut hours = write.open_table(TEAM_HOURS)?;
    let mut accounts: Map<u64, Account> = Map::default();
    let mut sums: BTreeMap<(u64, u64), Money> = BTreeMap::new();
    for (share, hour, cost) in shares {
        let team = share.team.bits();
        let account = account(&mut accounts, &table, team)?;
        account.calls += 1;
        account.windows.post(&share.starts, *cost);
        let sum = sums.entry((team, *hour)).or_default();
        *sum = sum.saturating_add(*cost);
    }
    for (team, account) in accounts {
        table.insert(team, account.encode().as_slice())?;
    }
    for (place, sum) in sums {
        let earlier = hours.get(place)?.map_or(0, |row| row.value());
        hours.insert(place, sum.saturating_add(Money::from_nano(earlier)).nano())?;
    }
    Ok(())
}

/// Those of a table of open holds that may have ended: mostly few are open, and many have ended.
fn gone(
    table: &impl ReadableTable<u128, &'static [u8]>,
    calls: &Calls<'_>,
) -> Result<Vec<u128>, StoreError> {
    if table.len()? > calls.len() as u64 {
        let ended = calls.iter().filter(|(_, hold)| hold.is_none());
        return Ok(ended.map(|(id, _)| id.bits()).collect());
    }
    let mut gone = Vec::new();
    for row in table.iter()? {
        let id = row?.0.value();
        if calls.get(&RequestId::from_bits(id)) == Some(&None) {
            gone.push(id);
        }
    }
    Ok(gone)
}

fn write_open(write: &WriteTransaction, calls: &Calls<'_>) -> Result<(), StoreError> {
    let mut table = write.open_table(OPEN)?;
    for id in gone(&table, calls)? {
        table.remove(id)?;
    }
    for (id, record) in calls.iter().filter_map(|(id, hold)| Some((id, (*hold)?))) {
        // Nothing goes in that could not be read again.
        Record::decode(&mut Decoder::new(record))?;
        table.insert(id.bits(), record)?;
    }
    Ok(())
}
