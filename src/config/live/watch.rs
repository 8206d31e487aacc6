//! The thread that notices when the configuration file has changed, or a certificate that it names.
//!
//! Folders are watched, never the file: editors, configuration management and mounted config maps
//! replace it by a rename, and a watch on the file itself would go silent. What is read is compared,
//! so a wake-up too many does no harm.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::Live;
use crate::config::read;

/// A save is often several events; this long after the last one it is over.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// A file that is saved without end is read this often all the same.
const MAX_DEBOUNCE: Duration = Duration::from_secs(2);
/// While a file is being replaced it may be missing or empty; so many times `DEBOUNCE` it may be so.
const PATIENCE: u32 = 10;
/// More links than this lead in a circle.
const MAX_LINKS: u32 = 40;

#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("the thread that watches the config file cannot be started: {0}")]
    Thread(#[source] io::Error),
    #[error("changes of the config file cannot be watched: {0}")]
    Notify(#[from] notify::Error),
}

enum Wake {
    /// Something happened to the file or on the way to it.
    Changed,
    /// Read it again in any case.
    Reload,
    Stop,
}

/// Asks the watching thread for a reload.
pub(super) struct Waker(Sender<Wake>);

impl Waker {
    /// `false` if the thread has ended.
    pub(super) fn reload(&self) -> bool {
        self.0.send(Wake::Reload).is_ok()
    }
}

/// Keeps the watching thread alive; ends it when dropped.
#[derive(Debug)]
pub struct Watch {
    wake: Sender<Wake>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.wake.send(Wake::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub(super) fn start(live: Arc<Live>) -> Result<(Watch, Waker), WatchError> {
    let (wake, woken) = channel();
    let mut folders = Folders::new(live.path(), wake.clone())?;
    folders.follow(&live)?;
    let run = move || follow(&live, &woken, &mut folders);
    let thread = thread::Builder::new().name("conduit-config".to_owned()).spawn(run);
    let thread = thread.map_err(WatchError::Thread)?;
    Ok((Watch { wake: wake.clone(), thread: Some(thread) }, Waker(wake)))
}

/// Why the thread goes on.
enum Next {
    Read { forced: bool },
    Stop,
}

fn follow(live: &Live, woken: &Receiver<Wake>, folders: &mut Folders) {
    // The file may have changed between its first reading and the first watch.
    let mut next = Next::Read { forced: false };
    loop {
        let Next::Read { forced } = next else { return };
        // Watched first and read then: whatever happens after the reading is noticed.
        if let Err(error) = folders.follow(live) {
            tracing::warn!(config.file = %live.path().display(), %error, "config not watched");
        }
        next = match attempt(live, woken, forced) {
            Some(next) => next,
            None => match woken.recv() {
                Ok(first) => settle(first, woken),
                Err(_) => Next::Stop,
            },
        };
    }
}

/// Reads the file once it is there; `None` when that is done.
fn attempt(live: &Live, woken: &Receiver<Wake>, forced: bool) -> Option<Next> {
    for _ in 0..PATIENCE {
        let text = read(live.path());
        if text.as_ref().is_ok_and(|text| !text.trim().is_empty()) {
            live.apply(text, forced);
            return None;
        }
        match woken.recv_timeout(DEBOUNCE) {
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Some(Next::Stop),
            Ok(wake) => match settle(wake, woken) {
                Next::Read { forced: again } => {
                    return Some(Next::Read { forced: forced || again });
                }
                Next::Stop => return Some(Next::Stop),
            },
        }
    }
    live.apply(read(live.path()), forced);
    None
}

/// Waits until a burst of events is over.
fn settle(first: Wake, woken: &Receiver<Wake>) -> Next {
    let deadline = Instant::now() + MAX_DEBOUNCE;
    let mut forced = false;
    let mut wake = first;
    loop {
        match wake {
            Wake::Stop => return Next::Stop,
            Wake::Reload => forced = true,
            Wake::Changed => {}
        }
        let left = deadline.saturating_duration_since(Instant::now());
        wake = match woken.recv_timeout(DEBOUNCE.min(left)) {
            Ok(wake) => wake,
            Err(RecvTimeoutError::Timeout) => return Next::Read { forced },
            Err(RecvTimeoutError::Disconnected) => return Next::Stop,
        };
    }
}

/// The folders in which something can happen that changes the file.
struct Folders {
    file: PathBuf,
    watcher: RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
    /// The entries of those folders that matter, as full paths; the rest is noise.
    entries: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl Folders {
    fn new(file: &Path, wake: Sender<Wake>) -> Result<Self, WatchError> {
        let entries = Arc::new(Mutex::new(BTreeSet::new()));
        let known = Arc::clone(&entries);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // An error may mean that events were lost.
            let matters = event.map_or(true, |event| matters(&event, &known));
            if matters {
                let _ = wake.send(Wake::Changed);
            }
        })?;
        let file = std::path::absolute(file).map_err(notify::Error::io)?;
        Ok(Self { file, watcher, watched: BTreeSet::new(), entries })
    }

    /// Watches the folders as they are now. Those watched before are watched anew, because a folder
    /// that was replaced by another of its name is no longer watched.
    fn follow(&mut self, live: &Live) -> Result<(), notify::Error> {
        let mut entries = entries_on_the_way(&self.file);
        for certificate in live.load().config.certificates() {
            for file in [&certificate.certificate_file, &certificate.key_file] {
                entries.extend(entries_on_the_way(&std::path::absolute(file)?));
            }
        }
        let folders: BTreeSet<PathBuf> =
            entries.iter().filter_map(|entry| entry.parent()).map(Path::to_owned).collect();
        *self.entries.lock().unwrap_or_else(PoisonError::into_inner) = entries;
        for folder in &self.watched {
            let _ = self.watcher.unwatch(folder);
        }
        self.watched.clear();
        let own = self.file.parent().map(Path::to_owned);
        let mut result = Ok(());
        for folder in folders {
            match self.watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(folder);
                }
                // A folder further up may be closed to us; that of the file must not be.
                Err(error) if Some(&folder) == own.as_ref() => result = Err(error),
                Err(_) => {}
            }
        }
        result
    }
}

fn matters(event: &notify::Event, entries: &Mutex<BTreeSet<PathBuf>>) -> bool {
    // Reading the file is an event, too.
    let wrote = EventKind::Access(AccessKind::Close(AccessMode::Write));
    if event.kind.is_access() && event.kind != wrote {
        return false;
    }
    let entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
    event.need_rescan() || event.paths.iter().any(|path| entries.contains(path))
}

/// The file, its folder, and every link that is followed to get to it.
fn entries_on_the_way(file: &Path) -> BTreeSet<PathBuf> {
    let mut entries = BTreeSet::from([file.to_owned()]);
    entries.extend(file.parent().filter(|folder| folder.parent().is_some()).map(Path::to_owned));
    let mut links = 0;
    let mut way = PathBuf::new();
    let mut rest: Vec<_> = parts(file);
    while let Some(part) = rest.pop() {
        if part == ".." {
            way.pop();
            continue;
        }
        way.push(&part);
        let Ok(target) = fs::read_link(&way) else { continue };
        entries.insert(way.clone());
        links += 1;
        if links > MAX_LINKS {
            break;
        }
        way.pop();
        rest.extend(parts(&target));
    }
    entries.insert(way);
    entries
}

/// The parts of a path, the first one last.
fn parts(path: &Path) -> Vec<std::ffi::OsString> {
    let named = path.components().filter(|part| *part != Component::CurDir);
    let mut parts = named.map(|part| part.as_os_str().to_owned()).collect::<Vec<_>>();
    parts.reverse();
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn every_link_on_the_way_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::create_dir_all(root.join("mount/v1")).unwrap();
        fs::write(root.join("mount/v1/conduit.toml"), "").unwrap();
        symlink("v1", root.join("mount/..data")).unwrap();
        symlink("../mount/..data/conduit.toml", root.join("etc/conduit.toml")).unwrap();
        let entries = entries_on_the_way(&root.join("etc/conduit.toml"));
        let expected = ["etc", "etc/conduit.toml", "mount/..data", "mount/v1/conduit.toml"];
        assert_eq!(entries, expected.iter().map(|entry| root.join(entry)).collect());
    }

    #[test]
    fn links_in_a_circle_end() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        assert!(entries_on_the_way(&root.join("a")).contains(&root.join("b")));
    }
}
