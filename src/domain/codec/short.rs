//! Short texts of letters, digits and signs of ASCII: ids and amounts, which are written with every call.

use std::fmt;

/// The longest.
const MOST: usize = 32;

/// A text that needs no allocation.
#[derive(Clone, Copy, Debug)]
pub struct Short {
    bytes: [u8; MOST],
    length: usize,
}

impl Short {
    pub(in crate::domain) const EMPTY: Self = Self { bytes: [0; MOST], length: 0 };

    /// Adds what there is room for.
    #[inline]
    pub(in crate::domain) fn push(&mut self, more: &[u8]) {
        let room = &mut self.bytes[self.length..];
        let length = more.len().min(room.len());
        room[..length].copy_from_slice(&more[..length]);
        self.length += length;
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(std::str::from_utf8(self.as_bytes()).unwrap_or_default())
    }
}
