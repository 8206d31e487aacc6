//! Tries each provider with a call that costs nothing, its list of models, and says how far that went.
//!
//! For an administrator who wants to know whether keys are good and names lead somewhere. Nothing is
//! ever asked of a model here, and nothing of a key is in what is told.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::HttpDate;
use http::StatusCode;
use tokio::time::{Instant, timeout};

use super::forward::{self, Reply};
use super::upstreams::{Key, Upstream, Upstreams};
use crate::clock;
use crate::config::Provider;
use crate::domain::window::Timestamp;
use crate::error::UpstreamError;
use crate::fields::Headers;
use crate::provider::kind::Kind;
use crate::provider::offers;

/// The longest list that is read.
const MAX_PAGE: usize = 4 << 20;
/// Of what a provider says of a refusal, so much is told.
const EXCERPT: usize = 200;

/// How far the call to a provider went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The provider is built in.
    BuiltIn,
    /// Its name leads to no address.
    NoAddress {
        host: String,
        reason: String,
    },
    /// No connection, no TLS, or no answer in HTTP.
    Unreachable {
        reason: String,
    },
    /// It was silent for so long.
    Silent {
        after: Duration,
    },
    Answered(Answered),
}

/// What a provider answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The place of the key among the provider's, from 1; none where it needs none.
    pub key: Option<usize>,
    pub status: u16,
    /// The names of the models it has, where the answer is such a list.
    pub models: Option<Vec<String>>,
    /// Whether there are more of them than were read.
    pub is_cut: bool,
    /// What it said of its refusal.
    pub said: Option<String>,
    /// How late it was by its own clock, and when that was read here.
    pub clock: Option<(Timestamp, Timestamp)>,
    pub took: Duration,
}

/// Tries one provider with each of its keys; what is the same for all is told once.
pub fn probe(
    provider: &Arc<Provider>,
    tls: Arc<rustls::ClientConfig>,
    patience: Duration,
) -> Vec<Outcome> {
    if provider.kind == Kind::Echo {
        return vec![Outcome::BuiltIn];
    }
    actix_web::rt::System::new().block_on(async {
        let upstreams = Upstreams::new(tls);
        let upstream = upstreams.get(provider);
        if let Some(outcome) = resolve(&upstream, patience).await {
            return vec![outcome];
        }
        let mut outcomes = Vec::new();
        for (index, key) in upstream.keys.iter().enumerate() {
            let outcome = ask(&upstream, Some((index + 1, key)), patience).await;
            let is_about_all = !matches!(outcome, Outcome::Answered(_));
            outcomes.push(outcome);
            if is_about_all {
                break;
            }
        }
        if outcomes.is_empty() {
            outcomes.push(ask(&upstream, None, patience).await);
        }
        outcomes
    })
}

/// Looks the name up by itself, because nothing else says plainly that this is what failed.
async fn resolve(upstream: &Upstream, patience: Duration) -> Option<Outcome> {
    let uri = upstream.uri_below(offers::PATH, "")?;
    let host = uri.host()?.to_owned();
    let looked_up = timeout(patience, tokio::net::lookup_host(format!("{host}:0"))).await;
    let reason = match looked_up.map(|found| found.map(|mut addresses| addresses.next())) {
        Ok(Ok(Some(_))) => return None,
        Ok(Ok(None)) => "it has no address".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("the name server did not answer within {} s", patience.as_secs()),
    };
    Some(Outcome::NoAddress { host, reason })
}

async fn ask(upstream: &Upstream, key: Option<(usize, &Key)>, patience: Duration) -> Outcome {
    let kind = upstream.provider.kind;
    let query = offers::first_query(kind.dialect());
    let Some(uri) = upstream.uri_below(offers::PATH, query) else {
        return Outcome::Unreachable { reason: "its address makes no URL".to_owned() };
    };
    let began = Instant::now();
    let asked = forward::ask(upstream, key.map(|(_, key)| key), &uri, MAX_PAGE);
    match timeout(patience, asked).await {
        Err(_) => Outcome::Silent { after: patience },
        Ok(Err(no_reply)) => match no_reply.error {
            UpstreamError::TimedOut => Outcome::Silent { after: began.elapsed() },
            _ => Outcome::Unreachable { reason: no_reply.reason },
        },
        Ok(Ok(reply)) => {
            Outcome::Answered(read(kind, &reply, key.map(|(at, _)| at), began.elapsed()))
        }
    }
}

fn read(kind: Kind, reply: &Reply, key: Option<usize>, took: Duration) -> Answered {
    let page = offers::read(kind, &reply.body).filter(|_| reply.status == StatusCode::OK);
    let is_cut = page.as_ref().is_some_and(|page| page.next_query.is_some());
    let names = page.filter(|_| offers::is_listed(kind)).map(|page| page.offers.into_iter());
    Answered {
        key,
        status: reply.status.as_u16(),
        models: names.map(|offers| offers.map(|offer| offer.name).collect()),
        is_cut,
        said: (!reply.status.is_success()).then(|| said(&reply.body)).flatten(),
        clock: date(&reply.headers).map(|theirs| (theirs, clock::now())),
        took,
    }
}

/// The sentence of an error, as most providers give it. Some repeat a part of the key in it.
fn said(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let places = ["/error/message", "/message", "/error", "/detail", "/0/error/message"];
    let text = places.iter().find_map(|place| body.pointer(place)?.as_str())?;
    let masked = text.split_whitespace().map(|word| if is_like_a_key(word) { "…" } else { word });
    let text = masked.collect::<Vec<_>>().join(" ");
    let plain: String = text.chars().filter(|c| !c.is_control()).take(EXCERPT).collect();
    (!plain.is_empty()).then_some(plain)
}

fn is_like_a_key(word: &str) -> bool {
    let has = |what: fn(&char) -> bool| word.chars().any(|c| what(&c));
    word.contains("sk-")
        || word.contains("**")
        || (word.len() >= 16
            && has(char::is_ascii_digit)
            && has(char::is_ascii_alphabetic)
            && !word.contains("://"))
}

fn date(headers: &Headers) -> Option<Timestamp> {
    let date: HttpDate = headers.text("date")?.parse().ok()?;
    Some(clock::told(date))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_provider_says_is_told_without_the_key_in_it() {
        for (body, expected) in [
            (
                r#"{"error":{"message":"Incorrect API key provided: sk-abc***xyz. See https://platform.example.com/account1"}}"#,
                Some("Incorrect API key provided: … See https://platform.example.com/account1"),
            ),
            (r#"{"message":"no\u001b[31m"}"#, Some("no[31m")),
            (r#"{"error":"key a1b2c3d4e5f6a7b8c9 is bad"}"#, Some("key … is bad")),
            (r#"{"error":{}}"#, None),
            ("<html>", None),
        ] {
            assert_eq!(said(body.as_bytes()).as_deref(), expected, "{body}");
        }
    }
}
