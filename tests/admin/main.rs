//! The admin API over HTTP, in process and over real sockets: who may ask what, made from the table of
//! operations itself, so that none can be forgotten; what is described, what is entered in the audit log.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod attacks;
mod callers;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use conduit::admin::access::CreateToken;
use conduit::admin::audit::{AuditView, ListAudit};
use conduit::admin::http::PREFIX;
use conduit::admin::http::operations::{Method, Needs, OPERATIONS, Operation, Repeats};
use conduit::admin::keys::CreateKey;
use conduit::admin::password::SetPassword;
use conduit::admin::{Desk, Verb};
use conduit::clock;
use conduit::config::Live;
use conduit::config::live::Source;
use conduit::domain::access::Role;
use conduit::domain::audit::{Door, Outcome};
use conduit::server::{ServeError, Server};
use conduit::store::{Store, StoreError};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;

const PATIENCE: Duration = Duration::from_secs(20);
const PASSWORD: &str = "correct horse battery staple";

const CONFIG: &str = "[server]\nlisten = \"127.0.0.1:0\"\nworkers = 1\nshutdown_deadline = \"1s\"\n\
    trusted_proxies = [\"127.0.0.0/8\"]\n\
    [store]\npath = \"conduit.redb\"\n\
    [admin]\nlisten = \"127.0.0.1:0\"\nsocket = \"admin.sock\"\nhosts = [\"admin.example.com\"]\n\
    [providers.echo]\nkind = \"echo\"\n\
    [models.echo]\nprovider = \"echo\"\nprice = { input = 1, output = 2 }\n";

/// A server of its own for each test.
struct Running {
    admin: SocketAddr,
    gateway: SocketAddr,
    desk: Option<Desk>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    folder: TempDir,
}

fn no_variables(_: &str) -> Option<String> {
    None
}

fn bind(config: &Path) -> Server {
    let end = Instant::now() + PATIENCE;
    loop {
        let environment = Box::new(no_variables);
        let source = Source { path: config.to_owned(), environment, clock: clock::now };
        let live: Arc<Live> = Live::open(source).unwrap_or_else(|p| panic!("{}", p.render(false)));
        match Server::bind(live) {
            Err(ServeError::Store(StoreError::InUse(_))) if Instant::now() < end => {
                thread::sleep(Duration::from_millis(10));
            }
            bound => return bound.unwrap_or_else(|error| panic!("{error}")),
        }
    }
}

impl Running {
    /// A server with a password.
    fn start() -> Self {
        let running = Self::start_with(CONFIG);
        SetPassword { password: PASSWORD.to_owned() }.run(running.desk()).unwrap();
        running
    }

    fn start_with(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("conduit.toml"), config).unwrap();
        Self::start_in(folder)
    }

    fn start_in(folder: TempDir) -> Self {
        let server = bind(&folder.path().join("conduit.toml"));
        let (admin, gateway) = (server.admin_addresses()[0], server.addresses()[0]);
        let desk = Some(server.desk());
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            let stop = async {
                let _ = stopped.await;
            };
            server.run(stop).unwrap();
        });
        Self { admin, gateway, desk, stop: Some(stop), thread: Some(thread), folder }
    }

    fn desk(&self) -> &Desk {
        self.desk.as_ref().unwrap()
    }

    fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        self.desk = None;
    }

    /// Stops, and starts again on the same files.
    fn restart(mut self) -> Self {
        self.stop();
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        Self::start_in(folder)
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let path = format!("{PREFIX}{path}");
        exchange(self.admin, method, &path, headers, body)
    }

    fn sign_in(&self) -> Session {
        let answer =
            self.ask("POST", "/session", &[JSON], &json!({"password": PASSWORD}).to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
        let cookie = answer.header("set-cookie").unwrap().to_owned();
        for part in ["conduit_session=", "; Path=/", "; HttpOnly", "; SameSite=Strict"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        let csrf = answer.json()["csrf_token"].as_str().unwrap().to_owned();
        Session { cookie: cookie.split(';').next().unwrap().to_owned(), csrf }
    }

    fn token(&self, name: &str, role: Role) -> String {
        let verb = CreateToken { name: name.to_owned(), role, expires_at: None };
        format!("Bearer {}", verb.run(self.desk()).unwrap().token)
    }

    /// The entries of the audit log, newest first.
    fn audit(&self) -> Vec<AuditView> {
        ListAudit { limit: 1_000, ..ListAudit::default() }.run(self.desk()).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if !thread::panicking() {
            self.stop();
        }
    }
}

struct Session {
    cookie: String,
    csrf: String,
}

impl Session {
    fn headers(&self) -> Vec<(&str, &str)> {
        vec![("Cookie", &self.cookie), ("X-Csrf-Token", &self.csrf), JSON]
    }
}

/// A price list as LiteLLM writes it.
const PRICE_LIST: &str = r#"{"gpt-4o": {"litellm_provider": "openai", "mode": "chat",
    "input_cost_per_token": 0.0000025, "output_cost_per_token": 0.00001}}"#;

const JSON: (&str, &str) = ("Content-Type", "application/json");

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    /// The first value of a header.
    fn header<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next()
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }
}

/// Sends a request on a connection of its own. `Host` is the address unless a header says otherwise.
fn exchange(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "Host") {
        write!(request, "Host: {to}\r\n").unwrap();
    }
    for (name, value) in headers {
        write!(request, "{name}: {value}\r\n").unwrap();
    }
    if !body.is_empty() {
        write!(request, "Content-Length: {}\r\n", body.len()).unwrap();
    }
    request.push_str("\r\n");
    request.push_str(body);
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.write_all(request.as_bytes());
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.map(|line| line.split_once(": ").unwrap());
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    Answer { status, headers: headers.collect(), body: body.to_owned() }
}

/// What an operation is asked with, so that it succeeds: its path, and its body.
///
/// An operation without a line here fails the tests that go through all of them.
fn good_request(operation: &Operation, running: &Running, number: usize) -> (String, Value) {
    let desk = running.desk();
    let key = || {
        let verb = CreateKey { name: format!("key {number}"), ..CreateKey::default() };
        verb.run(desk).unwrap().key.id.to_string()
    };
    let team = || {
        let verb = conduit::admin::teams::CreateTeam {
            name: format!("team {number}"),
            ..Default::default()
        };
        verb.run(desk).unwrap().id.to_string()
    };
    let of = |what: &str, id: String| operation.path.replace(what, &id);
    let plain = || operation.path.to_owned();
    match operation.id {
        "signIn" => (plain(), json!({"password": PASSWORD})),
        "changePassword" => (plain(), json!({"current": PASSWORD, "new": PASSWORD})),
        "createKey" => (plain(), json!({"name": format!("made {number}"), "rpm": 5})),
        "showKey" | "rotateKey" | "disableKey" | "enableKey" | "revokeKey" => {
            (of("{key}", key()), json!({}))
        }
        "changeKey" => (of("{key}", key()), json!({"rpm": 5, "tpm": null})),
        "changeKeyLimits" => (of("{key}", key()), json!({"daily": "2.50", "weekly": null})),
        "createTeam" => (plain(), json!({"name": format!("made {number}")})),
        "showTeam" | "deleteTeam" => (of("{team}", team()), json!({})),
        "changeTeamLimits" => (of("{team}", team()), json!({"monthly": "9"})),
        "createAdjustment" => {
            (plain(), json!({"key": key(), "amount_usd": "0.50", "why": "a test"}))
        }
        "createToken" => (plain(), json!({"name": format!("made {number}"), "role": "viewer"})),
        "revokeToken" => {
            running.token(&format!("token {number}"), Role::Viewer);
            (of("{token}", format!("token%20{number}")), json!({}))
        }
        "endSession" => {
            running.sign_in();
            let sessions = desk.ledger.store().sessions(clock::now()).unwrap();
            (of("{session}", sessions[0].id.to_string()), json!({}))
        }
        "updatePrices" => (plain(), json!({"text": PRICE_LIST, "dry_run": true})),
        "explainReceipt" => (of("{id}", receipt(running)), json!({})),
        "listKeys" | "listTeams" | "listReceipts" | "listHolds" | "listAdjustments"
        | "listAudit" | "listProviders" | "listModels" | "listSessions" | "listTokens"
        | "reportUsage" | "reportStatus" | "showConfig" | "showPrices" | "resetPrices"
        | "describe" | "showSession" | "signOut" | "verifyBooks" | "backUp" | "endSessions" => {
            (plain(), json!({}))
        }
        other => panic!("say here what `{other}` is asked with"),
    }
}

/// Makes a call and returns the id of its receipt.
fn receipt(running: &Running) -> String {
    let name = format!("caller {}", running.desk().ledger.directory().all().len());
    let made = CreateKey { name, ..CreateKey::default() }.run(running.desk()).unwrap();
    let secret = format!("Bearer {}", made.secret);
    let body = json!({"model": "echo", "messages": [{"role": "user", "content": "hello"}]});
    let headers = [("Authorization", secret.as_str()), JSON];
    let answer =
        exchange(running.gateway, "POST", "/v1/chat/completions", &headers, &body.to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.header("x-conduit-request-id").unwrap().to_owned()
}

fn body_of(operation: &Operation, body: &Value) -> String {
    if operation.method.has_body() { body.to_string() } else { String::new() }
}

#[test]
fn every_operation_answers_those_who_may_ask_it_and_nobody_else() {
    let running = Running::start();
    let (viewer, admin) = (running.token("sees", Role::Viewer), running.token("does", Role::Admin));
    let key = CreateKey { name: "holder".to_owned(), ..CreateKey::default() };
    let key = format!("Bearer {}", key.run(running.desk()).unwrap().secret);
    let expired = CreateToken {
        name: "old".to_owned(),
        role: Role::Admin,
        expires_at: Some(clock::now().plus_millis(50)),
    };
    let expired = format!("Bearer {}", expired.run(running.desk()).unwrap().token);
    thread::sleep(Duration::from_millis(60));
    for (number, operation) in OPERATIONS.iter().enumerate() {
        let method = operation.method.name();
        let changes = operation.method != Method::Get;
        let (path, body) = good_request(operation, &running, number);
        let body = body_of(operation, &body);
        let status = |headers: &[(&str, &str)]| {
            let mut headers = headers.to_vec();
            headers.push(JSON);
            running.ask(method, &path, &headers, &body).status
        };
        if operation.needs == Needs::Nobody {
            assert_eq!(status(&[]), operation.status, "{}", operation.id);
            continue;
        }
        let name = operation.id;
        assert_eq!(status(&[]), 401, "{name}: nobody");
        assert_eq!(status(&[("Authorization", &key)]), 401, "{name}: a key of the gateway");
        assert_eq!(status(&[("x-api-key", &key[7..])]), 401, "{name}: a key of the gateway");
        assert_eq!(status(&[("Authorization", &expired)]), 401, "{name}: an expired token");
        assert_eq!(status(&[("Authorization", "Bearer x")]), 401, "{name}: no token");
        let other = format!("conduit_session={}", "0".repeat(64));
        assert_eq!(status(&[("Cookie", &other)]), 401, "{name}: a made-up session");
        let session = running.sign_in();
        let cookie = ("Cookie", session.cookie.as_str());
        if changes {
            assert_eq!(status(&[cookie]), 403, "{name}: no CSRF token");
            let wrong = ("X-Csrf-Token", "0".repeat(64));
            assert_eq!(status(&[cookie, (wrong.0, &wrong.1)]), 403, "{name}: a wrong CSRF token");
        }
        let from_elsewhere = ("Sec-Fetch-Site", "cross-site");
        let csrf = ("X-Csrf-Token", session.csrf.as_str());
        assert_eq!(status(&[cookie, csrf, from_elsewhere]), 403, "{name}: another site");
        let origin = ("Origin", "https://evil.example");
        assert_eq!(status(&[cookie, csrf, origin]), 403, "{name}: another origin");
        let may = operation.needs.met_by(Role::Viewer);
        let expected = match name {
            "signOut" => 409,
            _ if may => operation.status,
            _ => 403,
        };
        assert_eq!(status(&[("Authorization", &viewer)]), expected, "{name}: a viewer");
        assert_eq!(status(&[cookie, csrf]), operation.status, "{name}: a session");
        if !changes {
            assert_eq!(status(&[("Authorization", &admin)]), operation.status, "{name}: an admin");
        }
    }
}

#[test]
fn metrics_are_for_those_who_may_see_and_for_others_as_the_configuration_says() {
    let everybody = |running: &Running| {
        let (viewer, admin) =
            (running.token("sees", Role::Viewer), running.token("does", Role::Admin));
        let key = CreateKey { name: "holder".to_owned(), ..CreateKey::default() };
        let key = format!("Bearer {}", key.run(running.desk()).unwrap().secret);
        let session = running.sign_in();
        let ask = |headers: &[(&str, &str)]| {
            exchange(running.admin, "GET", "/metrics", headers, "").status
        };
        let cookie = ("Cookie", session.cookie.as_str());
        let elsewhere = ("X-Forwarded-For", "203.0.113.9");
        [
            ask(&[]),
            ask(&[elsewhere]),
            ask(&[("Authorization", "Bearer x")]),
            ask(&[("Authorization", &key)]),
            ask(&[("Authorization", &viewer), elsewhere]),
            ask(&[("Authorization", &admin)]),
            ask(&[cookie]),
            ask(&[cookie, ("Sec-Fetch-Site", "cross-site")]),
            ask(&[("Authorization", &viewer), ("Host", "evil.example")]),
        ]
    };
    for (word, expected) in [
        ("token", [401, 401, 401, 401, 200, 200, 200, 403, 421]),
        // A key of the gateway asks for no more than nobody does, and gets that.
        ("local", [200, 401, 200, 200, 200, 200, 200, 403, 421]),
        ("open", [200, 200, 200, 200, 200, 200, 200, 403, 421]),
    ] {
        let config = CONFIG.replace("[admin]\n", &format!("[admin]\nmetrics = \"{word}\"\n"));
        let running = Running::start_with(&config);
        SetPassword { password: PASSWORD.to_owned() }.run(running.desk()).unwrap();
        assert_eq!(everybody(&running), expected, "{word}");
    }
    let running = Running::start();
    let viewer = running.token("sees", Role::Viewer);
    let headers = [("Authorization", viewer.as_str())];
    let page = exchange(running.admin, "GET", "/metrics", &headers, "");
    assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(page.body.contains("\nconduit_build_info{version="), "{page:?}");
    let refused = exchange(running.admin, "POST", "/metrics", &headers, "");
    assert_eq!((refused.status, refused.header("allow")), (405, Some("GET")));
    assert_eq!(exchange(running.gateway, "GET", "/metrics", &headers, "").status, 404);
}

#[test]
fn whoever_can_open_the_socket_may_read_the_metrics() {
    let running = Running::start();
    let mut stream = UnixStream::connect(running.folder.path().join("admin.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert!(page.contains("\nconduit_holds_open 0\n"), "{page}");
}

#[test]
fn every_change_has_one_entry_in_the_audit_log_and_nothing_else_has_one() {
    let running = Running::start();
    let admin = running.token("does", Role::Admin);
    for (number, operation) in OPERATIONS.iter().enumerate() {
        let (path, body) = good_request(operation, &running, number);
        let session = (operation.id == "signOut").then(|| running.sign_in());
        let mut headers = vec![JSON];
        match &session {
            Some(session) => headers.extend(session.headers()),
            None => headers.push(("Authorization", &admin)),
        }
        headers.dedup();
        let before = running.audit();
        let method = operation.method.name();
        let answer = running.ask(method, &path, &headers, &body_of(operation, &body));
        assert_eq!(answer.status, operation.status, "{}: {answer:?}", operation.id);
        let mut after = running.audit();
        let more = after.len() - before.len();
        assert_eq!(more, usize::from(operation.changes), "{}", operation.id);
        if let Some(entry) = after.drain(..more).next() {
            assert_eq!(entry.outcome, Outcome::Done, "{entry:?}");
            let door = match operation.id {
                "signIn" => Door::Stranger,
                "signOut" => Door::Session,
                _ => Door::Token,
            };
            assert_eq!(entry.by.door, door, "{entry:?}");
            assert_eq!(entry.by.address.as_deref(), Some("127.0.0.1"));
            let is_known = door != Door::Token || entry.by.name.as_deref() == Some("does");
            assert!(is_known, "{entry:?}");
            let text = serde_json::to_string(&entry).unwrap();
            assert!(!text.contains(PASSWORD) && !text.contains("sk-cdt-"), "{text}");
            assert!(!text.contains("cdt-admin-"), "{text}");
        }
    }
}

#[test]
fn what_is_refused_is_entered_with_its_reason() {
    let running = Running::start();
    let admin = running.token("does", Role::Admin);
    let headers = [("Authorization", admin.as_str()), JSON];
    let answer = running.ask("POST", "/keys", &headers, r#"{"name": "a", "rpm": 0}"#);
    assert_eq!((answer.status, answer.code().as_str()), (422, "invalid"));
    assert_eq!(answer.json()["error"]["member"], "rpm");
    let entry = running.audit().remove(0);
    assert_eq!((entry.verb.as_str(), entry.outcome), ("keys/create", Outcome::Refused));
    assert!(entry.reason.unwrap().contains("requests per minute"));
    assert_eq!(entry.parameters["rpm"], 0);
    let wrong = json!({"password": "not the password"}).to_string();
    assert_eq!(running.ask("POST", "/session", &[JSON], &wrong).status, 401);
    let entry = running.audit().remove(0);
    assert_eq!((entry.verb.as_str(), entry.outcome), ("session/create", Outcome::Refused));
    assert_eq!(entry.by.door, Door::Stranger);
}

#[test]
fn too_many_wrong_passwords_shut_the_door_for_a_while_and_for_that_address_alone() {
    let running = Running::start();
    let attempt = |password: &str, from: &str| {
        let body = json!({"password": password}).to_string();
        running.ask("POST", "/session", &[JSON, ("X-Forwarded-For", from)], &body)
    };
    for _ in 0..10 {
        let answer = attempt("not the password", "192.0.2.7");
        assert_eq!((answer.status, answer.code().as_str()), (401, "wrong_password"));
    }
    let refused = attempt(PASSWORD, "192.0.2.7");
    assert_eq!((refused.status, refused.code().as_str()), (429, "too_many_attempts"));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((800..=900).contains(&wait), "{wait}");
    assert_eq!(attempt(PASSWORD, "192.0.2.7").status, 429);
    let entered = running.audit().into_iter().filter(|e| e.outcome == Outcome::Refused).count();
    assert_eq!(entered, 11, "ten wrong ones and one that was turned away");
    assert_eq!(attempt(PASSWORD, "192.0.2.8").status, 200);
}

#[test]
fn a_session_outlives_the_server_and_ends_with_the_password() {
    let running = Running::start();
    let session = running.sign_in();
    let running = running.restart();
    let seen = running.ask("GET", "/session", &session.headers(), "");
    assert_eq!(seen.status, 200, "{seen:?}");
    assert_eq!(seen.json()["csrf_token"], session.csrf.as_str());
    let other = running.sign_in();
    let body = json!({"current": PASSWORD, "new": "another horse entirely"}).to_string();
    let changed = running.ask("PUT", "/password", &session.headers(), &body);
    assert_eq!(changed.json(), json!({"sessions_ended": 1}));
    assert_eq!(running.ask("GET", "/session", &session.headers(), "").status, 200);
    assert_eq!(running.ask("GET", "/session", &other.headers(), "").status, 401);
    let out = running.ask("DELETE", "/session", &session.headers(), "");
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"), "{out:?}");
    assert_eq!(running.ask("GET", "/session", &session.headers(), "").status, 401);
    let old = json!({"password": PASSWORD}).to_string();
    assert_eq!(running.ask("POST", "/session", &[JSON], &old).status, 401);
}

#[test]
fn without_a_password_nobody_signs_in() {
    let running = Running::start_with(CONFIG);
    for password in ["", "admin", "password"] {
        let body = json!({"password": password}).to_string();
        let answer = running.ask("POST", "/session", &[JSON], &body);
        assert_eq!((answer.status, answer.code().as_str()), (409, "no_password"));
    }
}

#[test]
fn the_password_of_the_configuration_counts_and_cannot_be_changed_elsewhere() {
    let config = CONFIG.replace("[admin]\n", "[admin]\npassword_file = \"password\"\n");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("password"), format!("{PASSWORD}\n")).unwrap();
    fs::write(folder.path().join("conduit.toml"), config).unwrap();
    let running = Running::start_in(folder);
    let session = running.sign_in();
    let body = json!({"current": PASSWORD, "new": "another horse entirely"}).to_string();
    assert_eq!(running.ask("PUT", "/password", &session.headers(), &body).code(), "conflict");
    let running = running.restart();
    let seen = running.ask("GET", "/session", &session.headers(), "");
    assert_eq!(seen.status, 200, "the same password ends no session");
}

#[test]
fn under_tls_the_cookie_is_bound_to_the_host() {
    let running = Running::start();
    let body = json!({"password": PASSWORD}).to_string();
    let proxied = [JSON, ("X-Forwarded-Proto", "https"), ("Host", "admin.example.com")];
    let answer = running.ask("POST", "/session", &proxied, &body);
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.starts_with("__Host-conduit_session=") && cookie.ends_with("; Secure"));
    let pair = cookie.split(';').next().unwrap();
    assert_eq!(running.ask("GET", "/session", &[proxied[1], ("Cookie", pair)], "").status, 200);
    assert_eq!(running.ask("GET", "/session", &[("Cookie", pair)], "").status, 401);
    let plain = pair.replace("__Host-", "");
    assert_eq!(running.ask("GET", "/session", &[proxied[1], ("Cookie", &plain)], "").status, 401);
}

#[test]
fn every_answer_is_guarded_by_its_headers_and_other_hosts_get_none() {
    let running = Running::start();
    let admin = running.token("does", Role::Admin);
    let good = ("Authorization", admin.as_str());
    for (path, headers, expected) in [
        ("/admin/api/v1/keys", vec![good], 200),
        ("/admin/api/v1/keys", vec![], 401),
        ("/admin/api/v1/nothing", vec![], 401),
        ("/admin/api/v1/nothing", vec![good], 404),
        ("/admin/api/v1/keys", vec![good, ("Host", "evil.example")], 421),
        ("/admin/api/v1/keys", vec![good, ("Host", "admin.example.com")], 200),
        ("/admin/v1/keys/list", vec![good], 404),
        ("/v1/chat/completions", vec![good], 404),
    ] {
        let answer = exchange(running.admin, "GET", path, &headers, "");
        assert_eq!(answer.status, expected, "{path} {headers:?}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    let patched = running.ask("PUT", "/keys", &[good], "");
    assert_eq!((patched.status, patched.header("allow")), (405, Some("GET, POST")));
}

#[test]
fn what_is_not_right_is_refused_in_one_form_that_names_the_member() {
    let running = Running::start();
    let admin = running.token("does", Role::Admin);
    let auth = ("Authorization", admin.as_str());
    let huge = format!("{{\"name\":\"{}\"}}", "x".repeat(300_000));
    for (method, path, headers, body, status, code, member) in [
        ("POST", "/keys", vec![JSON], "{\"nam\": 1}", 422, "unknown_member", Some("nam")),
        ("POST", "/keys", vec![JSON], "{\"name\": 1}", 422, "invalid", Some("name")),
        ("POST", "/keys", vec![JSON], "{\"name\": \"\"}", 422, "invalid", Some("name")),
        (
            "POST",
            "/keys",
            vec![JSON],
            "{\"name\": \"a\", \"limits\": {\"dayly\": \"1\"}}",
            422,
            "invalid",
            Some("limits"),
        ),
        ("POST", "/keys", vec![JSON], "{}", 422, "invalid", Some("name")),
        ("POST", "/keys", vec![JSON], "[]", 400, "malformed", None),
        ("POST", "/keys", vec![JSON], "{", 400, "malformed", None),
        ("POST", "/keys", vec![], "{}", 415, "unsupported_media_type", None),
        ("POST", "/keys", vec![JSON], &huge, 413, "too_large", None),
        ("POST", "/keys?name=a", vec![JSON], "{}", 422, "unknown_member", Some("name")),
        ("POST", "/tokens", vec![JSON], "{\"name\": \"a\"}", 422, "invalid", Some("role")),
        ("PATCH", "/keys/a", vec![JSON], "{\"key\": \"b\"}", 422, "invalid", Some("key")),
        (
            "POST",
            "/keys/a/disable",
            vec![JSON],
            "{\"disabled\": false}",
            422,
            "unknown_member",
            Some("disabled"),
        ),
        ("GET", "/keys/none", vec![], "", 404, "not_found", None),
        ("GET", "/keys?limit=0", vec![], "", 422, "invalid", Some("limit")),
        ("GET", "/keys?limit=9999", vec![], "", 422, "invalid", Some("limit")),
        ("GET", "/keys?after=zz", vec![], "", 404, "not_found", Some("after")),
        ("GET", "/keys?after=7b7d", vec![], "", 404, "not_found", Some("after")),
        ("GET", "/keys?all=perhaps", vec![], "", 422, "invalid", Some("all")),
        ("GET", "/keys?all=true&all=true", vec![], "", 422, "invalid", Some("all")),
        ("GET", "/keys?%ff=1", vec![], "", 400, "malformed", None),
        ("GET", "/receipts/req_1", vec![], "", 404, "not_found", Some("id")),
        ("DELETE", "/sessions/ses_1", vec![], "", 404, "not_found", Some("session")),
        ("DELETE", "/sessions?session=ses_1", vec![], "", 422, "unknown_member", Some("session")),
    ] {
        let mut headers = headers.clone();
        headers.push(auth);
        let answer = running.ask(method, path, &headers, body);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path} {answer:?}");
        assert_eq!(answer.json()["error"]["member"].as_str(), member, "{path} {answer:?}");
        assert!(answer.json()["error"]["message"].is_string());
    }
}

#[test]
fn a_patch_keeps_what_is_absent_and_clears_what_is_null() {
    let running = Running::start();
    let admin = running.token("does", Role::Admin);
    let headers = [("Authorization", admin.as_str()), JSON];
    let made =
        json!({"name": "a b/c", "rpm": 5, "tpm": 7, "limits": {"daily": "1", "weekly": "2"}});
    assert_eq!(running.ask("POST", "/keys", &headers, &made.to_string()).status, 201);
    let path = "/keys/a%20b%2Fc";
    let changed =
        running.ask("PATCH", path, &headers, r#"{"rpm": null, "models": ["gpt-*"]}"#).json();
    assert_eq!((&changed["rpm"], &changed["tpm"]), (&Value::Null, &json!(7)));
    assert_eq!(changed["models"], json!(["gpt-*"]));
    let limits = running.ask("PATCH", &format!("{path}/limits"), &headers, r#"{"daily": null}"#);
    let limits: Vec<_> =
        limits.json()["windows"].as_array().unwrap().iter().map(|w| w["limit"].clone()).collect();
    assert_eq!(limits, [Value::Null, json!("2.00"), Value::Null]);
}

#[test]
fn a_list_comes_in_pages_with_nothing_twice_and_nothing_missing() {
    let running = Running::start();
    let admin = running.token("does", Role::Admin);
    let headers = [("Authorization", admin.as_str()), JSON];
    for _ in 0..5 {
        receipt(&running);
    }
    for key in running.desk().ledger.directory().all() {
        let body = json!({"key": key.id(), "amount_usd": "1", "why": "x"}).to_string();
        assert_eq!(running.ask("POST", "/adjustments", &headers, &body).status, 201);
    }
    for operation in OPERATIONS.iter().filter(|operation| operation.paged) {
        let whole = running.ask("GET", operation.path, &headers, "").json();
        let whole = whole["data"].as_array().unwrap().clone();
        assert!(whole.len() >= 5, "{}: {}", operation.id, whole.len());
        let mut pages = Vec::new();
        let mut after = String::new();
        loop {
            let path = format!("{}?limit=2{after}", operation.path);
            let page = running.ask("GET", &path, &headers, "").json();
            let items = page["data"].as_array().unwrap();
            assert!((1..=2).contains(&items.len()));
            pages.extend(items.clone());
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        let ids = |items: &[Value]| items.iter().map(|item| item["id"].clone()).collect::<Vec<_>>();
        assert_eq!(ids(&pages), ids(&whole), "{}", operation.id);
    }
}

#[test]
fn a_request_sent_twice_is_done_once() {
    let running = Running::start();
    let admin = running.token("does", Role::Admin);
    let other = running.token("other", Role::Admin);
    for (number, operation) in OPERATIONS.iter().enumerate() {
        if operation.repeats == Repeats::NotHeeded || operation.id == "backUp" {
            continue;
        }
        let (path, body) = good_request(operation, &running, number);
        let body = body.to_string();
        let key = format!("request-{number}");
        let headers = [("Authorization", admin.as_str()), JSON, ("Idempotency-Key", key.as_str())];
        let ask = |body: &str| running.ask("POST", &path, &headers, body);
        let first = ask(&body);
        assert_eq!(first.status, 201, "{first:?}");
        let entries = running.audit().len();
        let second = ask(&body);
        if operation.repeats == Repeats::Answered {
            assert_eq!((second.status, &second.body), (201, &first.body), "{}", operation.id);
            assert_eq!(second.header("idempotency-replayed"), Some("true"));
        } else {
            assert_eq!((second.status, second.code().as_str()), (409, "already_done"));
            assert_eq!(second.json()["error"]["made"], first.json()["id"]);
            assert!(!second.body.contains("sk-cdt-") && !second.body.contains("cdt-admin-"));
        }
        let another = ask(&body.replacen('{', "{ ", 1));
        assert_eq!((another.status, another.code().as_str()), (409, "idempotency_mismatch"));
        assert_eq!(running.audit().len(), entries, "nothing was done again");
        let theirs = [("Authorization", other.as_str()), JSON, headers[2]];
        let theirs = running.ask("POST", &path, &theirs, &body);
        assert_ne!(theirs.code_or_none().as_deref(), Some("already_done"), "{theirs:?}");
    }
    let odd = [("Authorization", admin.as_str()), JSON, ("Idempotency-Key", "a b")];
    assert_eq!(running.ask("POST", "/keys", &odd, r#"{"name": "odd"}"#).status, 400);
    let failing = [("Authorization", admin.as_str()), JSON, ("Idempotency-Key", "again")];
    assert_eq!(running.ask("POST", "/keys", &failing, r#"{"name": ""}"#).status, 422);
    let mended = running.ask("POST", "/keys", &failing, r#"{"name": "mended"}"#);
    assert_eq!(mended.status, 201, "what was refused may be tried again: {mended:?}");
}

impl Answer {
    fn code_or_none(&self) -> Option<String> {
        self.json()["error"]["code"].as_str().map(str::to_owned)
    }
}

#[test]
fn usage_is_a_table_a_series_or_a_spreadsheet() {
    let running = Running::start();
    let viewer = running.token("sees", Role::Viewer);
    let auth = ("Authorization", viewer.as_str());
    receipt(&running);
    receipt(&running);
    let ask = |query: &str| running.ask("GET", &format!("/usage{query}"), &[auth], "").json();
    assert_eq!(ask("?by=hour")["rows"].as_array().unwrap().len(), 1);
    assert!(ask("?by=hour")["rows"][0]["hour"].is_string());
    let series = ask("?by=key&per=day");
    assert_eq!(series["rows"].as_array().unwrap().len(), 2);
    assert!(series["rows"][0]["day"].is_string() && series["rows"][0]["key_name"].is_string());
    assert_eq!(ask("?by=provider")["rows"][0]["provider"], "echo");
    assert_eq!(ask("?until=2020-01-01")["rows"], json!([]));
    // A day and an hour make an hour.
    let finer = ask("?by=day&per=hour");
    assert!(finer["rows"][0]["hour"].is_string() && finer["rows"][0]["day"].is_null(), "{finer}");
    // How long calls took, in each row and in all.
    let days = ask("?by=day&zone=Pacific/Kiritimati");
    for row in [&days["rows"][0], &days["total"]] {
        assert_eq!(
            (&row["first_byte_ms"]["calls"], &row["total_ms"]["calls"]),
            (&json!(2), &json!(2))
        );
        assert!(row["total_ms"]["median"].is_u64() && row["total_ms"]["p95"].is_u64(), "{row}");
    }
    // Midnight there is 10 o'clock in the morning of UTC.
    assert!(days["rows"][0]["day"].as_str().unwrap().ends_with("T10:00:00.000Z"), "{days}");
    let nowhere = running.ask("GET", "/usage?zone=Nowhere", &[auth], "");
    assert_eq!((nowhere.status, nowhere.code().as_str()), (404, "not_found"));
    let csv = running.ask("GET", "/usage?by=model", &[auth, ("Accept", "text/csv")], "");
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    assert_eq!(csv.body.lines().count(), 2, "{}", csv.body);
    assert!(csv.body.lines().nth(1).unwrap().contains("echo,echo,2,"), "{}", csv.body);
}

#[test]
fn the_document_describes_every_operation_and_refers_only_to_what_it_has() {
    let running = Running::start();
    let viewer = running.token("sees", Role::Viewer);
    let headers = [("Authorization", viewer.as_str())];
    let document = running.ask("GET", "/openapi.json", &headers, "").json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            let names: BTreeSet<_> = operation["parameters"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| format!("{{{}}}", parameter["name"].as_str().unwrap()))
                .collect();
            let in_path: BTreeSet<_> =
                path.split('/').filter(|part| part.starts_with('{')).map(str::to_owned).collect();
            assert_eq!(names, in_path, "{id}");
            assert!(described.insert((method.to_ascii_uppercase(), path.clone(), id)));
        }
    }
    let known: BTreeSet<_> = OPERATIONS
        .iter()
        .map(|o| (o.method.name().to_owned(), o.path.to_owned(), o.id.to_owned()))
        .collect();
    assert_eq!(described, known);
    let ids: BTreeSet<_> = OPERATIONS.iter().map(|operation| operation.id).collect();
    assert_eq!(ids.len(), OPERATIONS.len(), "each has a name of its own");
    check_references(&document, &document);
}

fn check_references(document: &Value, within: &Value) {
    match within {
        Value::Object(members) => {
            if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference}"));
                assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
            }
            members.values().for_each(|value| check_references(document, value));
        }
        Value::Array(items) => items.iter().for_each(|item| check_references(document, item)),
        _ => {}
    }
}

/// Whether `value` is of the form that `schema` says, as far as objects, lists and types go.
fn check_form(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let named = document.pointer(&reference[1..]).unwrap();
        return check_form(document, named, value, at);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        if value.is_null() {
            let is_null = |choice: &Value| choice["type"] == "null";
            assert!(choices.iter().any(is_null), "{at}: null is not said");
            return;
        }
        let other = choices.iter().find(|choice| choice["type"] != "null").unwrap();
        return check_form(document, other, value, at);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let types = &schema["type"];
    let is_said = types.is_null()
        || types == kind
        || types.as_array().is_some_and(|types| types.iter().any(|one| one == kind));
    assert!(is_said, "{at}: {types} is said, and {kind} is so: {value}");
    if let (Some(members), Some(known)) = (value.as_object(), schema["properties"].as_object()) {
        for (name, value) in members {
            let schema = known.get(name).unwrap_or_else(|| panic!("{at}: {name} is not described"));
            check_form(document, schema, value, &format!("{at}.{name}"));
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            assert!(members.contains_key(name.as_str().unwrap()), "{at}: {name} is missing");
        }
    }
    for item in value.as_array().into_iter().flatten() {
        if schema["items"].is_object() {
            check_form(document, &schema["items"], item, &format!("{at}[]"));
        }
    }
}

#[test]
fn answers_are_of_the_form_that_the_document_says() {
    let running = Running::start();
    let admin = running.token("does", Role::Admin);
    let headers = [("Authorization", admin.as_str()), JSON];
    let document = running.ask("GET", "/openapi.json", &headers, "").json();
    receipt(&running);
    for (number, operation) in OPERATIONS.iter().enumerate() {
        if matches!(operation.id, "describe" | "signOut") {
            continue;
        }
        let (path, body) = good_request(operation, &running, number);
        let method = operation.method.name();
        let answer = running.ask(method, &path, &headers, &body_of(operation, &body));
        let described = &document["paths"][operation.path][method.to_ascii_lowercase()];
        let of_status = &described["responses"][answer.status.to_string()];
        let schema = &of_status["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "{}: {}", operation.id, answer.status);
        check_form(&document, schema, &answer.json(), operation.id);
    }
    let refused = running.ask("GET", "/nothing", &headers, "").json();
    check_form(&document, &json!({"$ref": "#/components/schemas/Error"}), &refused, "refusal");
}

#[test]
fn a_store_of_an_earlier_program_opens_and_gets_what_came_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("conduit.redb");
    drop(Store::open(&path).unwrap());
    let later = ["audit", "admin_sessions", "admin_tokens", "admin_passwords", "admin_repeats"];
    {
        let db = redb::Database::open(&path).unwrap();
        let write = db.begin_write().unwrap();
        for name in ["admin_sessions", "admin_tokens", "admin_repeats"] {
            let table: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new(name);
            assert!(write.delete_table(table).unwrap());
        }
        let passwords: redb::TableDefinition<'_, &str, &[u8]> =
            redb::TableDefinition::new("admin_passwords");
        assert!(write.delete_table(passwords).unwrap());
        let audit: redb::TableDefinition<'_, u128, &[u8]> = redb::TableDefinition::new("audit");
        assert!(write.delete_table(audit).unwrap());
        write.commit().unwrap();
    }
    let (store, _) = Store::open(&path).unwrap();
    assert!(store.tokens().unwrap().is_empty(), "{later:?}");
    assert!(store.admin_password().unwrap().is_none());
    assert!(store.sessions(clock::now()).unwrap().is_empty());
}

/// The file was written by the first program that had an admin API, before totals said how long calls
/// took: three calls by one key, an adjustment and a password.
#[test]
fn a_store_of_the_first_format_opens_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("conduit.redb");
    fs::write(&path, include_bytes!("../fixtures/store/format-1.redb")).unwrap();
    fs::write(folder.path().join("conduit.toml"), CONFIG).unwrap();
    let running = Running::start_in(folder);
    let admin = running.token("does", Role::Admin);
    let auth = ("Authorization", admin.as_str());
    let usage = || running.ask("GET", "/usage?by=key", &[auth], "").json();
    let before = usage();
    let row = &before["rows"][0];
    assert_eq!((&row["key_name"], &row["calls"]), (&json!("old"), &json!(3)));
    assert_eq!((&row["cost_usd"], &row["credited_usd"]), (&json!("0.000018"), &json!("0.000001")));
    assert_eq!(row["total_ms"], json!({"calls": 0, "sum": 0, "median": null, "p95": null}));
    receipt(&running);
    assert_eq!(usage()["total"]["calls"], 4);
    assert_eq!(usage()["total"]["total_ms"]["calls"], 1);
    let verified = running.ask("POST", "/verify", &[auth], "");
    assert_eq!((verified.status, &verified.json()["agrees"]), (200, &json!(true)), "{verified:?}");
    let running = running.restart();
    assert_eq!(running.ask("GET", "/usage", &[auth], "").json()["total"]["calls"], 4);
    let password = json!({"password": "a password of the first stores"}).to_string();
    assert_eq!(running.ask("POST", "/session", &[JSON], &password).status, 200);
}

#[test]
fn a_backup_has_the_password_and_the_log_and_nobody_is_signed_in_to_it() {
    let running = Running::start();
    running.sign_in();
    let admin = running.token("does", Role::Admin);
    let headers = [("Authorization", admin.as_str()), JSON];
    let made = running.ask("POST", "/backup", &headers, "").json();
    let (store, _) = Store::open(Path::new(made["file"].as_str().unwrap())).unwrap();
    assert!(store.admin_password().unwrap().is_some());
    assert_eq!(store.tokens().unwrap().len(), 1);
    assert!(store.sessions(clock::now()).unwrap().is_empty());
    let filter = conduit::store::AuditFilter::default();
    assert!(!store.latest_audit(&filter, 10).unwrap().is_empty());
}
