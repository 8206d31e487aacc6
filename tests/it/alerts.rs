//! Alerts: one message for each share of a limit that is passed, signed, repeated until it is taken;
//! and calls that do not wait for any of it.

use conduit::admin::Verb;
use conduit::admin::keys::CreateKey;
use conduit::admin::teams::CreateTeam;
use conduit::domain::key::Limits;
use conduit::domain::money::Money;
use conduit::domain::window::Period;
use ring::hmac;
use serde_json::Value;

use crate::gateway::{Gateway, Setup, WEBHOOK_SECRET, by_output, cost};
use crate::upstream::{Seen, Step, Upstream, completion, json, send};

/// Every call costs the same.
fn provider() -> Upstream {
    Upstream::with(|_| vec![send(json("200 OK", &[], &completion(20, 50)))])
}

fn gateway(provider: &Upstream, receiver: &Upstream) -> Gateway {
    let alerts = format!(
        "[alerts]\nat = [50, 100]\nwebhook = \"http://{}/hook\"\n\
         webhook_secret_env = \"WEBHOOK_SECRET\"",
        receiver.address()
    );
    Setup::to(provider).more(&alerts).start()
}

fn daily(nano: u64) -> Limits {
    let mut limits = Limits::default();
    limits.set(Period::Daily, Some(Money::from_nano(nano)));
    limits
}

fn check_signature(seen: &Seen) {
    let key = hmac::Key::new(hmac::HMAC_SHA256, WEBHOOK_SECRET.as_bytes());
    let signature = seen.header("x-conduit-signature").unwrap().strip_prefix("sha256=").unwrap();
    let signature: Vec<u8> = signature
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    hmac::verify(&key, &seen.body, &signature).unwrap();
}

/// The messages that were taken in the end: (whose, share).
fn taken(receiver: &Upstream) -> Vec<(String, u64)> {
    let seen = receiver.seen();
    let whose = |body: &Value| {
        let name = body["key_name"].as_str().or_else(|| body["team_name"].as_str());
        (name.unwrap().to_owned(), body["percent"].as_u64().unwrap())
    };
    seen.iter().map(|seen| whose(&seen.json())).collect()
}

#[test]
fn a_key_and_its_team_are_told_of_once_for_each_share() {
    let price = cost(0, 50);
    let (provider, receiver) = (provider(), Upstream::with(|_| vec![ok()]));
    let gateway = gateway(&provider, &receiver);
    let team = CreateTeam { name: "research".into(), limits: daily(4 * price) };
    team.run(gateway.desk()).unwrap();
    let key = gateway.create(CreateKey {
        name: "ci".into(),
        limits: daily(3 * price),
        team: Some("research".into()),
        ..CreateKey::default()
    });
    let body = by_output(r#","max_completion_tokens":50"#);
    for _ in 0..3 {
        assert_eq!(gateway.call(&key, &body).status, 200);
    }
    receiver.wait_for_calls(3);
    // A third, two thirds and all of the key's; a quarter, a half and three quarters of the team's.
    let mut told = taken(&receiver);
    told.sort();
    assert_eq!(told, [("ci".into(), 50), ("ci".into(), 100), ("research".into(), 50)]);
    for seen in receiver.seen() {
        assert_eq!(seen.path, "/hook");
        check_signature(&seen);
        let body = seen.json();
        assert_eq!(body["period"], "daily");
        assert!(body["resets_at"].is_string() && body["limit_usd"].is_string(), "{body}");
    }
}

#[test]
fn a_message_that_is_not_taken_is_sent_again_and_holds_no_call_up() {
    let price = cost(0, 50);
    let (provider, receiver) = (provider(), Upstream::with(|_| vec![ok()]));
    receiver.then(vec![send(json("503 Service Unavailable", &[], "{}"))]);
    let gateway = gateway(&provider, &receiver);
    let key = gateway.limited("ci", 2 * price);
    let body = by_output(r#","max_completion_tokens":50"#);
    assert_eq!(gateway.call(&key, &body).status, 200);
    receiver.wait_for_calls(1);
    // The second try is a second away.
    assert_eq!(gateway.call(&key, &body).status, 200);
    assert_eq!(receiver.seen().len(), 1);
    receiver.wait_for_calls(3);
    let told = taken(&receiver);
    assert_eq!(told, [("ci".into(), 50), ("ci".into(), 50), ("ci".into(), 100)]);
}

fn ok() -> Step {
    send(json("200 OK", &[], "{}"))
}
