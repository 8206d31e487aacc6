//! A request as it came in: read within bounds, and owned, so that it can be worked on elsewhere than in
//! a worker that others wait for.

use std::net::IpAddr;
use std::time::Duration;

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::web::Payload;
use actix_web::{HttpMessage, HttpRequest};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::refusal::Refusal;
use super::{OverTls, PREFIX};
use crate::domain::cidr::Cidr;
use crate::domain::forwarded;

/// Few bodies of this API come near it.
pub(super) const LONGEST_BODY: usize = 256 * 1024;
/// How long a body may take, and how long one that may be longer.
const PATIENCE: Duration = Duration::from_secs(20);
const LONGEST_PATIENCE: Duration = Duration::from_mins(5);

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A request.
pub(super) struct Incoming {
    pub(super) method: String,
    /// Below the API's prefix, as it was sent.
    pub(super) path: String,
    pub(super) query: String,
    headers: HeaderMap,
    peer: Option<IpAddr>,
    /// It came over TLS of our own.
    over_tls: bool,
    body: Result<Bytes, Refusal>,
}

impl Incoming {
    /// Reads the body, as far as it has no more than `longest` bytes.
    pub(super) async fn receive(&mut self, payload: Payload, longest: usize) {
        let patience = if longest > LONGEST_BODY { LONGEST_PATIENCE } else { PATIENCE };
        let body = tokio::time::timeout(patience, read(payload, longest)).await;
        self.body = body.unwrap_or_else(|_| {
            Err(Refusal::new(408, "body_too_slow", "the body did not come in time"))
        });
    }

    /// Everything but the body, which is read later or by somebody else.
    pub(super) fn without_body(head: &HttpRequest) -> Self {
        let path = head.uri().path();
        Self {
            method: head.method().as_str().to_owned(),
            path: path.strip_prefix(PREFIX).unwrap_or_default().to_owned(),
            query: head.uri().query().unwrap_or_default().to_owned(),
            headers: head.headers().clone(),
            peer: head.peer_addr().map(|peer| peer.ip()),
            over_tls: head.extensions().get::<OverTls>().is_some(),
            body: Ok(Bytes::new()),
        }
    }

    /// The one value of a header; `None` when there is none, or more than one.
    pub(super) fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        let mut values = self.headers.get_all(name);
        let only = values.next().filter(|_| values.next().is_none())?;
        only.to_str().ok()
    }

    pub(super) fn has(&self, name: HeaderName) -> bool {
        self.headers.contains_key(name)
    }

    /// The values of all cookies of this name.
    pub(super) fn cookies<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let lines = self.headers.get_all(header::COOKIE).filter_map(|line| line.to_str().ok());
        let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
        pairs.filter(move |(found, _)| found.trim() == name).map(|(_, value)| value.trim())
    }

    /// The body, which must say that it is JSON if there is any: a page elsewhere cannot say so without
    /// asking first.
    pub(super) fn body(&self) -> Result<&Bytes, Refusal> {
        let body = self.body.as_ref().map_err(Refusal::clone)?;
        let kind = self.header(header::CONTENT_TYPE).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !body.is_empty() && !kind.eq_ignore_ascii_case("application/json") {
            let message = "the body must be of the type application/json";
            return Err(Refusal::new(415, "unsupported_media_type", message));
        }
        Ok(body)
    }

    pub(super) fn accepts_csv(&self) -> bool {
        let accepted = self.header(header::ACCEPT).unwrap_or_default();
        let mut kinds = accepted.split(',').map(|kind| kind.split(';').next().unwrap_or_default());
        kinds.any(|kind| kind.trim().eq_ignore_ascii_case("text/csv"))
    }

    /// Where the request really comes from.
    pub(super) fn address(&self, trusted: &[Cidr]) -> Option<IpAddr> {
        let lines = self.headers.get_all(X_FORWARDED_FOR).map(HeaderValue::as_bytes);
        forwarded::caller(self.peer?, &lines.collect::<Vec<_>>(), trusted)
    }

    /// Whether it came over TLS, which ends here or at a proxy of ours.
    pub(super) fn is_secure(&self, trusted: &[Cidr]) -> bool {
        let is_ours = self.peer.is_some_and(|peer| forwarded::is_trusted(peer, trusted));
        self.over_tls || is_ours && self.header(X_FORWARDED_PROTO) == Some("https")
    }
}

async fn read(mut payload: Payload, longest: usize) -> Result<Bytes, Refusal> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| Refusal::malformed("the body broke off"))?;
        if body.len() + chunk.len() > longest {
            let message = format!("the body has more than {longest} bytes");
            return Err(Refusal::new(413, "too_large", message));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}
