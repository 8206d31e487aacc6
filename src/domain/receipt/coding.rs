//! How a receipt becomes bytes. How it is read is in [`super::written`].

use super::Receipt;
use crate::domain::codec::Encoder;
use crate::domain::price::Line;
use crate::domain::usage::ServiceTier;

pub(super) const VERSION: u64 = 2;

/// What a line has beyond class, count and rate: a bit each, and the value after them.
pub(super) mod has {
    pub(in super::super) const MODEL: u64 = 1;
    pub(in super::super) const VARIANT: u64 = 2;
    pub(in super::super) const CLASS: u64 = 4;
    pub(in super::super) const SERVICE: u64 = 8;
    pub(in super::super) const ABOVE: u64 = 16;
    pub(in super::super) const UNPRICED: u64 = 32;
    pub(in super::super) const ALL: u64 = 63;
}

impl Receipt {
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
            encode_line(line, out);
        }
        out.number(self.cost.nano());
        out.number(self.held.nano());
        out.optional(self.first_byte_ms);
        out.number(self.total_ms);
        out.flag(self.of.is_some());
        if let Some(of) = self.of {
            out.fixed(of.bits().to_be_bytes());
        }
        out.flag(self.provider_cost.is_some());
        if let Some(provider) = self.provider_cost {
            out.number(provider.amount.nano());
            out.flag(provider.counts);
        }
    }
}

fn encode_line(line: &Line, out: &mut Encoder) {
    out.number(line.class as u64);
    out.number(line.count);
    out.number(line.rate.nano_per_million());
    let basis = &line.basis;
    let bit = |is_there: bool, bit: u64| if is_there { bit } else { 0 };
    out.number(
        bit(line.model.is_some(), has::MODEL)
            | bit(basis.variant.is_some(), has::VARIANT)
            | bit(basis.class.is_some(), has::CLASS)
            | bit(basis.service != ServiceTier::Standard, has::SERVICE)
            | bit(basis.above_input_tokens > 0, has::ABOVE)
            | bit(line.unpriced, has::UNPRICED),
    );
    if let Some(model) = &line.model {
        out.text(model);
    }
    if let Some(variant) = &basis.variant {
        out.text(variant);
    }
    if let Some(class) = basis.class {
        out.number(class as u64);
    }
    if basis.service != ServiceTier::Standard {
        out.number(basis.service as u64);
    }
    if basis.above_input_tokens > 0 {
        out.number(basis.above_input_tokens);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::codec::Decoder;
    use crate::domain::key::KeyId;
    use crate::domain::money::{Money, Rate};
    use crate::domain::price::Basis;
    use crate::domain::receipt::{Ending, KnownNames, Metered, ProviderCost, Written};
    use crate::domain::request_id::RequestId;
    use crate::domain::usage::Class;
    use crate::domain::window::Timestamp;

    fn receipt(model: &str, count: u64, ending: usize) -> Receipt {
        let plain = Line::new(Class::Output, count, Rate::from_nano_per_million(9));
        let basis = Basis {
            class: Some(Class::Input),
            service: ServiceTier::Flex,
            above_input_tokens: 200_000,
            variant: Some("hd 1x1".into()),
        };
        let other = Line {
            basis,
            model: Some("wise-1".into()),
            ..Line::new(Class::CacheRead, count, Rate::from_nano_per_million(8))
        };
        let unpriced = Line { unpriced: true, ..Line::new(Class::WebSearch, 2, Rate::ZERO) };
        Receipt {
            id: RequestId::new(Timestamp::from_millis(1_800_000_000_000), [3; 10]),
            of: count.is_multiple_of(2).then(|| RequestId::from_bits(7)),
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
            lines: vec![plain, other, unpriced],
            cost: Money::from_nano(count),
            provider_cost: count
                .is_multiple_of(3)
                .then_some(ProviderCost { amount: Money::MAX, counts: count.is_multiple_of(2) }),
            held: Money::MAX,
            price: "catalogue 2026-11".into(),
            first_byte_ms: None,
            total_ms: 250,
        }
    }

    /// As the first stores have it: version, ids, time, texts, status, words, lines, money, times.
    fn first_version(cost: u8) -> Vec<u8> {
        let mut bytes = vec![1];
        bytes.extend(RequestId::from_bits(9).bits().to_be_bytes());
        bytes.extend(5u64.to_be_bytes());
        bytes.push(100);
        for text in ["m", "p", "u", "e", "config"] {
            bytes.push(u8::try_from(text.len()).unwrap());
            bytes.extend(text.as_bytes());
        }
        // Status 200, streamed, done, reported, flex; two lines; cost, held 50, no first byte, 7 ms.
        bytes.extend([0xc8, 0x01, 1, 0, 0, 2, 2]);
        // Three million input at 2 nano-dollars a million, and one output at 1.
        bytes.extend([0, 0xc0, 0x8d, 0xb7, 0x01, 2, 8, 1, 1]);
        bytes.extend([cost, 50, 0, 7]);
        bytes
    }

    #[test]
    fn a_receipt_of_the_first_stores_is_read_as_what_it_was() {
        let bytes = first_version(7);
        let mut input = Decoder::new(&bytes);
        let receipt = Receipt::decode(&mut input).unwrap();
        assert!(input.is_empty());
        let lines = [(Class::Input, 3_000_000, 2), (Class::Output, 1, 1)];
        let lines = lines
            .map(|(class, count, nano)| Line::new(class, count, Rate::from_nano_per_million(nano)));
        assert_eq!(receipt.lines, lines);
        assert_eq!((receipt.of, receipt.provider_cost), (None, None));
        assert_eq!((receipt.status, receipt.service), (200, ServiceTier::Flex));
        assert_eq!((receipt.held, receipt.total_ms), (Money::from_nano(50), 7));
        assert!(receipt.adds_up(), "6 and a millionth, rounded up, is 7");

        let bytes = first_version(9);
        let receipt = Receipt::decode(&mut Decoder::new(&bytes)).unwrap();
        let figure = ProviderCost { amount: Money::from_nano(9), counts: true };
        assert_eq!(receipt.provider_cost, Some(figure));
        assert!(receipt.adds_up());

        let mut out = Encoder::new();
        receipt.encode(&mut out);
        let written =
            Written::decode(&mut Decoder::new(&bytes), &mut KnownNames::default()).unwrap();
        assert_eq!(&*written.as_written_now().unwrap(), out.as_slice());
    }

    #[test]
    fn a_cost_that_nothing_explains_does_not_add_up() {
        let fits = Receipt { provider_cost: None, ..receipt("m", 1, 0) };
        assert!(fits.adds_up(), "{:?}", fits.sum());
        let wrong = Receipt { cost: Money::from_nano(2), ..fits.clone() };
        assert!(!wrong.adds_up());
        let lines = vec![];
        let metered = Metered::Estimated;
        let whole = Receipt { lines, metered, cost: fits.held, ..fits.clone() };
        assert!(whole.adds_up());
        let figure = Some(ProviderCost { amount: Money::from_nano(2), counts: true });
        assert!(Receipt { provider_cost: figure, ..wrong }.adds_up());
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
        fn what_is_read_where_it_stands_is_what_is_read(
            model: String,
            count: u64,
            ending in 0usize..7,
            after: Vec<u8>,
        ) {
            let receipt = receipt(&model, count, ending);
            let mut out = Encoder::new();
            receipt.encode(&mut out);
            let mut bytes = out.finish();
            let length = bytes.len();
            bytes.extend(&after);
            let mut input = Decoder::new(&bytes);
            let written = Written::decode(&mut input, &mut KnownNames::default()).unwrap();
            prop_assert_eq!(input.rest(), after);
            prop_assert_eq!(&*written.as_written_now().unwrap(), &bytes[..length]);
            let (id, key, at) = (receipt.id, receipt.key, receipt.at);
            prop_assert_eq!((written.id, written.key, written.at), (id, key, at));
            prop_assert_eq!((written.model, written.provider), (&*receipt.model, &*receipt.provider));
            prop_assert_eq!((written.status, written.ending), (receipt.status, receipt.ending));
            prop_assert_eq!((written.metered, written.cost), (receipt.metered, receipt.cost));
            prop_assert_eq!(written.usage, receipt.usage());
            let times = (receipt.first_byte_ms, receipt.total_ms);
            prop_assert_eq!((written.first_byte_ms, written.total_ms), times);
        }

        #[test]
        fn any_bytes_decode_without_panic(bytes: Vec<u8>, version in 1u8..3) {
            let _ = Receipt::decode(&mut Decoder::new(&bytes));
            let versioned = [&[version][..], &bytes].concat();
            let whole = Receipt::decode(&mut Decoder::new(&versioned));
            let written = Written::decode(&mut Decoder::new(&versioned), &mut KnownNames::default());
            prop_assert_eq!(whole.err(), written.err());
        }
    }

    #[test]
    fn every_prefix_of_a_receipt_is_an_error() {
        let mut out = Encoder::new();
        receipt("gpt-4o", 6, 0).encode(&mut out);
        let bytes = out.finish();
        for end in 0..bytes.len() {
            assert!(Receipt::decode(&mut Decoder::new(&bytes[..end])).is_err(), "{end}");
        }
    }
}
