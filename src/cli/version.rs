//! `conduit version`: what this program was built from.

use clap::Args;

use super::{Failure, output};
use crate::catalogue::Catalogue;
use crate::store::FORMAT;
use crate::version::{Build, build};

#[derive(Debug, Args)]
pub(super) struct ShowVersion {
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

impl ShowVersion {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let build = build(FORMAT, Catalogue::embedded().version());
        if self.json { output::json(&build) } else { output::answer(&describe(&build)) }
    }
}

fn describe(build: &Build) -> String {
    let unknown = "not known to this build";
    let store = build.store_format.to_string();
    let facts = [
        ("version", build.version),
        ("commit", build.commit.unwrap_or(unknown)),
        ("of", build.date.unwrap_or(unknown)),
        ("rustc", build.rustc),
        ("target", build.target),
        ("profile", build.profile),
        ("store", &store),
        ("prices", build.catalogue),
    ];
    let lines = facts.map(|(name, fact)| format!("{name:<9} {fact}"));
    lines.join("\n") + "\n"
}
