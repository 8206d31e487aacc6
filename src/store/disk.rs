//! The files the journal is made of. A trait, because a crash and a failing disk must be tried out.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A folder of numbered segments.
pub trait Disk: Send + Sync + 'static {
    /// Makes an empty segment whose name survives a crash.
    fn create(&self, number: u64) -> io::Result<Arc<dyn Segment>>;
    /// The numbers of the segments there are, ascending.
    fn list(&self) -> io::Result<Vec<u64>>;
    fn read(&self, number: u64) -> io::Result<Vec<u8>>;
    fn remove(&self, number: u64) -> io::Result<()>;
    /// Which start of the machine this is: while it stays the same, whatever was appended is there,
    /// synced or not. `None` if that cannot be known.
    fn boot(&self) -> Option<Arc<str>>;
}

/// A file that only grows.
pub trait Segment: Send + Sync {
    /// Appends some of `bytes` and says how many; what was appended outlives the process at once.
    fn append(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Makes what was appended outlive the machine.
    fn sync(&self) -> io::Result<()>;
}

/// Segments as files in a folder beside the store: `conduit.redb.journal/00000001`.
///
/// A folder of their own, so that nobody who watches the store's folder, as we do where the
/// configuration lies there too, is woken by every call.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// The journal of the store at `store`; its folder is made if it is not there.
    pub fn beside(store: &Path) -> io::Result<Self> {
        let folder = Self(journal_of(store));
        super::make_private_folder(&folder.0)?;
        Ok(folder)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.0.join(format!("{number:08}"))
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

/// Where the journal of the store at `store` is.
pub(super) fn journal_of(store: &Path) -> PathBuf {
    let mut path = store.as_os_str().to_owned();
    path.push(".journal");
    PathBuf::from(path)
}

/// How many bytes the segments of the journal have of the store at `store`.
pub(super) fn bytes_beside(store: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(journal_of(store)) else { return 0 };
    entries.flatten().filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
}

impl Disk for Folder {
    fn create(&self, number: u64) -> io::Result<Arc<dyn Segment>> {
        let mut options = OpenOptions::new();
        options.create_new(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(self.path(number))?;
        self.sync_folder()?;
        Ok(Arc::new(OnDisk(file)))
    }

    fn list(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.0)? {
            let name = entry?.file_name();
            numbers.extend(name.to_str().and_then(|number| number.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn read(&self, number: u64) -> io::Result<Vec<u8>> {
        std::fs::read(self.path(number))
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        std::fs::remove_file(self.path(number))
    }

    /// Linux makes a new one each time it starts (`random(4)`).
    fn boot(&self) -> Option<Arc<str>> {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let id = id.trim();
        (!id.is_empty()).then(|| Arc::from(id))
    }
}

struct OnDisk(File);

impl Segment for OnDisk {
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        (&self.0).write(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
