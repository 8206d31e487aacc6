//! Teams: several keys that spend from one set of limits, beside each key's own.
//!
//! A call of a key in a team counts in the key's windows and in the team's; which team, and which of
//! its windows, is remembered with the call, for a key may change its team while calls run.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::budget::Starts;
use super::codec::base62;
use super::codec::{DecodeError, Decoder, Encoder};
use super::key::{KeyId, Limits};
use super::window::Timestamp;

const ID_PREFIX: &str = "team_";

/// The public name of a team.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TeamId(u64);

impl TeamId {
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl fmt::Display for TeamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        base62::show_id::<{ base62::ID_DIGITS }>(f, ID_PREFIX, self.0)
    }
}

impl FromStr for TeamId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bits = base62::decode_id(ID_PREFIX, text);
        bits.map(Self)
            .ok_or_else(|| format!("`{text}` is not a team id: one looks like team_0abc…"))
    }
}

impl Serialize for TeamId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TeamId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Whose money it is: limits are a key's or a team's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    Key(KeyId),
    Team(TeamId),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => id.fmt(f),
            Self::Team(id) => id.fmt(f),
        }
    }
}

/// A team's part in a call: whose windows it was held in beside the key's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub team: TeamId,
    pub starts: Starts,
}

/// All that is kept about a team.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TeamRecord {
    pub id: TeamId,
    pub name: String,
    pub created: Timestamp,
    pub limits: Limits,
}

const RECORD_VERSION: u64 = 1;

impl TeamRecord {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.number(RECORD_VERSION);
        out.fixed(self.id.bits().to_be_bytes());
        out.text(&self.name);
        out.number(self.created.millis());
        self.limits.encode(&mut out);
        out.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Decoder::new(bytes);
        input.version(RECORD_VERSION)?;
        Ok(Self {
            id: TeamId(u64::from_be_bytes(input.fixed()?)),
            name: input.text()?.to_owned(),
            created: Timestamp::from_millis(input.number()?),
            limits: Limits::decode(&mut input)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::Money;

    #[test]
    fn a_record_reads_back_and_a_newer_one_is_refused() {
        let limits = Limits { daily: Some(Money::MAX), weekly: None, monthly: Some(Money::ZERO) };
        let created = Timestamp::from_millis(9);
        let record = TeamRecord { id: TeamId(5), name: "research".into(), created, limits };
        let mut bytes = record.encode();
        assert_eq!(TeamRecord::decode(&bytes), Ok(record));
        bytes[0] = 99;
        assert!(matches!(TeamRecord::decode(&bytes), Err(DecodeError::Newer { .. })));
    }

    #[test]
    fn a_team_id_reads_back_and_is_no_key_id() {
        for bits in [0, 1, u64::MAX] {
            assert_eq!(TeamId(bits).to_string().parse(), Ok(TeamId(bits)));
        }
        assert!("key_00000000001".parse::<TeamId>().is_err());
        assert!("research".parse::<TeamId>().is_err());
    }
}
