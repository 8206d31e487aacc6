//! Who changed what: an entry for each change that an administrator asks for, by whatever door.
//!
//! An entry is written before the change is tried and gets its outcome once, so that no crash leaves a
//! change that nobody is named for. It never holds a secret.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::codec::{DecodeError, Decoder, Encoder, base62, timed_bits};
use super::window::Timestamp;

const PREFIX: &str = "aud_";
const DIGITS: usize = 22;

/// The name of an entry: sortable by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuditId(u128);

impl AuditId {
    pub fn new(now: Timestamp, random: [u8; 10]) -> Self {
        Self(timed_bits(now, random))
    }

    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    pub const fn bits(self) -> u128 {
        self.0
    }

    pub fn at(self) -> Timestamp {
        Timestamp::from_millis(u64::try_from(self.0 >> 80).unwrap_or(u64::MAX))
    }

    /// The first name that an entry of this instant can have.
    pub fn first_of(at: Timestamp) -> Self {
        Self::new(at, [0; 10])
    }
}

impl fmt::Display for AuditId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        base62::show_id::<DIGITS>(f, PREFIX, self.0)
    }
}

impl FromStr for AuditId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix(PREFIX).filter(|digits| digits.len() == DIGITS);
        digits
            .and_then(base62::decode)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not the id of an entry: one looks like aud_0abc…"))
    }
}

impl Serialize for AuditId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AuditId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// By which door somebody came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Door {
    /// Signed in with the password.
    Session,
    Token,
    /// Over the Unix socket.
    Socket,
    /// A command that had the store open itself.
    CommandLine,
    /// Not signed in.
    Stranger,
}

impl Door {
    const ALL: [Self; 5] =
        [Self::Session, Self::Token, Self::Socket, Self::CommandLine, Self::Stranger];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Token => "token",
            Self::Socket => "socket",
            Self::CommandLine => "command_line",
            Self::Stranger => "stranger",
        }
    }
}

/// Who asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Actor {
    pub door: Door,
    /// The id of a session or a token.
    pub id: Option<String>,
    /// The name of a token, or the system's user: `uid 1000`.
    pub name: Option<String>,
    /// The network address, where there is one.
    pub address: Option<String>,
}

impl Actor {
    pub const fn at_the_command_line() -> Self {
        Self { door: Door::CommandLine, id: None, name: None, address: None }
    }

    /// Somebody at the Unix socket, by the number of the user that the system says it is.
    pub fn at_the_socket(uid: Option<u32>) -> Self {
        let name = uid.map(|uid| format!("uid {uid}"));
        Self { door: Door::Socket, id: None, name, address: None }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [Some(self.door.name()), self.name.as_deref(), self.id.as_deref()];
        let mut text = words.into_iter().flatten().collect::<Vec<_>>().join(" ");
        if let Some(address) = &self.address {
            text.push_str(" from ");
            text.push_str(address);
        }
        f.pad(&text)
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is under way, or the process ended during it: it may have been done or not.
    Begun,
    Done,
    /// Nothing was changed, because it must not be.
    Refused,
    /// Something was in the way.
    Failed,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Begun, Self::Done, Self::Refused, Self::Failed];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    pub id: AuditId,
    pub by: Actor,
    pub verb: String,
    /// The id of what was made or changed.
    pub target: Option<String>,
    /// What was asked for, as JSON, without secrets.
    pub parameters: String,
    pub outcome: Outcome,
    /// Why it was refused or failed.
    pub reason: Option<String>,
}

const RECORD_VERSION: u64 = 1;

impl AuditRecord {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.number(RECORD_VERSION);
        out.fixed(self.id.0.to_be_bytes());
        out.number(self.by.door as u64);
        for text in [&self.by.id, &self.by.name, &self.by.address, &self.target, &self.reason] {
            out.flag(text.is_some());
            out.text(text.as_deref().unwrap_or_default());
        }
        out.text(&self.verb);
        out.text(&self.parameters);
        out.number(self.outcome as u64);
        out.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Decoder::new(bytes);
        input.version(RECORD_VERSION)?;
        let id = AuditId(u128::from_be_bytes(input.fixed()?));
        let door = pick(&Door::ALL, input.number()?)?;
        let mut text = || -> Result<Option<String>, DecodeError> {
            let is_there = input.flag()?;
            let text = input.text()?;
            Ok(is_there.then(|| text.to_owned()))
        };
        let by = Actor { door, id: text()?, name: text()?, address: text()? };
        let (target, reason) = (text()?, text()?);
        Ok(Self {
            id,
            by,
            verb: input.text()?.to_owned(),
            target,
            parameters: input.text()?.to_owned(),
            outcome: pick(&Outcome::ALL, input.number()?)?,
            reason,
        })
    }
}

fn pick<T: Copy>(all: &[T], number: u64) -> Result<T, DecodeError> {
    let found = usize::try_from(number).ok().and_then(|index| all.get(index));
    found.copied().ok_or(DecodeError::Unknown(number))
}

/// What secrets begin with: those of keys, and of tokens; providers' own begin like the first.
const SECRETS: [&str; 2] = ["sk-", "cdt-admin-"];

/// A text as it may be kept: what was pasted into the wrong place and looks like a secret is left out.
pub fn without_secrets(text: &str) -> Cow<'_, str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let mut kept = String::new();
    let mut rest = text;
    let begins = |text: &str| SECRETS.iter().filter_map(|mark| text.find(mark)).min();
    while let Some(at) = begins(rest) {
        let (before, secret) = rest.split_at(at);
        let end = secret.find(|c| !is_part(c)).unwrap_or(secret.len());
        let is_word_before = before.chars().next_back().is_some_and(is_part);
        kept.push_str(before);
        // Part of another word, as in `task-1`, it is none.
        kept.push_str(if is_word_before { &secret[..end] } else { "(a secret)" });
        rest = &secret[end..];
    }
    if kept.is_empty() && rest.len() == text.len() {
        return Cow::Borrowed(text);
    }
    kept.push_str(rest);
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_left_out() {
        for (text, kept) in [
            ("plain", "plain"),
            ("sk-cdt-abc", "(a secret)"),
            ("no key `cdt-admin-x`, sk-y", "no key `(a secret)`, (a secret)"),
            ("task-1 and task-sk-2", "task-1 and task-sk-2"),
            ("disk-sk-a sk-b", "disk-sk-a (a secret)"),
            ("", ""),
        ] {
            assert_eq!(without_secrets(text), kept, "{text}");
        }
    }
    use proptest::prelude::*;

    #[test]
    fn an_entry_reads_back() {
        for door in Door::ALL {
            for outcome in Outcome::ALL {
                let name = (door == Door::Token).then(|| "ci".to_owned());
                let record = AuditRecord {
                    id: AuditId::new(Timestamp::from_millis(5), [3; 10]),
                    by: Actor { door, id: None, name: name.clone(), address: Some("::1".into()) },
                    verb: "keys/create".to_owned(),
                    target: name.clone(),
                    parameters: "{}".to_owned(),
                    outcome,
                    reason: name,
                };
                assert_eq!(AuditRecord::decode(&record.encode()), Ok(record.clone()));
                assert_eq!(record.id.at(), Timestamp::from_millis(5));
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _ = AuditRecord::decode(&bytes);
        }
    }
}
