//! What outlives the process: keys and teams, what accounts have posted, receipts, hourly totals, and the
//! journal of what happened since they were last brought up to date.
//!
//! Nothing above this module knows redb. Each verb is one transaction; deciding whether a call may be
//! made is the ledger's business, never the store's.

mod access;
mod adjust;
mod audit;
mod backup;
pub mod disk;
mod error;
pub mod journal;
mod keys;
mod migration;
mod receipts;
pub mod record;
mod recovery;
mod repeats;
pub mod report;
mod retention;
mod schema;
mod teams;
mod totals;
mod vault;
mod verify;
mod windows;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{
    Database, DatabaseError, ReadTransaction, ReadableTable, StorageBackend, WriteTransaction,
};

pub use audit::AuditFilter;
pub use backup::{BackedUp, Restored, restore};
pub use error::StoreError;
pub use migration::Migrated;
pub use receipts::{Pruned, ReceiptFilter, Statuses};
pub use repeats::{Answered, Repeat};
pub use report::{Grouping, Step, UsageFilter, UsageRow};
pub use retention::{Ends, Retention};
pub use schema::FORMAT;
pub use totals::Totals;
pub use verify::{Books, Difference, Seen, look_at, verify_file};
pub use windows::Move;

use crate::domain::budget::Remembered;
use crate::domain::key::KeyId;
use disk::{Disk, Folder};
use journal::Journal;
use migration::Keep;
use record::OpenHold;
use recovery::Cabinet;
use vault::Vault;

/// Memory for redb's pages, which it fills with what was written last. Its own default of 1 GiB is too
/// much for a small machine, and what is read often is small.
const CACHE_BYTES: usize = 16 << 20;

/// The open store.
pub struct Store {
    // Before `vault`: closing the journal puts everything away, which needs the database.
    journal: Journal,
    vault: Arc<Vault>,
    path: PathBuf,
    boot: Option<Arc<str>>,
}

/// The sizes of a store's files, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub tables: u64,
    pub journal: u64,
}

/// What was found when the store was opened.
#[derive(Debug, Default)]
pub struct Found {
    /// The store was made just now.
    pub is_new: bool,
    /// Holds of calls that were under way when the process died.
    pub open: Vec<OpenHold>,
    /// It was of an earlier format.
    pub migrated: Option<Migrated>,
}

impl Store {
    /// Opens the store at `path`, making it and its folder if they are not there, and brings it up to
    /// date from its journal. One of an earlier format is copied and migrated first.
    ///
    /// # Errors
    /// [`StoreError`] says what is in the way and what to do.
    pub fn open(path: &Path) -> Result<(Self, Found), StoreError> {
        Self::open_keeping(path, Keep::Copy)
    }

    fn open_keeping(path: &Path, keep: Keep) -> Result<(Self, Found), StoreError> {
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            make_private_folder(folder).map_err(|e| StoreError::unusable(folder, e))?;
        }
        let is_new = !path.exists();
        if is_new {
            make(path)?;
        }
        let file = path.to_owned();
        let open = move || Database::builder().set_cache_size(CACHE_BYTES).create(&file);
        let vault = Vault::open(open).map_err(|e| StoreError::opening(path, e))?;
        let unusable = |e| StoreError::unusable(path, e);
        let journal = Folder::beside(path).map_err(unusable)?;
        sync_folder_of(path).map_err(unusable)?;
        Self::start(vault, Arc::new(journal), path, is_new, keep)
    }

    /// Opens a store in memory or on a disk made for a test. `backend` is asked for once more each
    /// time the database has failed.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with<B: StorageBackend>(
        backend: impl Fn() -> B + Send + Sync + 'static,
        disk: Arc<dyn Disk>,
    ) -> Result<(Self, Found), StoreError> {
        let path = Path::new("memory");
        let open = move || -> Result<Database, DatabaseError> {
            Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend())
        };
        let vault = Vault::open(open).map_err(|e| StoreError::opening(path, e))?;
        Self::start(vault, disk, path, false, Keep::Nothing)
    }

    fn start(
        vault: Vault,
        disk: Arc<dyn Disk>,
        path: &Path,
        is_new: bool,
        keep: Keep,
    ) -> Result<(Self, Found), StoreError> {
        let earlier = schema::prepare(&vault, path)?;
        let migrate = |from| migration::migrate(&vault, &*disk, path, from, keep);
        let migrated = earlier.map(migrate).transpose()?;
        let vault = Arc::new(vault);
        let mut cabinet = Cabinet::new(Arc::clone(&vault), Arc::clone(&disk));
        let (last, open) = cabinet.recover()?;
        let boot = disk.boot();
        let journal = Journal::start(disk, last + 1, cabinet)?;
        let found = Found { is_new, open, migrated };
        Ok((Self { journal, vault, path: path.to_owned(), boot }, found))
    }

    /// Which start of the machine this is, if that can be known.
    pub const fn boot(&self) -> Option<&Arc<str>> {
        self.boot.as_ref()
    }

    pub const fn journal(&self) -> &Journal {
        &self.journal
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How large its files are.
    pub fn size(&self) -> Size {
        let tables = fs::metadata(&self.path).map_or(0, |file| file.len());
        Size { tables, journal: disk::bytes_beside(&self.path) }
    }

    /// All tables as they are at this instant, whatever is written meanwhile.
    fn read(&self) -> Result<ReadTransaction, StoreError> {
        self.vault.begin_read()
    }

    /// Makes a change in one transaction and returns when it outlives the machine. Waits for the
    /// journal's transaction, should it be putting away.
    fn change<T>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let changed = self.vault.begin_write().and_then(|write| {
            let changed = change(&write)?;
            write.commit()?;
            Ok(changed)
        });
        self.vault.watched(changed)
    }

    /// Puts everything away, or says why that cannot be done now.
    fn bring_up_to_date(&self) -> Result<(), StoreError> {
        self.journal.put_away_now();
        match self.journal.trouble() {
            Some(trouble) => Err(StoreError::Troubled(trouble.to_string())),
            None => Ok(()),
        }
    }

    /// The holds of calls that are under way. Blocks until the journal was read.
    pub fn open_holds(&self) -> Result<Vec<OpenHold>, StoreError> {
        self.bring_up_to_date()?;
        let mut open = recovery::open_holds(&self.read()?)?;
        open.retain(|hold| !hold.is_cover());
        Ok(open)
    }

    /// What each account has posted in all and in its latest windows.
    pub fn accounts(&self) -> Result<HashMap<KeyId, Remembered>, StoreError> {
        let read = self.read()?;
        let table = read.open_table(schema::ACCOUNTS)?;
        let mut accounts = HashMap::new();
        for row in table.iter()? {
            let (key, value) = row?;
            let account = schema::Account::decode(value.value())?;
            accounts.insert(KeyId::from_bits(key.value()), account.windows);
        }
        Ok(accounts)
    }

    /// Puts everything away and closes the file. Dropping the store does the same.
    pub fn close(self) {
        self.journal.close();
    }
}

/// Makes an empty store under another name and gives it its own when it is whole: a file that a crash
/// left half-made would be in the way for ever.
fn make(path: &Path) -> Result<(), StoreError> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".new-{}", std::process::id()));
    let draft = PathBuf::from(draft);
    let unusable = |e| StoreError::unusable(path, e);
    let _ = fs::remove_file(&draft);
    {
        let file = draft.clone();
        let vault = Vault::open(move || Database::create(&file));
        let vault = vault.map_err(|e| StoreError::opening(path, e))?;
        make_private(&draft).map_err(unusable)?;
        schema::prepare(&vault, path)?;
    }
    fs::File::open(&draft).and_then(|file| file.sync_all()).map_err(unusable)?;
    // Unlike a rename, a link never takes the place of a store that another process made meanwhile.
    match fs::hard_link(&draft, path) {
        Ok(()) => fs::remove_file(&draft).map_err(unusable),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            fs::remove_file(&draft).map_err(unusable)
        }
        // Not every file system knows links.
        Err(_) => fs::rename(&draft, path).map_err(unusable),
    }
}

/// Folders made for the store are its owner's alone; one that was there keeps its mode.
fn make_private_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Makes the names of what was just made beside `path` outlive the machine.
fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

#[cfg(unix)]
fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}

#[cfg(not(unix))]
fn make_private(_: &Path) -> std::io::Result<()> {
    Ok(())
}
