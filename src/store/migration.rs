//! Bringing a store of an earlier format to today's.
//!
//! Each format has a step from the one before it. All steps that a file needs and its new number are one
//! transaction, so that a crash leaves it as it was or as it must be. The store and its journal are
//! copied before anything is changed; that copy is never overwritten and never deleted here, except
//! where the migration it was made for did not happen.
//!
//! To raise the format: change [`super::schema::FORMAT`] and add a step. A record whose own version was
//! raised is read in both versions by its type, so a step may have nothing to do.

mod first;

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use redb::WriteTransaction;

use super::disk::{Disk, journal_of};
use super::schema::{self, FORMAT};
use super::vault::Vault;
use super::{StoreError, make_private, make_private_folder, sync_folder_of};

/// From a format to the next. Gets the journal that the store had, and says which segments it has taken
/// in by raising the number under [`schema::STORED_KEY`].
type Step = fn(&WriteTransaction, &Old<'_>) -> Result<(), StoreError>;

/// The step from format 1, from format 2, and so on. The number of the first three says little, so what
/// each of them lacks is found out in one step.
const STEPS: [Option<Step>; 3] = [None, None, Some(first::bring_to_4)];

const _: () = assert!(STEPS.len() as u64 + 1 == FORMAT, "each format needs a step to the next");

/// The journal of a store of an earlier format.
struct Old<'a> {
    disk: &'a dyn Disk,
    /// Segments from when they lay beside the store.
    beside: Vec<(u64, PathBuf)>,
}

/// What was done to a store when it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    pub from: u64,
    pub to: u64,
    /// The store as it was, unless the store was a copy already.
    pub backup: Option<PathBuf>,
}

impl fmt::Display for Migrated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store was brought from format {} to format {}", self.from, self.to)?;
        match &self.backup {
            Some(backup) => write!(f, "; as it was before, it is kept as {}", backup.display()),
            None => Ok(()),
        }
    }
}

/// Whether a store is copied before it is migrated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// Beside it, under its name and `.format-N`.
    Copy,
    /// It is a copy itself, or in memory.
    Nothing,
}

/// Does all steps from format `from`. Nobody else may have the store open.
pub(super) fn migrate(
    vault: &Vault,
    disk: &dyn Disk,
    path: &Path,
    from: u64,
    keep: Keep,
) -> Result<Migrated, StoreError> {
    let old = Old { disk, beside: first::segments_beside(path) };
    let backup = match keep {
        Keep::Copy => Some(copy(path, from)?),
        Keep::Nothing => None,
    };
    let done = step_by_step(vault, &old, from);
    if let Err(error) = done {
        // Nothing was changed, so that the copy is of no use.
        backup.as_deref().map(forget);
        return Err(error);
    }
    for (_, segment) in &old.beside {
        if let Err(error) = fs::remove_file(segment) {
            tracing::warn!("{} is of no use any more: {error}", segment.display());
        }
    }
    Ok(Migrated { from, to: FORMAT, backup })
}

fn step_by_step(vault: &Vault, old: &Old<'_>, from: u64) -> Result<(), StoreError> {
    let write = vault.begin_write()?;
    let done = usize::try_from(from.saturating_sub(1)).unwrap_or(usize::MAX);
    for step in STEPS.iter().skip(done).flatten() {
        step(&write, old)?;
    }
    schema::mark_current(&write)?;
    write.commit()?;
    Ok(())
}

/// Copies a store that is open here and rests, with its journal, and returns the copy's name.
fn copy(store: &Path, format: u64) -> Result<PathBuf, StoreError> {
    let to = free_name(store, format);
    let copied = copy_to(store, &to);
    copied.map(|()| to.clone()).map_err(|reason| {
        forget(&to);
        StoreError::NoCopy { path: store.to_owned(), format, to, reason }
    })
}

/// The journal goes first: where the copy has its own name it is whole.
fn copy_to(store: &Path, to: &Path) -> io::Result<()> {
    copy_journal(store, to)?;
    let partial = partial(to);
    copy_file(store, &partial)?;
    fs::rename(&partial, to)?;
    sync_folder_of(to)
}

/// Copies what a store has beside it as its journal, of any format, and says whether there is one.
pub(super) fn copy_journal(store: &Path, to: &Path) -> io::Result<bool> {
    let (from, folder) = (journal_of(store), journal_of(to));
    let has_folder = from.is_dir();
    if has_folder {
        make_private_folder(&folder)?;
        for entry in fs::read_dir(&from)? {
            let entry = entry?;
            copy_file(&entry.path(), &folder.join(entry.file_name()))?;
        }
        File::open(&folder)?.sync_all()?;
    }
    let beside = first::segments_beside(store);
    for (number, segment) in &beside {
        copy_file(segment, &first::segment_beside(to, *number))?;
    }
    Ok(has_folder || !beside.is_empty())
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    make_private(to)?;
    File::open(to)?.sync_all()
}

/// `conduit.redb.format-1`, or with a number after it that makes it new.
fn free_name(store: &Path, format: u64) -> PathBuf {
    let name = |again: u32| {
        let mut name = store.as_os_str().to_owned();
        name.push(format!(".format-{format}"));
        if again > 1 {
            name.push(format!(".{again}"));
        }
        PathBuf::from(name)
    };
    let mut names = (1..).map(name);
    let is_free = |name: &PathBuf| !name.exists() && !journal_of(name).exists();
    names.find(is_free).unwrap_or_else(|| name(u32::MAX))
}

fn partial(copy: &Path) -> PathBuf {
    let mut name = copy.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

/// Deletes a copy that is not needed, as far as that can be done.
fn forget(copy: &Path) {
    let _ = fs::remove_file(copy);
    let _ = fs::remove_file(partial(copy));
    let _ = fs::remove_dir_all(journal_of(copy));
    for (_, segment) in first::segments_beside(copy) {
        let _ = fs::remove_file(segment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_never_takes_the_place_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("s.redb");
        let name = |suffix: &str| folder.path().join(format!("s.redb.format-1{suffix}"));
        assert_eq!(free_name(&store, 1), name(""));
        fs::write(name(""), "").unwrap();
        assert_eq!(free_name(&store, 1), name(".2"));
        fs::create_dir(name(".2.journal")).unwrap();
        assert_eq!(free_name(&store, 1), name(".3"));
        assert_eq!(free_name(&store, 7), folder.path().join("s.redb.format-7"));
    }

    #[test]
    fn a_copy_that_cannot_be_made_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("s.redb");
        fs::create_dir(&store).unwrap();
        let error = copy(&store, 1).unwrap_err().to_string();
        assert!(error.contains("nothing was changed"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
