//! Keys: the secret that is shown once, its public name, the hash that is kept, and its policy.
//!
//! A secret looks like `sk-cdt-` + 32 random letters and digits + 6 of checksum, so that secret
//! scanners find it and a typo is refused without a look-up. Its text can be revealed once and its
//! types have no `Debug` that shows it.

use core::net::IpAddr;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::budget::Enforcement;
use super::cidr::Cidr;
use super::codec::base62;
use super::codec::short::Short;
use super::codec::{DecodeError, Decoder, Encoder};
use super::money::Money;
use super::pattern::Pattern;
use super::team::TeamId;
use super::window::{Period, Timestamp};

const SECRET_PREFIX: &str = "sk-cdt-";
/// 32 digits of base 62 are 190.5 bits.
const RANDOM_DIGITS: usize = 32;
const CHECK_DIGITS: usize = 6;
const SECRET_LEN: usize = SECRET_PREFIX.len() + RANDOM_DIGITS + CHECK_DIGITS;
/// Separates these hashes from every other use of BLAKE3 on the same text.
const HASH_CONTEXT: &str = "conduit.im 2026-11-23 api key secret v1";

/// The text of a key. Exists when it is made and while one request is identified.
pub struct Secret(String);

impl Secret {
    /// Makes a secret from random bytes; those that would favour a digit are skipped. `None` when
    /// they run out first.
    pub fn mint(random: impl IntoIterator<Item = u8>) -> Option<Self> {
        let digits = random_digits(random, RANDOM_DIGITS)?;
        let mut text = String::with_capacity(SECRET_LEN);
        text.push_str(SECRET_PREFIX);
        text.extend(digits.iter().map(|digit| char::from(*digit)));
        text.extend(check_digits(&digits).map(char::from));
        Some(Self(text))
    }

    /// Reads what a caller sent; `None` when it cannot be one of ours, which costs no look-up.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(SECRET_PREFIX)?.as_bytes();
        if text.len() != SECRET_LEN || !digits.iter().all(u8::is_ascii_alphanumeric) {
            return None;
        }
        let (random, check) = digits.split_at(RANDOM_DIGITS);
        (check_digits(random) == check).then(|| Self(text.to_owned()))
    }

    pub fn hash(&self) -> KeyHash {
        static CONTEXT: LazyLock<blake3::Hasher> =
            LazyLock::new(|| blake3::Hasher::new_derive_key(HASH_CONTEXT));
        let mut hasher = CONTEXT.clone();
        hasher.update(self.0.as_bytes());
        KeyHash(hasher.finalize().into())
    }

    /// The last four characters, for telling keys apart in a list.
    pub fn tail(&self) -> String {
        self.0[SECRET_LEN - 4..].to_owned()
    }

    /// The text, once.
    pub fn reveal(self) -> String {
        self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// So many random digits; `None` when the bytes that favour none run out.
pub(super) fn random_digits(random: impl IntoIterator<Item = u8>, count: usize) -> Option<Vec<u8>> {
    let digits = random.into_iter().filter_map(base62::digit_from_random);
    let digits: Vec<u8> = digits.take(count).collect();
    (digits.len() == count).then_some(digits)
}

pub(super) fn check_digits(random: &[u8]) -> [u8; CHECK_DIGITS] {
    base62::encode(u128::from(crc32fast::hash(random)))
}

/// What is stored of a secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash")
    }
}

const ID_PREFIX: &str = "key_";

/// The public name of a key, for logs, URLs and commands; it says nothing about the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(u64);

impl KeyId {
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub const fn bits(self) -> u64 {
        self.0
    }

    pub fn text(self) -> Short {
        base62::id_text::<{ base62::ID_DIGITS }>(ID_PREFIX, self.0)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().fmt(f)
    }
}

impl FromStr for KeyId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        base62::decode_id(ID_PREFIX, text).map(Self).ok_or_else(|| {
            let digits = base62::ID_DIGITS;
            format!("`{text}` is not a key id: one looks like key_0abc… with {digits} letters and digits")
        })
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The most a key may spend in each window; absent means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub daily: Option<Money>,
    pub weekly: Option<Money>,
    pub monthly: Option<Money>,
}

impl Limits {
    pub const fn get(&self, period: Period) -> Option<Money> {
        match period {
            Period::Daily => self.daily,
            Period::Weekly => self.weekly,
            Period::Monthly => self.monthly,
        }
    }

    pub const fn set(&mut self, period: Period, limit: Option<Money>) {
        match period {
            Period::Daily => self.daily = limit,
            Period::Weekly => self.weekly = limit,
            Period::Monthly => self.monthly = limit,
        }
    }

    pub const fn any(&self) -> bool {
        self.daily.is_some() || self.weekly.is_some() || self.monthly.is_some()
    }

    pub(super) fn encode(&self, out: &mut Encoder) {
        for period in Period::ALL {
            let limit = self.get(period);
            out.flag(limit.is_some());
            out.number(limit.unwrap_or_default().nano());
        }
    }

    pub(super) fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut limits = Self::default();
        for period in Period::ALL {
            let is_set = input.flag()?;
            let limit = Money::from_nano(input.number()?);
            limits.set(period, is_set.then_some(limit));
        }
        Ok(limits)
    }
}

/// What a key may do beside spending; what is absent or empty does not restrict it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Controls {
    /// Requests per minute.
    pub rpm: Option<u64>,
    /// Tokens per minute, of prompts and answers together.
    pub tpm: Option<u64>,
    /// Calls at the same time.
    pub parallel: Option<u64>,
    /// The endpoints it may call, by their paths, as `chat/completions`.
    pub endpoints: Vec<String>,
    /// The networks its holder may call from.
    pub allow_ips: Vec<Cidr>,
    /// How its own limits are applied, where that is not how the configuration says.
    pub enforcement: Option<Enforcement>,
    pub team: Option<TeamId>,
}

impl Controls {
    /// Whether there is anything to count beside money.
    pub const fn counts_traffic(&self) -> bool {
        self.has_rates() || self.parallel.is_some()
    }

    /// Whether its holder is told about rates.
    pub const fn has_rates(&self) -> bool {
        self.rpm.is_some() || self.tpm.is_some()
    }

    fn encode(&self, out: &mut Encoder) {
        out.optional(self.rpm);
        out.optional(self.tpm);
        out.optional(self.parallel);
        out.number(self.endpoints.len() as u64);
        for endpoint in &self.endpoints {
            out.text(endpoint);
        }
        out.number(self.allow_ips.len() as u64);
        for network in &self.allow_ips {
            out.text(&network.to_string());
        }
        out.number(match self.enforcement {
            None => 0,
            Some(Enforcement::Hard) => 1,
            Some(Enforcement::Soft) => 2,
        });
        out.flag(self.team.is_some());
        out.fixed(self.team.map_or(0, TeamId::bits).to_be_bytes());
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (rpm, tpm, parallel) = (input.optional()?, input.optional()?, input.optional()?);
        let mut endpoints = Vec::new();
        for _ in 0..input.number()? {
            endpoints.push(input.text()?.to_owned());
        }
        let mut allow_ips = Vec::new();
        for _ in 0..input.number()? {
            allow_ips.push(input.text()?.parse().map_err(|_| DecodeError::NotText)?);
        }
        let enforcement = match input.number()? {
            0 => None,
            1 => Some(Enforcement::Hard),
            2 => Some(Enforcement::Soft),
            other => return Err(DecodeError::Unknown(other)),
        };
        let is_in_team = input.flag()?;
        let team = TeamId::from_bits(u64::from_be_bytes(input.fixed()?));
        let team = is_in_team.then_some(team);
        Ok(Self { rpm, tpm, parallel, endpoints, allow_ips, enforcement, team })
    }
}

/// A secret that was rotated away and is still good for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retiring {
    pub hash: KeyHash,
    pub until: Timestamp,
}

/// Why a key does not open the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyStatus {
    Active,
    Disabled,
    Expired,
    Revoked,
}

impl KeyStatus {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// All that is kept about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    pub id: KeyId,
    pub name: String,
    pub hash: KeyHash,
    /// The last characters of the secret.
    pub tail: String,
    pub retiring: Option<Retiring>,
    pub created: Timestamp,
    pub expires: Option<Timestamp>,
    pub disabled: bool,
    pub revoked: Option<Timestamp>,
    pub limits: Limits,
    /// Models it may use; none listed means all.
    pub models: Vec<Pattern>,
    pub tags: Vec<(String, String)>,
    pub controls: Controls,
}

/// Version 2 added the controls.
const RECORD_VERSION: u64 = 2;

impl KeyRecord {
    pub fn status(&self, now: Timestamp) -> KeyStatus {
        if self.revoked.is_some() {
            KeyStatus::Revoked
        } else if self.expires.is_some_and(|end| end <= now) {
            KeyStatus::Expired
        } else if self.disabled {
            KeyStatus::Disabled
        } else {
            KeyStatus::Active
        }
    }

    /// Whether `hash` is a secret of this key that is good at `now`.
    pub fn accepts(&self, hash: KeyHash, now: Timestamp) -> bool {
        let retiring = self.retiring.is_some_and(|old| old.hash == hash && now < old.until);
        (self.hash == hash || retiring) && self.status(now) == KeyStatus::Active
    }

    pub fn may_use(&self, model: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|pattern| pattern.matches(model))
    }

    pub fn may_call(&self, endpoint: &str) -> bool {
        let allowed = &self.controls.endpoints;
        allowed.is_empty() || allowed.iter().any(|path| path == endpoint)
    }

    /// Whether it may be used from `address`; from one that is not known only without such a limit.
    pub fn may_come_from(&self, address: Option<IpAddr>) -> bool {
        let allowed = &self.controls.allow_ips;
        allowed.is_empty()
            || address
                .is_some_and(|address| allowed.iter().any(|network| network.contains(address)))
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.number(RECORD_VERSION);
        out.fixed(self.id.bits().to_be_bytes());
        out.text(&self.name);
        out.fixed(self.hash.to_bytes());
        out.text(&self.tail);
        out.flag(self.retiring.is_some());
        if let Some(old) = &self.retiring {
            out.fixed(old.hash.to_bytes());
            out.number(old.until.millis());
        }
        out.number(self.created.millis());
        out.optional(self.expires.map(Timestamp::millis));
        out.flag(self.disabled);
        out.optional(self.revoked.map(Timestamp::millis));
        self.limits.encode(&mut out);
        out.number(self.models.len() as u64);
        for pattern in &self.models {
            out.text(pattern.as_str());
        }
        out.number(self.tags.len() as u64);
        for (name, value) in &self.tags {
            out.text(name);
            out.text(value);
        }
        self.controls.encode(&mut out);
        out.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Decoder::new(bytes);
        let version = input.version(RECORD_VERSION)?;
        let id = KeyId(u64::from_be_bytes(input.fixed()?));
        let name = input.text()?.to_owned();
        let hash = KeyHash(input.fixed()?);
        let tail = input.text()?.to_owned();
        let retiring = if input.flag()? {
            let hash = KeyHash(input.fixed()?);
            Some(Retiring { hash, until: Timestamp::from_millis(input.number()?) })
        } else {
            None
        };
        let created = Timestamp::from_millis(input.number()?);
        let expires = input.optional()?.map(Timestamp::from_millis);
        let disabled = input.flag()?;
        let revoked = input.optional()?.map(Timestamp::from_millis);
        let limits = Limits::decode(&mut input)?;
        let mut models = Vec::new();
        for _ in 0..input.number()? {
            models.push(Pattern::new(input.text()?).map_err(|_| DecodeError::NotText)?);
        }
        let mut tags = Vec::new();
        for _ in 0..input.number()? {
            tags.push((input.text()?.to_owned(), input.text()?.to_owned()));
        }
        let controls =
            if version >= 2 { Controls::decode(&mut input)? } else { Controls::default() };
        Ok(Self {
            id,
            name,
            hash,
            tail,
            retiring,
            created,
            expires,
            disabled,
            revoked,
            limits,
            models,
            tags,
            controls,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A record as version 1 wrote it.
    const VERSION_1: &[u8] =
        b"\x01\x00\x00\x00\x00\x00\x00\x00\x07\x02ci\x05\x05\x05\x05\x05\x05\x05\x05\x05\
        \x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\
        \x05\x05\x05\x04wxyz\x01\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\
        \x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09d\x01\
        \xc9\x01\x00\x00\x01\x80\xf2\x8b\xa8\x09\x00\x00\x01\x00\x01\x05gpt-*\x01\x03env\
        \x04prod";

    fn secret() -> Secret {
        Secret::mint(0..=255).unwrap()
    }

    fn record() -> KeyRecord {
        let secret = secret();
        KeyRecord {
            id: KeyId::from_bits(7),
            name: "ci".into(),
            hash: secret.hash(),
            tail: secret.tail(),
            retiring: Some(Retiring { hash: KeyHash([9; 32]), until: Timestamp::from_millis(100) }),
            created: Timestamp::from_millis(1),
            expires: Some(Timestamp::from_millis(200)),
            disabled: false,
            revoked: None,
            limits: Limits { daily: Some(Money::MAX), weekly: None, monthly: Some(Money::ZERO) },
            models: vec![Pattern::new("gpt-*").unwrap()],
            tags: vec![("team".into(), "a".into())],
            controls: Controls {
                rpm: Some(60),
                tpm: None,
                parallel: Some(0),
                endpoints: vec!["embeddings".into()],
                allow_ips: vec!["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()],
                enforcement: Some(Enforcement::Soft),
                team: Some(TeamId::from_bits(u64::MAX)),
            },
        }
    }

    #[test]
    fn a_secret_has_the_stated_shape_and_reads_back() {
        let made = secret();
        let (hash, tail, text) = (made.hash(), made.tail(), made.reveal());
        assert_eq!(text.len(), SECRET_LEN);
        assert!(text.starts_with("sk-cdt-") && text.ends_with(&tail));
        assert_eq!(Secret::parse(&text).map(|s| s.hash()), Some(hash));
    }

    #[test]
    fn any_changed_character_is_refused_without_a_look_up() {
        let text = secret().reveal();
        for at in SECRET_PREFIX.len()..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
            assert!(Secret::parse(std::str::from_utf8(&bytes).unwrap()).is_none(), "at {at}");
        }
        for odd in ["", "sk-cdt-", "sk-proj-abc", &text[1..], &format!("{text}x")] {
            assert!(Secret::parse(odd).is_none(), "{odd}");
        }
    }

    #[test]
    fn too_little_randomness_makes_no_secret() {
        assert!(Secret::mint([255; 1000]).is_none());
        assert!(Secret::mint([1; 31]).is_none());
    }

    #[test]
    fn secrets_cannot_be_printed() {
        assert_eq!(format!("{:?}", secret()), "Secret");
        assert_eq!(format!("{:?}", secret().hash()), "KeyHash");
    }

    #[test]
    fn a_key_id_reads_back() {
        for bits in [0, 1, u64::MAX] {
            assert_eq!(KeyId(bits).to_string().parse(), Ok(KeyId(bits)));
        }
        assert!("key_zzzzzzzzzzz".parse::<KeyId>().is_err());
        assert!("name".parse::<KeyId>().is_err());
    }

    #[test]
    fn a_record_reads_back_and_a_newer_one_is_refused() {
        let record = record();
        let mut bytes = record.encode();
        assert_eq!(KeyRecord::decode(&bytes), Ok(record));
        bytes[0] = 99;
        assert!(matches!(KeyRecord::decode(&bytes), Err(DecodeError::Newer { .. })));
    }

    #[test]
    fn a_record_of_version_1_has_no_controls() {
        let expected = KeyRecord {
            hash: KeyHash([5; 32]),
            tail: "wxyz".into(),
            limits: Limits {
                daily: Some(Money::from_nano(2_500_000_000)),
                weekly: None,
                monthly: Some(Money::ZERO),
            },
            tags: vec![("env".into(), "prod".into())],
            controls: Controls::default(),
            ..record()
        };
        assert_eq!(KeyRecord::decode(VERSION_1), Ok(expected));
    }

    #[test]
    fn what_is_not_listed_is_not_restricted() {
        let mut record = record();
        let address = |text: &str| Some(text.parse().unwrap());
        assert!(record.may_call("embeddings") && !record.may_call("chat/completions"));
        assert!(record.may_come_from(address("10.1.2.3")));
        assert!(!record.may_come_from(address("11.1.2.3")) && !record.may_come_from(None));
        record.controls = Controls::default();
        assert!(record.may_call("chat/completions") && record.may_come_from(None));
    }

    #[test]
    fn which_secret_opens_the_door_depends_on_the_time() {
        let record = record();
        let at = Timestamp::from_millis;
        let old = KeyHash([9; 32]);
        assert!(record.accepts(record.hash, at(50)) && record.accepts(old, at(99)));
        assert!(!record.accepts(old, at(100)), "the grace is over");
        assert!(!record.accepts(record.hash, at(200)), "expired");
        assert!(!record.accepts(KeyHash([8; 32]), at(50)), "another's");
        let revoked = KeyRecord { revoked: Some(at(1)), ..record.clone() };
        assert!(!revoked.accepts(record.hash, at(50)));
        let disabled = KeyRecord { disabled: true, ..record.clone() };
        assert_eq!(disabled.status(at(50)), KeyStatus::Disabled);
    }

    proptest! {
        #[test]
        fn any_bytes_decode_without_panic(bytes: Vec<u8>) {
            let _ = KeyRecord::decode(&bytes);
        }

        #[test]
        fn any_text_parses_without_panic(text: String) {
            let _ = Secret::parse(&text);
            let _ = Secret::parse(&format!("sk-cdt-{text}"));
        }
    }
}
