//! What the journal remembers of calls, and how a record stands in a file: a length, a checksum, the
//! record. A file that breaks off or was torn is read up to its last whole record.
//!
//! The set of open holds is *all holds minus all endings*, whatever their order, so records need no
//! order between threads.

use std::sync::Arc;

use crate::domain::budget::Starts;
use crate::domain::codec::{DecodeError, Decoder, Encoder};
use crate::domain::key::KeyId;
use crate::domain::money::Money;
use crate::domain::receipt::{KnownNames, Receipt, Written};
use crate::domain::request_id::RequestId;
use crate::domain::team::{Share, TeamId};
use crate::domain::window::Timestamp;

/// Money set aside for a call that has not ended, with what a receipt would need to say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenHold {
    pub id: RequestId,
    pub key: KeyId,
    pub amount: Money,
    pub starts: Starts,
    /// The part of the key's team.
    pub share: Option<Share>,
    pub model: Arc<str>,
    pub provider: Arc<str>,
    pub upstream_model: Arc<str>,
    pub endpoint: Arc<str>,
    pub price: Arc<str>,
}

/// What stands in place of an endpoint in a hold that is cover.
const COVER: &str = "cover";

/// One entry of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    Hold(OpenHold),
    Post { starts: Starts, share: Option<Share>, receipt: Receipt },
    Void(RequestId),
}

const HOLD: u64 = 1;
const POST: u64 = 2;
const VOID: u64 = 3;
// The same with the part of a team.
const SHARED_HOLD: u64 = 4;
const SHARED_POST: u64 = 5;

/// Bytes before a record: its length and its CRC-32, both little-endian.
const FRAME: usize = 8;

/// Appends a framed record to `out`. It is put together in `room`, so that `out` never has half of one.
pub fn frame(out: &mut Vec<u8>, room: &mut Encoder, write: impl FnOnce(&mut Encoder)) {
    room.clear();
    write(room);
    let bytes = room.as_slice();
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Reads framed records until the first that is not whole.
pub fn read_frames(bytes: &[u8]) -> impl Iterator<Item = Result<Record, DecodeError>> {
    frames(bytes).map(|record| Record::decode(&mut Decoder::new(record)))
}

/// Framed records as they are written, until the first that is not whole.
pub fn frames(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (head, rest) = bytes.split_at_checked(FRAME)?;
        let length = u32::from_le_bytes(head[..4].try_into().ok()?);
        let checksum = u32::from_le_bytes(head[4..].try_into().ok()?);
        let (record, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        // Zeroes that a file system left behind are a frame of length zero with a right checksum.
        if record.is_empty() || crc32fast::hash(record) != checksum {
            return None;
        }
        bytes = rest;
        Some(record)
    })
}

/// What putting a record away needs of it, read where it stands: nearly all holds have ended by then,
/// so of those that is no more than which call's they are.
#[expect(clippy::large_enum_variant, reason = "each is taken apart at once")]
pub(super) enum Gist<'a> {
    Hold(RequestId),
    Post(Post<'a>),
    Void(RequestId),
}

/// An ending at a cost.
pub(super) struct Post<'a> {
    pub(super) starts: Starts,
    pub(super) share: Option<Share>,
    pub(super) receipt: Written<'a>,
}

impl<'a> Gist<'a> {
    pub(super) fn read(record: &'a [u8], known: &mut KnownNames<'a>) -> Result<Self, DecodeError> {
        let input = &mut Decoder::new(record);
        Ok(match input.number()? {
            HOLD | SHARED_HOLD => Self::Hold(RequestId::decode(input)?),
            POST => Self::Post(Post::decode(input, known)?),
            SHARED_POST => Self::Post(Post::decode_shared(input, known)?),
            VOID => Self::Void(RequestId::decode(input)?),
            other => return Err(DecodeError::Unknown(other)),
        })
    }
}

impl<'a> Post<'a> {
    pub(super) fn decode(
        input: &mut Decoder<'a>,
        known: &mut KnownNames<'a>,
    ) -> Result<Self, DecodeError> {
        let starts = decode_starts(input)?;
        Ok(Self { starts, share: None, receipt: Written::decode(input, known)? })
    }

    pub(super) fn decode_shared(
        input: &mut Decoder<'a>,
        known: &mut KnownNames<'a>,
    ) -> Result<Self, DecodeError> {
        let starts = decode_starts(input)?;
        let share = Some(decode_share(input)?);
        Ok(Self { starts, share, receipt: Written::decode(input, known)? })
    }
}

impl Record {
    pub fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(match input.number()? {
            HOLD => Self::Hold(OpenHold::decode(input)?),
            SHARED_HOLD => Self::Hold(OpenHold::decode_shared(input)?),
            POST => {
                let starts = decode_starts(input)?;
                Self::Post { starts, share: None, receipt: Receipt::decode(input)? }
            }
            SHARED_POST => {
                let starts = decode_starts(input)?;
                let share = Some(decode_share(input)?);
                Self::Post { starts, share, receipt: Receipt::decode(input)? }
            }
            VOID => Self::Void(RequestId::decode(input)?),
            other => return Err(DecodeError::Unknown(other)),
        })
    }
}

pub fn encode_hold(hold: &OpenHold, out: &mut Encoder) {
    out.number(if hold.share.is_some() { SHARED_HOLD } else { HOLD });
    hold.encode(out);
}

pub fn encode_post(starts: &Starts, receipt: &Receipt, out: &mut Encoder) {
    out.number(POST);
    encode_starts(starts, out);
    receipt.encode(out);
}

pub fn encode_shared_post(starts: &Starts, share: &Share, receipt: &Receipt, out: &mut Encoder) {
    out.number(SHARED_POST);
    encode_starts(starts, out);
    encode_share(share, out);
    receipt.encode(out);
}

pub fn encode_void(id: RequestId, out: &mut Encoder) {
    out.number(VOID);
    out.fixed(id.bits().to_be_bytes());
}

fn encode_starts(starts: &Starts, out: &mut Encoder) {
    for start in starts {
        out.number(start.millis());
    }
}

pub(super) fn decode_starts(input: &mut Decoder<'_>) -> Result<Starts, DecodeError> {
    let mut starts = Starts::default();
    for start in &mut starts {
        *start = Timestamp::from_millis(input.number()?);
    }
    Ok(starts)
}

fn encode_share(share: &Share, out: &mut Encoder) {
    out.fixed(share.team.bits().to_be_bytes());
    encode_starts(&share.starts, out);
}

pub(super) fn decode_share(input: &mut Decoder<'_>) -> Result<Share, DecodeError> {
    let team = TeamId::from_bits(u64::from_be_bytes(input.fixed()?));
    Ok(Share { team, starts: decode_starts(input)? })
}

impl OpenHold {
    /// A key's cover: a hold that is on the disk in place of those that are not there yet. `boot` says
    /// which start of the machine it was made in.
    pub fn cover(
        (id, key, amount): (RequestId, KeyId, Money),
        (starts, share): (Starts, Option<Share>),
        boot: Option<&Arc<str>>,
    ) -> Self {
        let nothing: Arc<str> = Arc::from("");
        Self {
            id,
            key,
            amount,
            starts,
            share,
            model: Arc::clone(&nothing),
            provider: Arc::clone(&nothing),
            upstream_model: Arc::clone(&nothing),
            endpoint: Arc::from(COVER),
            price: boot.map_or(nothing, Arc::clone),
        }
    }

    pub fn is_cover(&self) -> bool {
        &*self.endpoint == COVER
    }

    /// Whether this is cover of which nothing was needed: the machine has not gone down since, so every
    /// hold that it stood for is there itself.
    pub fn is_cover_of(&self, boot: Option<&str>) -> bool {
        self.is_cover() && boot.is_some_and(|boot| *self.price == *boot)
    }

    /// With the team's part, if there is one, at the end.
    fn encode(&self, out: &mut Encoder) {
        out.fixed(self.id.bits().to_be_bytes());
        out.fixed(self.key.bits().to_be_bytes());
        out.number(self.amount.nano());
        encode_starts(&self.starts, out);
        for text in [&self.model, &self.provider, &self.upstream_model, &self.endpoint, &self.price]
        {
            out.text(text);
        }
        if let Some(share) = &self.share {
            encode_share(share, out);
        }
    }

    pub(super) fn decode_shared(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let hold = Self::decode(input)?;
        Ok(Self { share: Some(decode_share(input)?), ..hold })
    }

    pub(super) fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let id = RequestId::decode(input)?;
        let key = KeyId::from_bits(u64::from_be_bytes(input.fixed()?));
        let amount = Money::from_nano(input.number()?);
        let starts = decode_starts(input)?;
        let mut text = || input.text().map(Arc::<str>::from);
        Ok(Self {
            id,
            key,
            amount,
            starts,
            share: None,
            model: text()?,
            provider: text()?,
            upstream_model: text()?,
            endpoint: text()?,
            price: text()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hold(n: u64) -> OpenHold {
        OpenHold {
            id: RequestId::from_bits(u128::from(n)),
            key: KeyId::from_bits(n),
            amount: Money::from_nano(n),
            starts: [Timestamp::from_millis(n); 3],
            share: n.is_multiple_of(2).then(|| Share {
                team: TeamId::from_bits(n + 100),
                starts: [Timestamp::from_millis(n + 1); 3],
            }),
            model: "a".into(),
            provider: "b".into(),
            upstream_model: "c".into(),
            endpoint: "chat/completions".into(),
            price: "free".into(),
        }
    }

    fn journal() -> (Vec<Record>, Vec<u8>) {
        let (mut bytes, mut room) = (Vec::new(), Encoder::new());
        frame(&mut bytes, &mut room, |out| encode_hold(&hold(1), out));
        frame(&mut bytes, &mut room, |out| encode_hold(&hold(2), out));
        frame(&mut bytes, &mut room, |out| encode_void(RequestId::from_bits(2), out));
        let records = vec![
            Record::Hold(hold(1)),
            Record::Hold(hold(2)),
            Record::Void(RequestId::from_bits(2)),
        ];
        (records, bytes)
    }

    #[test]
    fn a_file_that_breaks_off_is_read_up_to_its_last_whole_record() {
        let (records, bytes) = journal();
        let mut seen = 0;
        for end in 0..=bytes.len() {
            let read: Vec<_> = read_frames(&bytes[..end]).map(Result::unwrap).collect();
            assert!(read.len() >= seen);
            seen = read.len();
            assert_eq!(read, records[..seen]);
        }
        assert_eq!(seen, records.len());
    }

    #[test]
    fn a_changed_byte_ends_the_reading() {
        let (records, bytes) = journal();
        for at in 0..bytes.len() {
            let mut torn = bytes.clone();
            torn[at] ^= 1;
            let read: Vec<_> = read_frames(&torn).map(Result::unwrap).collect();
            assert!(read.len() < records.len() && read == records[..read.len()], "at {at}");
        }
        assert_eq!(read_frames(&[0; 64]).count(), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            for record in read_frames(&bytes) {
                let _ = record;
            }
            let _ = Record::decode(&mut Decoder::new(&bytes));
        }
    }
}
