//! How values become bytes: the compact form that journal and store share, and base 62 for names.
//!
//! Every record starts with a version written by its own type. Nothing here allocates from a length
//! it has not checked against the bytes that are there.

pub mod base62;
pub mod plain;
pub mod short;

use super::window::Timestamp;

/// Why bytes are not what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the record ends before its last field")]
    Truncated,
    #[error("a number has more than 64 bits")]
    Overlong,
    #[error("a text is not UTF-8")]
    NotText,
    #[error("{0} is not a value this field can have")]
    Unknown(u64),
    #[error("record version {found} is newer than {known}, the newest this program reads")]
    Newer { found: u64, known: u64 },
}

/// The bits of a name that sorts by time and cannot be guessed: 48 of milliseconds, 80 random.
pub fn timed_bits(now: Timestamp, random: [u8; 10]) -> u128 {
    let mut low = [0; 16];
    low[6..].copy_from_slice(&random);
    u128::from(now.millis()) << 80 | u128::from_be_bytes(low)
}

/// Appends fields to a buffer.
#[derive(Debug, Default)]
pub struct Encoder(Vec<u8>);

impl Encoder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets what was appended, and keeps the room.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Seven bits a byte, low first; small numbers take one byte.
    pub fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    pub fn flag(&mut self, value: bool) {
        self.0.push(u8::from(value));
    }

    /// An absent number is 0 and a present one is itself plus one; `u64::MAX` is written as if it
    /// were one less.
    pub fn optional(&mut self, value: Option<u64>) {
        self.number(value.map_or(0, |n| n.saturating_add(1)));
    }

    pub fn fixed<const N: usize>(&mut self, bytes: [u8; N]) {
        self.0.extend_from_slice(&bytes);
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }
}

/// Reads fields in the order they were written.
#[derive(Debug)]
pub struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What has not been read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Goes on behind `bytes` if they come next, and says whether they do.
    pub fn skip(&mut self, bytes: &[u8]) -> bool {
        let rest = self.0.strip_prefix(bytes);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    pub fn number(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.fixed()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(DecodeError::Overlong);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Overlong)
    }

    pub fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.fixed()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(DecodeError::Unknown(u64::from(other))),
        }
    }

    pub fn optional(&mut self) -> Result<Option<u64>, DecodeError> {
        Ok(self.number()?.checked_sub(1))
    }

    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| DecodeError::Truncated)
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let count = usize::try_from(self.number()?).map_err(|_| DecodeError::Truncated)?;
        self.take(count)
    }

    pub fn text(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| DecodeError::NotText)
    }

    /// Reads a record's version and refuses one from a later program.
    pub fn version(&mut self, known: u64) -> Result<u64, DecodeError> {
        let found = self.number()?;
        if found > known { Err(DecodeError::Newer { found, known }) } else { Ok(found) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn overlong_and_truncated_records_are_errors() {
        assert_eq!(Decoder::new(&[0xff; 10]).number(), Err(DecodeError::Overlong));
        assert_eq!(Decoder::new(&[0x80]).number(), Err(DecodeError::Truncated));
        assert_eq!(Decoder::new(&[200, 200, 3, 1]).bytes(), Err(DecodeError::Truncated));
        assert_eq!(Decoder::new(&[1, 0xff]).text(), Err(DecodeError::NotText));
        assert_eq!(Decoder::new(&[2]).flag(), Err(DecodeError::Unknown(2)));
        let newer = DecodeError::Newer { found: 2, known: 1 };
        assert_eq!(Decoder::new(&[2]).version(1), Err(newer));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(n: u64, maybe in proptest::option::of(0..u64::MAX), text: String, flag: bool) {
            let mut out = Encoder::new();
            out.number(n);
            out.optional(maybe);
            out.text(&text);
            out.flag(flag);
            let bytes = out.finish();
            let mut input = Decoder::new(&bytes);
            prop_assert_eq!(input.number(), Ok(n));
            prop_assert_eq!(input.optional(), Ok(maybe));
            prop_assert_eq!(input.text(), Ok(text.as_str()));
            prop_assert_eq!(input.flag(), Ok(flag));
            prop_assert!(input.is_empty());
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let mut input = Decoder::new(&bytes);
            while input.text().is_ok() && !input.is_empty() {}
            let _ = input.number();
        }
    }
}
