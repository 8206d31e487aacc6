//! The admin password: argon2id, and never anything else kept of it.
//!
//! There is no default. Until a password is set nobody can sign in; who can reach the Unix socket can
//! set one. Where the configuration names a file with the password, that one counts.

use std::sync::{Mutex, PoisonError};

use argon2::{Algorithm, Argon2, Params, Version};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{AdminError, Desk, Verb};
use crate::clock::{self, NoRandomness};
use crate::config::Config;
use crate::domain::access::AccessHash;
use crate::domain::codec::{DecodeError, Decoder, Encoder};
use crate::store::StoreError;

/// Fewer characters can be guessed.
pub const SHORTEST: usize = 12;
const LONGEST: usize = 1024;
/// What RFC 9106 and the cheat sheet of OWASP advise where memory is scarce: 19 MiB, two passes.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Refused when read: a store that asks for more than this was tampered with.
const MOST_MEMORY_KIB: u32 = 1 << 20;
const MOST_PASSES: u32 = 100;

/// One at a time, so that nobody takes the machine's memory by trying many.
static HASHING: Mutex<()> = Mutex::new(());

/// What is kept of a password.
#[derive(Clone)]
struct Kept {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: [u8; 16],
    hash: [u8; 32],
}

const KEPT_VERSION: u64 = 1;

impl Kept {
    fn new(password: &str, salt: [u8; 16]) -> Result<Self, AdminError> {
        let mut kept =
            Self { memory_kib: MEMORY_KIB, passes: PASSES, lanes: LANES, salt, hash: [0; 32] };
        kept.hash = kept.hash_of(password)?;
        Ok(kept)
    }

    fn hash_of(&self, password: &str) -> Result<[u8; 32], AdminError> {
        let failed = |error: argon2::Error| {
            AdminError::Failed(format!("the password cannot be hashed: {error}"))
        };
        let mut hash = [0; 32];
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(hash.len()));
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.map_err(failed)?);
        let _one = HASHING.lock().unwrap_or_else(PoisonError::into_inner);
        argon2.hash_password_into(password.as_bytes(), &self.salt, &mut hash).map_err(failed)?;
        Ok(hash)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.number(KEPT_VERSION);
        out.number(self.memory_kib.into());
        out.number(self.passes.into());
        out.number(self.lanes.into());
        out.fixed(self.salt);
        out.fixed(self.hash);
        out.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Decoder::new(bytes);
        input.version(KEPT_VERSION)?;
        let mut at_most = |most: u32| {
            let number = input.number()?;
            let fits = u32::try_from(number).ok().filter(|number| *number <= most);
            fits.ok_or(DecodeError::Unknown(number))
        };
        let (memory_kib, passes, lanes) =
            (at_most(MOST_MEMORY_KIB)?, at_most(MOST_PASSES)?, at_most(LANES)?);
        Ok(Self { memory_kib, passes, lanes, salt: input.fixed()?, hash: input.fixed()? })
    }
}

/// Makes what is kept of a password.
pub(super) fn hash(password: &str) -> Result<Vec<u8>, AdminError> {
    Ok(Kept::new(password, clock::random()?)?.encode())
}

/// Whether this is the password of which `kept` was made. Takes as long whichever it is.
pub(super) fn verify(password: &str, kept: &[u8]) -> Result<bool, AdminError> {
    if password.len() > LONGEST {
        return Ok(false);
    }
    let kept = Kept::decode(kept).map_err(StoreError::from)?;
    let hash = blake3::Hash::from_bytes(kept.hash_of(password)?);
    // This comparison takes constant time.
    Ok(hash == blake3::Hash::from_bytes(kept.hash))
}

/// A password that nobody can guess and that can be typed: 100 random bits.
pub fn generate() -> Result<String, NoRandomness> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let random: [u8; 20] = clock::random()?;
    let letters = random.map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    let groups = letters.chunks(5).map(|group| group.iter().collect::<String>());
    Ok(groups.collect::<Vec<_>>().join("-"))
}

pub(super) fn check(member: &'static str, password: &str) -> Result<(), AdminError> {
    let problem = if password.chars().count() < SHORTEST {
        "a password needs at least 12 characters"
    } else if password.len() > LONGEST {
        "a password has at most 1024 bytes"
    } else if password.chars().any(char::is_control) {
        "a password must not hold control characters"
    } else {
        return Ok(());
    };
    Err(AdminError::wrong(member, problem))
}

/// Whether there is a password to sign in with.
pub fn is_set(desk: &Desk) -> Result<bool, AdminError> {
    Ok(desk.ledger.store().admin_password()?.is_some())
}

/// Takes the password that the configuration names, if it names one and it is not the one in force
/// already. Whoever was signed in with another is signed out.
pub fn follow(desk: &Desk, config: &Config) -> Result<(), AdminError> {
    let Some(password) = &config.admin.password else { return Ok(()) };
    let store = desk.ledger.store();
    let password: &SecretString = password;
    if let Some(kept) = store.admin_password()?
        && verify(password.expose_secret(), &kept)?
    {
        return Ok(());
    }
    let ended = store.set_admin_password(&hash(password.expose_secret())?, None)?;
    tracing::info!(sessions = ended, "the admin password is the one that the configuration names");
    Ok(())
}

/// Makes a first password where there is none, and returns it, to be shown this once.
pub fn make_first(desk: &Desk) -> Result<Option<String>, AdminError> {
    if is_set(desk)? {
        return Ok(None);
    }
    let password = generate()?;
    let is_first = desk.ledger.store().set_first_password(&hash(&password)?)?;
    Ok(is_first.then_some(password))
}

/// Sets the admin password and signs everybody out. Over HTTP there is a door of its own to this,
/// which asks for the old one.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPassword {
    #[schemars(length(min = 12, max = 1024))]
    pub password: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PasswordSet {
    pub sessions_ended: u64,
}

/// Puts a password in force and ends all sessions but `kept`.
pub(super) fn set(
    desk: &Desk,
    member: &'static str,
    password: &str,
    kept: Option<AccessHash>,
) -> Result<PasswordSet, AdminError> {
    check(member, password)?;
    let live = desk.live.as_ref();
    if live.is_some_and(|live| live.load().config.admin.password.is_some()) {
        return Err(AdminError::Conflict(
            "the configuration names a file with the admin password: change it there".to_owned(),
        ));
    }
    let sessions_ended = desk.ledger.store().set_admin_password(&hash(password)?, kept)?;
    tracing::info!(sessions = sessions_ended, "admin password set");
    Ok(PasswordSet { sessions_ended })
}

impl Verb for SetPassword {
    type Answer = PasswordSet;
    const PATH: &'static str = "password/set";
    const CHANGES: bool = true;

    fn run(self, desk: &Desk) -> Result<PasswordSet, AdminError> {
        set(desk, "password", &self.password, None)
    }

    fn recorded(&self) -> Value {
        json!({})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_again_and_another_is_not() {
        let kept = hash("correct horse battery").unwrap();
        assert!(verify("correct horse battery", &kept).unwrap());
        assert!(!verify("correct horse batterz", &kept).unwrap());
        assert!(!verify("", &kept).unwrap());
        assert!(!verify(&"x".repeat(5_000), &kept).unwrap());
        assert_ne!(kept, hash("correct horse battery").unwrap(), "each has its own salt");
    }

    #[test]
    fn what_a_store_says_cannot_take_the_memory() {
        let mut kept = Kept::new("correct horse battery", [1; 16]).unwrap();
        kept.memory_kib = u32::MAX;
        assert!(Kept::decode(&kept.encode()).is_err());
        assert!(verify("correct horse battery", b"").is_err());
    }

    #[test]
    fn a_generated_password_is_good_and_new_each_time() {
        let (one, other) = (generate().unwrap(), generate().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), 23);
        assert!(check("password", &one).is_ok());
        assert!(check("password", "short").is_err());
    }
}
