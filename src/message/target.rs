//! What a request is for (RFC 9112, section 3.2): a path, and perhaps a query. Whose it is, where that is
//! written too, is said by the host.

use std::fmt;

use http::Uri;

/// A path and a query.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Target {
    text: Box<str>,
    /// How long the path is.
    path: usize,
}

/// A query can carry a key.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Target").field(&self.path()).finish()
    }
}

impl Target {
    /// Reads a target in any of its forms; `None` for what is none.
    pub fn parse(text: &str) -> Option<Self> {
        if is_plain(text) {
            return Some(Self::new(text));
        }
        text.parse().ok().map(|uri| Self::of(&uri))
    }

    /// The same of an address.
    pub fn of(uri: &Uri) -> Self {
        let text = uri.path_and_query().map_or("", |target| target.as_str());
        if text.starts_with('?') { Self::new(&format!("/{text}")) } else { Self::new(text) }
    }

    fn new(text: &str) -> Self {
        let path = memchr::memchr(b'?', text.as_bytes()).unwrap_or(text.len());
        Self { text: text.into(), path }
    }

    /// All of it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn path(&self) -> &str {
        &self.text[..self.path]
    }

    /// What stands behind the question mark, if anything does.
    pub fn query(&self) -> &str {
        self.text.get(self.path + 1..).unwrap_or_default()
    }
}

/// The longest target: as long as an address can be for the crate `http`.
const LONGEST: usize = 65_534;

/// Whether a target is as nearly all are: nobody can read it in another way.
fn is_plain(text: &str) -> bool {
    let is_usual = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'/' | b'-' | b'_' | b'.' | b':' | b'?' | b'=' | b'&')
    };
    text.len() <= LONGEST && text.starts_with('/') && text.as_bytes().iter().all(is_usual)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_target_is_read_in_every_form() {
        for (text, expected) in [
            ("/", Some(("/", ""))),
            ("/v1/models?limit=2&x=?", Some(("/v1/models", "limit=2&x=?"))),
            ("/v1/models?", Some(("/v1/models", ""))),
            ("/a%20b?c%2F#d", Some(("/a%20b", "c%2F"))),
            ("http://a.example:80/v1/key?x", Some(("/v1/key", "x"))),
            ("http://a.example", Some(("/", ""))),
            ("http://a.example?x=1", Some(("/", "x=1"))),
            ("a.example:443", Some(("", ""))),
            ("*", Some(("*", ""))),
            ("http://[", None),
            ("/a b", None),
            ("", None),
        ] {
            let target = Target::parse(text);
            let parts = target.as_ref().map(|target| (target.path(), target.query()));
            assert_eq!(parts, expected, "{text}");
        }
    }

    #[test]
    fn a_target_is_as_long_as_others_can_read() {
        for last in ["a", "%41"] {
            let of = |length: usize| format!("/{}{last}", "a".repeat(length - 1 - last.len()));
            assert!(Target::parse(&of(LONGEST)).is_some(), "{last}");
            assert!(Target::parse(&of(LONGEST + 1)).is_none(), "{last}");
        }
    }

    proptest! {
        #[test]
        fn usual_targets_are_read_as_any_others(text in "/[a-zA-Z0-9/_.:?=&-]{0,40}") {
            let uri: Uri = text.parse().unwrap();
            prop_assert_eq!(Target::parse(&text), Some(Target::of(&uri)));
        }
    }
}
