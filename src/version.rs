//! Which program this is: its version and what it was built from. Knows nothing of the machine it runs
//! on.

use std::sync::LazyLock;

use serde::Serialize;

pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the program was built from, and how.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Build {
    pub version: &'static str,
    /// Absent in a build from a source tree that does not know it.
    pub commit: Option<&'static str>,
    /// Of the commit.
    pub date: Option<&'static str>,
    pub rustc: &'static str,
    pub target: &'static str,
    pub profile: &'static str,
    /// The newest format of the store that it reads, and the one it writes.
    pub store_format: u64,
    /// Of the prices that come with it.
    pub catalogue: &'static str,
}

/// What this program was built from.
pub fn build(store_format: u64, catalogue: &'static str) -> Build {
    let known = |text: &'static str| Some(text).filter(|text| !text.is_empty());
    Build {
        version: VERSION,
        commit: known(env!("CONDUIT_COMMIT")),
        date: known(env!("CONDUIT_COMMIT_DATE")),
        rustc: env!("CONDUIT_RUSTC"),
        target: env!("CONDUIT_TARGET"),
        profile: env!("CONDUIT_PROFILE"),
        store_format,
        catalogue,
    }
}

/// The version and the build in a line, as `conduit --version` has it after the name.
pub fn line() -> &'static str {
    static LINE: LazyLock<String> = LazyLock::new(|| {
        let facts = [env!("CONDUIT_COMMIT"), env!("CONDUIT_COMMIT_DATE")];
        let commit: Vec<_> = facts.into_iter().filter(|fact| !fact.is_empty()).collect();
        let commit =
            if commit.is_empty() { String::new() } else { format!("{}, ", commit.join(" ")) };
        format!(
            "{VERSION} ({commit}rustc {}, {}, {})",
            env!("CONDUIT_RUSTC"),
            env!("CONDUIT_TARGET"),
            env!("CONDUIT_PROFILE")
        )
    });
    &LINE
}
