//! A copy of everything, made while calls go on.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AdminError, Desk, Verb};
use crate::clock;

/// Copies the store into a file, which the process that has the store open makes and owns.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackUp {
    /// Absolute, because the server's folder is not the caller's.
    pub file: PathBuf,
    /// Replaces a file that is there.
    #[serde(default)]
    pub force: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct BackupView {
    pub file: PathBuf,
    pub bytes: u64,
    pub blake3: String,
}

impl Verb for BackUp {
    type Answer = BackupView;
    const PATH: &'static str = "backup";
    const CHANGES: bool = true;
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

    fn target(answer: &BackupView) -> Option<String> {
        Some(answer.file.display().to_string())
    }
}

/// Makes a backup in the folder `backups` beside the store, under a name that tells the time: over the
/// network nobody says where the server writes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackUpBeside {}

impl Verb for BackUpBeside {
    type Answer = BackupView;
    const PATH: &'static str = "backup/beside";
    const CHANGES: bool = true;
    const PATIENCE: Duration = Duration::from_hours(1);

    fn run(self, desk: &Desk) -> Result<BackupView, AdminError> {
        let (file, made) = desk.ledger.store().back_up_beside(clock::now())?;
        tracing::info!(file = %file.display(), bytes = made.bytes, "backup made");
        Ok(BackupView { file, bytes: made.bytes, blake3: made.digest.to_hex().to_string() })
    }

    fn target(answer: &BackupView) -> Option<String> {
        Some(answer.file.display().to_string())
    }
}
