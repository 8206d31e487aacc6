//! Requests that may be sent twice and must be done once: what is remembered under an
//! `Idempotency-Key`, for a day. What is remembered never holds a secret.

use redb::ReadableTable;

use super::schema::REPEATS;
use super::{Store, StoreError};
use crate::domain::access::AccessHash;
use crate::domain::codec::{DecodeError, Decoder, Encoder};
use crate::domain::window::Timestamp;

/// How long a key is remembered.
const KEEP_MS: u64 = 86_400_000;
/// When there are more, the oldest is forgotten.
const MOST: usize = 4_096;

/// What is remembered of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeat {
    pub at: Timestamp,
    /// Of what was asked for.
    pub digest: [u8; 32],
    /// Absent while it is under way.
    pub answer: Option<Answered>,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The id of what was made.
    pub made: String,
    /// The answer, as JSON; absent where it held a secret.
    pub body: Option<String>,
}

const VERSION: u64 = 1;

impl Repeat {
    fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.number(VERSION);
        out.number(self.at.millis());
        out.fixed(self.digest);
        out.flag(self.answer.is_some());
        if let Some(answer) = &self.answer {
            out.text(&answer.made);
            out.flag(answer.body.is_some());
            out.text(answer.body.as_deref().unwrap_or_default());
        }
        out.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Decoder::new(bytes);
        input.version(VERSION)?;
        let at = Timestamp::from_millis(input.number()?);
        let digest = input.fixed()?;
        let answer = if input.flag()? {
            let made = input.text()?.to_owned();
            let has_body = input.flag()?;
            let body = input.text()?;
            Some(Answered { made, body: has_body.then(|| body.to_owned()) })
        } else {
            None
        };
        Ok(Self { at, digest, answer })
    }
}

impl Store {
    /// Remembers that a request is under way; or returns what is remembered under its key already, and
    /// changes nothing.
    pub fn begin_request(
        &self,
        key: AccessHash,
        digest: [u8; 32],
        now: Timestamp,
    ) -> Result<Option<Repeat>, StoreError> {
        self.change(|write| {
            let mut table = write.open_table(REPEATS)?;
            let mut known = Vec::new();
            for row in table.iter()? {
                let (hash, repeat) = row?;
                let repeat = Repeat::decode(repeat.value())?;
                let is_old = now.millis_since(repeat.at) >= KEEP_MS;
                if !is_old && hash.value() == key.as_bytes() {
                    return Ok(Some(repeat));
                }
                known.push((repeat.at, is_old, hash.value().to_vec()));
            }
            known.sort();
            let too_many = (known.len() + 1).saturating_sub(MOST);
            for (place, (_, is_old, hash)) in known.iter().enumerate() {
                if *is_old || place < too_many {
                    table.remove(hash.as_slice())?;
                }
            }
            let repeat = Repeat { at: now, digest, answer: None };
            table.insert(key.as_bytes().as_slice(), repeat.encode().as_slice())?;
            Ok(None)
        })
    }

    /// Remembers what came of a request; `None` forgets it, so that it can be tried again.
    pub fn end_request(
        &self,
        key: AccessHash,
        digest: [u8; 32],
        now: Timestamp,
        answer: Option<Answered>,
    ) -> Result<(), StoreError> {
        self.change(|write| {
            let mut table = write.open_table(REPEATS)?;
            if answer.is_some() {
                let repeat = Repeat { at: now, digest, answer };
                table.insert(key.as_bytes().as_slice(), repeat.encode().as_slice())?;
            } else {
                table.remove(key.as_bytes().as_slice())?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_reads_back() {
        let made = || "key_1".to_owned();
        for answer in [
            None,
            Some(Answered { made: made(), body: None }),
            Some(Answered { made: made(), body: Some("{}".to_owned()) }),
        ] {
            let repeat = Repeat { at: Timestamp::from_millis(3), digest: [9; 32], answer };
            assert_eq!(Repeat::decode(&repeat.encode()), Ok(repeat));
        }
    }
}
