//! What a key's holder may ask without calling a model, and what a supervisor asks without a key.

use http::StatusCode;
use serde_json::{Value, json};

use super::Edge;
use super::identify::{self, Caller};
use crate::clock;
use crate::domain::key::Controls;
use crate::domain::rate::Allowance;
use crate::domain::window::{Timestamp, WindowRule};
use crate::error::ApiError;
use crate::ledger::Standing;
use crate::ledger::account::Account;
use crate::message::{Head, Response};

/// `GET /v1/key`: where the holder's own key stands.
pub(super) fn key(edge: &Edge, head: &Head) -> Result<Response, ApiError> {
    let now = clock::now();
    let Caller { account, key } =
        identify::identify(&edge.ledger, &edge.live.load().config, head, now)?;
    let rule = &edge.ledger.policy().windows;
    let mut body = json!({
        "object": "key",
        "id": key.id,
        "name": key.name,
        "created_at": key.created,
        "expires_at": key.expires,
        "models": key.models,
        "windows": if *rule == WindowRule::Rolling { "rolling" } else { "calendar" },
    });
    for standing in account.standing(rule, now) {
        body[standing.period.name()] = window(&standing);
    }
    restrict(&mut body, &account, &key.controls, now);
    if let Some(team) = account.team() {
        body["team"] = json!({"name": team.record().name});
        for standing in team.standing(rule, now) {
            body["team"][standing.period.name()] = window(&standing);
        }
    }
    Ok(Response::json(StatusCode::OK, &body))
}

/// What the key may do beside spending, where that is restricted.
fn restrict(body: &mut Value, account: &Account, controls: &Controls, now: Timestamp) {
    let rates = account.rates(now);
    let rate = |allowance: Allowance| {
        json!({
            "limit": allowance.limit,
            "remaining": allowance.remaining,
            "full_at": now.plus_millis(allowance.full_in_ms),
        })
    };
    if let Some(requests) = rates.requests {
        body["requests_per_minute"] = rate(requests);
    }
    if let Some(tokens) = rates.tokens {
        body["tokens_per_minute"] = rate(tokens);
    }
    if let Some(limit) = controls.parallel {
        body["parallel_calls"] = json!({"limit": limit, "in_flight": account.in_flight().0});
    }
    if !controls.endpoints.is_empty() {
        body["endpoints"] = json!(controls.endpoints);
    }
}

fn window(standing: &Standing) -> Value {
    json!({
        "limit_usd": standing.limit,
        "spent_usd": standing.spent,
        "held_usd": standing.held,
        "remaining_usd": standing.remaining,
        "resets_at": standing.resets_at,
    })
}

/// `GET /healthz`: the process turns.
pub(super) fn healthz() -> Response {
    Response::json(StatusCode::OK, &json!({"status": "ok"}))
}

/// `GET /readyz`: whether calls are served, and whether the configuration on the disk is the one in
/// force. A bad file does not make the gateway unready: the last good one serves.
pub(super) fn readyz(edge: &Edge) -> Response {
    let trouble = edge.ledger.store().journal().trouble();
    let reason = match &trouble {
        _ if edge.stopping.is_stopping() => Some("the gateway is shutting down"),
        Some(trouble) => Some(trouble.as_str()),
        None => None,
    };
    let snapshot = edge.live.load();
    let mut body = json!({
        "status": if reason.is_none() { "ready" } else { "unavailable" },
        "config": {
            "status": "in force",
            "generation": snapshot.generation,
            "since": snapshot.loaded_at,
        },
    });
    if let Some(reason) = reason {
        body["reason"] = json!(reason);
    }
    if let Some(failed) = edge.live.failed() {
        body["config"]["status"] = json!("the file has errors: an earlier version is in force");
        body["config"]["errors"] = json!(failed.problems.lines().collect::<Vec<_>>());
        body["config"]["failed_at"] = json!(failed.at);
    }
    if !snapshot.needs_restart.is_empty() {
        body["config"]["waiting_for_restart"] = json!(snapshot.needs_restart);
    }
    let status = if reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Response::json(status, &body)
}
