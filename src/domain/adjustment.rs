//! A correction of what a key has spent: an entry of its own, never an edit of a receipt.
//!
//! A charge counts in full in each of the key's present windows. A credit takes from each of them at
//! most what was posted in it by then; the rest gives back money of windows that are over, and must
//! never become room above a limit. The same is done to the windows of the team that the key is in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::budget::Starts;
use super::codec::{DecodeError, Decoder, Encoder, base62, timed_bits};
use super::key::KeyId;
use super::money::{Money, MoneyError};
use super::team::{Owner, TeamId};
use super::window::Timestamp;

/// An amount with a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Correction {
    /// The key spent more than its receipts say.
    Charge(Money),
    /// It gets money back.
    Credit(Money),
}

/// Why a text is not a correction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CorrectionError {
    #[error("{0}; with a minus before it, it is a credit")]
    Money(#[from] MoneyError),
    #[error("an adjustment of nothing changes nothing")]
    Zero,
}

impl Correction {
    pub const fn amount(self) -> Money {
        match self {
            Self::Charge(amount) | Self::Credit(amount) => amount,
        }
    }

    pub const fn is_credit(self) -> bool {
        matches!(self, Self::Credit(_))
    }
}

impl FromStr for Correction {
    type Err = CorrectionError;

    /// Reads `0.50` as a charge and `-0.50` as a credit.
    fn from_str(text: &str) -> Result<Self, CorrectionError> {
        let text = text.trim();
        let (digits, is_credit) = match text.strip_prefix('-') {
            Some(digits) => (digits, true),
            None => (text.strip_prefix('+').unwrap_or(text), false),
        };
        let amount: Money = digits.parse()?;
        match (amount.is_zero(), is_credit) {
            (true, _) => Err(CorrectionError::Zero),
            (false, true) => Ok(Self::Credit(amount)),
            (false, false) => Ok(Self::Charge(amount)),
        }
    }
}

impl fmt::Display for Correction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Charge(amount) => f.pad(&amount.to_string()),
            Self::Credit(amount) => f.pad(&format!("-{amount}")),
        }
    }
}

impl Serialize for Correction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Correction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Sums of corrections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Corrected {
    pub charged: Money,
    pub credited: Money,
}

impl Corrected {
    pub fn add(&mut self, correction: Correction) {
        let sum = match correction {
            Correction::Charge(_) => &mut self.charged,
            Correction::Credit(_) => &mut self.credited,
        };
        *sum = sum.saturating_add(correction.amount());
    }

    /// Adds what was corrected elsewhere.
    pub fn join(&mut self, other: Self) {
        self.charged = self.charged.saturating_add(other.charged);
        self.credited = self.credited.saturating_add(other.credited);
    }

    pub const fn is_zero(&self) -> bool {
        self.charged.is_zero() && self.credited.is_zero()
    }
}

impl fmt::Display for Corrected {
    /// What is left when charges and credits are set off against each other: `0.20`, `-0.50`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.charged >= self.credited {
            f.pad(&self.charged.saturating_sub(self.credited).to_string())
        } else {
            f.pad(&format!("-{}", self.credited.saturating_sub(self.charged)))
        }
    }
}

const PREFIX: &str = "adj_";
const DIGITS: usize = 22;

/// The name of an adjustment: sortable by time. Whoever asks for one may choose it, so that asking
/// twice adjusts once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdjustmentId(u128);

impl AdjustmentId {
    pub fn new(now: Timestamp, random: [u8; 10]) -> Self {
        Self(timed_bits(now, random))
    }

    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    pub const fn bits(self) -> u128 {
        self.0
    }
}

impl fmt::Display for AdjustmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        base62::show_id::<DIGITS>(f, PREFIX, self.0)
    }
}

impl FromStr for AdjustmentId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix(PREFIX).filter(|digits| digits.len() == DIGITS);
        digits
            .and_then(base62::decode)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not the id of an adjustment: one looks like {PREFIX}0abc… with {DIGITS} letters and digits"))
    }
}

impl Serialize for AdjustmentId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AdjustmentId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The part of the key's team in an adjustment: the same correction in its windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TeamPart {
    pub team: TeamId,
    pub starts: Starts,
    pub counted: [Money; 3],
}

/// One correction, with who made it, when and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjustment {
    pub id: AdjustmentId,
    pub key: KeyId,
    pub at: Timestamp,
    pub correction: Correction,
    pub why: String,
    /// Who says that they made it.
    pub by: String,
    /// The windows it counts in.
    pub starts: Starts,
    /// What it changes in each of them.
    pub counted: [Money; 3],
    /// Of the team that the key was in.
    pub team: Option<TeamPart>,
}

const VERSION: u64 = 1;

impl Adjustment {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.number(VERSION);
        out.fixed(self.id.bits().to_be_bytes());
        out.fixed(self.key.bits().to_be_bytes());
        out.number(self.at.millis());
        out.flag(self.correction.is_credit());
        out.number(self.correction.amount().nano());
        out.text(&self.why);
        out.text(&self.by);
        encode_windows(&self.starts, &self.counted, &mut out);
        out.flag(self.team.is_some());
        if let Some(part) = &self.team {
            out.fixed(part.team.bits().to_be_bytes());
            encode_windows(&part.starts, &part.counted, &mut out);
        }
        out.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Decoder::new(bytes);
        input.version(VERSION)?;
        let id = AdjustmentId(u128::from_be_bytes(input.fixed()?));
        let key = KeyId::from_bits(u64::from_be_bytes(input.fixed()?));
        let at = Timestamp::from_millis(input.number()?);
        let is_credit = input.flag()?;
        let amount = Money::from_nano(input.number()?);
        let correction =
            if is_credit { Correction::Credit(amount) } else { Correction::Charge(amount) };
        let (why, by) = (input.text()?.to_owned(), input.text()?.to_owned());
        let (starts, counted) = decode_windows(&mut input)?;
        // The first ones end here: there were no teams.
        let team = if !input.is_empty() && input.flag()? {
            let team = TeamId::from_bits(u64::from_be_bytes(input.fixed()?));
            let (starts, counted) = decode_windows(&mut input)?;
            Some(TeamPart { team, starts, counted })
        } else {
            None
        };
        Ok(Self { id, key, at, correction, why, by, starts, counted, team })
    }

    /// Whether it counts for a key or a team, and if so in which windows and how much in each.
    pub fn part_of(&self, owner: Owner) -> Option<(Starts, [Money; 3])> {
        match owner {
            Owner::Key(key) => (key == self.key).then_some((self.starts, self.counted)),
            Owner::Team(team) => {
                let part = self.team.filter(|part| part.team == team)?;
                Some((part.starts, part.counted))
            }
        }
    }
}

fn encode_windows(starts: &Starts, counted: &[Money; 3], out: &mut Encoder) {
    for (start, counted) in starts.iter().zip(counted) {
        out.number(start.millis());
        out.number(counted.nano());
    }
}

fn decode_windows(input: &mut Decoder<'_>) -> Result<(Starts, [Money; 3]), DecodeError> {
    let mut starts = Starts::default();
    let mut counted = [Money::ZERO; 3];
    for (start, counted) in starts.iter_mut().zip(&mut counted) {
        *start = Timestamp::from_millis(input.number()?);
        *counted = Money::from_nano(input.number()?);
    }
    Ok((starts, counted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_minus_makes_a_credit() {
        let nano = |n| Money::from_nano(n);
        for (text, expected, shown) in [
            ("0.50", Correction::Charge(nano(500_000_000)), "0.50"),
            ("+$1", Correction::Charge(nano(1_000_000_000)), "1.00"),
            (" -0.000000001", Correction::Credit(nano(1)), "-0.000000001"),
        ] {
            let read: Correction = text.parse().unwrap();
            assert_eq!((read, read.to_string().as_str()), (expected, shown));
        }
        assert_eq!("-0".parse::<Correction>(), Err(CorrectionError::Zero));
        for text in ["", "-", "--1", "-+1", "1-", "ten"] {
            assert!(text.parse::<Correction>().is_err(), "{text}");
        }
    }

    #[test]
    fn sums_set_charges_off_against_credits() {
        let mut sum = Corrected::default();
        sum.add(Correction::Charge(Money::from_nano(200_000_000)));
        assert_eq!(sum.to_string(), "0.20");
        sum.add(Correction::Credit(Money::from_nano(700_000_000)));
        assert_eq!(sum.to_string(), "-0.50");
    }

    proptest! {
        #[test]
        fn an_adjustment_reads_back(bits: u128, amount: u64, credit: bool, why: String, by: String) {
            let amount = Money::from_nano(amount);
            let adjustment = Adjustment {
                id: AdjustmentId::from_bits(bits),
                key: KeyId::from_bits(7),
                at: Timestamp::from_millis(1_800_000_000_000),
                correction: if credit { Correction::Credit(amount) } else { Correction::Charge(amount) },
                why,
                by,
                starts: [Timestamp::from_millis(5); 3],
                counted: [amount; 3],
                team: credit.then_some(TeamPart {
                    team: TeamId::from_bits(9),
                    starts: [Timestamp::from_millis(6); 3],
                    counted: [amount; 3],
                }),
            };
            prop_assert_eq!(Adjustment::decode(&adjustment.encode()), Ok(adjustment));
            let id = AdjustmentId::from_bits(bits);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }
    }
}
