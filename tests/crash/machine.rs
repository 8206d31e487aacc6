//! A machine in memory: the database's file and the journal's folder, a log of everything done to
//! them, what may be left of it after a crash, and faults to order.
//!
//! What was synced survives. Of the rest any part may survive, in any order: a write may be whole,
//! torn or gone, a file's making or deletion undone.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use conduit::store::disk::{Disk, Segment};
use conduit::store::{Found, Store, StoreError};
use redb::StorageBackend;

use crate::chance::Chance;

/// What lies on the disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    db: Vec<u8>,
    segments: BTreeMap<u64, Vec<u8>>,
    /// How often the power had failed.
    boots: u64,
}

/// One thing done to the disk, or a note of the test's own.
#[derive(Clone, Debug)]
pub(crate) enum Op<N> {
    DbWrite {
        offset: usize,
        data: Vec<u8>,
    },
    DbLength(usize),
    DbSync,
    Create(u64),
    Remove(u64),
    /// The folder was synced: files made and deleted before stay so.
    SyncNames,
    Append {
        number: u64,
        offset: usize,
        data: Vec<u8>,
    },
    /// A segment was synced up to this length.
    Sync {
        number: u64,
        length: usize,
    },
    Note(N),
}

/// What fails, until it is taken back.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each fails by itself")]
pub(crate) struct Faults {
    /// Every append is refused.
    pub(crate) full: bool,
    /// An append takes at most so many bytes.
    pub(crate) short: Option<usize>,
    /// So many syncs of segments fail; those after them claim success and save nothing of what had
    /// been written before, as real kernels do.
    pub(crate) syncs: u32,
    /// No file can be made: the name appears, then the call fails.
    pub(crate) create: bool,
    pub(crate) remove: bool,
    /// This segment cannot be deleted.
    pub(crate) stuck: Option<u64>,
    /// The database's file takes nothing.
    pub(crate) db: bool,
    /// Each sync of the database takes so long.
    pub(crate) db_delay: Duration,
}

#[derive(Debug)]
struct State<N> {
    now: Image,
    log: Vec<Op<N>>,
    /// Segments a sync of which has failed.
    lost: BTreeSet<u64>,
}

/// How a machine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// `kill -9`: what the operating system has taken is there.
    Process,
    /// The power fails.
    Power,
}

#[derive(Debug)]
pub(crate) struct Machine<N = ()> {
    start: Image,
    state: Mutex<State<N>>,
    faults: Mutex<Faults>,
}

impl<N: Clone + std::fmt::Debug + Send + 'static> Machine<N> {
    pub(crate) fn new(start: Image) -> Arc<Self> {
        let now = start.clone();
        let state = State { now, log: Vec::new(), lost: BTreeSet::new() };
        Arc::new(Self { start, state: Mutex::new(state), faults: Mutex::default() })
    }

    pub(crate) fn open(self: &Arc<Self>) -> Result<(Store, Found), StoreError> {
        let file = Arc::clone(self);
        Store::open_with(move || DbFile(Arc::clone(&file)), Arc::new(Folder(Arc::clone(self))))
    }

    fn state(&self) -> MutexGuard<'_, State<N>> {
        self.state.lock().unwrap()
    }

    fn faults(&self) -> Faults {
        *self.faults.lock().unwrap()
    }

    pub(crate) fn break_it(&self, faults: Faults) {
        *self.faults.lock().unwrap() = faults;
    }

    pub(crate) fn repair(&self) {
        self.break_it(Faults::default());
    }

    pub(crate) fn note(&self, note: N) {
        self.state().log.push(Op::Note(note));
    }

    pub(crate) fn segments(&self) -> Vec<u64> {
        self.state().now.segments.keys().copied().collect()
    }

    pub(crate) fn log(&self) -> Vec<Op<N>> {
        self.state().log.clone()
    }

    /// What may be found after a crash when so many things had been done.
    pub(crate) fn image(&self, done: usize, crash: Crash, chance: &mut Chance) -> Image {
        let mut disk = Surviving::new(&self.start);
        for op in &self.state().log[..done] {
            disk.apply(op);
        }
        disk.end(crash, chance)
    }

    /// What is certain to be found now, whatever happens.
    pub(crate) fn synced_image(&self) -> Image {
        let state = self.state();
        let mut disk = Surviving::new(&self.start);
        for op in &state.log {
            disk.apply(op);
        }
        disk.synced()
    }
}

/// The disk as far as it is certain, and what is in doubt.
struct Surviving<N> {
    image: Image,
    names: BTreeSet<u64>,
    db: Vec<Op<N>>,
    folder: Vec<(u64, bool)>,
    appends: BTreeMap<u64, Vec<(usize, Vec<u8>)>>,
}

impl<N: Clone> Surviving<N> {
    fn new(start: &Image) -> Self {
        Self {
            image: start.clone(),
            names: start.segments.keys().copied().collect(),
            db: Vec::new(),
            folder: Vec::new(),
            appends: BTreeMap::new(),
        }
    }

    fn apply(&mut self, op: &Op<N>) {
        match op {
            Op::DbWrite { .. } | Op::DbLength(_) => self.db.push(op.clone()),
            Op::DbSync => {
                for op in std::mem::take(&mut self.db) {
                    write_db(&mut self.image.db, &op, usize::MAX);
                }
            }
            Op::Create(number) => {
                self.image.segments.insert(*number, Vec::new());
                self.folder.push((*number, true));
            }
            Op::Remove(number) => self.folder.push((*number, false)),
            Op::SyncNames => {
                for (number, is_made) in std::mem::take(&mut self.folder) {
                    self.name(number, is_made);
                }
            }
            Op::Append { number, offset, data } => {
                self.appends.entry(*number).or_default().push((*offset, data.clone()));
            }
            Op::Sync { number, length } => {
                let file = self.image.segments.entry(*number).or_default();
                let waiting = self.appends.remove(number).unwrap_or_default();
                let (saved, rest): (Vec<_>, Vec<_>) =
                    waiting.into_iter().partition(|(offset, _)| offset < length);
                for (offset, data) in saved {
                    write(file, offset, &data);
                }
                self.appends.insert(*number, rest);
            }
            Op::Note(_) => {}
        }
    }

    fn name(&mut self, number: u64, is_made: bool) {
        if is_made {
            self.names.insert(number);
        } else {
            self.names.remove(&number);
        }
    }

    fn end(mut self, crash: Crash, chance: &mut Chance) -> Image {
        let sure = crash == Crash::Process;
        let boots = self.image.boots + u64::from(!sure);
        for op in std::mem::take(&mut self.db) {
            if let Some(most) = survives(sure, chance) {
                write_db(&mut self.image.db, &op, most);
            }
        }
        for (number, is_made) in std::mem::take(&mut self.folder) {
            if sure || chance.one_in(2) {
                self.name(number, is_made);
            }
        }
        for (number, appends) in std::mem::take(&mut self.appends) {
            let file = self.image.segments.entry(number).or_default();
            for (offset, data) in appends {
                if let Some(most) = survives(sure, chance) {
                    write(file, offset, &data[..data.len().min(most)]);
                }
            }
        }
        Image { boots, ..self.synced() }
    }

    /// What is left when the power fails and nothing that was not synced has come by luck.
    fn synced(mut self) -> Image {
        self.image.segments.retain(|number, _| self.names.contains(number));
        self.image.boots += 1;
        self.image
    }
}

/// How much of a write that was not synced is there: all, a part or nothing.
fn survives(sure: bool, chance: &mut Chance) -> Option<usize> {
    match chance.below(5) {
        _ if sure => Some(usize::MAX),
        0 | 1 => Some(usize::MAX),
        2 => Some(chance.place(200)),
        _ => None,
    }
}

fn write_db<N>(file: &mut Vec<u8>, op: &Op<N>, most: usize) {
    match op {
        Op::DbWrite { offset, data } => write(file, *offset, &data[..data.len().min(most)]),
        Op::DbLength(length) => file.resize(*length, 0),
        _ => {}
    }
}

fn write(file: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(data);
}

fn no_space() -> io::Error {
    io::Error::from(io::ErrorKind::StorageFull)
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

#[derive(Debug)]
struct DbFile<N>(Arc<Machine<N>>);

impl<N: Clone + std::fmt::Debug + Send + 'static> DbFile<N> {
    fn check(&self) -> io::Result<()> {
        if self.0.faults().db { Err(no_space()) } else { Ok(()) }
    }
}

impl<N: Clone + std::fmt::Debug + Send + 'static> StorageBackend for DbFile<N> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.state().now.db.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.state();
        let part = state.now.db.get(place(offset)..place(offset) + out.len());
        out.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.check()?;
        let mut state = self.0.state();
        state.now.db.resize(place(length), 0);
        state.log.push(Op::DbLength(place(length)));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        std::thread::sleep(self.0.faults().db_delay);
        self.0.state().log.push(Op::DbSync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        let mut state = self.0.state();
        write(&mut state.now.db, place(offset), data);
        state.log.push(Op::DbWrite { offset: place(offset), data: data.to_vec() });
        Ok(())
    }
}

struct Folder<N>(Arc<Machine<N>>);

impl<N: Clone + std::fmt::Debug + Send + 'static> Disk for Folder<N> {
    fn create(&self, number: u64) -> io::Result<Arc<dyn Segment>> {
        let mut state = self.0.state();
        if state.now.segments.contains_key(&number) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.now.segments.insert(number, Vec::new());
        state.log.push(Op::Create(number));
        if self.0.faults().create {
            return Err(no_space());
        }
        state.log.push(Op::SyncNames);
        Ok(Arc::new(Open { machine: Arc::clone(&self.0), number }))
    }

    fn list(&self) -> io::Result<Vec<u64>> {
        Ok(self.0.state().now.segments.keys().copied().collect())
    }

    fn read(&self, number: u64) -> io::Result<Vec<u8>> {
        let state = self.0.state();
        state.now.segments.get(&number).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        let faults = self.0.faults();
        if faults.remove || faults.stuck == Some(number) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let mut state = self.0.state();
        state.now.segments.remove(&number);
        state.log.push(Op::Remove(number));
        Ok(())
    }

    fn boot(&self) -> Option<Arc<str>> {
        Some(Arc::from(self.0.start.boots.to_string()))
    }
}

struct Open<N> {
    machine: Arc<Machine<N>>,
    number: u64,
}

impl<N: Clone + std::fmt::Debug + Send + 'static> Segment for Open<N> {
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        let faults = self.machine.faults();
        if faults.full {
            return Err(no_space());
        }
        let bytes = &bytes[..bytes.len().min(faults.short.unwrap_or(usize::MAX))];
        let mut state = self.machine.state();
        let number = self.number;
        let file = state.now.segments.entry(number).or_default();
        let offset = file.len();
        file.extend_from_slice(bytes);
        state.log.push(Op::Append { number, offset, data: bytes.to_vec() });
        Ok(bytes.len())
    }

    fn sync(&self) -> io::Result<()> {
        let number = self.number;
        let length = self.machine.state().now.segments.get(&number).map_or(0, Vec::len);
        std::thread::yield_now();
        let mut faults = self.machine.faults.lock().unwrap();
        let mut state = self.machine.state();
        if faults.syncs > 0 {
            faults.syncs -= 1;
            state.lost.insert(number);
            return Err(io::Error::other("the disk has gone"));
        }
        if state.lost.contains(&number) {
            // What a failed sync dropped is clean to the kernel: it is never written again.
            return Ok(());
        }

        state.log.push(Op::Sync { number, length });
        Ok(())
    }
}
