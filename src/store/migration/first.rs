//! From the first three formats. Their number was raised twice and then went back to 1, so it does not
//! say how a store is laid out; its tables do.
//!
//! The first stores had no adjustments, no teams, no open holds of their own and no tables of
//! administration, and their journal lay beside the store, not in a folder. As long as there was no
//! table of open holds, the journal said which holds were open, in records that were numbered in another
//! way: which of the two it is, the absence of that table tells.

use std::fs;
use std::path::{Path, PathBuf};

use redb::{ReadableTable, TableHandle, WriteTransaction};

use super::Old;
use crate::domain::codec::{DecodeError, Decoder, Encoder};
use crate::domain::receipt::Receipt;
use crate::domain::request_id::RequestId;
use crate::store::StoreError;
use crate::store::journal::records_of;
use crate::store::record::{OpenHold, Record, decode_share, decode_starts, encode_hold, frames};
use crate::store::recovery::Digest;
use crate::store::schema::{META, OPEN, STORED_KEY, open_tables};

pub(super) fn bring_to_4(write: &WriteTransaction, old: &Old<'_>) -> Result<(), StoreError> {
    let has_open_holds = write.list_tables()?.any(|table| table.name() == OPEN.name());
    open_tables(write)?;
    if has_open_holds {
        // Its journal is put away as today's is.
        return Ok(());
    }
    take_in_journal(write, old)
}

/// Puts the journal away: segments that were put away before say no more than which holds are open.
fn take_in_journal(write: &WriteTransaction, old: &Old<'_>) -> Result<(), StoreError> {
    let stored = write.open_table(META)?.get(STORED_KEY)?.map_or(0, |number| number.value());
    let mut last = stored;
    let mut holds = Vec::new();
    let mut endings = Vec::new();
    for (number, segment) in segments(old)? {
        last = last.max(number);
        for record in frames(records_of(&segment).unwrap_or_default()) {
            for record in decode(record)? {
                match record {
                    Record::Hold(hold) => holds.push((hold.id, as_written_now(&hold))),
                    Record::Post { receipt, .. } if number <= stored => {
                        endings.push(Record::Void(receipt.id));
                    }
                    ending => endings.push(ending),
                }
            }
        }
    }
    let mut digest = Digest::default();
    for (id, record) in &holds {
        digest.hold(*id, record);
    }
    for ending in endings {
        digest.take(ending);
    }
    digest.write(write, last)
}

fn as_written_now(hold: &OpenHold) -> Vec<u8> {
    let mut out = Encoder::new();
    encode_hold(hold, &mut out);
    out.finish()
}

/// All segments in the order of their numbers.
fn segments(old: &Old<'_>) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
    let mut segments = Vec::new();
    for (number, path) in &old.beside {
        segments.push((*number, fs::read(path)?));
    }
    for number in old.disk.list()? {
        segments.push((number, old.disk.read(number)?));
    }
    segments.sort_by_key(|(number, _)| *number);
    Ok(segments)
}

const HOLD: u64 = 1;
const POST: u64 = 2;
const VOID: u64 = 3;
/// The holds that were open when the earlier part of the journal was put away.
const CARRY: u64 = 4;
// The same with the part of a team.
const SHARED_HOLD: u64 = 5;
const SHARED_POST: u64 = 6;
const SHARED_CARRY: u64 = 7;

/// Reads a record as it was before there was a table of open holds.
fn decode(record: &[u8]) -> Result<Vec<Record>, DecodeError> {
    let input = &mut Decoder::new(record);
    let hold = |input: &mut Decoder<'_>| OpenHold::decode(input).map(Record::Hold);
    let shared_hold = |input: &mut Decoder<'_>| OpenHold::decode_shared(input).map(Record::Hold);
    let one = match input.number()? {
        HOLD => hold(input)?,
        SHARED_HOLD => shared_hold(input)?,
        POST => {
            let starts = decode_starts(input)?;
            Record::Post { starts, share: None, receipt: Receipt::decode(input)? }
        }
        SHARED_POST => {
            let starts = decode_starts(input)?;
            let share = Some(decode_share(input)?);
            Record::Post { starts, share, receipt: Receipt::decode(input)? }
        }
        VOID => Record::Void(RequestId::from_bits(u128::from_be_bytes(input.fixed()?))),
        CARRY => return (0..input.number()?).map(|_| hold(input)).collect(),
        SHARED_CARRY => {
            let count = input.number()?;
            let each =
                (0..count).map(|_| if input.flag()? { shared_hold(input) } else { hold(input) });
            return each.collect();
        }
        other => return Err(DecodeError::Unknown(other)),
    };
    Ok(vec![one])
}

/// Where a segment was when they lay beside the store: `conduit.redb.journal-00000001`.
pub(super) fn segment_beside(store: &Path, number: u64) -> PathBuf {
    let mut path = store.as_os_str().to_owned();
    path.push(format!(".journal-{number:08}"));
    PathBuf::from(path)
}

/// The segments that lie beside a store.
pub(super) fn segments_beside(store: &Path) -> Vec<(u64, PathBuf)> {
    let Some(name) = store.file_name().and_then(|name| name.to_str()) else { return Vec::new() };
    let prefix = format!("{name}.journal-");
    let folder = store.parent().filter(|folder| !folder.as_os_str().is_empty());
    let Ok(entries) = fs::read_dir(folder.unwrap_or(Path::new("."))) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(&prefix));
        let number = number.and_then(|number| number.parse::<u64>().ok());
        found.extend(number.map(|number| (number, entry.path())));
    }
    found.sort_unstable();
    found
}
