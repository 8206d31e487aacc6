//! The gateway's own name for a call: sortable by time, unguessable, short.

use std::fmt;
use std::str::FromStr;

use super::codec::short::Short;
use super::codec::{DecodeError, Decoder, base62, timed_bits};
use super::window::Timestamp;

const PREFIX: &str = "req_";
const DIGITS: usize = 22;

/// 48 bits of milliseconds and 80 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u128);

impl RequestId {
    pub fn new(now: Timestamp, random: [u8; 10]) -> Self {
        Self(timed_bits(now, random))
    }

    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    pub const fn bits(self) -> u128 {
        self.0
    }

    /// Reads an id that was written as its bits.
    pub fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self(u128::from_be_bytes(input.fixed()?)))
    }

    /// The id of a call's further attempt: it comes right after those of the attempts before.
    #[must_use]
    pub fn attempt(self, number: u64) -> Self {
        const RANDOM: u128 = (1 << 80) - 1;
        let next = (self.0 & RANDOM).wrapping_add(u128::from(number)) & RANDOM;
        Self(self.0 & !RANDOM | next)
    }

    pub fn text(self) -> Short {
        base62::id_text::<DIGITS>(PREFIX, self.0)
    }

    /// When the call began.
    pub fn began(self) -> Timestamp {
        Timestamp::from_millis(u64::try_from(self.0 >> 80).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().fmt(f)
    }
}

impl FromStr for RequestId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let id = text.strip_prefix(PREFIX).filter(|digits| digits.len() == DIGITS);
        id.and_then(base62::decode)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a request id: one looks like {PREFIX}0abc… with {DIGITS} letters and digits"))
    }
}

impl serde::Serialize for RequestId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for RequestId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_and_sorts_by_time() {
        let early = RequestId::new(Timestamp::from_millis(1_700_000_000_000), [255; 10]);
        let late = RequestId::new(Timestamp::from_millis(1_700_000_000_001), [0; 10]);
        assert!(early < late && early.to_string() < late.to_string());
        assert_eq!(early.to_string().parse(), Ok(early));
        assert_eq!(late.began().millis(), 1_700_000_000_001);
        assert_eq!(early.attempt(1).began(), early.began(), "the random bits begin anew");
        assert_eq!(late.attempt(2).bits(), late.bits() + 2);
        for text in
            ["", "req_", "req_short", "req_!!!!!!!!!!!!!!!!!!!!!!", "xyz_0000000000000000000000"]
        {
            assert!(text.parse::<RequestId>().is_err(), "{text}");
        }
        assert!("req_zzzzzzzzzzzzzzzzzzzzzz".parse::<RequestId>().is_err(), "above 128 bits");
    }
}
