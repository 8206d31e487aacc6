//! The rules of the house, read from the source itself: who may name which crate and which layer,
//! and what every file begins with. A rule that only a reader enforces is soon no rule.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::fs;
use std::path::Path;

/// Crates and parts of the standard library that belong to some files only: a path is allowed if it
/// begins with one of these.
const BELONGS: [(&str, &[&str]); 30] = [
    ("redb", &["src/store"]),
    ("awc", &["src/alerts.rs", "src/traces.rs", "src/acme/post.rs"]),
    ("instant_acme", &["src/acme"]),
    ("rcgen", &["src/acme"]),
    ("http1", &["src/acme/post.rs"]),
    ("aws_credential_types", &["src/gateway/signing.rs"]),
    ("aws_sigv4", &["src/gateway/signing.rs"]),
    (
        "actix_web",
        &["src/gateway", "src/server", "src/admin/socket.rs", "src/admin/http", "src/dashboard.rs"],
    ),
    ("actix_http", &["src/server"]),
    ("actix_server", &["src/server"]),
    ("actix_service", &["src/server"]),
    ("h2", &["src/server"]),
    ("tokio_rustls", &["src/server", "src/client"]),
    ("argon2", &["src/admin/password.rs"]),
    ("rustix", &["src/cli/admin/password.rs", "src/cli/doctor"]),
    (
        "rustls",
        &[
            "src/gateway.rs",
            "src/gateway/probe.rs",
            "src/gateway/upstreams.rs",
            "src/client",
            "src/server",
            "src/alerts.rs",
            "src/traces.rs",
            "src/acme",
            "src/cli.rs",
            "src/config/certificate.rs",
        ],
    ),
    ("notify", &["src/config"]),
    ("serde_saphyr", &["src/import"]),
    ("toml", &["src/config"]),
    ("clap", &["src/cli"]),
    ("comfy_table", &["src/cli"]),
    ("getrandom", &["src/clock.rs"]),
    ("jiff", &["src/domain/window.rs", "src/config/check.rs"]),
    ("sd_notify", &["src/server/supervisor.rs"]),
    ("listenfd", &["src/server/passed.rs"]),
    ("tracing_subscriber", &["src/logging", "src/config/check.rs"]),
    ("SystemTime", &["src/clock.rs"]),
    ("std::env", &["src/config.rs", "src/cli", "src/logging"]),
    ("std::process", &["src/cli", "src/main.rs", "src/admin/socket.rs", "src/store.rs"]),
    ("anyhow", &[]),
];

/// What would be input, output, time or chance.
const OUTSIDE: [&str; 15] = [
    "std::fs",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "std::env",
    "std::io",
    "std::thread",
    "std::process",
    "std::time",
    "Instant",
    "tokio",
    "tracing",
    "println",
    "clock",
];
/// Layers that decide and never act.
const PURE: [&str; 3] = ["src/domain", "src/provider", "src/translate"];

/// The layers that each layer may name. What is not listed here may name all.
const BELOW: [(&str, &[&str]); 18] = [
    ("alarm", &["alarm"]),
    ("client", &["alarm", "client", "fields", "framing"]),
    ("message", &["domain", "fields", "message"]),
    ("domain", &["domain"]),
    ("provider", &["domain", "provider"]),
    ("translate", &["domain", "provider", "translate"]),
    ("catalogue", &["domain", "catalogue", "map"]),
    ("config", &["domain", "provider", "catalogue", "config", "map"]),
    ("metrics", &["domain", "metrics"]),
    ("store", &["domain", "store", "clock", "map", "metrics"]),
    ("ledger", &["domain", "store", "alerts", "ledger", "clock", "map", "metrics"]),
    ("alerts", &["domain", "config", "alerts"]),
    ("traces", &["domain", "config", "traces"]),
    ("acme", &["domain", "config", "clock", "acme"]),
    (
        "gateway",
        &[
            "alarm",
            "domain",
            "provider",
            "translate",
            "catalogue",
            "config",
            "store",
            "ledger",
            "error",
            "gateway",
            "client",
            "fields",
            "clock",
            "logging",
            "map",
            "message",
            "metrics",
            "traces",
        ],
    ),
    ("dashboard", &["dashboard"]),
    ("import", &["domain", "import"]),
    (
        "admin",
        &[
            "domain",
            "provider",
            "catalogue",
            "config",
            "store",
            "ledger",
            "acme",
            "admin",
            "clock",
            "logging",
            "metrics",
            "version",
        ],
    ),
];

const OWNERLESS: [&str; 6] =
    ["mod.rs", "utils.rs", "util.rs", "helpers.rs", "common.rs", "misc.rs"];

struct File {
    path: String,
    text: String,
}

impl File {
    /// Its lines without comments and without its tests, which stand at the end.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines: Vec<_> = self.text.lines().collect();
        let is_mark = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].ends_with('{');
        let own_tests = lines.windows(2).position(is_mark).unwrap_or(lines.len());
        let end = if self.path.ends_with("tests.rs") { 0 } else { own_tests };
        let code = lines.into_iter().take(end).enumerate();
        code.filter(|(_, line)| !line.trim_start().starts_with("//"))
            .map(|(number, line)| (number + 1, line))
    }

    fn is_below(&self, folder: &str) -> bool {
        self.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with(['/', '.']))
    }
}

fn collect(folder: &Path, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let name = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap();
            let (path, text) =
                (name.to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap());
            files.push(File { path, text });
        }
    }
}

fn files(folder: &str) -> Vec<File> {
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut files);
    assert!(!files.is_empty());
    files
}

/// Whether a line names a crate, a path or a type: as a word, and not as a part of another path.
fn names(line: &str, wanted: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(wanted).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + wanted.len()..]);
        let is_path = wanted.contains("::") || wanted.starts_with(char::is_uppercase);
        // A crate is followed by a path or ends a `use`; a module or a text of its name is not meant.
        let is_used = is_path || after.starts_with("::") || after.starts_with('!');
        let is_own = before.ends_with("crate::")
            || before.ends_with("self::")
            || before.ends_with("super::");
        !before.ends_with(is_word) && !after.starts_with(is_word) && is_used && !is_own
    })
}

fn fail_with(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn each_crate_is_named_where_it_belongs() {
    let mut complaints = Vec::new();
    for file in files("src") {
        for (number, line) in file.code() {
            for (name, places) in BELONGS {
                let is_allowed = places.iter().any(|place| file.path.starts_with(place));
                if !is_allowed && names(line, name) {
                    complaints
                        .push(format!("{}:{number}: `{name}` belongs to {places:?}", file.path));
                }
            }
        }
    }
    fail_with(&complaints);
}

#[test]
fn what_decides_neither_acts_nor_looks_at_the_clock() {
    let mut complaints = Vec::new();
    for file in files("src").iter().filter(|file| PURE.iter().any(|layer| file.is_below(layer))) {
        for (number, line) in file.code() {
            for name in OUTSIDE.iter().filter(|name| names(line, name)) {
                complaints.push(format!("{}:{number}: `{name}` has no place here", file.path));
            }
        }
    }
    fail_with(&complaints);
}

#[test]
fn a_layer_names_only_those_below_it() {
    let mut complaints = Vec::new();
    for file in files("src") {
        let layer = BELOW.iter().find(|(layer, _)| file.is_below(&format!("src/{layer}")));
        let Some((layer, below)) = layer else { continue };
        for (number, line) in file.code() {
            let named = line
                .split("crate::")
                .skip(1)
                .filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next());
            for other in named.filter(|other| !other.is_empty() && !below.contains(other)) {
                complaints.push(format!("{}:{number}: {layer} must not name {other}", file.path));
            }
        }
    }
    fail_with(&complaints);
}

#[test]
fn every_file_says_what_it_is_for_and_has_an_owner() {
    let mut complaints = Vec::new();
    for file in files("src").iter().chain(&files("tests")) {
        if !file.text.starts_with("//! ") {
            complaints.push(format!("{}: does not begin by saying what it is for", file.path));
        }
        let name = file.path.rsplit('/').next().unwrap();
        if OWNERLESS.contains(&name) {
            complaints.push(format!("{}: name it for what it does", file.path));
        }
        for (number, line) in file.text.lines().enumerate() {
            // Written apart, so that this line is none.
            for mark in [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")] {
                if line.contains(mark) {
                    complaints.push(format!("{}:{}: {mark}", file.path, number + 1));
                }
            }
            if line.contains("#[allow") || line.contains("#![allow") {
                let said = !line.contains("contains(");
                if said {
                    complaints.push(format!(
                        "{}:{}: `expect` says when it is over",
                        file.path,
                        number + 1
                    ));
                }
            }
        }
    }
    fail_with(&complaints);
}

#[test]
fn a_name_is_found_where_it_is_used_and_not_where_it_is_a_part() {
    for (line, name, expected) in [
        ("use redb::Database;", "redb", true),
        ("    redb::Database::create(p)", "redb", true),
        ("let redb = 5;", "redb", false),
        ("use crate::redb::X;", "redb", false),
        ("\"data/conduit.redb\"", "redb", false),
        ("sd_notify::notify(&[])", "notify", false),
        ("use std::{fs, io};", "std::fs", false),
        ("use std::fs::File;", "std::fs", true),
        ("let t: Instant = x;", "Instant", true),
        ("let t: Instantly = x;", "Instant", false),
    ] {
        assert_eq!(names(line, name), expected, "{line}");
    }
}
