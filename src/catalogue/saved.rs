//! The update of the prices, in a file beside the store.
//!
//! A file of its own and not a table: it is no part of the books, whoever keeps prices can read,
//! compare, copy and delete it, and a store never needs it to open. It is written whole or not at all,
//! and what is not a whole price list is never put in force.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Catalogue, FormatError, Prices};

/// No price list is longer.
const LONGEST: u64 = 64 << 20;

/// Why a file is not an update.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    #[error("{path}: {reason}")]
    Io { path: PathBuf, reason: io::Error },
    #[error("{path} is longer than a price list can be")]
    TooLong { path: PathBuf },
    #[error("{path} is not a price list: {reason}")]
    Format { path: PathBuf, reason: FormatError },
}

/// Where the update is that belongs to a store.
pub fn path(store: &Path) -> PathBuf {
    let mut path = store.as_os_str().to_owned();
    path.push(".prices");
    path.into()
}

/// Reads the update at `path`; `None` where there is none.
pub fn load(path: &Path) -> Result<Option<Catalogue>, SavedError> {
    let failed = |reason| SavedError::Io { path: path.to_owned(), reason };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let mut text = String::new();
    file.take(LONGEST + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > LONGEST {
        return Err(SavedError::TooLong { path: path.to_owned() });
    }
    let read = Catalogue::parse(&text);
    read.map(Some).map_err(|reason| SavedError::Format { path: path.to_owned(), reason })
}

/// The prices in force for a store: with the update beside it, if that can be read.
pub fn prices(store: &Path) -> Arc<Prices> {
    match load(&path(store)) {
        Ok(Some(update)) => Prices::updated(Arc::new(update)),
        Ok(None) => Prices::embedded(),
        Err(error) => {
            tracing::error!("the price update is not in force, the catalogue is: {error}");
            Prices::troubled(error.to_string())
        }
    }
}

/// Puts a text in the place of the update, so that it outlives the machine when this returns.
pub fn save(path: &Path, text: &str) -> Result<(), SavedError> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let written = write_durably(&partial, text).and_then(|()| {
        fs::rename(&partial, path)?;
        sync_folder(path)
    });
    written.map_err(|reason| {
        let _ = fs::remove_file(&partial);
        SavedError::Io { path: path.to_owned(), reason }
    })
}

/// Removes the update; `false` where there was none.
pub fn remove(path: &Path) -> Result<bool, SavedError> {
    let removed = match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        removed => removed.and_then(|()| sync_folder(path)),
    };
    removed.map(|()| true).map_err(|reason| SavedError::Io { path: path.to_owned(), reason })
}

fn write_durably(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "conduit-prices 2 update 2026-11-23 x\nacme rocket 1 2 free\nend 1\n";

    #[test]
    fn an_update_is_there_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("conduit.redb");
        let file = path(&store);
        assert!(load(&file).unwrap().is_none() && prices(&store).update().is_none());
        save(&file, TEXT).unwrap();
        assert_eq!(&**load(&file).unwrap().unwrap().version(), "update 2026-11-23 x");
        assert!(prices(&store).find("acme", "rocket").is_some());
        assert!(remove(&file).unwrap() && !remove(&file).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
    }

    #[test]
    fn a_file_that_is_not_whole_is_not_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("conduit.redb");
        let file = path(&store);
        for end in 0..TEXT.len() {
            fs::write(&file, &TEXT[..end]).unwrap();
            assert!(matches!(load(&file), Err(SavedError::Format { .. })), "{end}");
        }
        let prices = prices(&store);
        assert!(prices.update().is_none() && prices.trouble().is_some());
        assert!(prices.find("openai", "gpt-4o").is_some());
        fs::write(&file, [0xff, 0xfe]).unwrap();
        assert!(matches!(load(&file), Err(SavedError::Io { .. })));
    }
}
