//! Tells the program what it is built from, for `conduit --version`.
//!
//! The commit comes from the variables `CONDUIT_COMMIT` and `CONDUIT_COMMIT_DATE`, which packaging sets,
//! or, in a release build of a checkout, from git. A source tree without either builds as well: it just
//! cannot say its commit.

use std::env;
use std::process::Command;

fn main() {
    for variable in ["CONDUIT_COMMIT", "CONDUIT_COMMIT_DATE"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    println!("cargo::rerun-if-changed=packaging/build.rs");
    let mut commit = env::var("CONDUIT_COMMIT").ok().filter(|commit| !commit.is_empty());
    let mut date = env::var("CONDUIT_COMMIT_DATE").ok().filter(|date| !date.is_empty());
    // A build while somebody works must not begin anew with each commit.
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if commit.is_none() && is_release {
        for file in ["HEAD", "logs/HEAD"] {
            if let Some(path) = said("git", &["rev-parse", "--git-path", file]) {
                println!("cargo::rerun-if-changed={path}");
            }
        }
        commit = said("git", &["rev-parse", "--short=12", "HEAD"]);
        date = said("git", &["log", "-1", "--format=%cs"]);
    }
    let compiler = env::var("RUSTC").ok().and_then(|rustc| said(&rustc, &["--version"]));
    let compiler = compiler.as_deref().and_then(|said| said.split(' ').nth(1));
    println!("cargo::rustc-env=CONDUIT_COMMIT={}", commit.unwrap_or_default());
    println!("cargo::rustc-env=CONDUIT_COMMIT_DATE={}", date.unwrap_or_default());
    println!("cargo::rustc-env=CONDUIT_RUSTC={}", compiler.unwrap_or("unknown"));
    for (name, from) in [("CONDUIT_TARGET", "TARGET"), ("CONDUIT_PROFILE", "PROFILE")] {
        println!("cargo::rustc-env={name}={}", env::var(from).unwrap_or_default());
    }
}

/// The first line that a program says, if it is there and does well.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    text.lines().next().map(str::to_owned).filter(|line| !line.is_empty())
}
