//! A copy of everything, made while calls go on.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{AdminError, Desk, Verb};

/// Copies the store into a file, which the process that has the store open makes and owns.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackUp {
    /// Absolute, because the server's folder is not the caller's.
    pub file: PathBuf,
    /// Replaces a file that is there.
    #[serde(default)]
    pub force: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BackupView {
    pub file: PathBuf,
    pub bytes: u64,
    pub blake3: String,
}

impl Verb for BackUp {
    type Answer = BackupView;
    const PATH: &'static str = "backup";
    const PATIENCE: Duration = Duration::from_hours(1);

    fn run(self, desk: &Desk) -> Result<BackupView, AdminError> {
        if !self.file.is_absolute() {
            return Err(AdminError::Invalid("the path of a backup must be absolute".to_owned()));
        }
        let made = desk.ledger.store().back_up(&self.file, self.force)?;
        tracing::info!(file = %self.file.display(), bytes = made.bytes, "backup made");
        let blake3 = made.digest.to_hex().to_string();
        Ok(BackupView { file: self.file, bytes: made.bytes, blake3 })
    }
}
