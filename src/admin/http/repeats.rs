//! Requests with an `Idempotency-Key`: sent twice, they are done once.
//!
//! The second of two that are the same gets the first one's answer, for a day. A secret is shown once and
//! never kept, so where the answer held one the second is told what was made, by its id, and no more.

use super::caller::Caller;
use super::incoming::Incoming;
use super::operations::{Operation, Repeats};
use super::refusal::Refusal;
use super::request::Done;
use super::{Answer, Request};
use crate::domain::access::AccessHash;
use crate::store::{Answered, Repeat};

const HEADER: &str = "idempotency-key";
const LONGEST_KEY: usize = 255;
/// A longer answer is not kept.
const LONGEST_ANSWER: usize = 64 * 1024;

pub(super) enum Once {
    Done(Done),
    /// It was done before.
    Before(Answer),
}

/// The request's key, where its operation heeds one.
pub(super) fn key<'a>(
    operation: &Operation,
    incoming: &'a Incoming,
) -> Result<Option<&'a str>, Refusal> {
    let name = actix_web::http::header::HeaderName::from_static(HEADER);
    if operation.repeats == Repeats::NotHeeded || !incoming.has(name) {
        return Ok(None);
    }
    let key = incoming.header(HEADER).filter(|key| {
        (1..=LONGEST_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
    });
    let message = "an idempotency key is one text of 1 to 255 visible ASCII characters";
    key.map(Some).ok_or_else(|| Refusal::malformed(message).member("Idempotency-Key"))
}

/// Does `work`, unless it was done before.
pub(super) fn once(
    request: &Request<'_>,
    caller: &Caller,
    operation: &Operation,
    key: &str,
    work: impl FnOnce() -> Result<Done, Refusal>,
) -> Result<Once, Refusal> {
    let store = request.door.desk.ledger.store();
    let key = AccessHash::of_request(&caller.whose(), key);
    let digest = digest(operation, request.incoming)?;
    if let Some(before) = store.begin_request(key, digest, request.now)? {
        return again(operation, before, digest).map(Once::Before);
    }
    let done = work();
    let answer = done.as_ref().ok().map(|done| {
        let is_kept = operation.repeats == Repeats::Answered;
        let body = is_kept.then(|| done.body.to_string());
        Answered {
            made: done.target.clone().unwrap_or_default(),
            body: body.filter(|body| body.len() <= LONGEST_ANSWER),
        }
    });
    if let Err(error) = store.end_request(key, digest, request.now, answer) {
        // Whoever asks again is told that nobody knows, which is the truth.
        tracing::warn!("what came of an idempotent request could not be remembered: {error}");
    }
    done.map(Once::Done)
}

fn again(operation: &Operation, before: Repeat, digest: [u8; 32]) -> Result<Answer, Refusal> {
    if before.digest != digest {
        let message = "this idempotency key was used for another request";
        let refusal = Refusal::new(409, "idempotency_mismatch", message);
        return Err(refusal.member("Idempotency-Key"));
    }
    let Some(Answered { made, body }) = before.answer else {
        let message = "the request with this idempotency key is under way, or the server ended \
                       during it: look whether it was done";
        return Err(Refusal::new(409, "under_way", message));
    };
    if let Some(body) = body {
        return Ok(Answer::json(operation.status, body).with("idempotency-replayed", "true"));
    }
    let message = format!("this was done already, by an earlier request: {made}");
    Err(Refusal::new(409, "already_done", message).made(made))
}

/// A mark of all that was asked.
fn digest(operation: &Operation, incoming: &Incoming) -> Result<[u8; 32], Refusal> {
    let mut hasher = blake3::Hasher::new();
    for part in [operation.id.as_bytes(), incoming.path.as_bytes(), incoming.body()?] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    Ok(hasher.finalize().into())
}
