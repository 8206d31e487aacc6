//! A copy of the store in a file of its own, made while calls go on, and its way back.
//!
//! A backup holds what was put away at one instant: every table, no journal. Calls that were under way
//! are in it as open holds, which a restored store posts like those of a crash. What is restored may
//! also be a store that was kept as it was, of any format and with its journal. Restoring never lets the
//! journal of one store reach the tables of another, and never throws a store away.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use redb::{
    Database, Key, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, Value,
    WriteTransaction,
};

use super::disk::{Disk, Folder, journal_of};
use super::migration::{self, Keep};
use super::record::Record;
use super::schema::{
    self, ACCOUNTS, ADJUSTMENTS, AUDIT, FORMAT, HOURS, KEYS, META, OPEN, PASSWORDS, PRUNED,
    RECEIPTS, STORED_KEY, TEAM_ACCOUNTS, TEAM_HOURS, TEAMS, TOKENS,
};
use super::verify::{Books, audit_file};
use super::{Store, StoreError, make_private_folder};
use crate::domain::codec::Decoder;
use crate::domain::window::Timestamp;

/// Memory for the pages of a file that is written or read through once.
const CACHE_BYTES: usize = 16 << 20;

/// A backup that was made.
#[derive(Clone, Copy, Debug)]
pub struct BackedUp {
    pub bytes: u64,
    pub digest: blake3::Hash,
}

/// A backup that took the store's place.
#[derive(Debug)]
pub struct Restored {
    /// Where the store is that was there before.
    pub kept: Option<PathBuf>,
    pub books: Books,
}

impl Store {
    /// Copies the store as it is now into a new file, which appears whole or not at all. An existing
    /// file is replaced only when asked.
    pub fn back_up(&self, to: &Path, replace: bool) -> Result<BackedUp, StoreError> {
        if is_same_file(to, &self.path) {
            return Err(StoreError::Itself(self.path.clone()));
        }
        if to.exists() && !replace {
            return Err(StoreError::Exists(to.to_owned()));
        }
        self.bring_up_to_date()?;
        let read = self.read()?;
        let partial = beside(to, ".partial");
        let made = copy_tables(&read, &partial).and_then(|()| {
            let made = measure(&partial)?;
            fs::rename(&partial, to)?;
            sync_folder(to)?;
            Ok(made)
        });
        if made.is_err() {
            let _ = fs::remove_file(&partial);
        }
        made
    }
}

impl Store {
    /// Makes a backup in the folder `backups` beside the store, under a name that tells the time.
    pub fn back_up_beside(&self, now: Timestamp) -> Result<(PathBuf, BackedUp), StoreError> {
        let store = std::path::absolute(&self.path)?;
        let folder = store.parent().unwrap_or(Path::new("/")).join("backups");
        make_private_folder(&folder).map_err(|error| StoreError::unusable(&folder, error))?;
        let digits: String = now.to_string().chars().filter(char::is_ascii_alphanumeric).collect();
        let file = folder.join(format!("conduit-{digits}.redb"));
        let made = self.back_up(&file, false)?;
        Ok((file, made))
    }
}

/// Puts the store of a backup at `store`, where no process may have one open. What is there now is
/// kept beside it, with its journal, under a name that tells the time.
///
/// # Errors
/// When the backup is not a store, or of a newer program, or does not add up and `force` does not say
/// that this is no matter; when the store is in use. Nothing is changed then.
pub fn restore(
    backup: &Path,
    store: &Path,
    force: bool,
    now: Timestamp,
) -> Result<Restored, StoreError> {
    if is_same_file(backup, store) {
        return Err(StoreError::Itself(store.to_owned()));
    }
    if let Some(folder) = store.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        make_private_folder(folder).map_err(|error| StoreError::unusable(folder, error))?;
    }
    let incoming = beside(store, ".restoring");
    let outcome = copy_checked(backup, &incoming, force).and_then(|books| {
        // Held until the end, so that no server starts on either of the two meanwhile.
        let _present = open_present(store)?;
        outrun_journal(&incoming, store)?;
        let kept = put_in_place(&incoming, store, now)?;
        Ok(Restored { kept, books })
    });
    if outcome.is_err() {
        let _ = fs::remove_file(&incoming);
    }
    outcome
}

/// Opens the store that is there, which locks it, and brings it up to date. One that cannot be opened
/// any more may be what the backup is for.
fn open_present(store: &Path) -> Result<Option<Store>, StoreError> {
    if !store.exists() {
        return Ok(None);
    }
    match Store::open(store) {
        Ok((present, _)) => {
            present.journal.close();
            Ok(Some(present))
        }
        Err(StoreError::InUse(path)) => Err(StoreError::InUse(path)),
        Err(error) => {
            tracing::warn!("the present store cannot be opened, and is kept as it is: {error}");
            Ok(None)
        }
    }
}

/// Copies the backup beside the store and checks the copy.
fn copy_checked(backup: &Path, incoming: &Path, force: bool) -> Result<Books, StoreError> {
    let mut from = File::open(backup).map_err(|error| StoreError::unusable(backup, error))?;
    let mut to = create_private(incoming)?;
    io::copy(&mut from, &mut to)?;
    drop(to);
    bring_up_to_date(backup, incoming)?;
    let db = Database::builder().set_cache_size(CACHE_BYTES).open(incoming);
    let db = db.map_err(|error| StoreError::opening(backup, error))?;
    let books = audit_file(&db.begin_read()?, backup)?;
    if !books.differences.is_empty() && !force {
        let differences = books.differences.len();
        return Err(StoreError::DoesNotAddUp { path: backup.to_owned(), differences });
    }
    Ok(books)
}

/// Brings the copy of a backup to today's format, and takes in the journal that a store has beside it
/// which was kept as it was.
fn bring_up_to_date(backup: &Path, incoming: &Path) -> Result<(), StoreError> {
    let journal = journal_of(incoming);
    if journal.exists() {
        // Left behind by a restore that was cut off.
        fs::remove_dir_all(&journal)?;
    }
    let has_journal = migration::copy_journal(backup, incoming)?;
    if !has_journal && !is_earlier(backup, incoming)? {
        return Ok(());
    }
    let (store, _) = Store::open_keeping(incoming, Keep::Nothing)?;
    store.close();
    fs::remove_dir_all(&journal)?;
    Ok(())
}

fn is_earlier(backup: &Path, incoming: &Path) -> Result<bool, StoreError> {
    let db = Database::builder().set_cache_size(CACHE_BYTES).open(incoming);
    let db = db.map_err(|error| StoreError::opening(backup, error))?;
    Ok(schema::check(&db.begin_read()?, backup)?.is_some_and(|format| format < FORMAT))
}

/// Counts the segments of the journal that is there as put away, should one be left behind.
fn outrun_journal(incoming: &Path, store: &Path) -> Result<(), StoreError> {
    let segments = if journal_of(store).exists() { Folder::beside(store)?.list()? } else { vec![] };
    let db = Database::builder().set_cache_size(CACHE_BYTES).open(incoming);
    let db = db.map_err(|error| StoreError::opening(incoming, error))?;
    let write = db.begin_write()?;
    {
        let mut meta = write.open_table(META)?;
        let stored = meta.get(STORED_KEY)?.map_or(0, |stored| stored.value());
        meta.insert(STORED_KEY, stored.max(segments.last().copied().unwrap_or(0)))?;
    }
    write.commit()?;
    drop(db);
    File::open(incoming)?.sync_all()?;
    Ok(())
}

/// Switches the stores in one step: at any instant there is one at `store`.
fn put_in_place(
    incoming: &Path,
    store: &Path,
    now: Timestamp,
) -> Result<Option<PathBuf>, StoreError> {
    let digits: String = now.to_string().chars().filter(char::is_ascii_alphanumeric).collect();
    let kept = beside(store, &format!(".before-restore-{digits}"));
    let has_store = store.exists();
    if has_store && fs::hard_link(store, &kept).is_err() {
        // A file system without links: there is an instant without a store.
        fs::rename(store, &kept)?;
    }
    fs::rename(incoming, store)?;
    let journal = journal_of(store);
    let has_journal = journal.exists();
    if has_journal {
        fs::rename(&journal, journal_of(&kept))?;
    }
    sync_folder(store)?;
    Ok((has_store || has_journal).then_some(kept))
}

fn copy_tables(read: &ReadTransaction, to: &Path) -> Result<(), StoreError> {
    drop(create_private(to)?);
    let db = Database::builder().set_cache_size(CACHE_BYTES).create(to);
    let db = db.map_err(|error| StoreError::opening(to, error))?;
    let write = db.begin_write()?;
    copy(read, &write, META)?;
    copy(read, &write, KEYS)?;
    copy(read, &write, ACCOUNTS)?;
    copy(read, &write, RECEIPTS)?;
    copy(read, &write, HOURS)?;
    copy_open_calls(read, &write)?;
    copy(read, &write, ADJUSTMENTS)?;
    copy(read, &write, PRUNED)?;
    copy(read, &write, TEAMS)?;
    copy(read, &write, TEAM_ACCOUNTS)?;
    copy(read, &write, TEAM_HOURS)?;
    // Without sessions: nobody is signed in to a copy.
    copy(read, &write, PASSWORDS)?;
    copy(read, &write, TOKENS)?;
    copy(read, &write, AUDIT)?;
    write.commit()?;
    Ok(())
}

fn copy<K: Key + 'static, V: Value + 'static>(
    read: &ReadTransaction,
    write: &WriteTransaction,
    definition: TableDefinition<'_, K, V>,
) -> Result<(), StoreError> {
    let mut to = write.open_table(definition)?;
    for row in read.open_table(definition)?.iter()? {
        let (place, value) = row?;
        to.insert(place.value(), value.value())?;
    }
    Ok(())
}

/// Copies the holds of calls under way, without cover: what that stands for is in the copy itself.
fn copy_open_calls(read: &ReadTransaction, write: &WriteTransaction) -> Result<(), StoreError> {
    let mut to = write.open_table(OPEN)?;
    for row in read.open_table(OPEN)?.iter()? {
        let (id, record) = row?;
        let decoded = Record::decode(&mut Decoder::new(record.value()))?;
        if !matches!(decoded, Record::Hold(hold) if hold.is_cover()) {
            to.insert(id.value(), record.value())?;
        }
    }
    Ok(())
}

/// Syncs a file and says what is in it.
fn measure(path: &Path) -> Result<BackedUp, StoreError> {
    let file = File::open(path)?;
    file.sync_all()?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(&file)?;
    Ok(BackedUp { bytes: file.metadata()?.len(), digest: hasher.finalize() })
}

/// Makes an empty file that only its owner may read, in the place of one that was left behind.
fn create_private(path: &Path) -> Result<File, StoreError> {
    let _ = fs::remove_file(path);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|error| StoreError::unusable(path, error))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}
