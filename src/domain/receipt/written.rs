//! A receipt read where it stands in bytes.
//!
//! Version 2 is written. Version 1, of the first stores, is read: it had neither attempts nor reasons
//! for rates, and of a provider's figure only that the cost was not the sum.

use std::borrow::Cow;

use super::coding::{VERSION, has};
use super::names::{KnownNames, Names};
use super::{Ending, Metered, ProviderCost, Receipt};
use crate::domain::codec::{DecodeError, Decoder, Encoder};
use crate::domain::key::KeyId;
use crate::domain::money::{Money, Rate};
use crate::domain::price::{Basis, Line};
use crate::domain::request_id::RequestId;
use crate::domain::usage::{Class, ServiceTier, Usage};
use crate::domain::window::Timestamp;

/// What rows and sums need of a receipt, read without a copy of anything. All its bytes were looked at:
/// it can be read as a whole.
#[derive(Clone, Debug)]
pub struct Written<'a> {
    pub id: RequestId,
    pub key: KeyId,
    pub at: Timestamp,
    pub model: &'a str,
    pub provider: &'a str,
    pub status: u16,
    pub ending: Ending,
    pub metered: Metered,
    /// The counts of its lines, those of other models too.
    pub usage: Usage,
    pub cost: Money,
    pub first_byte_ms: Option<u64>,
    pub total_ms: u64,
    version: u64,
    /// It and nothing else.
    bytes: &'a [u8],
}

impl<'a> Written<'a> {
    /// Reads one of many, whose names may be `known` already.
    pub fn decode(
        input: &mut Decoder<'a>,
        known: &mut KnownNames<'a>,
    ) -> Result<Self, DecodeError> {
        let start = input.rest();
        let mut usage = Usage::default();
        let names = |input: &mut Decoder<'a>| known.read(input);
        let fields = Fields::decode(input, names, |line| usage.count(line.class, line.count))?;
        Ok(Self {
            id: fields.id,
            key: fields.key,
            at: fields.at,
            model: fields.names.model,
            provider: fields.names.provider,
            status: fields.status,
            ending: fields.ending,
            metered: fields.metered,
            usage,
            cost: fields.cost,
            first_byte_ms: fields.first_byte_ms,
            total_ms: fields.total_ms,
            version: fields.version,
            bytes: &start[..start.len() - input.rest().len()],
        })
    }

    /// The receipt as [`Receipt::encode`] writes it: mostly the very bytes that were read.
    pub fn as_written_now(&self) -> Result<Cow<'a, [u8]>, DecodeError> {
        if self.version == VERSION {
            return Ok(Cow::Borrowed(self.bytes));
        }
        let mut out = Encoder::new();
        Receipt::decode(&mut Decoder::new(self.bytes))?.encode(&mut out);
        Ok(Cow::Owned(out.finish()))
    }
}

impl Receipt {
    pub fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut lines = Vec::new();
        let fields = Fields::decode(input, Names::decode, |line| lines.push(line.into()))?;
        let names = fields.names;
        let mut receipt = Self {
            id: fields.id,
            of: fields.of,
            key: fields.key,
            at: fields.at,
            model: names.model.into(),
            provider: names.provider.into(),
            upstream_model: names.upstream_model.into(),
            endpoint: names.endpoint.into(),
            status: fields.status,
            streamed: fields.streamed,
            ending: fields.ending,
            metered: fields.metered,
            service: fields.service,
            lines,
            cost: fields.cost,
            provider_cost: fields.provider_cost,
            held: fields.held,
            price: names.price.into(),
            first_byte_ms: fields.first_byte_ms,
            total_ms: fields.total_ms,
        };
        if fields.version == 1 {
            receipt.infer_provider_cost();
        }
        Ok(receipt)
    }

    /// Where a provider had reported the usage, only its own figure could take the place of the sum.
    fn infer_provider_cost(&mut self) {
        if self.metered == Metered::Reported && self.cost != self.sum().total() {
            self.provider_cost = Some(ProviderCost { amount: self.cost, counts: true });
        }
    }
}

/// All of a receipt but its lines.
struct Fields<'a> {
    version: u64,
    id: RequestId,
    of: Option<RequestId>,
    key: KeyId,
    at: Timestamp,
    names: Names<'a>,
    status: u16,
    streamed: bool,
    ending: Ending,
    metered: Metered,
    service: ServiceTier,
    cost: Money,
    provider_cost: Option<ProviderCost>,
    held: Money,
    first_byte_ms: Option<u64>,
    total_ms: u64,
}

impl<'a> Fields<'a> {
    #[inline]
    fn decode(
        input: &mut Decoder<'a>,
        names: impl FnOnce(&mut Decoder<'a>) -> Result<Names<'a>, DecodeError>,
        mut each_line: impl FnMut(WrittenLine<'a>),
    ) -> Result<Self, DecodeError> {
        let version = input.version(VERSION)?;
        let mut fields = Self {
            version,
            id: RequestId::decode(input)?,
            of: None,
            key: KeyId::from_bits(u64::from_be_bytes(input.fixed()?)),
            at: Timestamp::from_millis(input.number()?),
            names: names(input)?,
            status: status(input)?,
            streamed: input.flag()?,
            ending: pick(&Ending::ALL, input.number()?)?,
            metered: pick(&Metered::ALL, input.number()?)?,
            service: pick(&ServiceTier::ALL, input.number()?)?,
            cost: Money::ZERO,
            provider_cost: None,
            held: Money::ZERO,
            first_byte_ms: None,
            total_ms: 0,
        };
        for _ in 0..input.number()? {
            each_line(WrittenLine::decode(version, input)?);
        }
        fields.cost = Money::from_nano(input.number()?);
        fields.held = Money::from_nano(input.number()?);
        fields.first_byte_ms = input.optional()?;
        fields.total_ms = input.number()?;
        if version == 1 {
            return Ok(fields);
        }
        if input.flag()? {
            fields.of = Some(RequestId::decode(input)?);
        }
        if input.flag()? {
            let amount = Money::from_nano(input.number()?);
            fields.provider_cost = Some(ProviderCost { amount, counts: input.flag()? });
        }
        Ok(fields)
    }
}

/// A line of a receipt.
struct WrittenLine<'a> {
    class: Class,
    count: u64,
    rate: Rate,
    model: Option<&'a str>,
    variant: Option<&'a str>,
    rate_of: Option<Class>,
    service: ServiceTier,
    above_input_tokens: u64,
    unpriced: bool,
}

impl<'a> WrittenLine<'a> {
    #[inline]
    fn decode(version: u64, input: &mut Decoder<'a>) -> Result<Self, DecodeError> {
        let mut line = Self {
            class: class(input)?,
            count: input.number()?,
            rate: Rate::from_nano_per_million(input.number()?),
            model: None,
            variant: None,
            rate_of: None,
            service: ServiceTier::Standard,
            above_input_tokens: 0,
            unpriced: false,
        };
        let bits = if version == 1 { 0 } else { input.number()? };
        if bits != 0 {
            line.decode_rest(bits, input)?;
        }
        Ok(line)
    }

    fn decode_rest(&mut self, bits: u64, input: &mut Decoder<'a>) -> Result<(), DecodeError> {
        if bits & !has::ALL != 0 {
            return Err(DecodeError::Unknown(bits));
        }
        let has = |bit: u64| bits & bit != 0;
        if has(has::MODEL) {
            self.model = Some(input.text()?);
        }
        if has(has::VARIANT) {
            self.variant = Some(input.text()?);
        }
        if has(has::CLASS) {
            self.rate_of = Some(class(input)?);
        }
        if has(has::SERVICE) {
            self.service = pick(&ServiceTier::ALL, input.number()?)?;
        }
        if has(has::ABOVE) {
            self.above_input_tokens = input.number()?;
        }
        self.unpriced = has(has::UNPRICED);
        Ok(())
    }
}

impl From<WrittenLine<'_>> for Line {
    fn from(line: WrittenLine<'_>) -> Self {
        let basis = Basis {
            class: line.rate_of,
            service: line.service,
            above_input_tokens: line.above_input_tokens,
            variant: line.variant.map(Box::from),
        };
        let (model, unpriced) = (line.model.map(Into::into), line.unpriced);
        Self { basis, model, unpriced, ..Self::new(line.class, line.count, line.rate) }
    }
}

fn status(input: &mut Decoder<'_>) -> Result<u16, DecodeError> {
    let status = input.number()?;
    u16::try_from(status).map_err(|_| DecodeError::Unknown(status))
}

fn class(input: &mut Decoder<'_>) -> Result<Class, DecodeError> {
    let class = input.number()?;
    Class::from_index(class).ok_or(DecodeError::Unknown(class))
}

fn pick<T: Copy>(all: &[T], index: u64) -> Result<T, DecodeError> {
    let found = usize::try_from(index).ok().and_then(|index| all.get(index));
    found.copied().ok_or(DecodeError::Unknown(index))
}
