//! The page of metrics on the admin listener, for whoever the configuration says: by default those with a
//! token or a session, as for everything else that can be seen there.

use std::net::IpAddr;

use actix_web::web::{self, Data};
use actix_web::{HttpRequest, HttpResponse};

use super::super::config::running;
use super::super::metrics;
use super::caller;
use super::incoming::Incoming;
use super::operations::Needs;
use super::refusal::Refusal;
use super::{Answer, Door, respond};
use crate::clock;
use crate::config::MetricsFor;
use crate::metrics::page::CONTENT_TYPE;

/// Where Prometheus looks for it.
pub const PATH: &str = "/metrics";

pub(super) fn routes(config: &mut web::ServiceConfig) {
    let other = web::to(async || respond(Refusal::method(&["GET"]).answer()));
    let resource = web::resource(PATH).route(web::get().to(show)).route(web::head().to(show));
    config.service(resource.default_service(other));
}

async fn show(door: Data<Door>, head: HttpRequest) -> HttpResponse {
    let incoming = Incoming::without_body(&head);
    let answer = web::block(move || answer(&door, &incoming).unwrap_or_else(Refusal::answer)).await;
    respond(answer.unwrap_or_else(|_| Refusal::failed("the server is stopping").answer()))
}

fn answer(door: &Door, incoming: &Incoming) -> Result<Answer, Refusal> {
    let live = running(&door.desk)?.load();
    let config = &live.config;
    caller::check_site(incoming, &config.admin.hosts)?;
    let address = incoming.address(&config.server.trusted_proxies);
    let is_open = match config.admin.metrics {
        MetricsFor::Token => false,
        MetricsFor::Local => address.is_some_and(|address| is_here(&address)),
        MetricsFor::Open => true,
    };
    if !is_open {
        let is_secure = incoming.is_secure(&config.server.trusted_proxies);
        let store = door.desk.ledger.store();
        let caller = caller::identify(store, incoming, is_secure, clock::now())?;
        let caller = caller.ok_or_else(Refusal::unauthenticated)?;
        if !Needs::Viewer.met_by(caller.role()) {
            return Err(Refusal::forbidden());
        }
    }
    let body = metrics::page(&door.desk);
    Ok(Answer { status: 200, content_type: CONTENT_TYPE, body, headers: Vec::new() })
}

fn is_here(address: &IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
