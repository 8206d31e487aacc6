//! The receipt of a call: what it used, at which rates, what it cost and how that is known.
//!
//! A receipt carries its own rates, so a price that changes later never changes an old bill.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::codec::{DecodeError, Decoder, Encoder};
use super::key::KeyId;
use super::money::{Money, Rate};
use super::price::Line;
use super::request_id::RequestId;
use super::usage::{Class, ServiceTier, Usage};
use super::window::Timestamp;

/// How the usage of a receipt is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metered {
    /// The provider reported it.
    Reported,
    /// The provider reported nothing, or the call was cut before it did: counted by us.
    Estimated,
    /// The process died during the call: its hold was posted.
    Recovered,
    /// Nothing was used.
    Nothing,
}

impl Metered {
    const ALL: [Self; 4] = [Self::Reported, Self::Estimated, Self::Recovered, Self::Nothing];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Estimated => "estimated",
            Self::Recovered => "recovered",
            Self::Nothing => "nothing",
        }
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The answer went out whole.
    Done,
    /// The provider answered with an error.
    UpstreamError,
    /// The provider could not be reached, or broke off.
    UpstreamCut,
    /// The provider was silent for too long, or took too long in all.
    Timeout,
    /// The client left before the end.
    ClientGone,
    /// The gateway stopped before the end.
    Shutdown,
    /// The process died; see [`Metered::Recovered`].
    Crash,
}

impl Ending {
    const ALL: [Self; 7] = [
        Self::Done,
        Self::UpstreamError,
        Self::UpstreamCut,
        Self::Timeout,
        Self::ClientGone,
        Self::Shutdown,
        Self::Crash,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::UpstreamError => "upstream_error",
            Self::UpstreamCut => "upstream_cut",
            Self::Timeout => "timeout",
            Self::ClientGone => "client_gone",
            Self::Shutdown => "shutdown",
            Self::Crash => "crash",
        }
    }
}

/// One row per call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub id: RequestId,
    pub key: KeyId,
    /// When it was posted; when the call began is in its id.
    pub at: Timestamp,
    /// What the client asked for.
    pub model: Arc<str>,
    pub provider: Arc<str>,
    /// What the provider was asked for.
    pub upstream_model: Arc<str>,
    /// The path of the endpoint, as `chat/completions`.
    pub endpoint: Arc<str>,
    pub status: u16,
    pub streamed: bool,
    pub ending: Ending,
    pub metered: Metered,
    pub service: ServiceTier,
    pub lines: Vec<Line>,
    pub cost: Money,
    /// What had been set aside.
    pub held: Money,
    /// Which price list: its source and date, `free` or `unknown`.
    pub price: Arc<str>,
    pub first_byte_ms: Option<u64>,
    pub total_ms: u64,
}

const VERSION: u64 = 1;

impl Receipt {
    /// The counts of its lines. A class may have several, at the rates of several models.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        for line in &self.lines {
            usage.set(line.class, usage.get(line.class).saturating_add(line.count));
        }
        usage
    }

    pub fn encode(&self, out: &mut Encoder) {
        out.number(VERSION);
        out.fixed(self.id.bits().to_be_bytes());
        out.fixed(self.key.bits().to_be_bytes());
        out.number(self.at.millis());
        for text in [&self.model, &self.provider, &self.upstream_model, &self.endpoint, &self.price]
        {
            out.text(text);
        }
        out.number(u64::from(self.status));
        out.flag(self.streamed);
        out.number(self.ending as u64);
        out.number(self.metered as u64);
        out.number(self.service as u64);
        out.number(self.lines.len() as u64);
        for line in &self.lines {
            out.number(line.class as u64);
            out.number(line.count);
            out.number(line.rate.nano_per_million());
        }
        out.number(self.cost.nano());
        out.number(self.held.nano());
        out.optional(self.first_byte_ms);
        out.number(self.total_ms);
    }

    pub fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        input.version(VERSION)?;
        let id = RequestId::from_bits(u128::from_be_bytes(input.fixed()?));
        let key = KeyId::from_bits(u64::from_be_bytes(input.fixed()?));
        let at = Timestamp::from_millis(input.number()?);
        let mut text = || input.text().map(Arc::<str>::from);
        let (model, provider, upstream_model) = (text()?, text()?, text()?);
        let (endpoint, price) = (text()?, text()?);
        let status = input.number()?;
        let status = u16::try_from(status).map_err(|_| DecodeError::Unknown(status))?;
        let streamed = input.flag()?;
        let ending = pick(&Ending::ALL, input.number()?)?;
        let metered = pick(&Metered::ALL, input.number()?)?;
        let tiers =
            [ServiceTier::Standard, ServiceTier::Batch, ServiceTier::Flex, ServiceTier::Priority];
        let service = pick(&tiers, input.number()?)?;
        let mut lines = Vec::new();
        for _ in 0..input.number()? {
            let class = input.number()?;
            let class = Class::from_index(class).ok_or(DecodeError::Unknown(class))?;
            let count = input.number()?;
            lines.push(Line { class, count, rate: Rate::from_nano_per_million(input.number()?) });
        }
        Ok(Self {
            id,
            key,
            at,
            model,
            provider,
            upstream_model,
            endpoint,
            status,
            streamed,
            ending,
            metered,
            service,
            lines,
            cost: Money::from_nano(input.number()?),
            held: Money::from_nano(input.number()?),
            price,
            first_byte_ms: input.optional()?,
            total_ms: input.number()?,
        })
    }
}

fn pick<T: Copy>(all: &[T], index: u64) -> Result<T, DecodeError> {
    let found = usize::try_from(index).ok().and_then(|index| all.get(index));
    found.copied().ok_or(DecodeError::Unknown(index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn receipt(model: &str, count: u64, ending: usize) -> Receipt {
        Receipt {
            id: RequestId::new(Timestamp::from_millis(1_800_000_000_000), [3; 10]),
            key: KeyId::from_bits(5),
            at: Timestamp::from_millis(1_800_000_000_250),
            model: model.into(),
            provider: "openai".into(),
            upstream_model: model.into(),
            endpoint: "chat/completions".into(),
            status: 200,
            streamed: true,
            ending: Ending::ALL[ending],
            metered: Metered::Reported,
            service: ServiceTier::Flex,
            lines: vec![Line { class: Class::Output, count, rate: Rate::from_nano_per_million(9) }],
            cost: Money::from_nano(count),
            held: Money::MAX,
            price: "catalogue 2026-11".into(),
            first_byte_ms: None,
            total_ms: 250,
        }
    }

    proptest! {
        #[test]
        fn a_receipt_reads_back(model: String, count: u64, ending in 0usize..7) {
            let receipt = receipt(&model, count, ending);
            let mut out = Encoder::new();
            receipt.encode(&mut out);
            let bytes = out.finish();
            let mut input = Decoder::new(&bytes);
            prop_assert_eq!(Receipt::decode(&mut input), Ok(receipt));
            prop_assert!(input.is_empty());
        }

        #[test]
        fn any_bytes_decode_without_panic(bytes: Vec<u8>) {
            let _ = Receipt::decode(&mut Decoder::new(&bytes));
        }
    }

    #[test]
    fn every_prefix_of_a_receipt_is_an_error() {
        let mut out = Encoder::new();
        receipt("gpt-4o", 7, 0).encode(&mut out);
        let bytes = out.finish();
        for end in 0..bytes.len() {
            assert!(Receipt::decode(&mut Decoder::new(&bytes[..end])).is_err(), "{end}");
        }
    }
}
