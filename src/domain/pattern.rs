//! Names with `*` in them: which models a key may use, which models a route serves.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A name in which each `*` stands for any run of characters, also none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(String);

impl Pattern {
    /// # Errors
    /// A sentence, for text that is empty, longer than 256 bytes or holds spaces or control
    /// characters.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a model name must not be empty".to_owned());
        }
        if text.len() > 256 || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(format!(
                "`{}` is not a model name: at most 256 bytes, no spaces",
                text.escape_debug()
            ));
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_exact(&self) -> bool {
        !self.0.contains('*')
    }

    /// How many characters are fixed: of two patterns that match, the one with more is meant.
    pub fn weight(&self) -> usize {
        self.0.len() - self.0.matches('*').count()
    }

    pub fn matches(&self, name: &str) -> bool {
        self.capture(name).is_some()
    }

    /// What the first `*` stands for in `name`; the empty text if there is no `*` and they are equal.
    pub fn capture<'n>(&self, name: &'n str) -> Option<&'n str> {
        let Some((head, rest)) = self.0.split_once('*') else {
            return (self.0 == name).then_some("");
        };
        let after = name.strip_prefix(head)?;
        let Some((middle, tail)) = rest.rsplit_once('*') else {
            return after.strip_suffix(rest);
        };
        let mut remaining = after.strip_suffix(tail)?;
        let mut first = None;
        for part in middle.split('*') {
            let found = remaining.find(part)?;
            first.get_or_insert(&remaining[..found]);
            remaining = &remaining[found + part.len()..];
        }
        first
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run() {
        for (pattern, name, captured) in [
            ("gpt-4o", "gpt-4o", Some("")),
            ("gpt-4o", "gpt-4o-mini", None),
            ("gpt-*", "gpt-4o", Some("4o")),
            ("gpt-*", "gpt-", Some("")),
            ("*", "anything", Some("anything")),
            ("openai/*", "openai/gpt-4o", Some("gpt-4o")),
            ("*-mini", "gpt-4o-mini", Some("gpt-4o")),
            ("*-mini", "-min", None),
            ("a*b*c", "aXbYc", Some("X")),
            ("a*b*c", "abc", Some("")),
            ("a*b*c", "acb", None),
            ("a*a", "a", None),
            ("**", "x", Some("")),
            ("a*b*b", "ab", None),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().capture(name), captured, "{pattern} {name}");
        }
    }

    #[test]
    fn the_longer_fixed_part_weighs_more() {
        let weight = |text| Pattern::new(text).unwrap().weight();
        assert!(weight("openai/gpt-*") > weight("openai/*"));
        assert_eq!(weight("*"), 0);
    }

    #[test]
    fn odd_names_are_refused() {
        assert!(Pattern::new("").is_err());
        assert!(Pattern::new("a b").is_err());
        assert!(Pattern::new("a\nb").is_err());
        assert!(Pattern::new(&"x".repeat(257)).is_err());
    }
}
