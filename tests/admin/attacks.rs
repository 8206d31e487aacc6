//! The admin listener as an attacker sees it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use conduit::admin::Verb;
use conduit::admin::keys::{CreateKey, SetDisabled};
use conduit::admin::receipts::ListReceipts;
use conduit::domain::access::Role;
use serde_json::json;

use super::{Answer, CONFIG, JSON, PASSWORD, PRICE_LIST, Running, Session, exchange};

/// One attempt to sign in.
fn attempt(running: &Running, password: &str, headers: &[(&str, &str)]) -> Answer {
    let body = json!({"password": password}).to_string();
    running.ask("POST", "/session", &[&[JSON], headers].concat(), &body)
}

#[test]
fn an_address_that_a_stranger_makes_up_gives_no_more_attempts() {
    // No proxy is trusted, so what stands in the header is a stranger's.
    let config = CONFIG.replace("trusted_proxies = [\"127.0.0.0/8\"]\n", "");
    let running = Running::start_with(&config);
    let password = conduit::admin::password::SetPassword { password: PASSWORD.to_owned() };
    password.run(running.desk()).unwrap();
    for n in 0..10 {
        let from = format!("192.0.2.{n}");
        let headers =
            [("X-Forwarded-For", from.as_str()), ("X-Real-IP", &from), ("Forwarded", &from)];
        assert_eq!(attempt(&running, "not the password", &headers).status, 401);
    }
    let refused = attempt(&running, PASSWORD, &[("X-Forwarded-For", "192.0.2.99")]);
    assert_eq!(refused.status, 429, "{refused:?}");
}

#[test]
fn an_address_left_of_the_one_that_a_proxy_wrote_is_not_believed() {
    let running = Running::start();
    for n in 0..10 {
        let from = format!("198.51.100.{n}, 192.0.2.7");
        assert_eq!(
            attempt(&running, "not the password", &[("X-Forwarded-For", &from)]).status,
            401
        );
    }
    let from = "198.51.100.99, 192.0.2.7";
    assert_eq!(attempt(&running, PASSWORD, &[("X-Forwarded-For", from)]).status, 429);
}

#[test]
fn strangers_cannot_shut_out_the_browser_that_signed_in_before() {
    let running = Running::start();
    let first = attempt(&running, PASSWORD, &[("X-Forwarded-For", "192.0.2.1")]);
    let known = first.all("set-cookie").find(|cookie| cookie.starts_with("conduit_known="));
    let known = known.unwrap();
    for part in ["; HttpOnly", "; SameSite=Strict", "; Path=/"] {
        assert!(known.contains(part), "{known}");
    }
    let known = known.split(';').next().unwrap();
    // From its own address and from a hundred others.
    for n in 0..300 {
        let from = format!("192.0.2.{}", n % 15);
        attempt(&running, "not the password", &[("X-Forwarded-For", &from)]);
    }
    let own = ("X-Forwarded-For", "192.0.2.1");
    assert_eq!(attempt(&running, PASSWORD, &[own]).status, 429);
    let made_up = format!("{}.{}", "0".repeat(32), "0".repeat(64));
    let made_up = format!("conduit_known={made_up}");
    assert_eq!(attempt(&running, PASSWORD, &[own, ("Cookie", &made_up)]).status, 429);
    let again = attempt(&running, PASSWORD, &[own, ("Cookie", known)]);
    assert_eq!(again.status, 200, "{again:?}");
    // It has as many attempts as anybody, and no more.
    for _ in 0..10 {
        assert_eq!(attempt(&running, "not the password", &[own, ("Cookie", known)]).status, 401);
    }
    assert_eq!(attempt(&running, PASSWORD, &[own, ("Cookie", known)]).status, 429);
}

#[test]
fn a_session_that_somebody_else_chose_is_not_taken_over() {
    let running = Running::start();
    let planted =
        "conduit_session=1111111111111111111111111111111111111111111111111111111111111111";
    let answer = attempt(&running, PASSWORD, &[("Cookie", planted)]);
    let session = answer.header("set-cookie").unwrap();
    assert!(!session.contains(planted), "{session}");
    assert_eq!(running.ask("GET", "/session", &[("Cookie", planted)], "").status, 401);
    // Signing in twice makes two sessions, and one that was ended stays so.
    let (one, other) = (running.sign_in(), running.sign_in());
    assert_ne!((&one.cookie, &one.csrf), (&other.cookie, &other.csrf));
    let mixed = Session { cookie: one.cookie.clone(), csrf: other.csrf.clone() };
    assert_eq!(running.ask("DELETE", "/session", &mixed.headers(), "").code(), "csrf");
    assert_eq!(running.ask("DELETE", "/session", &one.headers(), "").status, 200);
    assert_eq!(running.ask("GET", "/session", &one.headers(), "").status, 401);
    assert_eq!(running.ask("GET", "/session", &other.headers(), "").status, 200);
}

#[test]
fn a_form_of_another_page_changes_nothing() {
    let running = Running::start();
    let session = running.sign_in();
    let cookie = ("Cookie", session.cookie.as_str());
    let body = r#"{"name": "forged"}"#;
    // What a form can send: no header of its own, and only these types.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let answer = running.ask("POST", "/keys", &[cookie, ("Content-Type", kind)], body);
        assert_eq!((answer.status, answer.code().as_str()), (403, "csrf"), "{kind}");
    }
    let csrf = ("X-Csrf-Token", session.csrf.as_str());
    for kind in ["text/plain", "application/x-www-form-urlencoded"] {
        let answer = running.ask("POST", "/keys", &[cookie, csrf, ("Content-Type", kind)], body);
        assert_eq!(answer.status, 415, "{kind}");
    }
    for site in ["cross-site", "same-site", "same-origin, cross-site", ""] {
        let headers = [cookie, csrf, JSON, ("Sec-Fetch-Site", site)];
        assert_eq!(running.ask("POST", "/keys", &headers, body).code(), "other_site", "{site}");
    }
    for origin in ["null", "http://127.0.0.1.evil.example", "http://evil.example", "127.0.0.1"] {
        let headers = [cookie, csrf, JSON, ("Origin", origin)];
        assert_eq!(running.ask("POST", "/keys", &headers, body).code(), "other_site", "{origin}");
    }
    // Nor can it sign somebody in, to have them work in a session of its own.
    let headers = [JSON, ("Sec-Fetch-Site", "cross-site")];
    let password = json!({"password": PASSWORD}).to_string();
    assert_eq!(running.ask("POST", "/session", &headers, &password).code(), "other_site");
    assert!(running.desk().ledger.directory().all().is_empty());
}

#[test]
fn no_part_of_the_listener_answers_to_a_name_that_is_not_ours() {
    let running = Running::start();
    let port = running.admin.port();
    for path in
        ["/", "/assets/app.js", "/admin/api/v1/session", "/playground/v1/models", "/nothing"]
    {
        for host in ["evil.example".to_owned(), format!("evil.example:{port}"), String::new()] {
            let answer = exchange(running.admin, "GET", path, &[("Host", &host)], "");
            assert!(matches!(answer.status, 400 | 421), "{path} {host}: {answer:?}");
        }
    }
    // Two names, of which one is ours.
    let mut stream = TcpStream::connect(running.admin).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let request =
        "GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
}

#[test]
fn nobody_reads_files_through_the_dashboard() {
    let running = Running::start();
    for path in [
        "/assets/../conduit.toml",
        "/assets/..%2fconduit.toml",
        "/assets/%2e%2e/%2e%2e/conduit.toml",
        "/assets/....//conduit.toml",
        "/assets/pages/../../conduit.toml",
        "/assets//etc/passwd",
        "/assets/%00",
        "/assets/app.js%00.css",
        "/assets/tests.rs",
        "/assets/index.html",
    ] {
        let answer = exchange(running.admin, "GET", path, &[], "");
        assert_eq!(answer.status, 404, "{path}");
        assert!(!answer.body.contains("[server]"), "{path}");
    }
}

#[test]
fn a_viewer_sees_no_secret_and_changes_nothing() {
    let running = Running::start();
    let session = running.sign_in();
    let viewer = running.token("sees", Role::Viewer);
    let secret = CreateKey { name: "held".to_owned(), ..CreateKey::default() };
    let secret = secret.run(running.desk()).unwrap().secret;
    let auth = ("Authorization", viewer.as_str());
    for path in ["/keys", "/keys/held", "/audit", "/config", "/status", "/providers", "/models"] {
        let answer = running.ask("GET", path, &[auth], "");
        assert_eq!(answer.status, 200, "{path}");
        for hidden in [&secret, &session.cookie, &session.csrf, PASSWORD, &viewer[7..]] {
            assert!(!answer.body.contains(hidden), "{path}");
        }
    }
    for path in ["/sessions", "/tokens"] {
        assert_eq!(running.ask("GET", path, &[auth], "").code(), "forbidden", "{path}");
    }
    assert_eq!(running.ask("POST", "/verify", &[auth], "").code(), "forbidden");
}

#[test]
fn a_secret_in_the_wrong_place_is_not_shown_to_viewers_or_kept_in_the_log() {
    let running = Running::start();
    let admin = running.token("does", Role::Admin);
    let secret = "sk-live-abcdefghijklmnop";
    let headers = [("Authorization", admin.as_str()), JSON];
    for (path, body) in [
        ("/keys", json!({"name": secret})),
        ("/keys", json!({"name": "a", "tags": [["team", secret]]})),
        ("/tokens", json!({"name": secret, "role": "viewer"})),
        ("/teams", json!({"name": secret})),
        ("/session", json!({"password": secret})),
    ] {
        let answer = running.ask("POST", path, &headers, &body.to_string());
        assert!(answer.status >= 400, "{path}: {answer:?}");
        let log = serde_json::to_string(&running.audit()).unwrap();
        assert!(!log.contains(secret), "{path}: {log}");
    }
}

#[test]
fn what_somebody_else_asked_is_not_told_again() {
    let running = Running::start();
    let (one, other) = (running.token("one", Role::Admin), running.token("other", Role::Admin));
    let viewer = running.token("sees", Role::Viewer);
    let ask = |auth: &str, body: &str| {
        let headers = [("Authorization", auth), JSON, ("Idempotency-Key", "the-same")];
        running.ask("POST", "/teams", &headers, body)
    };
    let body = r#"{"name": "research"}"#;
    let first = ask(&one, body);
    assert_eq!(first.status, 201);
    assert_eq!(ask(&one, body).header("idempotency-replayed"), Some("true"));
    let theirs = ask(&other, body);
    assert_eq!((theirs.status, theirs.header("idempotency-replayed")), (409, None), "{theirs:?}");
    assert_eq!(ask(&viewer, body).code(), "forbidden");
    let session = running.sign_in();
    let mut headers = session.headers();
    headers.push(("Idempotency-Key", "the-same"));
    let theirs = running.ask("POST", "/teams", &headers, body);
    assert_eq!((theirs.status, theirs.header("idempotency-replayed")), (409, None), "{theirs:?}");
}

/// Sends the head of a request that promises a body, and reads what is said before it comes.
fn promise(running: &Running, path: &str, headers: &str, length: usize) -> String {
    let mut stream = TcpStream::connect(running.admin).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let head = format!(
        "POST /admin/api/v1{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n{headers}\r\n{{"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn a_large_body_is_taken_from_an_administrator_and_from_nobody_else() {
    let running = Running::start();
    let (viewer, admin) = (running.token("sees", Role::Viewer), running.token("does", Role::Admin));
    // Refused at once, with nothing read of what was promised.
    let answer = promise(&running, "/prices/update", "", 30 << 20);
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let auth = format!("Authorization: {viewer}\r\n");
    let answer = promise(&running, "/prices/update", &auth, 30 << 20);
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    let headers = [("Authorization", admin.as_str()), JSON];
    let padded = format!("{PRICE_LIST}{}", " ".repeat(2 << 20));
    let body = json!({"text": padded, "dry_run": true}).to_string();
    let answer = running.ask("POST", "/prices/update", &headers, &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = running.ask("POST", "/keys", &headers, &format!("{{\"name\": \"{body}\"}}"));
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_large"));
    // Nested as deep as it likes.
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let answer = running.ask("POST", "/keys", &headers, &format!("{{\"name\": {deep}}}"));
    assert_eq!(answer.code(), "malformed");
}

#[test]
fn answers_with_a_secret_are_kept_by_nobody() {
    let running = Running::start();
    let session = running.sign_in();
    for (path, body) in [
        ("/keys", r#"{"name": "made"}"#),
        ("/keys/made/rotate", "{}"),
        ("/tokens", r#"{"name": "made", "role": "admin"}"#),
    ] {
        let answer = running.ask("POST", path, &session.headers(), body);
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(answer.all("cache-control").collect::<Vec<_>>(), ["no-store"], "{path}");
    }
}

#[test]
fn the_playground_sends_a_session_nowhere_and_obeys_no_header_of_a_provider() {
    let running = Running::start();
    let secret = CreateKey { name: "player".to_owned(), ..CreateKey::default() };
    let secret = format!("Bearer {}", secret.run(running.desk()).unwrap().secret);
    let session = running.sign_in();
    let mut headers = session.headers();
    headers.push(("Authorization", &secret));
    let body = json!({"model": "echo", "messages": [{"role": "user", "content": "hello"}]});
    let path = "/playground/v1/chat/completions";
    let answer = exchange(running.admin, "POST", path, &headers, &body.to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(answer.all(name).collect::<Vec<_>>(), [value], "{name}");
    }
    assert!(answer.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(answer.header("set-cookie"), None);
    assert!(!answer.body.contains(&session.csrf));
}

#[test]
fn an_administrator_calls_with_a_key_by_its_id_and_nobody_else_does() {
    let running = Running::start();
    let create = CreateKey {
        name: "far away".to_owned(),
        allow_ips: vec!["192.0.2.0/24".parse().unwrap()],
        ..CreateKey::default()
    };
    let key = create.run(running.desk()).unwrap().key.id.to_string();
    let session = running.sign_in();
    let viewer = running.token("sees", Role::Viewer);
    let admin = running.token("does", Role::Admin);
    let body = json!({"model": "echo", "messages": [{"role": "user", "content": "hello"}]});
    let body = body.to_string();
    let call = |address, path, headers: &[(&str, &str)], key: &str| {
        let headers = [headers, &[JSON, ("X-Conduit-Key", key)]].concat();
        exchange(address, "POST", path, &headers, &body).status
    };
    let (playground, path) = ("/playground/v1/chat/completions", "/v1/chat/completions");
    let headers = session.headers();
    assert_eq!(call(running.admin, playground, &headers, &key), 200);
    // The key's own receipts say so.
    let show = ListReceipts { key: Some(key.clone()), ..ListReceipts::default() };
    assert_eq!(show.run(running.desk()).unwrap().len(), 1);
    for nobody in ["", "key_00000000000", "far away", &key[1..]] {
        assert_eq!(call(running.admin, playground, &headers, nobody), 401, "{nobody}");
    }
    assert_eq!(call(running.gateway, path, &headers, &key), 401);
    assert_eq!(call(running.admin, playground, &[], &key), 401);
    for token in [&viewer, &admin] {
        let authorization = format!("Bearer {token}");
        let headers = [("Authorization", authorization.as_str())];
        assert_eq!(call(running.admin, playground, &headers, &key), 401);
    }
    SetDisabled { key: key.clone(), disabled: true }.run(running.desk()).unwrap();
    assert_eq!(call(running.admin, playground, &headers, &key), 401);
}
