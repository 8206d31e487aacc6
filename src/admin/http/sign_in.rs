//! Signing in and out, and the password. The only place where somebody is answered who is not known yet.

use std::sync::PoisonError;

use actix_web::http::header;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::access::SessionView;
use super::super::audit::{self, Entry};
use super::super::{AdminError, password};
use super::attempts::By;
use super::caller::{Caller, cookie_name, known_cookie_name};
use super::refusal::Refusal;
use super::request::typed;
use super::{Answer, Request};
use crate::clock;
use crate::domain::access::{
    KnownBrowser, LONGEST_MS, Role, SessionId, SessionRecord, SessionSecret, TokenId,
};
use crate::domain::audit::{Actor, Door};

/// What browsers call themselves is kept up to this length.
const LONGEST_USER_AGENT: usize = 200;
/// How long a browser is known again: as long as browsers keep any cookie.
const KNOWN_SECONDS: u64 = 400 * 86_400;

/// Signs in.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SignIn {
    password: String,
}

/// Who asks.
#[derive(Serialize, JsonSchema)]
pub(super) struct SignedIn {
    role: Role,
    /// What changes by a session must carry in the header `X-Csrf-Token`; absent for a token.
    csrf_token: Option<String>,
    /// The session that asks; absent for a token.
    session: Option<SessionView>,
    /// The token that asks; absent for a session.
    token: Option<TokenName>,
    /// Of the server.
    version: String,
}

/// A token, as it is told to itself.
#[derive(Serialize, JsonSchema)]
pub(super) struct TokenName {
    id: TokenId,
    name: String,
}

/// A session that was ended.
#[derive(Serialize, JsonSchema)]
pub(super) struct SignedOut {
    ended: SessionId,
}

/// Changes the admin password.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangePassword {
    current: String,
    #[schemars(length(min = 12, max = 1024))]
    new: String,
}

/// Answers somebody who may know the password.
pub(super) fn sign_in(
    request: &Request<'_>,
    members: Map<String, Value>,
    is_secure: bool,
) -> Result<Answer, Refusal> {
    let sent: SignIn = typed(members)?;
    let by = stranger(request);
    let desk = &request.door.desk;
    let wrong = Refusal::wrong_password;
    let (kept, known) = check(request, &by, "session/create", &sent.password, is_secure, wrong)?;
    let secret = SessionSecret::new(clock::random().map_err(AdminError::from)?);
    let agent = request.incoming.header(header::USER_AGENT).unwrap_or_default();
    let session = SessionRecord {
        id: SessionId::from_bits(clock::new_id_bits().map_err(AdminError::from)?),
        created: request.now,
        last_seen: request.now,
        user_agent: agent.chars().take(LONGEST_USER_AGENT).collect(),
        address: by.address.clone().unwrap_or_default(),
    };
    let entry = Entry::begin(desk, &by, "session/create", &json!({}))?;
    if let Err(error) = desk.ledger.store().insert_session(secret.hash(), &session, &kept) {
        let error = AdminError::from(error);
        entry.not_done(desk, &error);
        return Err(error.into());
    }
    entry.done(desk, Some(session.id.to_string()));
    tracing::info!(session.id = %session.id, address = session.address, "an admin signed in");
    let cookies = [
        cookie(cookie_name(is_secure), is_secure, &secret.reveal(), LONGEST_MS / 1_000),
        cookie(known_cookie_name(is_secure), is_secure, &known.text(&kept), KNOWN_SECONDS),
    ];
    let answer = show(&Caller::Session { secret, session });
    Ok(cookies.into_iter().fold(answer, |answer, cookie| answer.with("set-cookie", cookie)))
}

/// Compares a password with the one in force, as often as that is allowed. Returns what is kept of it,
/// and by what the browser is to be known again.
fn check(
    request: &Request<'_>,
    by: &Actor,
    verb: &str,
    sent: &str,
    is_secure: bool,
    wrong: fn() -> Refusal,
) -> Result<(Vec<u8>, KnownBrowser), Refusal> {
    let desk = &request.door.desk;
    let Some(kept) = desk.ledger.store().admin_password()? else {
        let message = "no admin password is set yet: run `conduit admin password` on the server";
        return Err(Refusal::new(409, "no_password", message));
    };
    let mut marks = request.incoming.cookies(known_cookie_name(is_secure)).take(8);
    let known = marks.find_map(|text| KnownBrowser::parse(text, &kept));
    let whose = known.map_or_else(|| By::address(request.address), By::Known);
    let attempts = || request.door.attempts.lock().unwrap_or_else(PoisonError::into_inner);
    let taken = attempts().take(whose, request.now);
    if let Err(too_many) = taken {
        if too_many.is_first {
            audit::refused(desk, by, verb, "too many wrong passwords")?;
            tracing::warn!(address = by.address, "too many wrong admin passwords");
        }
        return Err(Refusal::too_many_attempts(too_many.wait_ms));
    }
    if !password::verify(sent, &kept)? {
        audit::refused(desk, by, verb, "wrong password")?;
        return Err(wrong());
    }
    attempts().forgive(whose);
    let known = match known {
        Some(known) => known,
        None => KnownBrowser::new(clock::random().map_err(AdminError::from)?),
    };
    Ok((kept, known))
}

fn stranger(request: &Request<'_>) -> Actor {
    let address = request.address.map(|address| address.to_string());
    Actor { door: Door::Stranger, id: None, name: None, address }
}

fn cookie(name: &str, is_secure: bool, value: &str, seconds: u64) -> String {
    let secure = if is_secure { "; Secure" } else { "" };
    format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}")
}

/// Says who asks.
pub(super) fn show(caller: &Caller) -> Answer {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let role = caller.role();
    let signed_in = match caller {
        Caller::Session { secret, session } => SignedIn {
            role,
            csrf_token: Some(secret.csrf().to_hex().to_string()),
            session: Some(session.clone().into()),
            token: None,
            version,
        },
        Caller::Token(token) => {
            let token = Some(TokenName { id: token.id, name: token.name.clone() });
            SignedIn { role, csrf_token: None, session: None, token, version }
        }
    };
    // Texts always have a JSON form.
    Answer::json(200, serde_json::to_string(&signed_in).unwrap_or_default())
}

/// Ends the session that asks.
pub(super) fn sign_out(
    request: &Request<'_>,
    caller: &Caller,
    is_secure: bool,
) -> Result<Answer, Refusal> {
    let Caller::Session { session, .. } = caller else {
        let message = "a token has no session: revoke it to end it";
        return Err(Refusal::new(409, "conflict", message));
    };
    let desk = &request.door.desk;
    let entry = Entry::begin(desk, &caller.actor(request.address), "session/end", &json!({}))?;
    if let Err(error) = desk.ledger.store().end_sessions(Some(session.id)) {
        let error = AdminError::from(error);
        entry.not_done(desk, &error);
        return Err(error.into());
    }
    entry.done(desk, Some(session.id.to_string()));
    let body = serde_json::to_string(&SignedOut { ended: session.id }).unwrap_or_default();
    Ok(Answer::json(200, body).with("set-cookie", cookie(cookie_name(is_secure), is_secure, "", 0)))
}

/// Changes the password for somebody who is signed in and knows it.
pub(super) fn change_password(
    request: &Request<'_>,
    caller: &Caller,
    members: Map<String, Value>,
    is_secure: bool,
) -> Result<Answer, Refusal> {
    let sent: ChangePassword = typed(members)?;
    let by = caller.actor(request.address);
    let wrong =
        || Refusal::new(403, "wrong_password", "this is not the password").member("current");
    check(request, &by, "password/set", &sent.current, is_secure, wrong)?;
    let desk = &request.door.desk;
    let entry = Entry::begin(desk, &by, "password/set", &json!({}))?;
    match password::set(desk, "new", &sent.new, caller.session_hash()) {
        Ok(set) => {
            entry.done(desk, None);
            Ok(Answer::json(200, serde_json::to_string(&set).unwrap_or_default()))
        }
        Err(error) => {
            entry.not_done(desk, &error);
            Err(error.into())
        }
    }
}
