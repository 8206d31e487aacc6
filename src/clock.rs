//! The only place that reads the wall clock and draws random bytes; everything else is told.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::access::AdminToken;
use crate::domain::key::{KeyId, Secret};
use crate::domain::team::TeamId;
use crate::domain::window::Timestamp;

/// The present instant; the epoch itself if the clock stands before it.
#[expect(clippy::disallowed_methods, reason = "this is the one reader of the wall clock")]
pub fn now() -> Timestamp {
    told(SystemTime::now())
}

/// An instant that somebody else's clock tells.
pub fn told(time: impl Into<SystemTime>) -> Timestamp {
    let since = time.into().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Random bytes from the operating system.
///
/// # Errors
/// When the system has no randomness to give; nothing may be made without it.
pub fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(NoRandomness)?;
    Ok(bytes)
}

/// Random bytes for the name of a call. Drawn from the operating system many at a time: asking it for
/// each call would cost as much as all else that is done to name one.
///
/// # Errors
/// As [`random`].
pub fn random_for_call() -> Result<[u8; 10], NoRandomness> {
    thread_local! {
        static DRAWN: RefCell<([u8; DRAW], usize)> = const { RefCell::new(([0; DRAW], DRAW)) };
    }
    DRAWN.with_borrow_mut(|(drawn, used)| {
        if *used + 10 > DRAW {
            *drawn = random()?;
            *used = 0;
        }
        let mut bytes = [0; 10];
        bytes.copy_from_slice(&drawn[*used..*used + 10]);
        *used += 10;
        Ok(bytes)
    })
}

/// How many bytes are drawn at a time.
const DRAW: usize = 5_120;

/// A new secret. 256 bytes give the 32 digits it needs with a margin no luck will use up; should it
/// happen, the draw is repeated.
pub fn new_secret() -> Result<Secret, NoRandomness> {
    loop {
        let drawn: [u8; 256] = random()?;
        if let Some(secret) = Secret::mint(drawn) {
            return Ok(secret);
        }
    }
}

/// A new admin token.
pub fn new_token() -> Result<AdminToken, NoRandomness> {
    loop {
        let drawn: [u8; 256] = random()?;
        if let Some(token) = AdminToken::mint(drawn) {
            return Ok(token);
        }
    }
}

/// 64 random bits, for the id of a token or a session.
pub fn new_id_bits() -> Result<u64, NoRandomness> {
    Ok(u64::from_be_bytes(random()?))
}

pub fn new_key_id() -> Result<KeyId, NoRandomness> {
    Ok(KeyId::from_bits(u64::from_be_bytes(random()?)))
}

pub fn new_team_id() -> Result<TeamId, NoRandomness> {
    Ok(TeamId::from_bits(u64::from_be_bytes(random()?)))
}

/// The operating system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no random bytes: {0}")]
pub struct NoRandomness(getrandom::Error);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_calls_are_named_alike_across_draws() {
        let drawn: HashSet<_> = (0..1_000).map(|_| random_for_call().unwrap()).collect();
        assert_eq!(drawn.len(), 1_000);
    }
}
