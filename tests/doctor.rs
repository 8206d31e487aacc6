//! `conduit doctor` by the binary: what it says of what is well, and of each thing that is not.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails where it unwraps")]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

struct Place(TempDir);

impl Place {
    /// A configuration with `more` at its end.
    fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"off\"\nsocket = \"s\"\n\
             [store]\npath = \"store/conduit.redb\"\n[providers.echo]\nkind = \"echo\"\n\
             [models.echo]\nprovider = \"echo\"\nprice = \"free\"\n{more}"
        );
        fs::write(folder.path().join("conduit.toml"), text).unwrap();
        Self(folder)
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_conduit"));
        let config = self.0.path().join("conduit.toml");
        command.env_clear().args(arguments).arg("--config").arg(config);
        let output = command.current_dir(self.0.path()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn report(&self, more: &[&str]) -> (i32, Value) {
        let mut arguments = vec!["doctor", "--json", "--timeout", "2"];
        arguments.extend(more);
        let (code, out, said) = self.run(&arguments);
        (code, serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{said}")))
    }

    fn mode(&self, file: &str, mode: u32) {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(self.0.path().join(file), permissions).unwrap();
    }
}

/// The state of the first check that says `words`.
fn state(report: &Value, words: &str) -> String {
    let checks = report["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check.to_string().contains(words));
    let found = found.unwrap_or_else(|| panic!("{words}: {report:#}"));
    let needs_advice = ["bad", "warning"].contains(&found["state"].as_str().unwrap());
    assert_eq!(needs_advice, found["do"].is_string(), "{found}");
    found["state"].as_str().unwrap().to_owned()
}

#[test]
fn a_fresh_place_is_well_and_stays_as_it_is() {
    let place = Place::new("");
    place.mode("conduit.toml", 0o600);
    let (code, report) = place.report(&[]);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["well"], true);
    assert_eq!(state(&report, "the first start makes it"), "good");
    assert_eq!(state(&report, "built in"), "good");
    assert_eq!(state(&report, "none runs"), "good");
    assert_eq!(fs::read_dir(place.0.path()).unwrap().count(), 1, "it makes nothing");
    assert!(place.run(&["keys", "create", "a"]).0 == 0);
    let (code, report) = place.report(&["--offline"]);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(state(&report, "the books add up: 1 keys"), "good");
    assert_eq!(state(&report, "--offline"), "skipped");
    let (_, out, _) = place.run(&["doctor"]);
    assert!(out.contains("ok       store: the books add up"), "{out}");
}

#[test]
fn a_wrong_configuration_is_78() {
    let place = Place::new("[nonsense]\n");
    let (code, report) = place.report(&[]);
    assert_eq!(code, 78);
    assert_eq!(state(&report, "unknown key `nonsense`"), "bad");
}

#[test]
fn secrets_that_are_missing_or_open_to_all_are_told() {
    let place = Place::new(
        "[providers.a]\nkind = \"openai\"\napi_key_file = \"key\"\n[providers.b]\nkind = \"groq\"\n",
    );
    fs::write(place.0.path().join("key"), "sk-test").unwrap();
    place.mode("key", 0o644);
    place.mode("conduit.toml", 0o666);
    let (code, report) = place.report(&["--offline"]);
    assert_eq!(code, 1, "{report:#}");
    assert_eq!(state(&report, "everybody on this machine may read a secret"), "bad");
    assert_eq!(state(&report, "everybody may change it"), "bad");
    assert_eq!(state(&report, "GROQ_API_KEY"), "bad");
    assert!(!report.to_string().contains("sk-test"));
}

/// A provider that answers every request with one text, and what was asked of it.
fn provider(answer: &'static str) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            let _ = tell.send(String::from_utf8_lossy(&head).into_owned());
            if answer.is_empty() {
                std::thread::sleep(Duration::from_secs(5));
            }
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (format!("http://{address}/v1"), told)
}

#[test]
fn providers_are_asked_for_their_lists_with_their_keys() {
    const LIST: &str = "HTTP/1.1 200 OK\r\ncontent-length: 40\r\ndate: Thu, 01 Jan 2015 00:00:00 GMT\r\n\r\n{\"data\":[{\"id\":\"known\"},{\"id\":\"other\"}]}";
    const REFUSED: &str = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 51\r\n\r\n{\"error\":{\"message\":\"bad key sk-12***9 was given\"}}";
    let (good, told) = provider(LIST);
    let (bad, _) = provider(REFUSED);
    let (silent, _) = provider("");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let place = Place::new(&format!(
        "[providers.good]\nkind = \"openai\"\nbase_url = \"{good}\"\napi_key_file = \"key\"\n\
         [providers.bad]\nkind = \"openai\"\nbase_url = \"{bad}\"\napi_key_file = \"key\"\n\
         [providers.silent]\nkind = \"openai\"\nbase_url = \"{silent}\"\n\
         [providers.closed]\nkind = \"openai\"\nbase_url = \"http://{closed}/v1\"\n\
         [providers.nowhere]\nkind = \"openai\"\nbase_url = \"http://no-such-host.invalid/v1\"\n\
         [models.known]\nprovider = \"good\"\nprice = \"free\"\n\
         [models.unknown]\nprovider = \"good\"\nprice = \"free\"\n"
    ));
    fs::write(place.0.path().join("key"), "sk-of-the-test").unwrap();
    place.mode("key", 0o600);
    let (code, report) = place.report(&[]);
    assert_eq!(code, 1, "{report:#}");
    assert_eq!(state(&report, "the key is good, 2 models"), "good");
    assert_eq!(state(&report, "the key is refused (401: bad key … was given)"), "bad");
    assert_eq!(state(&report, "it said nothing for 2 s"), "bad");
    assert_eq!(state(&report, "nothing listens there"), "bad");
    assert_eq!(state(&report, "the name no-such-host.invalid leads nowhere"), "bad");
    assert_eq!(
        state(&report, "`unknown` leads to `unknown`, which the provider does not"),
        "warning"
    );
    assert_eq!(state(&report, "away from the clock of good"), "warning");
    let asked = told.recv().unwrap().to_lowercase();
    assert!(asked.starts_with("get /v1/models "), "{asked}");
    assert!(asked.contains("authorization: bearer sk-of-the-test"), "{asked}");
    assert!(!report.to_string().contains("sk-of-the-test"));
    assert!(told.try_recv().is_err(), "once is enough");
}

#[test]
fn a_port_that_is_taken_and_a_store_that_is_none_are_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::new("");
    let config = place.0.path().join("conduit.toml");
    let text = fs::read_to_string(&config).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    fs::write(&config, text.replace("127.0.0.1:0", &address)).unwrap();
    fs::create_dir(place.0.path().join("store")).unwrap();
    fs::write(place.0.path().join("store/conduit.redb"), "dear diary").unwrap();
    let (code, report) = place.report(&[]);
    assert_eq!(code, 1);
    assert_eq!(state(&report, "another program is there"), "bad");
    assert_eq!(state(&report, "not a conduit store"), "bad");
    assert_eq!(fs::read(place.0.path().join("store/conduit.redb")).unwrap(), b"dear diary");
}
