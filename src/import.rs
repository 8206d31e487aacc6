//! What the files of other gateways say, as a configuration of ours, keys to be made, and a list of what
//! could not be carried over.
//!
//! Text and bytes in, values out: no file is read or written here. Nothing is dropped in silence: what
//! is not carried over is named with its place. No key is ever given more than it had: a limit that
//! cannot be said exactly becomes the stricter of those that can.

mod keys;
mod layout;
mod litellm;
mod number;
mod one_api;
mod sqlite;
mod taken;

pub use keys::PlannedKey;
pub use litellm::{config as litellm, keys as litellm_keys};
pub use one_api::import as one_api;
pub use sqlite::SqliteError;

/// What is to be made.
#[derive(Debug, Default)]
pub struct Plan {
    /// The text of a configuration.
    pub config: String,
    /// Providers' keys that stood in the file itself, by the name of the file that each goes to.
    pub secrets: Vec<(String, String)>,
    /// Environment variables that the configuration names.
    pub variables: Vec<String>,
    pub keys: Vec<PlannedKey>,
    pub lost: Vec<Lost>,
    pub providers: usize,
    pub models: usize,
}

/// Something that was not carried over, or not exactly.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Lost {
    /// The file and the place in it: `config.yaml: model_list[2].litellm_params.rpm`.
    pub place: String,
    pub why: String,
}

/// Why a file could not be understood at all.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("{file} is not YAML: {reason}")]
    Yaml { file: String, reason: String },
    #[error("{file} is not JSON: {reason}")]
    Json { file: String, reason: String },
    #[error("{file} is not CSV: {reason}")]
    Csv { file: String, reason: String },
    #[error("{file}: {reason}")]
    Shape { file: String, reason: String },
    #[error("{file} cannot be read as an SQLite database: {reason}")]
    Sqlite { file: String, reason: SqliteError },
}
