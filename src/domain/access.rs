//! Who may administer: tokens for programs, sessions of people, and what is kept of each.
//!
//! A token looks like a key's secret with another beginning, so that neither is ever taken for the
//! other. Only hashes of tokens and sessions are kept; the texts exist when they are made and while one
//! request is looked at.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::codec::base62;
use super::codec::{DecodeError, Decoder, Encoder};
use super::key::{KeyId, check_digits, random_digits};
use super::window::Timestamp;

/// What all tokens begin with.
pub const TOKEN_PREFIX: &str = "cdt-admin-";
const RANDOM_DIGITS: usize = 32;
const CHECK_DIGITS: usize = 6;
const TOKEN_LEN: usize = TOKEN_PREFIX.len() + RANDOM_DIGITS + CHECK_DIGITS;
/// These separate the hashes from each other and from every other use of BLAKE3.
const TOKEN_CONTEXT: &str = "conduit.im 2026-11-23 admin token v1";
const SESSION_CONTEXT: &str = "conduit.im 2026-11-23 admin session v1";
const CSRF_CONTEXT: &str = "conduit.im 2026-11-23 admin session csrf v1";
const BROWSER_CONTEXT: &str = "conduit.im 2026-11-26 admin known browser v1";
const REQUEST_CONTEXT: &str = "conduit.im 2026-11-23 admin idempotency key v1";

/// A session nobody uses ends after this.
pub const IDLE_MS: u64 = 12 * 3_600_000;
/// However much it is used, it ends after this.
pub const LONGEST_MS: u64 = 7 * 86_400_000;

/// What somebody may do.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sees everything but sessions and tokens, and changes nothing.
    Viewer,
    Admin,
}

impl Role {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Admin => "admin",
        }
    }
}

/// What is kept of a token or a session.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AccessHash([u8; 32]);

impl AccessHash {
    fn derive(context: &str, text: &[u8]) -> Self {
        Self(blake3::derive_key(context, text))
    }

    /// Of an `Idempotency-Key` and whose it is.
    pub fn of_request(whose: &str, key: &str) -> Self {
        Self::derive(REQUEST_CONTEXT, format!("{whose}\n{key}").as_bytes())
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for AccessHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessHash")
    }
}

/// The text of an admin token.
pub struct AdminToken(String);

impl AdminToken {
    /// Makes a token from random bytes; `None` when those that favour no digit run out.
    pub fn mint(random: impl IntoIterator<Item = u8>) -> Option<Self> {
        let digits = random_digits(random, RANDOM_DIGITS)?;
        let mut text = String::with_capacity(TOKEN_LEN);
        text.push_str(TOKEN_PREFIX);
        text.extend(digits.iter().map(|digit| char::from(*digit)));
        text.extend(check_digits(&digits).map(char::from));
        Some(Self(text))
    }

    /// Reads what a caller sent; `None` when it cannot be one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(TOKEN_PREFIX)?.as_bytes();
        if text.len() != TOKEN_LEN || !digits.iter().all(u8::is_ascii_alphanumeric) {
            return None;
        }
        let (random, check) = digits.split_at(RANDOM_DIGITS);
        (check_digits(random) == check).then(|| Self(text.to_owned()))
    }

    pub fn hash(&self) -> AccessHash {
        AccessHash::derive(TOKEN_CONTEXT, self.0.as_bytes())
    }

    /// The last four characters, for telling tokens apart.
    pub fn tail(&self) -> String {
        self.0[TOKEN_LEN - 4..].to_owned()
    }

    /// The text, once.
    pub fn reveal(self) -> String {
        self.0
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken")
    }
}

/// What a browser holds of a session: 256 random bits.
pub struct SessionSecret([u8; 32]);

impl SessionSecret {
    pub const fn new(random: [u8; 32]) -> Self {
        Self(random)
    }

    /// Reads a cookie; `None` when it cannot be one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return None;
        }
        blake3::Hash::from_hex(text).ok().map(|bytes| Self(bytes.into()))
    }

    pub fn hash(&self) -> AccessHash {
        AccessHash::derive(SESSION_CONTEXT, &self.0)
    }

    /// What a page must say beside the cookie to change anything. It follows from the session's
    /// secret and says nothing about it.
    pub fn csrf(&self) -> blake3::Hash {
        blake3::derive_key(CSRF_CONTEXT, &self.0).into()
    }

    /// The cookie's value.
    pub fn reveal(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }
}

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSecret")
    }
}

/// The key that an administrator chose for a call of their own. They need no secret for it: whoever may
/// give a key another secret may as well call with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChosenKey(pub KeyId);

/// What a browser keeps that signed in before, so that nobody else's wrong passwords shut it out. It
/// opens nothing, and is worth nothing once there is another password.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KnownBrowser([u8; 16]);

impl KnownBrowser {
    pub const fn new(random: [u8; 16]) -> Self {
        Self(random)
    }

    /// Reads a cookie; `None` when it was not made by who knew the password of which `kept` is kept.
    pub fn parse(text: &str, kept: &[u8]) -> Option<Self> {
        let (id, mark) = text.split_once('.')?;
        let is_hex = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(id, 16).ok().filter(|_| is_hex)?;
        let known = Self(number.to_be_bytes());
        // This comparison takes constant time.
        (blake3::Hash::from_hex(mark).ok()? == known.mark(kept)).then_some(known)
    }

    /// The cookie's value.
    pub fn text(&self, kept: &[u8]) -> String {
        format!("{:032x}.{}", u128::from_be_bytes(self.0), self.mark(kept).to_hex())
    }

    fn mark(&self, kept: &[u8]) -> blake3::Hash {
        blake3::keyed_hash(&blake3::derive_key(BROWSER_CONTEXT, kept), &self.0)
    }
}

impl fmt::Debug for KnownBrowser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KnownBrowser")
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            pub const fn from_bits(bits: u64) -> Self {
                Self(bits)
            }

            pub const fn bits(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                base62::show_id::<{ base62::ID_DIGITS }>(f, $prefix, self.0)
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                base62::decode_id($prefix, text).map(Self).ok_or_else(|| {
                    format!(concat!("`{}` is not ", $what, ": one looks like ", $prefix, "0abc…"), text)
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id! {
    /// The public name of an admin token.
    TokenId, "tok_", "the id of a token"
}
id! {
    /// The public name of a session.
    SessionId, "ses_", "the id of a session"
}

/// All that is kept about a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    pub id: TokenId,
    pub name: String,
    pub role: Role,
    pub tail: String,
    pub created: Timestamp,
    pub expires: Option<Timestamp>,
    /// To the minute.
    pub last_used: Option<Timestamp>,
}

const TOKEN_VERSION: u64 = 1;

impl TokenRecord {
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|end| now < end)
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.number(TOKEN_VERSION);
        out.fixed(self.id.0.to_be_bytes());
        out.text(&self.name);
        out.flag(self.role == Role::Admin);
        out.text(&self.tail);
        out.number(self.created.millis());
        out.optional(self.expires.map(Timestamp::millis));
        out.optional(self.last_used.map(Timestamp::millis));
        out.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Decoder::new(bytes);
        input.version(TOKEN_VERSION)?;
        Ok(Self {
            id: TokenId(u64::from_be_bytes(input.fixed()?)),
            name: input.text()?.to_owned(),
            role: if input.flag()? { Role::Admin } else { Role::Viewer },
            tail: input.text()?.to_owned(),
            created: Timestamp::from_millis(input.number()?),
            expires: input.optional()?.map(Timestamp::from_millis),
            last_used: input.optional()?.map(Timestamp::from_millis),
        })
    }
}

/// All that is kept about a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    pub id: SessionId,
    pub created: Timestamp,
    /// To the minute.
    pub last_seen: Timestamp,
    pub user_agent: String,
    pub address: String,
}

const SESSION_VERSION: u64 = 1;

impl SessionRecord {
    /// When it ends if nobody uses it before.
    pub fn ends(&self) -> Timestamp {
        self.last_seen.plus_millis(IDLE_MS).min(self.created.plus_millis(LONGEST_MS))
    }

    pub fn is_good(&self, now: Timestamp) -> bool {
        now < self.ends()
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.number(SESSION_VERSION);
        out.fixed(self.id.0.to_be_bytes());
        out.number(self.created.millis());
        out.number(self.last_seen.millis());
        out.text(&self.user_agent);
        out.text(&self.address);
        out.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Decoder::new(bytes);
        input.version(SESSION_VERSION)?;
        Ok(Self {
            id: SessionId(u64::from_be_bytes(input.fixed()?)),
            created: Timestamp::from_millis(input.number()?),
            last_seen: Timestamp::from_millis(input.number()?),
            user_agent: input.text()?.to_owned(),
            address: input.text()?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::key::Secret;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_browser_is_known_by_the_password_it_signed_in_with() {
        let known = KnownBrowser::new([7; 16]);
        let text = known.text(b"kept");
        assert_eq!(KnownBrowser::parse(&text, b"kept"), Some(known));
        assert_eq!(KnownBrowser::parse(&text, b"another"), None);
        assert_eq!(KnownBrowser::parse(&text.replacen('7', "8", 1), b"kept"), None);
        for odd in ["", ".", "7.7", &text[..40], &format!("+{}", &text[1..])] {
            assert_eq!(KnownBrowser::parse(odd, b"kept"), None, "{odd}");
        }
        assert_eq!(format!("{known:?}"), "KnownBrowser");
    }

    #[test]
    fn a_token_reads_back_and_is_no_key() {
        let token = AdminToken::mint(0..=255).unwrap();
        let hash = token.hash();
        let text = token.reveal();
        assert_eq!(AdminToken::parse(&text).unwrap().hash(), hash);
        assert!(Secret::parse(&text).is_none());
        let key = Secret::mint(0..=255).unwrap().reveal();
        assert!(AdminToken::parse(&key).is_none());
        assert!(AdminToken::parse(&text.replacen("cdt-admin-0", "cdt-admin-1", 1)).is_none());
        for odd in ["", "cdt-admin-", "cdt-admin-ä", &text[..text.len() - 1]] {
            assert!(AdminToken::parse(odd).is_none(), "{odd}");
        }
    }

    #[test]
    fn a_session_has_one_text_and_a_csrf_token_of_its_own() {
        let secret = SessionSecret::new([7; 32]);
        let text = secret.reveal();
        assert_eq!(SessionSecret::parse(&text).unwrap().hash(), secret.hash());
        assert!(SessionSecret::parse(&"A".repeat(64)).is_none());
        assert!(SessionSecret::parse(&text[1..]).is_none());
        assert_ne!(secret.csrf().to_hex().as_str(), text);
        assert_ne!(secret.csrf(), SessionSecret::new([8; 32]).csrf());
    }

    #[test]
    fn a_session_ends_when_it_is_idle_or_old() {
        let mut session = SessionRecord {
            id: SessionId(3),
            created: at(0),
            last_seen: at(0),
            user_agent: "a browser".to_owned(),
            address: "127.0.0.1".to_owned(),
        };
        assert!(session.is_good(at(IDLE_MS - 1)) && !session.is_good(at(IDLE_MS)));
        session.last_seen = at(LONGEST_MS - 1);
        assert!(!session.is_good(at(LONGEST_MS)));
        assert_eq!(SessionRecord::decode(&session.encode()), Ok(session));
    }

    #[test]
    fn a_record_of_a_token_reads_back() {
        for (role, expires) in [(Role::Admin, None), (Role::Viewer, Some(at(9)))] {
            let record = TokenRecord {
                id: TokenId(u64::MAX),
                name: "ci".to_owned(),
                role,
                tail: "wxyz".to_owned(),
                created: at(1),
                expires,
                last_used: expires,
            };
            assert_eq!(TokenRecord::decode(&record.encode()), Ok(record.clone()));
            assert_eq!(record.is_good(at(9)), expires.is_none());
        }
    }
}
