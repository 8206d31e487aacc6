//! The journal: what happened to holds since the store was last brought up to date.
//!
//! Calls append to it and two threads look after it. An ending is handed to the operating system
//! before the caller goes on, so it outlives the process from that moment; the [`keeper`] syncs
//! whatever has come, all in one go, so it outlives the machine a few milliseconds later; and every few
//! seconds the [`folder`] puts a finished segment away in the store in one transaction and deletes it,
//! while the next one is written. A call thus costs one small write, and redb's pages are touched once
//! for thousands of calls.
//!
//! A disk that refuses is not an end: what could not be written stays in memory, in order, and is
//! tried again until it is taken; meanwhile [`Journal::trouble`] has new calls refused, so that what
//! waits stays bounded by the calls that were already under way.

mod folder;
mod keeper;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use super::disk::{Disk, Segment};
use super::record;
use crate::domain::budget::Starts;
use crate::domain::codec::Encoder;
use crate::domain::receipt::Receipt;
use crate::domain::request_id::RequestId;
use crate::domain::team::Share;
use crate::metrics::histogram::{Counted, Histogram};
use folder::Folder;
use keeper::Keeper;

use super::record::OpenHold;

/// The pause before a disk that refused is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// A place in the journal: the number of bytes appended before and with a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u64);

/// When an ending must have reached the operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// Before whoever appends it goes on.
    Now,
    /// Together with others: whoever appends it has it handed over with theirs, or waits for a sync.
    Together,
}

/// The first bytes of a segment.
const MAGIC: &[u8; 8] = b"cdtjrnl1";

/// The records of a segment; `None` if it is not one of ours or breaks off in its first bytes.
pub(super) fn records_of(segment: &[u8]) -> Option<&[u8]> {
    segment.strip_prefix(MAGIC)
}

/// What puts finished segments away: the store.
pub(super) trait PutAway: Send + 'static {
    /// Puts everything up to and with segment `last` away, all at once. A record that stands in two of
    /// the segments counts once.
    fn put_away(&mut self, last: u64) -> Result<(), super::StoreError>;
    /// Deletes what was put away.
    fn forget(&mut self, last: u64);
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, not a state among others"
)]
struct Tail {
    segment: Arc<dyn Segment>,
    number: u64,
    /// Appended by calls but not taken by the operating system yet.
    pending: Vec<u8>,
    /// Where a record is put together before it is appended.
    room: Encoder,
    /// The operating system did not take all of it when it was last asked to.
    refused: bool,
    /// A sync failed: what `unsynced` holds must be written to a new segment, because a second sync
    /// of the same file may succeed without having saved anything.
    doubtful: bool,
    /// Taken by the operating system but not synced yet: what a failed sync leaves in doubt.
    unsynced: Vec<u8>,
    /// Bytes of this segment that the operating system has taken.
    length: u64,
    /// Position of the last byte appended.
    appended: u64,
    /// Endings appended since the segment was begun: what makes it worth putting away.
    endings: u64,
    began: Instant,
    /// The last segment that nothing is appended to any more, and the last that was put away.
    finished: u64,
    folded: u64,
    /// How often somebody wanted everything put away; how often the last finished segment was that
    /// for; and up to where they were told.
    asked: u64,
    covered: u64,
    answered: u64,
    closing: bool,
    /// One of the threads has ended: nothing is looked after any more.
    ended: bool,
    /// Somebody waits for what is not durable yet.
    wanted: bool,
    /// The keeper waits for something to be appended, or for somebody to want what was: nobody else
    /// needs to pay for waking it.
    sleeping: bool,
    gathering: bool,
}

struct Shared {
    tail: Mutex<Tail>,
    /// Wakes the keeper.
    work: Condvar,
    /// Wakes the folder.
    to_fold: Condvar,
    /// Wakes those who asked for everything to be put away.
    done: Condvar,
    durable: AtomicU64,
    announce: watch::Sender<Progress>,
    trouble: ArcSwapOption<String>,
    store_trouble: ArcSwapOption<String>,
    syncs: Histogram,
    put_aways: Histogram,
}

/// What the keeper tells those who wait for it.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    durable: u64,
    /// Nothing becomes durable any more.
    ended: bool,
}

/// How much a journal has to do, and how long that took until now.
#[derive(Clone, Debug)]
pub struct Load {
    /// What was appended and may not outlive the machine yet.
    pub unsynced_bytes: u64,
    /// How large the segment is that is appended to.
    pub segment_bytes: u64,
    /// Segments that are finished and not in the store yet.
    pub to_put_away: u64,
    /// How long each sync took.
    pub syncs: Counted,
    /// How long it took each time to put segments away in the store.
    pub put_aways: Counted,
}

/// The handle that calls append through; cheap to share.
pub struct Journal {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Journal {
    /// Begins segment `number` and starts the threads.
    pub(super) fn start(
        disk: Arc<dyn Disk>,
        number: u64,
        put_away: impl PutAway,
    ) -> io::Result<Self> {
        let tail = Tail {
            segment: begin_segment(&*disk, number)?,
            number,
            pending: Vec::new(),
            room: Encoder::new(),
            refused: false,
            doubtful: false,
            unsynced: Vec::new(),
            length: 0,
            appended: 0,
            endings: 0,
            began: Instant::now(),
            finished: number - 1,
            folded: number - 1,
            asked: 0,
            covered: 0,
            answered: 0,
            closing: false,
            ended: false,
            wanted: false,
            sleeping: false,
            gathering: false,
        };
        let shared = Arc::new(Shared {
            tail: Mutex::new(tail),
            work: Condvar::new(),
            to_fold: Condvar::new(),
            done: Condvar::new(),
            durable: AtomicU64::new(0),
            announce: watch::Sender::default(),
            trouble: ArcSwapOption::empty(),
            store_trouble: ArcSwapOption::empty(),
            syncs: Histogram::default(),
            put_aways: Histogram::default(),
        });
        let keeper = Keeper::new(Arc::clone(&shared), disk, number);
        let folder = Folder::new(Arc::clone(&shared), put_away);
        let threads =
            vec![spawn("journal", move || keeper.run())?, spawn("cabinet", move || folder.run())?];
        Ok(Self { shared, threads: Mutex::new(threads) })
    }

    /// Appends a hold, or what it has become: the last that is said of one counts. It may reach the operating system a little later, with what comes next: until
    /// [`Journal::is_durable`] says so, nothing of its call may be shown.
    pub fn hold(&self, hold: &OpenHold) -> Position {
        let mut tail = self.shared.lock();
        let position = tail.append(|out| record::encode_hold(hold, out));
        self.shared.wake(tail);
        position
    }

    /// Appends an ending at a cost, in haste or not. `share` where the call counts for a team too.
    pub fn post(
        &self,
        starts: &Starts,
        share: Option<&Share>,
        receipt: &Receipt,
        haste: Haste,
    ) -> Position {
        self.end(haste, |out| match share {
            Some(share) => record::encode_shared_post(starts, share, receipt, out),
            None => record::encode_post(starts, receipt, out),
        })
    }

    /// Appends an ending at nothing and hands it to the operating system before it returns.
    pub fn void(&self, id: RequestId) -> Position {
        self.end(Haste::Now, |out| record::encode_void(id, out))
    }

    fn end(&self, haste: Haste, write: impl FnOnce(&mut Encoder)) -> Position {
        let mut tail = self.shared.lock();
        let position = tail.append(write);
        tail.endings += 1;
        if haste == Haste::Now && !tail.refused {
            // A refusal is the keeper's to notice: it tries again at once.
            let _ = tail.write_pending();
        }
        self.shared.wake(tail);
        position
    }

    /// The place of what was appended last.
    pub fn position(&self) -> Position {
        Position(self.shared.lock().appended)
    }

    /// Whether everything up to `position` outlives the machine.
    pub fn is_durable(&self, position: Position) -> bool {
        self.shared.durable.load(Ordering::Acquire) >= position.0
    }

    /// Whether everything up to `position` outlives the process. What has only been gathered is handed
    /// to the operating system first.
    pub fn is_handed_over(&self, position: Position) -> bool {
        if self.is_durable(position) {
            return true;
        }
        let mut tail = self.shared.lock();
        if !tail.has_handed_over(position) && !tail.refused {
            let _ = tail.write_pending();
        }
        tail.has_handed_over(position)
    }

    /// Returns when everything up to `position` outlives the machine; `false` if the journal was
    /// closed before.
    pub async fn durable(&self, position: Position) -> bool {
        if self.is_durable(position) {
            return true;
        }
        let mut announced = self.shared.announce.subscribe();
        self.shared.want();
        let reached = announced.wait_for(|so_far| so_far.durable >= position.0 || so_far.ended);
        reached.await.is_ok_and(|so_far| so_far.durable >= position.0)
    }

    /// How the journal is doing.
    pub fn load(&self) -> Load {
        let durable = self.shared.durable.load(Ordering::Acquire);
        let tail = self.shared.lock();
        let unsynced_bytes = tail.appended.saturating_sub(durable);
        let (segment_bytes, to_put_away) = (tail.length, tail.finished.saturating_sub(tail.folded));
        drop(tail);
        Load {
            unsynced_bytes,
            segment_bytes,
            to_put_away,
            syncs: self.shared.syncs.counted(),
            put_aways: self.shared.put_aways.counted(),
        }
    }

    /// Why the disk does not take what is written, while it does not.
    pub fn trouble(&self) -> Option<Arc<String>> {
        self.shared.trouble.load_full().or_else(|| self.shared.store_trouble.load_full())
    }

    /// Puts everything appended so far away in the store and returns when that is done, or when it
    /// cannot be done for the time being. Blocks: not for a worker of the gateway.
    pub fn put_away_now(&self) {
        let mut tail = self.shared.lock();
        if tail.closing {
            return;
        }
        tail.asked += 1;
        let ticket = tail.asked;
        self.shared.work.notify_one();
        while tail.answered < ticket && !tail.closing && !tail.ended {
            tail = self.shared.done.wait(tail).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Syncs, puts everything away and ends the threads, whether the disk takes it or not: one that
    /// refuses is given a few tries. What is appended later reaches the file but is looked after only
    /// at the next start.
    pub fn close(&self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_all();
        self.shared.done.notify_all();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Tail> {
        // A panic while the lock was held cannot leave a half-made tail: appends come last.
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn has_trouble(&self) -> bool {
        self.trouble.load().is_some() || self.store_trouble.load().is_some()
    }

    /// Notes what became of an attempt, and says so when that is news.
    fn report(&self, place: &ArcSwapOption<String>, outcome: Result<(), String>) {
        let known = place.load();
        match outcome {
            Ok(()) if known.is_some() => {
                place.store(None);
                if !self.has_trouble() {
                    tracing::info!("the disk takes what is written again; calls are served again");
                }
            }
            Err(problem) if known.as_deref() != Some(&problem) => {
                tracing::error!("{problem}; calls are refused until that is over");
                place.store(Some(Arc::new(problem)));
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Lets those go on who had asked for everything to be put away, whether it could be or not.
    fn answer(&self, asked: u64) {
        let mut tail = self.lock();
        if tail.answered < asked {
            tail.answered = asked;
            drop(tail);
            self.done.notify_all();
        }
    }

    /// One of the threads ends; where nobody wanted that, calls are refused from here on.
    fn end(&self, problem: &str) {
        let mut tail = self.lock();
        if !std::mem::replace(&mut tail.closing, true) {
            self.trouble.store(Some(Arc::new(problem.to_owned())));
        }
        tail.ended = true;
        drop(tail);
        self.work.notify_all();
        self.to_fold.notify_all();
        self.done.notify_all();
    }

    /// Has what was appended synced soon.
    fn want(&self) {
        let mut tail = self.lock();
        tail.wanted = true;
        let gathering = tail.gathering;
        drop(tail);
        if gathering {
            self.work.notify_one();
        }
    }

    fn wake(&self, tail: MutexGuard<'_, Tail>) {
        let sleeping = tail.sleeping;
        drop(tail);
        if sleeping {
            self.work.notify_one();
        }
    }
}

impl Tail {
    const fn has_handed_over(&self, position: Position) -> bool {
        position.0 + self.pending.len() as u64 <= self.appended
    }

    const fn is_folder_idle(&self) -> bool {
        self.finished == self.folded
    }

    fn append(&mut self, write: impl FnOnce(&mut Encoder)) -> Position {
        let before = self.pending.len();
        record::frame(&mut self.pending, &mut self.room, write);
        self.appended += (self.pending.len() - before) as u64;
        Position(self.appended)
    }

    /// Hands what is pending to the operating system, as far as it takes it.
    fn write_pending(&mut self) -> io::Result<()> {
        let mut taken = 0;
        let result = loop {
            if taken == self.pending.len() {
                break Ok(());
            }
            match self.segment.append(&self.pending[taken..]) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => taken += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.refused = result.is_err();
        self.unsynced.extend_from_slice(&self.pending[..taken]);
        self.pending.drain(..taken);
        self.length += taken as u64;
        result
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

fn begin_segment(disk: &dyn Disk, number: u64) -> io::Result<Arc<dyn Segment>> {
    let segment = disk.create(number)?;
    let filled = write_all(&*segment, MAGIC).and_then(|()| segment.sync());
    if let Err(error) = filled {
        let _ = disk.remove(number);
        return Err(error);
    }
    Ok(segment)
}

fn write_all(segment: &dyn Segment, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = segment.append(bytes)?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[count..];
    }
    Ok(())
}
