//! Verbs about who may administer: tokens made, listed and revoked, sessions listed and ended.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::forms::Name;
use super::keys::{check_expiry, check_name};
use super::{AdminError, Desk, Verb};
use crate::clock;
use crate::domain::access::{Role, SessionId, SessionRecord, TokenId, TokenRecord};
use crate::domain::window::Timestamp;

/// What may be shown of a token.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TokenView {
    pub id: TokenId,
    pub name: String,
    pub role: Role,
    /// The last characters of the token.
    pub token_ends_in: String,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub expired: bool,
    /// To the minute.
    pub last_used_at: Option<Timestamp>,
}

fn view(token: TokenRecord, now: Timestamp) -> TokenView {
    TokenView {
        id: token.id,
        expired: !token.is_good(now),
        name: token.name,
        role: token.role,
        token_ends_in: token.tail,
        created_at: token.created,
        expires_at: token.expires,
        last_used_at: token.last_used,
    }
}

/// A token with its text, which is shown this once.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct NewToken {
    pub token: String,
    #[serde(flatten)]
    pub view: TokenView,
}

/// Makes a token for a program.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    #[schemars(with = "Name")]
    pub name: String,
    pub role: Role,
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

impl Verb for CreateToken {
    type Answer = NewToken;
    const PATH: &'static str = "tokens/create";
    const CHANGES: bool = true;

    fn run(self, desk: &Desk) -> Result<NewToken, AdminError> {
        check_name("name", "the name of a token", &self.name)?;
        if self.name.parse::<TokenId>().is_ok() {
            return Err(AdminError::wrong("name", "the name of a token must not be a token id"));
        }
        check_expiry(self.expires_at)?;
        let token = clock::new_token()?;
        let now = clock::now();
        let record = TokenRecord {
            id: TokenId::from_bits(clock::new_id_bits()?),
            name: self.name,
            role: self.role,
            tail: token.tail(),
            created: now,
            expires: self.expires_at,
            last_used: None,
        };
        desk.ledger.store().insert_token(token.hash(), &record)?;
        tracing::info!(token.id = %record.id, token.name = record.name, "admin token created");
        Ok(NewToken { token: token.reveal(), view: view(record, now) })
    }

    fn target(answer: &NewToken) -> Option<String> {
        Some(answer.view.id.to_string())
    }
}

/// Lists tokens, oldest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListTokens {}

impl Verb for ListTokens {
    type Answer = Vec<TokenView>;
    const PATH: &'static str = "tokens/list";
    const CHANGES: bool = false;

    fn run(self, desk: &Desk) -> Result<Vec<TokenView>, AdminError> {
        let now = clock::now();
        Ok(desk.ledger.store().tokens()?.into_iter().map(|token| view(token, now)).collect())
    }
}

/// Ends a token for good.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeToken {
    /// Its id or name.
    pub token: String,
}

impl Verb for RevokeToken {
    type Answer = TokenView;
    const PATH: &'static str = "tokens/revoke";
    const CHANGES: bool = true;

    fn run(self, desk: &Desk) -> Result<TokenView, AdminError> {
        let token = desk.ledger.store().revoke_token(&self.token)?;
        tracing::info!(token.id = %token.id, token.name = token.name, "admin token revoked");
        Ok(view(token, clock::now()))
    }

    fn target(answer: &TokenView) -> Option<String> {
        Some(answer.id.to_string())
    }
}

/// What may be shown of a session.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SessionView {
    pub id: SessionId,
    pub created_at: Timestamp,
    /// To the minute.
    pub last_seen_at: Timestamp,
    /// When it ends if nobody uses it before.
    pub ends_at: Timestamp,
    pub user_agent: String,
    pub address: String,
}

impl From<SessionRecord> for SessionView {
    fn from(session: SessionRecord) -> Self {
        Self {
            id: session.id,
            created_at: session.created,
            last_seen_at: session.last_seen,
            ends_at: session.ends(),
            user_agent: session.user_agent,
            address: session.address,
        }
    }
}

/// Lists who is signed in, whoever was seen last first.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListSessions {}

impl Verb for ListSessions {
    type Answer = Vec<SessionView>;
    const PATH: &'static str = "sessions/list";
    const CHANGES: bool = false;

    fn run(self, desk: &Desk) -> Result<Vec<SessionView>, AdminError> {
        let sessions = desk.ledger.store().sessions(clock::now())?;
        Ok(sessions.into_iter().map(SessionView::from).collect())
    }
}

/// Signs one session out, or all.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EndSessions {
    /// Absent: all.
    pub session: Option<SessionId>,
}

/// The sessions that were ended.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Ended {
    pub ended: Vec<SessionId>,
}

impl Verb for EndSessions {
    type Answer = Ended;
    const PATH: &'static str = "sessions/end";
    const CHANGES: bool = true;

    fn run(self, desk: &Desk) -> Result<Ended, AdminError> {
        let ended = desk.ledger.store().end_sessions(self.session)?;
        tracing::info!(sessions = ended.len(), "admin sessions ended");
        Ok(Ended { ended: ended.into_iter().map(|session| session.id).collect() })
    }

    fn target(answer: &Ended) -> Option<String> {
        match answer.ended.as_slice() {
            [only] => Some(only.to_string()),
            _ => None,
        }
    }
}
