//! The configuration changes while calls run: none of them fails, and none of them sees half of one
//! configuration and half of another.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use conduit::admin::Verb;
use conduit::admin::status::ReportStatus;

use crate::client::get;
use crate::gateway::{Gateway, Setup, body, chat, cost, eventually};
use crate::upstream::{
    DONE, END, STREAM_HEAD, Step, Upstream, chunked, completion, json, millis, send, usage_event,
    word,
};

const SAVES: usize = 100;

/// Saves as editors do: a new file takes the old one's place.
fn replace(path: &Path, text: &str) {
    let made = path.with_extension("new");
    fs::write(&made, text).unwrap();
    fs::rename(&made, path).unwrap();
}

impl Gateway {
    /// Waits until so many configurations have come into force.
    pub(crate) fn wait_for_generation(&self, generation: u64) {
        let live = self.desk().live.as_ref().unwrap();
        let what = || format!("generation {generation}, at {}", live.load().generation);
        eventually(what, || live.load().generation >= generation);
    }

    fn config_errors(&self) -> Option<String> {
        let status = ReportStatus {}.run(self.desk()).unwrap();
        status.config.unwrap().last_error
    }
}

#[test]
fn a_hundred_saves_of_which_a_third_is_broken_fail_no_call() {
    let upstream = Upstream::start();
    let setup = Setup::to(&upstream);
    let gateway = setup.start();
    let key = gateway.key();
    let (stop, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for caller in 0..4 {
            let (gateway, key, stop, calls) = (&gateway, &key, &stop, &calls);
            scope.spawn(move || {
                let mut client = gateway.client();
                let more = if caller % 2 == 0 { "" } else { r#","stream":true"# };
                while !stop.load(Ordering::Relaxed) {
                    client.send(&chat(key, &body(more)));
                    let answer = client.answer();
                    assert!(answer.status == 200 && answer.whole, "{answer:?}");
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for save in 0..SAVES {
            let good =
                setup.clone().more(&format!("[models.save-{save}]\nprovider = \"scripted\""));
            match save % 6 {
                1 => replace(&gateway.config, "this is [not TOML"),
                4 => replace(&gateway.config, &good.text().replace("scripted\"", "nobody\"")),
                5 => fs::write(&gateway.config, good.text()).unwrap(),
                _ => replace(&gateway.config, &good.text()),
            }
            // Some come in a burst, and some are left alone for long enough to be read.
            thread::sleep(millis(if save % 10 == 0 { 300 } else { 10 }));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(calls.load(Ordering::Relaxed) > 50);

    let last = setup.more("[models.last]\nprovider = \"scripted\"\nprice = \"free\"");
    replace(&gateway.config, &last.text());
    let ask = || gateway.exchange(&get("/v1/models/last", &[&key.header()])).status;
    eventually(|| "the last good file".to_owned(), || ask() == 200);
    assert_eq!(gateway.config_errors(), None);
}

#[test]
fn a_broken_file_is_told_about_and_the_last_good_one_serves() {
    let upstream = Upstream::start();
    let setup = Setup::to(&upstream);
    let gateway = setup.start();
    let key = gateway.key();
    let ready = || gateway.exchange(&get("/readyz", &[]));
    assert_eq!(
        (ready().status, ready().json()["config"]["status"].clone()),
        (200, "in force".into())
    );

    replace(&gateway.config, &setup.text().replace("kind = \"openai\"", "kind = \"opanai\""));
    eventually(|| "the error".to_owned(), || gateway.config_errors().is_some());
    let answer = ready();
    assert_eq!(answer.status, 200, "a bad file does not make the gateway unready");
    let errors = answer.json()["config"]["errors"].to_string();
    assert!(errors.contains("opanai") && errors.contains("conduit.toml"), "{errors}");
    assert_eq!(gateway.call(&key, &body("")).status, 200);

    replace(&gateway.config, &setup.text());
    eventually(|| "the mended file".to_owned(), || gateway.config_errors().is_none());
    assert_eq!(ready().json()["config"]["status"], "in force");

    replace(&gateway.config, &setup.text().replace("127.0.0.1:0", "127.0.0.1:9"));
    let waiting = || ready().json()["config"]["waiting_for_restart"].to_string();
    eventually(waiting, || waiting().contains("server.listen"));
    assert_eq!(gateway.call(&key, &body("")).status, 200);
}

#[test]
fn a_stream_under_way_keeps_the_configuration_it_began_with() {
    let (first, second) = (Upstream::start(), Upstream::start());
    let setup = Setup::to(&first);
    let gateway = setup.start();
    let key = gateway.key();
    first.then([
        send(STREAM_HEAD),
        send(chunked(word("one"))),
        Step::Gate,
        send(chunked([&*word("two"), &usage_event(10, 10), DONE].concat())),
        send(END),
    ]);
    let mut client = gateway.begin(&key, &body(r#","stream":true"#));
    let head = client.head().unwrap();
    client.until("\n\n");

    let mut moved = setup;
    moved.upstream = Some(second.address());
    let dearer = moved.text().replace("input = 1, output = 2", "input = 10, output = 20");
    replace(&gateway.config, &dearer);
    gateway.wait_for_generation(2);
    second.then([send(json("200 OK", &[], &completion(10, 10)))]);
    assert_eq!(gateway.call(&key, &body("")).status, 200);
    assert_eq!(gateway.receipt(1).cost.nano(), 10 * cost(10, 10));

    first.open();
    let rest = client.body(head);
    assert_eq!((rest.text(), rest.whole), ([&*word("two"), DONE].concat(), true));
    assert_eq!(gateway.receipt(2).cost.nano(), cost(10, 10));
    assert_eq!((first.seen().len(), second.seen().len()), (1, 1));
}

#[test]
fn a_smaller_limit_for_bodies_holds_from_the_next_call_on() {
    let upstream = Upstream::start();
    let setup = Setup::to(&upstream);
    let gateway = setup.start();
    let key = gateway.key();
    assert_eq!(gateway.call(&key, &body("")).status, 200);
    replace(&gateway.config, &setup.server("max_body = 1024").text());
    gateway.wait_for_generation(2);
    let long = body(&format!(r#","user":"{}""#, "u".repeat(1024)));
    assert_eq!(gateway.call(&key, &long).status, 413);
    assert_eq!(gateway.call(&key, &body("")).status, 200);
}
