//! The lists of models: what is written out, what providers offer, and what a key may use of both, in
//! three dialects; a provider that does not give its list shortens the answer and never fails it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::get;
use crate::gateway::{Gateway, Key, Setup, eventually};
use crate::upstream::{Seen, Step, Upstream, json as answer_with, send};

/// A provider that has these models.
fn offering(names: &'static [&'static str]) -> Upstream {
    Upstream::with(move |call: &Seen| {
        assert_eq!(call.path, "/v1/models");
        let data: Vec<Value> = names.iter().map(|name| json!({"id": name, "created": 7})).collect();
        vec![send(answer_with("200 OK", &[], &json!({"data": data}).to_string()))]
    })
}

fn list(gateway: &Gateway, path: &str, headers: &[&str]) -> Value {
    let answer = gateway.exchange(&get(path, headers));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn names(gateway: &Gateway, key: &Key) -> Vec<String> {
    let body = list(gateway, "/v1/models", &[&key.header()]);
    let data = body["data"].as_array().unwrap().iter();
    data.map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

fn with_wildcards(upstream: &Upstream) -> Setup {
    Setup::to(upstream).more(
        "[models.\"all/*\"]\nprovider = \"scripted\"\n\
         [models.\"gpt-*\"]\nprovider = \"scripted\"\n\
         [models.\"gpt-5*\"]\nprovider = \"scripted\"\nmodel = \"next\"\n\
         [models.\"az/*\"]\nprovider = \"scripted\"\nmodel = \"dep-*\"\n\
         [routing]\ndefault_provider = \"scripted\"",
    )
}

#[test]
fn what_providers_offer_is_listed_as_it_can_be_asked_for() {
    let upstream = offering(&["gpt-4o", "gpt-5", "dep-one", "a b"]);
    let gateway = with_wildcards(&upstream).start();
    let expected = [
        "all/dep-one",
        "all/gpt-4o",
        "all/gpt-5",
        "az/one",
        "by-output",
        "dep-one",
        "gpt-4o",
        "model",
        "unpriced",
    ];
    assert_eq!(names(&gateway, &gateway.key()), expected);
    let scoped = gateway.scoped("scoped", &["all/gpt-*", "model", "nothing"]);
    assert_eq!(names(&gateway, &scoped), ["all/gpt-4o", "all/gpt-5", "model"]);
    assert_eq!(upstream.seen().len(), 1, "it is asked once an hour");
    let seen = upstream.last();
    let header = format!("Bearer {}", crate::gateway::PROVIDER_KEY);
    assert_eq!(seen.header("authorization"), Some(&*header));
    let one = list(&gateway, "/v1/models/all/gpt-9", &[&scoped.header()]);
    assert_eq!(one["id"], "all/gpt-9", "what is not listed may be there all the same");
}

#[test]
fn a_list_of_written_names_asks_nobody() {
    let upstream = offering(&[]);
    let gateway = Setup::to(&upstream).start();
    assert_eq!(names(&gateway, &gateway.key()), ["by-output", "model", "unpriced"]);
    assert!(upstream.seen().is_empty());
}

#[test]
fn a_provider_that_is_slow_or_down_only_shortens_the_list() {
    for script in [
        vec![Step::Close],
        vec![send(answer_with("500 Internal Server Error", &[], "{}"))],
        vec![send(answer_with("200 OK", &[], "<html>"))],
        vec![Step::Gate, send(answer_with("200 OK", &[], r#"{"data":[{"id":"late"}]}"#))],
    ] {
        let is_slow = script.len() > 1;
        let upstream = Upstream::with(move |_| script.clone());
        let gateway = with_wildcards(&upstream).start();
        let key = gateway.key();
        let began = Instant::now();
        assert_eq!(names(&gateway, &key), ["by-output", "model", "unpriced"]);
        assert!(began.elapsed() < Duration::from_secs(5));
        assert_eq!(names(&gateway, &key).len(), 3);
        assert_eq!(upstream.seen().len(), 1, "it is left alone");
        if is_slow {
            upstream.open();
            eventually(|| "the late list".to_owned(), || names(&gateway, &key).len() == 5);
        }
    }
}

#[test]
fn anthropics_clients_get_pages() {
    let gateway = Setup::to(&offering(&[])).start();
    let key = gateway.key();
    let secret = format!("x-api-key: {}", key.secret);
    let ids = |body: &Value| {
        let data = body["data"].as_array().unwrap().iter();
        data.map(|model| model["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = list(&gateway, "/v1/models", &[&secret]);
    assert_eq!(ids(&all), ["by-output", "model", "unpriced"]);
    assert_eq!((&all["has_more"], &all["first_id"]), (&json!(false), &json!("by-output")));
    assert_eq!(all["data"][1]["type"], "model");
    assert_eq!(all["data"][1]["max_tokens"], 1000);
    assert!(all["data"][1]["created_at"].as_str().unwrap().ends_with('Z'));
    let headers = [&*key.header(), "anthropic-version: 2023-06-01"];
    for (query, expected, more) in [
        ("limit=2", &["by-output", "model"][..], true),
        ("limit=2&after_id=model", &["unpriced"], false),
        ("limit=1&before_id=unpriced", &["model"], true),
        ("after_id=unpriced", &[], false),
        ("limit=0&after_id=by-output", &["model", "unpriced"], false),
    ] {
        let part = list(&gateway, &format!("/v1/models?{query}"), &headers);
        assert_eq!(
            (ids(&part), &part["has_more"]),
            (expected.iter().map(|s| (*s).to_owned()).collect(), &json!(more)),
            "{query}"
        );
    }
    let one = list(&gateway, "/v1/models/model", &headers);
    assert_eq!((&one["type"], &one["id"]), (&json!("model"), &json!("model")));
}

#[test]
fn googles_clients_get_resources() {
    let gateway = Setup::to(&offering(&[])).start();
    let secret = format!("x-goog-api-key: {}", gateway.key().secret);
    let all = list(&gateway, "/v1beta/models?pageSize=2", &[&secret]);
    assert_eq!(all["models"][1]["name"], "models/model");
    assert_eq!(all["models"][1]["outputTokenLimit"], 1000);
    assert!(all["models"][1]["supportedGenerationMethods"].is_array());
    let next =
        format!("/v1beta/models?pageSize=2&pageToken={}", all["nextPageToken"].as_str().unwrap());
    let rest = list(&gateway, &next, &[&secret]);
    assert_eq!(rest["models"][0]["name"], "models/unpriced");
    assert_eq!(rest.get("nextPageToken"), None);
    assert_eq!(list(&gateway, "/v1beta/models/model", &[&secret])["name"], "models/model");
    assert_eq!(list(&gateway, "/v1beta/tunedModels", &[&secret]), json!({}));
    assert_eq!(list(&gateway, "/v1/models", &[&secret])["models"][0]["name"], "models/by-output");
    let answer = gateway.exchange(&get("/v1beta/models/nothing", &[&secret]));
    assert_eq!((answer.status, &answer.json()["error"]["status"]), (404, &json!("NOT_FOUND")));
}
