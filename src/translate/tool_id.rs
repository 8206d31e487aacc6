//! The ids of tool calls, where a provider takes fewer characters than others give.
//!
//! Anthropic and Amazon Bedrock refuse a call if an id in its history is not made of ASCII letters,
//! digits, `_` and `-` alone; other providers hand out ids such as `functions.search:0`, and
//! conversations move between providers. Such an id is written anew for the provider only, in a way that
//! never makes two ids one: the client's own never changes.

use std::borrow::Cow;
use std::fmt::Write as _;

/// What an id that was written anew begins with.
const MARK: &str = "x--";

/// An id that any provider takes: itself where it can be, else one that stands for it alone.
pub(super) fn plain(id: &str) -> Cow<'_, str> {
    if !id.is_empty() && !id.starts_with(MARK) && id.bytes().all(is_plain) {
        return Cow::Borrowed(id);
    }
    let mut plain = String::with_capacity(MARK.len() + id.len() + 8);
    plain.push_str(MARK);
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() {
            plain.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(plain, "_{byte:02x}");
        }
    }
    Cow::Owned(plain)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The id that one written anew stands for.
    fn restored(plain: &str) -> String {
        let Some(rest) = plain.strip_prefix(MARK) else { return plain.to_owned() };
        let mut bytes = Vec::new();
        let mut pieces = rest.split('_');
        bytes.extend_from_slice(pieces.next().unwrap().as_bytes());
        for piece in pieces {
            bytes.push(u8::from_str_radix(&piece[..2], 16).unwrap());
            bytes.extend_from_slice(&piece.as_bytes()[2..]);
        }
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn usual_ids_stay_as_they_are() {
        for id in ["toolu_01AbC", "call_9-x", "0"] {
            assert_eq!(plain(id), id);
        }
        assert_eq!(plain("functions.search:0"), "x--functions_2esearch_3a0");
        assert_eq!(plain(""), "x--");
    }

    proptest! {
        #[test]
        fn no_two_ids_become_one(id in "(x--)?[a-z0-9_.:é-]{0,12}|\\PC{0,8}") {
            let plain = plain(&id);
            prop_assert!(!plain.is_empty() && plain.bytes().all(is_plain));
            prop_assert_eq!(restored(&plain), id);
        }
    }
}
