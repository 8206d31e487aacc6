//! Takes delivery of a call's body, within bounds.

use std::borrow::Cow;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt};
use tokio::time::timeout;

use super::headers::CONTENT_TYPE;
use super::upload::{self, Arrived};
use crate::error::ApiError;
use crate::fields::Headers;
use crate::message::Body;
use crate::provider::endpoint::Endpoint;
use crate::provider::request::multipart;

const JSON: &str = "application/json";

/// How long a client may be silent in the middle of its body.
pub(super) const SILENCE: Duration = Duration::from_mins(1);

/// What the body says it is; refused where that is neither JSON nor a form that the endpoint takes.
pub(super) fn check_content_type(
    endpoint: Endpoint,
    headers: &Headers,
) -> Result<Option<Cow<'_, str>>, ApiError> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(None) };
    // As nearly all calls say it.
    if value == JSON.as_bytes() {
        return Ok(Some(Cow::Borrowed(JSON)));
    }
    let text = String::from_utf8_lossy(value);
    let essence = text.split(';').next().unwrap_or_default().trim();
    let is_json = || {
        let (kind, name) = essence.split_once('/').unwrap_or_default();
        let suffix = name.len().checked_sub("+json".len()).and_then(|at| name.get(at..));
        kind.eq_ignore_ascii_case("application")
            && (name.eq_ignore_ascii_case("json")
                || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("+json")))
    };
    let takes = match endpoint {
        // The form says for itself what is wrong with it.
        Endpoint::Transcriptions | Endpoint::Translations => true,
        Endpoint::ImageEdits => is_json() || multipart::is_form(&text),
        _ => is_json(),
    };
    if takes { Ok(Some(text)) } else { Err(ApiError::ContentType(text.into_owned())) }
}

/// Refuses a body whose bytes are not what they stand for: nobody here could read it.
fn check_encoding(headers: &Headers) -> Result<(), ApiError> {
    for value in headers.all("content-encoding") {
        let encoding = String::from_utf8_lossy(value);
        let encoding = encoding.trim();
        if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity") {
            return Err(ApiError::ContentEncoding(encoding.to_owned()));
        }
    }
    Ok(())
}

/// Reads a body of at most `limit` bytes: all of it, or the beginning of a form that is not to be kept.
pub(super) async fn arrive(
    content_type: Option<&str>,
    headers: &Headers,
    body: Body,
    limit: usize,
) -> Result<Arrived, ApiError> {
    check_encoding(headers)?;
    let length = headers.text("content-length").and_then(|length| length.parse::<usize>().ok());
    let announced = length.unwrap_or(0);
    if announced > limit {
        return Err(ApiError::BodyTooLarge { limit });
    }
    match content_type.filter(|text| announced > upload::KEPT && multipart::is_form(text)) {
        // Rare and large: it must not make every call's future as large.
        Some(content_type) => Box::pin(upload::arrive(content_type, announced, body)).await,
        None => read(body, announced, limit).await.map(Arrived::Whole),
    }
}

async fn read(mut body: Body, announced: usize, limit: usize) -> Result<Bytes, ApiError> {
    if let Body::Whole(bytes) = body {
        return if bytes.len() > limit { Err(ApiError::BodyTooLarge { limit }) } else { Ok(bytes) };
    }
    let Some(first) = chunk(&mut body).await? else { return Ok(Bytes::new()) };
    if first.len() == announced {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(announced);
    let mut next = Some(first);
    while let Some(part) = next {
        if whole.len() + part.len() > limit {
            return Err(ApiError::BodyTooLarge { limit });
        }
        whole.extend_from_slice(&part);
        next = chunk(&mut body).await?;
    }
    Ok(whole.freeze())
}

pub(super) async fn chunk(body: &mut Body) -> Result<Option<Bytes>, ApiError> {
    // Where something has come, nobody has to watch the time.
    let next = match body.next().now_or_never() {
        Some(next) => next,
        None => timeout(SILENCE, body.next()).await.map_err(|_| ApiError::BodyBroken)?,
    };
    next.transpose().map_err(|_| ApiError::BodyBroken)
}
