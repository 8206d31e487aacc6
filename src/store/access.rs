//! Who may administer, in the store: the password's hash, sessions and tokens by their hashes.
//!
//! Whether a password, a session or a token opens the door is not decided here. A token that is revoked
//! and a session that is ended leave nothing behind but their entries in the audit log.

use redb::{ReadableTable, Table};

use super::schema::{PASSWORDS, SESSIONS, TOKENS};
use super::{Store, StoreError};
use crate::domain::access::{AccessHash, SessionId, SessionRecord, TokenRecord};
use crate::domain::window::Timestamp;

/// More than this are never open at once: the one that was used longest ago makes room.
const MOST_SESSIONS: usize = 100;
/// More tokens than this are a mistake.
const MOST_TOKENS: usize = 1_000;
/// How exactly it is remembered when a session or a token was used last.
const EXACTNESS_MS: u64 = 60_000;

const PASSWORD: &str = "admin";

impl Store {
    /// What is kept of the admin password; `None` before there is one.
    pub fn admin_password(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let read = self.read()?;
        let table = read.open_table(PASSWORDS)?;
        Ok(table.get(PASSWORD)?.map(|kept| kept.value().to_vec()))
    }

    /// Puts another password in force and ends all sessions but `kept`. Returns how many were ended.
    pub fn set_admin_password(
        &self,
        hashed: &[u8],
        kept: Option<AccessHash>,
    ) -> Result<u64, StoreError> {
        self.change(|write| {
            write.open_table(PASSWORDS)?.insert(PASSWORD, hashed)?;
            let mut sessions = write.open_table(SESSIONS)?;
            let before = redb::ReadableTableMetadata::len(&sessions)?;
            let is_kept = |hash: &[u8]| kept.is_some_and(|kept| hash == kept.as_bytes());
            sessions.retain(|hash, _| is_kept(hash))?;
            Ok(before - redb::ReadableTableMetadata::len(&sessions)?)
        })
    }

    /// Puts a first password in force; `false`, and nothing is changed, when there is one already.
    pub fn set_first_password(&self, hashed: &[u8]) -> Result<bool, StoreError> {
        self.change(|write| {
            let mut table = write.open_table(PASSWORDS)?;
            let is_first = table.get(PASSWORD)?.is_none();
            if is_first {
                table.insert(PASSWORD, hashed)?;
            }
            Ok(is_first)
        })
    }

    /// Opens a session, as long as the password is still the one that was checked for it.
    ///
    /// # Errors
    /// [`StoreError::PasswordChanged`] when it is not.
    pub fn insert_session(
        &self,
        hash: AccessHash,
        session: &SessionRecord,
        checked: &[u8],
    ) -> Result<(), StoreError> {
        self.change(|write| {
            let passwords = write.open_table(PASSWORDS)?;
            if passwords.get(PASSWORD)?.is_none_or(|kept| kept.value() != checked) {
                return Err(StoreError::PasswordChanged);
            }
            let mut table = write.open_table(SESSIONS)?;
            make_room(&mut table, session.created)?;
            table.insert(hash.as_bytes().as_slice(), session.encode().as_slice())?;
            Ok(())
        })
    }

    /// A session that is good at `now`; that it was used is remembered.
    pub fn use_session(
        &self,
        hash: AccessHash,
        now: Timestamp,
    ) -> Result<Option<SessionRecord>, StoreError> {
        let read = self.read()?;
        let row = read.open_table(SESSIONS)?.get(hash.as_bytes().as_slice())?;
        let Some(row) = row else { return Ok(None) };
        let mut session = SessionRecord::decode(row.value())?;
        if !session.is_good(now) {
            return Ok(None);
        }
        if now.millis_since(session.last_seen) >= EXACTNESS_MS {
            session.last_seen = now;
            self.change(|write| {
                let mut table = write.open_table(SESSIONS)?;
                // Ended meanwhile, it must not come back.
                let is_there = table.get(hash.as_bytes().as_slice())?.is_some();
                if is_there {
                    table.insert(hash.as_bytes().as_slice(), session.encode().as_slice())?;
                }
                Ok(())
            })?;
        }
        Ok(Some(session))
    }

    /// All sessions that are good at `now`, the one used last first.
    pub fn sessions(&self, now: Timestamp) -> Result<Vec<SessionRecord>, StoreError> {
        let read = self.read()?;
        let mut sessions = Vec::new();
        for row in read.open_table(SESSIONS)?.iter()? {
            sessions.push(SessionRecord::decode(row?.1.value())?);
        }
        sessions.retain(|session| session.is_good(now));
        sessions.sort_by_key(|session| (std::cmp::Reverse(session.last_seen), session.id));
        Ok(sessions)
    }

    /// Ends one session, or all, and returns those that were ended.
    ///
    /// # Errors
    /// [`StoreError::NoSuchSession`] if there is none of this id.
    pub fn end_sessions(
        &self,
        wanted: Option<SessionId>,
    ) -> Result<Vec<SessionRecord>, StoreError> {
        self.change(|write| {
            let mut table = write.open_table(SESSIONS)?;
            let mut ended = Vec::new();
            let mut hashes = Vec::new();
            for row in table.iter()? {
                let (hash, session) = row?;
                let session = SessionRecord::decode(session.value())?;
                if wanted.is_none_or(|wanted| wanted == session.id) {
                    hashes.push(hash.value().to_vec());
                    ended.push(session);
                }
            }
            for hash in hashes {
                table.remove(hash.as_slice())?;
            }
            if wanted.is_some() && ended.is_empty() {
                return Err(StoreError::NoSuchSession);
            }
            Ok(ended)
        })
    }

    /// Stores a new token and returns when it outlives the machine.
    ///
    /// # Errors
    /// [`StoreError::TokenNameTaken`]; [`StoreError::TooManyTokens`].
    pub fn insert_token(&self, hash: AccessHash, token: &TokenRecord) -> Result<(), StoreError> {
        self.change(|write| {
            let mut table = write.open_table(TOKENS)?;
            let mut count = 0;
            for row in table.iter()? {
                count += 1;
                if TokenRecord::decode(row?.1.value())?.name == token.name {
                    return Err(StoreError::TokenNameTaken(token.name.clone()));
                }
            }
            if count >= MOST_TOKENS {
                return Err(StoreError::TooManyTokens(MOST_TOKENS));
            }
            table.insert(hash.as_bytes().as_slice(), token.encode().as_slice())?;
            Ok(())
        })
    }

    /// A token that is good at `now`; that it was used is remembered.
    pub fn use_token(
        &self,
        hash: AccessHash,
        now: Timestamp,
    ) -> Result<Option<TokenRecord>, StoreError> {
        let read = self.read()?;
        let row = read.open_table(TOKENS)?.get(hash.as_bytes().as_slice())?;
        let Some(row) = row else { return Ok(None) };
        let mut token = TokenRecord::decode(row.value())?;
        if !token.is_good(now) {
            return Ok(None);
        }
        let last = token.last_used.unwrap_or(Timestamp::MIN);
        if now.millis_since(last) >= EXACTNESS_MS {
            token.last_used = Some(now);
            self.change(|write| {
                let mut table = write.open_table(TOKENS)?;
                // Revoked meanwhile, it must not come back.
                let is_there = table.get(hash.as_bytes().as_slice())?.is_some();
                if is_there {
                    table.insert(hash.as_bytes().as_slice(), token.encode().as_slice())?;
                }
                Ok(())
            })?;
        }
        Ok(Some(token))
    }

    /// All tokens, oldest first.
    pub fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        let read = self.read()?;
        let mut tokens = Vec::new();
        for row in read.open_table(TOKENS)?.iter()? {
            tokens.push(TokenRecord::decode(row?.1.value())?);
        }
        tokens.sort_by_key(|token| (token.created, token.id));
        Ok(tokens)
    }

    /// Ends the token of this id or name for good.
    ///
    /// # Errors
    /// [`StoreError::NoSuchToken`].
    pub fn revoke_token(&self, wanted: &str) -> Result<TokenRecord, StoreError> {
        self.change(|write| {
            let mut table = write.open_table(TOKENS)?;
            let mut found = None;
            for row in table.iter()? {
                let (hash, token) = row?;
                let token = TokenRecord::decode(token.value())?;
                if token.name == wanted || token.id.to_string() == wanted {
                    found = Some((hash.value().to_vec(), token));
                    break;
                }
            }
            let (hash, token) = found.ok_or(StoreError::NoSuchToken)?;
            table.remove(hash.as_slice())?;
            Ok(token)
        })
    }
}

/// Removes what has ended, and as many of the others as are too many with one more.
fn make_room(
    table: &mut Table<'_, &'static [u8], &'static [u8]>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut open = Vec::new();
    let mut over = Vec::new();
    for row in table.iter()? {
        let (hash, session) = row?;
        let session = SessionRecord::decode(session.value())?;
        if session.is_good(now) {
            open.push((session.last_seen, hash.value().to_vec()));
        } else {
            over.push(hash.value().to_vec());
        }
    }
    open.sort();
    let too_many = (open.len() + 1).saturating_sub(MOST_SESSIONS);
    over.extend(open.into_iter().take(too_many).map(|(_, hash)| hash));
    for hash in over {
        table.remove(hash.as_slice())?;
    }
    Ok(())
}
