//! `conduit admin backup` and `conduit admin restore`.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;

use crate::admin::backup::BackUp;
use crate::cli::{ConfigArg, Exit, Failure, output, session};
use crate::clock;
use crate::store::{self, StoreError};

#[derive(Debug, Args)]
pub(in crate::cli) struct Backup {
    /// The file to make; it holds hashes of secrets and names of keys, and only its owner may read it
    file: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArg,
}

impl Backup {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let file = std::path::absolute(&self.file)?;
        let made = session::run(&self.config, BackUp { file, force: self.force })?;
        if self.json {
            return output::json(&made);
        }
        let file = made.file.display();
        output::answer(&format!("{file}\n{} bytes, blake3 {}\n", made.bytes, made.blake3))
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Restore {
    /// A file that `conduit admin backup` made
    file: PathBuf,
    /// Take it even if its books do not add up
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    config: ConfigArg,
}

impl Restore {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let (_, paths) = session::places(&self.config)?;
        let running = || {
            let message = "a server runs with this store: stop it before restoring a backup";
            Failure::new(Exit::Conflict, message)
        };
        if session::connect(&paths.socket)?.is_some() {
            return Err(running());
        }
        let restored = store::restore(&self.file, &paths.store, self.force, clock::now());
        let restored = restored.map_err(|error| match error {
            StoreError::InUse(_) => running(),
            error => error.into(),
        })?;
        let books = &restored.books;
        let mut text = format!(
            "{} is restored: {} keys, {} receipts, {} USD\n",
            paths.store.display(),
            books.keys,
            books.receipts,
            books.cost
        );
        if let Some(kept) = restored.kept {
            let _ = writeln!(text, "the store before it is kept as {}", kept.display());
        }
        output::answer(&text)
    }
}
