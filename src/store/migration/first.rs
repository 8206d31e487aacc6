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
use crate::domain::receipt::KnownNames;
use crate::domain::request_id::RequestId;
use crate::store::StoreError;
use crate::store::journal::records_of;
use crate::store::record::{OpenHold, Post, encode_hold, frames};
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
    let segments = segments(old)?;
    let mut holds = Vec::new();
    let mut digest = Digest::default();
    let mut known = KnownNames::default();
    for (number, segment) in &segments {
        last = last.max(*number);
        for record in frames(records_of(segment).unwrap_or_default()) {
            match Gist::read(record, &mut known)? {
                Gist::Holds(some) => holds.extend(some),
                Gist::Post(post) if *number <= stored => digest.void(post.receipt.id),
                Gist::Post(post) => digest.post(post)?,
                Gist::Void(id) => digest.void(id),
            }
        }
    }
    let holds: Vec<_> = holds.iter().map(|hold| (hold.id, as_written_now(hold))).collect();
    for (id, record) in &holds {
        digest.hold(*id, record);
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

/// A record as it was before there was a table of open holds.
#[expect(clippy::large_enum_variant, reason = "each is taken apart at once")]
enum Gist<'a> {
    Holds(Vec<OpenHold>),
    Post(Post<'a>),
    Void(RequestId),
}

impl<'a> Gist<'a> {
    fn read(record: &'a [u8], known: &mut KnownNames<'a>) -> Result<Self, DecodeError> {
        let input = &mut Decoder::new(record);
        Ok(match input.number()? {
            HOLD => Self::Holds(vec![OpenHold::decode(input)?]),
            SHARED_HOLD => Self::Holds(vec![OpenHold::decode_shared(input)?]),
            POST => Self::Post(Post::decode(input, known)?),
            SHARED_POST => Self::Post(Post::decode_shared(input, known)?),
            VOID => Self::Void(RequestId::decode(input)?),
            CARRY => {
                let holds = (0..input.number()?).map(|_| OpenHold::decode(input));
                Self::Holds(holds.collect::<Result<_, _>>()?)
            }
            SHARED_CARRY => {
                let holds = (0..input.number()?).map(|_| {
                    let is_shared = input.flag()?;
                    if is_shared { OpenHold::decode_shared(input) } else { OpenHold::decode(input) }
                });
                Self::Holds(holds.collect::<Result<_, _>>()?)
            }
            other => return Err(DecodeError::Unknown(other)),
        })
    }
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
