//! The texts of a receipt. Of a thousand receipts most name the same few models, so what was read once
//! is known again by its bytes.

use crate::domain::codec::{DecodeError, Decoder};

/// What a call was for, in the order it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    pub(super) model: &'a str,
    pub(super) provider: &'a str,
    pub(super) upstream_model: &'a str,
    pub(super) endpoint: &'a str,
    pub(super) price: &'a str,
}

impl<'a> Names<'a> {
    pub(super) fn decode(input: &mut Decoder<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            model: input.text()?,
            provider: input.text()?,
            upstream_model: input.text()?,
            endpoint: input.text()?,
            price: input.text()?,
        })
    }
}

/// Names that were read before, with the bytes they were read from.
#[derive(Debug, Default)]
pub struct KnownNames<'a>(Vec<(&'a [u8], Names<'a>)>);

impl<'a> KnownNames<'a> {
    /// How many are kept. They are looked through one by one.
    const MOST: usize = 16;

    pub(super) fn read(&mut self, input: &mut Decoder<'a>) -> Result<Names<'a>, DecodeError> {
        if let Some((_, names)) = self.0.iter().find(|(bytes, _)| input.skip(bytes)) {
            return Ok(*names);
        }
        let start = input.rest();
        let names = Names::decode(input)?;
        if self.0.len() < Self::MOST {
            self.0.push((&start[..start.len() - input.rest().len()], names));
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::codec::Encoder;

    #[test]
    fn names_are_told_apart_by_all_their_bytes() {
        let of = |texts: [&str; 5]| {
            let mut out = Encoder::new();
            for text in texts {
                out.text(text);
            }
            out.finish()
        };
        let all = [["m", "p", "u", "e", "c"], ["m", "p", "u", "e", "cc"], ["", "", "", "", ""]];
        let written = all.map(of);
        let mut known = KnownNames::default();
        for _ in 0..2 {
            for (bytes, texts) in written.iter().zip(all) {
                let mut input = Decoder::new(bytes);
                let names = known.read(&mut input).unwrap();
                let Names { model, provider, upstream_model, endpoint, price } = names;
                assert_eq!([model, provider, upstream_model, endpoint, price], texts);
                assert!(input.is_empty());
            }
        }
        assert_eq!(known.0.len(), all.len());
        let broken = &written[0][..written[0].len() - 1];
        assert!(known.read(&mut Decoder::new(broken)).is_err());
    }
}
