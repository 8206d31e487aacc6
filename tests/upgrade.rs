//! Stores of every earlier format, as the programs of their time left them when they were killed: each
//! opens, keeps all that was in it, and is copied before anything is changed.
//!
//! `tests/fixtures/stores/make` says how they were made.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails where it unwraps")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use conduit::admin::keys::ListKeys;
use conduit::admin::receipts::{ListReceipts, ReceiptView};
use conduit::admin::verify::VerifyBooks;
use conduit::admin::{Desk, Verb};
use conduit::clock;
use conduit::domain::key::Secret;
use conduit::domain::receipt::Metered;
use conduit::ledger::{Ledger, Policy};
use conduit::store::{Migrated, Store, StoreError, look_at, restore};
use redb::{Database, TableDefinition};
use tempfile::TempDir;

/// What today's program writes.
const FORMAT: u64 = 4;

/// A store that was made by an earlier program.
struct Old {
    name: String,
    folder: TempDir,
}

impl Old {
    fn all() -> Vec<Self> {
        let stores = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stores");
        let mut names: Vec<String> = fs::read_dir(&stores)
            .unwrap()
            .filter_map(|entry| {
                let name = entry.unwrap().file_name().into_string().unwrap();
                name.strip_suffix(".tar.gz").map(str::to_owned)
            })
            .collect();
        names.sort();
        assert!(names.len() >= 7, "{names:?}");
        names.into_iter().map(|name| Self::unpack(&stores, name)).collect()
    }

    fn unpack(stores: &Path, name: String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let packed = stores.join(format!("{name}.tar.gz"));
        let mut tar = Command::new("tar");
        let status = tar.arg("-xzf").arg(packed).arg("-C").arg(folder.path()).status();
        assert!(status.unwrap().success(), "{name}");
        Self { name, folder }
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("conduit.redb")
    }

    fn has_teams(&self) -> bool {
        !["1", "2", "3"].contains(&&self.name[..1])
    }

    /// The secret of the key `first`.
    fn secret(&self) -> String {
        fs::read_to_string(self.folder.path().join("secret")).unwrap().trim_end().to_owned()
    }

    /// Every file of it, but what the test itself put there.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        collect(self.folder.path(), &mut files);
        files.sort();
        files
    }
}

fn collect(folder: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            let bytes = fs::read(&path).unwrap();
            files.push((path, bytes));
        }
    }
}

fn open(store: &Path) -> (Desk, Option<Migrated>) {
    let (store, found) = Store::open(store).unwrap();
    let ledger = Ledger::load(Arc::new(store), found.open, Policy::default(), clock::now());
    (Desk::without_server(ledger.unwrap()), found.migrated)
}

fn receipts(desk: &Desk) -> Vec<ReceiptView> {
    ListReceipts { limit: 1000, ..ListReceipts::default() }.run(desk).unwrap()
}

/// How many receipts a key has, and how many of them of calls whose end nobody saw.
fn count(receipts: &[ReceiptView], key: &str) -> (usize, usize) {
    let own = receipts.iter().filter(|receipt| receipt.key_name.as_deref() == Some(key));
    let recovered = own.clone().filter(|receipt| receipt.metered == Metered::Recovered);
    (own.count(), recovered.count())
}

fn expect_all(desk: &Desk, old: &Old) {
    let name = &old.name;
    let receipts = receipts(desk);
    assert_eq!(count(&receipts, "first"), (2, 0), "{name}");
    assert_eq!(count(&receipts, "second"), (2, 0), "{name}: the last was in the journal");
    assert_eq!(count(&receipts, "third"), (1, 1), "{name}: it was open");
    let shared = if old.has_teams() { (2, 1) } else { (0, 0) };
    assert_eq!(count(&receipts, "shared"), shared, "{name}");
    let report = VerifyBooks {}.run(desk).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(report.agrees, "{name}: {report:#?}");
    let hash = Secret::parse(&old.secret()).unwrap().hash();
    let (account, _) = desk.ledger.identify(hash, clock::now()).unwrap();
    assert_eq!(account.record().name, "first", "{name}");
    let keys = ListKeys::default().run(desk).unwrap();
    assert_eq!(keys.len(), if old.has_teams() { 4 } else { 3 }, "{name}");
}

#[test]
fn every_earlier_store_opens_and_keeps_what_was_in_it() {
    for old in Old::all() {
        let name = &old.name;
        let before = old.files();
        let (desk, migrated) = open(&old.store());
        let from = migrated.as_ref().unwrap().from;
        assert!(from < FORMAT, "{name}");
        let kept = old.folder.path().join(format!("conduit.redb.format-{from}"));
        let expected = Migrated { from, to: FORMAT, backup: Some(kept.clone()) };
        assert_eq!(migrated, Some(expected), "{name}");
        expect_all(&desk, &old);
        drop(desk);

        // What was there before is kept, journal and all, byte for byte but for the store itself,
        // which was opened.
        for (path, bytes) in before {
            let path = path.display().to_string();
            let Some((start, rest)) = path.split_once("conduit.redb") else { continue };
            let copy = format!("{start}conduit.redb.format-{from}{rest}");
            if rest.is_empty() {
                assert!(Path::new(&copy).exists(), "{name}: {copy}");
            } else {
                assert_eq!(fs::read(&copy).unwrap(), bytes, "{name}: {copy}");
            }
        }
        let (desk, migrated) = open(&old.store());
        assert_eq!(migrated, None, "{name}: once is enough");
        expect_all(&desk, &old);
        drop(desk);
        let left = fs::read_dir(old.folder.path()).unwrap().flatten().filter(|entry| {
            entry.file_name().to_str().unwrap().starts_with("conduit.redb.journal-")
        });
        assert_eq!(left.count(), 0, "{name}");

        // And the copy is as good as it was.
        let again = old.folder.path().join("again/conduit.redb");
        restore(&kept, &again, false, clock::now()).unwrap();
        let (desk, migrated) = open(&again);
        assert_eq!(migrated, None, "{name}: restoring brought it up to date");
        expect_all(&desk, &old);
    }
}

#[test]
fn an_earlier_store_is_looked_at_without_being_changed() {
    for old in Old::all() {
        let before = old.files();
        match look_at(&old.store()) {
            Ok(seen) => {
                assert!(seen.format < FORMAT, "{}", old.name);
                assert_eq!(seen.newest_format, FORMAT);
                assert!(seen.books.differences.is_empty(), "{}: {:#?}", old.name, seen.books);
            }
            Err(StoreError::Unclean(_)) => {}
            Err(error) => panic!("{}: {error}", old.name),
        }
        assert!(old.files() == before, "{}", old.name);
    }
}

#[test]
fn a_store_that_cannot_be_copied_stays_as_it_is() {
    let old = Old::all().remove(0);
    let (desk, _) = open(&old.store());
    drop(desk);
    // As if every name for a copy had been taken, one that cannot be written at is next.
    let format = |number| {
        let db = Database::open(old.store()).unwrap();
        let write = db.begin_write().unwrap();
        let meta: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
        write.open_table(meta).unwrap().insert("format", number).unwrap();
        write.commit().unwrap();
    };
    format(1);
    fs::create_dir_all(old.folder.path().join("conduit.redb.format-1.2.partial/x")).unwrap();
    let refused = Store::open(&old.store()).err().unwrap();
    assert!(matches!(refused, StoreError::NoCopy { format: 1, .. }), "{refused}");
    assert!(refused.to_string().contains("nothing was changed"), "{refused}");
    assert_eq!(look_at(&old.store()).unwrap().format, 1);
    fs::remove_dir_all(old.folder.path().join("conduit.redb.format-1.2.partial")).unwrap();
    let (desk, migrated) = open(&old.store());
    let kept = old.folder.path().join("conduit.redb.format-1.2");
    assert_eq!(migrated.unwrap().backup, Some(kept));
    expect_all(&desk, &old);
}

#[test]
fn a_store_of_a_later_format_is_refused_with_a_sentence() {
    let old = Old::all().remove(0);
    let (desk, _) = open(&old.store());
    drop(desk);
    let db = Database::open(old.store()).unwrap();
    let write = db.begin_write().unwrap();
    let meta: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
    write.open_table(meta).unwrap().insert("format", FORMAT + 1).unwrap();
    write.commit().unwrap();
    drop(db);
    let config = old.folder.path().join("conduit.toml");
    fs::write(
        &config,
        "[store]\npath = \"conduit.redb\"\n[admin]\nsocket = \"s\"\nlisten = \"off\"\n\
         [server]\nlisten = \"127.0.0.1:0\"\n[providers.echo]\nkind = \"echo\"\n",
    )
    .unwrap();
    for arguments in [&["serve"][..], &["keys", "list"], &["admin", "status"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_conduit"));
        let output = command.args(arguments).arg("--config").arg(&config).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{arguments:?}: {said}");
        for words in ["newer conduit", "install that version", "conduit.redb.format-4"] {
            assert!(said.contains(words), "{arguments:?}: {said}");
        }
    }
}
