//! Lets somebody who is signed in call the gateway from a page of ours. Such a page may talk to no other
//! origin, and the gateway lets no page in; so the gateway's routes stand behind this, on our own origin.
//!
//! A session opens this door and nothing more: whose call it is, and who pays, is a key of the gateway,
//! as everywhere, whose limits hold. It is named by its id, so that no secret is needed, or sent as
//! programs send it. Neither the session nor its token goes on to a provider.

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::middleware::Next;
use actix_web::web::{self, Data};
use actix_web::{Error, HttpMessage, HttpResponse};

use super::super::config::running;
use super::caller::{self, X_CSRF_TOKEN};
use super::incoming::Incoming;
use super::refusal::Refusal;
use super::{Door, respond};
use crate::clock;
use crate::domain::access::ChosenKey;

/// Below which path the gateway's own are.
pub const PLAYGROUND: &str = "/playground";

/// Names the key that a call is made with.
const X_CONDUIT_KEY: HeaderName = HeaderName::from_static("x-conduit-key");

/// Stands before the gateway's routes on this listener.
pub async fn signed_in(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<EitherBody<impl MessageBody>>, Error> {
    let Some(door) = request.app_data::<Data<Door>>().cloned() else {
        let refusal = Refusal::failed("the admin API is not there");
        return Ok(refused(request, refusal).map_into_right_body());
    };
    let incoming = Incoming::without_body(request.request());
    let checked = web::block(move || check(&door, &incoming)).await;
    let checked = checked.unwrap_or_else(|_| Err(Refusal::failed("the server is stopping")));
    if let Err(refusal) = checked {
        return Ok(refused(request, refusal).map_into_right_body());
    }
    if let Some(key) = chosen(request.headers()) {
        request.extensions_mut().insert(key);
    }
    request.headers_mut().remove(X_CONDUIT_KEY);
    request.headers_mut().remove(header::COOKIE);
    request.headers_mut().remove(X_CSRF_TOKEN);
    Ok(next.call(request).await?.map_into_left_body())
}

fn chosen(headers: &HeaderMap) -> Option<ChosenKey> {
    headers.get(X_CONDUIT_KEY)?.to_str().ok()?.parse().ok().map(ChosenKey)
}

fn refused(request: ServiceRequest, refusal: Refusal) -> ServiceResponse {
    let response: HttpResponse = respond(refusal.answer());
    request.into_response(response)
}

/// Whether a session of ours asks, and by a page of ours.
fn check(door: &Door, incoming: &Incoming) -> Result<(), Refusal> {
    let live = running(&door.desk)?.load();
    let config = &live.config;
    caller::check_site(incoming, &config.admin.hosts)?;
    let is_secure = incoming.is_secure(&config.server.trusted_proxies);
    let store = door.desk.ledger.store();
    // The `Authorization` header is the key's here.
    let caller = caller::session(store, incoming, is_secure, clock::now())?;
    caller.ok_or_else(Refusal::unauthenticated)?.check_csrf(incoming)
}
