//! Who gets what answer, for every path that the admin listener has, every method and every kind of
//! caller. The paths come from the lists that the router itself is made of, so that a new one is in the
//! table by itself; what the table must say comes from rules that are written down here once more.
//!
//! Requests to the API carry a member that no operation knows: whoever may ask is told so with 422, and
//! nothing is changed.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use conduit::admin::Verb;
use conduit::admin::access::CreateToken;
use conduit::admin::http::PREFIX;
use conduit::admin::http::operations::{Needs, OPERATIONS, Operation};
use conduit::admin::http::surface::{Asks, SURFACES, Surface};
use conduit::admin::keys::CreateKey;
use conduit::clock;
use conduit::dashboard;
use conduit::domain::access::Role;
use conduit::provider::endpoint::Endpoint;

use super::{Answer, CONFIG, JSON, Running, exchange};

const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Nobody,
    /// A token that sees.
    Viewer,
    /// A token that does.
    Admin,
    Expired,
    /// A key of the gateway, where tokens are sent.
    Key,
    Session,
    /// Without the token that only our page knows.
    SessionAlone,
    SessionWithWrongToken,
    /// A page of another site asks, with all that the browser has.
    SessionFromElsewhere,
    MadeUpSession,
}

impl Caller {
    const ALL: [Self; 10] = [
        Self::Nobody,
        Self::Viewer,
        Self::Admin,
        Self::Expired,
        Self::Key,
        Self::Session,
        Self::SessionAlone,
        Self::SessionWithWrongToken,
        Self::SessionFromElsewhere,
        Self::MadeUpSession,
    ];

    /// Whether somebody is known by what this caller sends.
    const fn is_known(self) -> bool {
        matches!(
            self,
            Self::Viewer
                | Self::Admin
                | Self::Session
                | Self::SessionAlone
                | Self::SessionWithWrongToken
        )
    }

    /// Whether a credential is sent that is wrong: such a caller is not even let in where nobody has to
    /// be known.
    const fn has_wrong_token(self) -> bool {
        matches!(self, Self::Expired | Self::Key)
    }

    const fn lacks_csrf_token(self) -> bool {
        matches!(self, Self::SessionAlone | Self::SessionWithWrongToken)
    }
}

/// What each caller sends.
fn headers(running: &Running) -> Vec<(Caller, Vec<(&'static str, String)>)> {
    let (viewer, admin) = (running.token("sees", Role::Viewer), running.token("does", Role::Admin));
    let key = CreateKey { name: "holder".to_owned(), ..CreateKey::default() };
    let key = format!("Bearer {}", key.run(running.desk()).unwrap().secret);
    let soon = Some(clock::now().plus_millis(20));
    let expired = CreateToken { name: "old".to_owned(), role: Role::Admin, expires_at: soon };
    let expired = format!("Bearer {}", expired.run(running.desk()).unwrap().token);
    thread::sleep(Duration::from_millis(30));
    let session = running.sign_in();
    let cookie = ("Cookie", session.cookie.clone());
    let csrf = ("X-Csrf-Token", session.csrf.clone());
    let each = |caller| match caller {
        Caller::Nobody => vec![],
        Caller::Viewer => vec![("Authorization", viewer.clone())],
        Caller::Admin => vec![("Authorization", admin.clone())],
        Caller::Expired => vec![("Authorization", expired.clone())],
        Caller::Key => vec![("Authorization", key.clone())],
        Caller::Session => vec![cookie.clone(), csrf.clone()],
        Caller::SessionAlone => vec![cookie.clone()],
        Caller::SessionWithWrongToken => vec![cookie.clone(), ("X-Csrf-Token", "0".repeat(64))],
        Caller::SessionFromElsewhere => {
            let elsewhere = ("Sec-Fetch-Site", "cross-site".to_owned());
            vec![cookie.clone(), csrf.clone(), elsewhere]
        }
        Caller::MadeUpSession => {
            vec![("Cookie", format!("conduit_session={}", "0".repeat(64))), csrf.clone()]
        }
    };
    Caller::ALL.map(|caller| (caller, each(caller))).into()
}

/// Every path of a part of the listener, and some that it has not.
fn paths(surface: &Surface) -> BTreeSet<String> {
    let mut paths: BTreeSet<String> = match surface.asks {
        Asks::Nobody => dashboard::paths().filter(|path| path.starts_with(surface.path)).collect(),
        Asks::ByOperation => {
            let filled = |operation: &Operation| {
                let parts = operation.path.split('/');
                let filled = parts.map(|part| if part.starts_with('{') { "none" } else { part });
                format!("{PREFIX}{}", filled.collect::<Vec<_>>().join("/"))
            };
            OPERATIONS.iter().map(filled).collect()
        }
        Asks::Viewer => BTreeSet::from([surface.path.to_owned()]),
        Asks::Session => {
            let endpoints = Endpoint::ALL.map(Endpoint::name);
            let others = ["models", "models/echo", "key"];
            let versioned = endpoints.iter().chain(&others);
            versioned.map(|name| format!("{}v1/{name}", surface.path)).collect()
        }
    };
    paths.insert(format!("{}/nothing", surface.path.trim_end_matches('/')));
    paths.insert(format!("{}/..%2f..%2fconduit.toml", surface.path.trim_end_matches('/')));
    paths
}

/// What the answer must be: a status, or any that is not a refusal of this listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Status(u16),
    LetIn,
}

fn expected(surface: &Surface, path: &str, method: &str, caller: Caller) -> Expected {
    Expected::Status(match surface.asks {
        Asks::Nobody => {
            // The root is a part of its own: what is below it is on no part.
            let is_on_part = path == "/" || path.starts_with("/assets/");
            let is_file = dashboard::paths().any(|file| file == path);
            match method {
                _ if !is_on_part => 404,
                "GET" | "HEAD" if is_file => 200,
                "GET" | "HEAD" => 404,
                _ => 405,
            }
        }
        Asks::Viewer => match method {
            _ if path != surface.path => 404,
            "GET" | "HEAD" if caller == Caller::SessionFromElsewhere => 403,
            "GET" | "HEAD" if caller.is_known() => 200,
            "GET" | "HEAD" => 401,
            _ => 405,
        },
        Asks::Session if caller == Caller::SessionFromElsewhere => 403,
        Asks::Session if caller.lacks_csrf_token() => 403,
        Asks::Session if caller == Caller::Session => return Expected::LetIn,
        Asks::Session => 401,
        Asks::ByOperation => of_operation(path, method, caller),
    })
}

fn of_operation(path: &str, method: &str, caller: Caller) -> u16 {
    let fits = |operation: &&Operation| {
        let wanted = operation.path.split('/');
        let parts = path[PREFIX.len()..].split('/');
        wanted.clone().count() == parts.clone().count()
            && wanted.zip(parts).all(|(wanted, part)| wanted.starts_with('{') || wanted == part)
    };
    let of_path: Vec<_> = OPERATIONS.iter().filter(fits).collect();
    let operation = of_path.iter().find(|operation| operation.method.name() == method);
    if caller == Caller::SessionFromElsewhere {
        return 403;
    }
    match operation.map(|operation| operation.needs) {
        _ if caller.has_wrong_token() => 401,
        Some(Needs::Nobody) => 422,
        _ if !caller.is_known() => 401,
        _ if method != "GET" && caller.lacks_csrf_token() => 403,
        None if of_path.is_empty() => 404,
        None => 405,
        Some(Needs::Admin) if caller == Caller::Viewer => 403,
        Some(_) => 422,
    }
}

fn ask(to: SocketAddr, request: &Asked, headers: &[(&str, String)]) -> Answer {
    let mut headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    headers.push(JSON);
    let Asked { surface, path, method } = request;
    let has_body = surface.asks == Asks::ByOperation && matches!(*method, "POST" | "PUT" | "PATCH");
    if has_body {
        return exchange(to, method, path, &headers, r#"{"no_such_member": 1}"#);
    }
    exchange(to, method, &format!("{path}?no_such_member=1"), &headers, "")
}

/// One row of the table.
struct Asked {
    surface: &'static Surface,
    path: String,
    method: &'static str,
}

fn all_requests() -> Vec<Asked> {
    let of_path = |surface: &'static Surface, path: String| {
        METHODS.map(|method| Asked { surface, path: path.clone(), method })
    };
    let surfaces = SURFACES.iter();
    let paths = surfaces.flat_map(|surface| paths(surface).into_iter().map(move |p| (surface, p)));
    paths.flat_map(|(surface, path)| of_path(surface, path)).collect()
}

/// Whether an answer is this listener's own refusal to say who asks.
fn is_refusal(answer: &Answer) -> bool {
    let own = ["unauthenticated", "forbidden", "csrf", "other_site", "other_host", "no_such_path"];
    own.iter().any(|code| answer.body.contains(&format!("\"code\":\"{code}\"")))
        || answer.status == 405 && answer.body.contains("this path knows only")
}

#[test]
fn each_caller_gets_what_the_rules_say_on_every_path_by_every_method() {
    let running = Running::start();
    let (callers, requests, to) = (headers(&running), all_requests(), running.admin);
    let columns: Vec<Vec<Answer>> = thread::scope(|scope| {
        let each = callers.iter().map(|(_, headers)| {
            let requests = &requests;
            scope.spawn(move || requests.iter().map(|one| ask(to, one, headers)).collect())
        });
        let each: Vec<_> = each.collect();
        each.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut table =
        format!("| path | method |{}", Caller::ALL.map(|c| format!(" {c:?} |")).concat());
    write!(table, "\n|---|---|{}\n", "---|".repeat(Caller::ALL.len())).unwrap();
    let mut wrong = Vec::new();
    for (row, Asked { surface, path, method }) in requests.iter().enumerate() {
        write!(table, "| `{path}` | {method} |").unwrap();
        for ((caller, _), column) in callers.iter().zip(&columns) {
            let answer = &column[row];
            let must = expected(surface, path, method, *caller);
            let is_so = match must {
                Expected::Status(status) => answer.status == status,
                Expected::LetIn => !is_refusal(answer),
            };
            if !is_so {
                wrong.push(format!("{method} {path} {caller:?}: {must:?}, {answer:?}"));
            }
            write!(table, " {} |", answer.status).unwrap();
        }
        table.push('\n');
    }
    // Kept to be looked at.
    fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("admin-callers.md"), &table).unwrap();
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    for surface in &SURFACES {
        assert!(requests.iter().filter(|one| one.surface.path == surface.path).count() >= 9);
    }
    // Nothing of all that was done.
    assert_eq!(running.audit().iter().filter(|entry| entry.by.name.is_some()).count(), 0);
}

#[test]
fn what_is_on_no_part_of_the_listener_is_not_there_for_anybody() {
    let running = Running::start_with(CONFIG);
    let admin = running.token("does", Role::Admin);
    let elsewhere =
        ["/v1/models", "/v1/chat/completions", "/admin/v1/keys/list", "/admin", "/assets"];
    for path in elsewhere.into_iter().chain(["/playground", "/healthz", "//", "/admin/api/v12"]) {
        for method in METHODS {
            let answer = exchange(running.admin, method, path, &[("Authorization", &admin)], "");
            assert_eq!(answer.status, 404, "{method} {path}");
        }
    }
}
