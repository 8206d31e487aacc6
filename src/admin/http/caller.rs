//! Who asks, and whether it is really they who ask: a token or a session, and for a session that the page
//! it came from is ours.
//!
//! A key of the gateway is never a credential here. Why a credential is not good is nobody's business:
//! every reason is the same refusal.

use std::net::IpAddr;

use actix_web::http::header::{self, HeaderName};

use super::incoming::Incoming;
use super::refusal::Refusal;
use crate::domain::access::{
    AccessHash, AdminToken, Role, SessionRecord, SessionSecret, TokenRecord,
};
use crate::domain::audit::{Actor, Door};
use crate::domain::window::Timestamp;
use crate::store::Store;

pub(super) const X_CSRF_TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The cookie of a session. Under TLS its name makes browsers see to it that no other host set it.
pub(super) const fn cookie_name(is_secure: bool) -> &'static str {
    if is_secure { "__Host-conduit_session" } else { "conduit_session" }
}

/// The cookie by which a browser is known again that signed in before.
pub(super) const fn known_cookie_name(is_secure: bool) -> &'static str {
    if is_secure { "__Host-conduit_known" } else { "conduit_known" }
}

/// Somebody who is known.
pub(super) enum Caller {
    Session { secret: SessionSecret, session: SessionRecord },
    Token(TokenRecord),
}

impl Caller {
    pub(super) const fn role(&self) -> Role {
        match self {
            Self::Session { .. } => Role::Admin,
            Self::Token(token) => token.role,
        }
    }

    pub(super) fn actor(&self, address: Option<IpAddr>) -> Actor {
        let address = address.map(|address| address.to_string());
        match self {
            Self::Session { session, .. } => {
                let id = Some(session.id.to_string());
                Actor { door: Door::Session, id, name: None, address }
            }
            Self::Token(token) => {
                let (id, name) = (Some(token.id.to_string()), Some(token.name.clone()));
                Actor { door: Door::Token, id, name, address }
            }
        }
    }

    /// Whose requests are told apart by their idempotency keys. Whoever signs in is one and the same.
    pub(super) fn whose(&self) -> String {
        match self {
            Self::Session { .. } => "password".to_owned(),
            Self::Token(token) => token.id.to_string(),
        }
    }

    pub(super) fn session_hash(&self) -> Option<AccessHash> {
        match self {
            Self::Session { secret, .. } => Some(secret.hash()),
            Self::Token(_) => None,
        }
    }

    /// A browser sends a session's cookie along by itself, so a page must also say what only ours can
    /// know. A token is never sent along by itself.
    pub(super) fn check_csrf(&self, incoming: &Incoming) -> Result<(), Refusal> {
        let Self::Session { secret, .. } = self else { return Ok(()) };
        let sent = incoming.header(X_CSRF_TOKEN).and_then(|t| blake3::Hash::from_hex(t).ok());
        // This comparison takes constant time.
        if sent == Some(secret.csrf()) {
            return Ok(());
        }
        let message = "a change by a session needs its token in the header X-Csrf-Token: read it \
                       from GET /admin/api/v1/session";
        Err(Refusal::new(403, "csrf", message))
    }
}

/// Who asks; `None` for somebody who says nothing about it.
///
/// # Errors
/// When what they say is not good.
pub(super) fn identify(
    store: &Store,
    incoming: &Incoming,
    is_secure: bool,
    now: Timestamp,
) -> Result<Option<Caller>, Refusal> {
    if incoming.has(header::AUTHORIZATION) {
        let token = incoming.header(header::AUTHORIZATION).and_then(bearer);
        let token = token.and_then(AdminToken::parse).ok_or_else(Refusal::unauthenticated)?;
        let known = store.use_token(token.hash(), now)?.ok_or_else(Refusal::unauthenticated)?;
        return Ok(Some(Caller::Token(known)));
    }
    session(store, incoming, is_secure, now)
}

/// The session of which a cookie is sent.
pub(super) fn session(
    store: &Store,
    incoming: &Incoming,
    is_secure: bool,
    now: Timestamp,
) -> Result<Option<Caller>, Refusal> {
    for secret in incoming.cookies(cookie_name(is_secure)).filter_map(SessionSecret::parse).take(8)
    {
        if let Some(session) = store.use_session(secret.hash(), now)? {
            return Ok(Some(Caller::Session { secret, session }));
        }
    }
    Ok(None)
}

/// The token of `Bearer <token>`, the scheme in any case (RFC 9110, section 11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_matches(' '))
}

/// Refuses what a page from elsewhere asks. Browsers say where a request comes from, in
/// `Sec-Fetch-Site` or, for a change, in `Origin`; programs say nothing.
pub(super) fn check_site(incoming: &Incoming, hosts: &[String]) -> Result<(), Refusal> {
    let refused = || {
        let message = "a page from elsewhere must not ask this";
        Err(Refusal::new(403, "other_site", message))
    };
    if incoming.has(SEC_FETCH_SITE) {
        let is_ours = matches!(incoming.header(SEC_FETCH_SITE), Some("same-origin" | "none"));
        return if is_ours { Ok(()) } else { refused() };
    }
    if !incoming.has(header::ORIGIN) {
        return Ok(());
    }
    let origin = incoming.header(header::ORIGIN).unwrap_or_default();
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    let host = incoming.header(header::HOST);
    let is_host = authority.is_some() && authority == host;
    // A proxy may have put its own name in the place of the one it was called by.
    let is_named = authority.is_some_and(|authority| {
        let name = without_port(authority);
        hosts.iter().any(|host| host.eq_ignore_ascii_case(name))
    });
    if is_host || is_named { Ok(()) } else { refused() }
}

/// Whether the listener goes by the name in a `Host` header: this machine's own, an address, or one that
/// the configuration names. A page elsewhere can make its own name lead here, but not these.
pub(super) fn is_ours(host: &str, hosts: &[String]) -> bool {
    let name = without_port(host).to_ascii_lowercase();
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
    name == "localhost"
        || name.ends_with(".localhost")
        || bare.parse::<IpAddr>().is_ok()
        || hosts.contains(&name)
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_are_answered() {
        let hosts = ["admin.example.com".to_owned()];
        for (host, expected) in [
            ("localhost", true),
            ("localhost:8081", true),
            ("LOCALHOST:8081", true),
            ("a.localhost", true),
            ("127.0.0.1:8081", true),
            ("[::1]:8081", true),
            ("[::1]", true),
            ("192.0.2.1", true),
            ("admin.example.com", true),
            ("Admin.Example.com:443", true),
            ("example.com", false),
            ("evil.example", false),
            ("localhost.evil.example:8081", false),
            ("127.0.0.1.evil.example", false),
            ("xlocalhost", false),
            ("", false),
            (":8081", false),
        ] {
            assert_eq!(is_ours(host, &hosts), expected, "{host}");
        }
    }

    #[test]
    fn a_bearer_is_read_in_any_case() {
        assert_eq!(bearer("bearer  x "), Some("x"));
        assert_eq!(bearer("Basic x"), None);
        assert_eq!(bearer("x"), None);
    }
}
