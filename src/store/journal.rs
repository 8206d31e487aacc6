//! The journal: what happened to holds since the store was last brought up to date.
//!
//! Calls append to it and one thread looks after it. An ending is handed to the operating system
//! before the caller goes on, so it outlives the process from that moment; the thread syncs whatever
//! has come, all in one go, so it outlives the machine a few milliseconds later; and every few
//! seconds it puts a finished segment away in the store in one transaction and deletes it. A call
//! thus costs one small write, and redb's pages are touched once for thousands of calls.
//!
//! A disk that refuses is not an end: what could not be written stays in memory, in order, and is
//! tried again until it is taken; meanwhile [`Journal::trouble`] has new calls refused, so that what
//! waits stays bounded by the calls that were already under way.

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
use crate::domain::receipt::Receipt;
use crate::domain::request_id::RequestId;
use crate::domain::team::Share;

use super::record::OpenHold;

/// How long the thread lets records gather after it has just synced some: longer batches cost less,
/// and nobody feels two milliseconds behind a provider.
const GATHER: Duration = Duration::from_millis(1);
/// How old a segment with endings in it may get before it is put away.
const PUT_AWAY_AFTER: Duration = Duration::from_secs(2);
/// How large a segment may get before it is put away.
const PUT_AWAY_ABOVE: u64 = 8 << 20;
/// The pause before a disk that refused is tried again.
const RETRY: Duration = Duration::from_millis(200);
/// How often a disk that refuses is tried again before the journal closes without it.
const TRIES_AT_CLOSE: u32 = 10;

/// A place in the journal: the number of bytes appended before and with a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u64);

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
    /// Somebody wants everything put away now; how often that was done.
    asked: u64,
    answered: u64,
    closing: bool,
    /// The thread waits to be woken: nobody else needs to pay for waking it.
    sleeping: bool,
}

struct Shared {
    tail: Mutex<Tail>,
    /// Wakes the thread.
    work: Condvar,
    /// Wakes those who asked for everything to be put away.
    done: Condvar,
    durable: AtomicU64,
    announce: watch::Sender<Progress>,
    trouble: ArcSwapOption<String>,
}

/// What the thread tells those who wait for it.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    durable: u64,
    /// Nothing becomes durable any more.
    ended: bool,
}

/// The handle that calls append through; cheap to share.
pub struct Journal {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Journal {
    /// Begins segment `number` and starts the thread.
    pub(super) fn start(
        disk: Arc<dyn Disk>,
        number: u64,
        put_away: impl PutAway,
    ) -> io::Result<Self> {
        let tail = Tail {
            segment: begin_segment(&*disk, number)?,
            number,
            pending: Vec::new(),
            refused: false,
            doubtful: false,
            unsynced: Vec::new(),
            length: 0,
            appended: 0,
            endings: 0,
            began: Instant::now(),
            asked: 0,
            answered: 0,
            closing: false,
            sleeping: false,
        };
        let shared = Arc::new(Shared {
            tail: Mutex::new(tail),
            work: Condvar::new(),
            done: Condvar::new(),
            durable: AtomicU64::new(0),
            announce: watch::Sender::default(),
            trouble: ArcSwapOption::empty(),
        });
        let keeper = Keeper {
            shared: Arc::clone(&shared),
            disk,
            put_away,
            newest: number,
            finished: number - 1,
            behind: false,
        };
        let thread =
            std::thread::Builder::new().name("journal".to_owned()).spawn(move || keeper.run())?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Appends a hold. It may reach the operating system a little later, with what comes next: until
    /// [`Journal::is_durable`] says so, nothing of its call may be shown.
    pub fn hold(&self, hold: &OpenHold) -> Position {
        let mut tail = self.shared.lock();
        let position = tail.append(|out| record::encode_hold(hold, out));
        self.shared.wake(tail);
        position
    }

    /// Appends an ending at a cost and hands it to the operating system before it returns.
    pub fn post(&self, starts: &Starts, receipt: &Receipt) -> Position {
        self.end(|out| record::encode_post(starts, receipt, out))
    }

    /// As [`Journal::post`], for a call that counts for a team too.
    pub fn post_shared(&self, starts: &Starts, share: &Share, receipt: &Receipt) -> Position {
        self.end(|out| record::encode_shared_post(starts, share, receipt, out))
    }

    /// Appends an ending at nothing and hands it to the operating system before it returns.
    pub fn void(&self, id: RequestId) -> Position {
        self.end(|out| record::encode_void(id, out))
    }

    fn end(&self, write: impl FnOnce(&mut crate::domain::codec::Encoder)) -> Position {
        let mut tail = self.shared.lock();
        let position = tail.append(write);
        tail.endings += 1;
        if !tail.refused {
            // A refusal is the thread's to notice: it tries again at once.
            let _ = tail.write_pending();
        }
        self.shared.wake(tail);
        position
    }

    /// Whether everything up to `position` outlives the machine.
    pub fn is_durable(&self, position: Position) -> bool {
        self.shared.durable.load(Ordering::Acquire) >= position.0
    }

    /// Returns when everything up to `position` outlives the machine; `false` if the journal was
    /// closed before.
    pub async fn durable(&self, position: Position) -> bool {
        if self.is_durable(position) {
            return true;
        }
        let mut announced = self.shared.announce.subscribe();
        let reached = announced.wait_for(|so_far| so_far.durable >= position.0 || so_far.ended);
        reached.await.is_ok_and(|so_far| so_far.durable >= position.0)
    }

    /// Why the disk does not take what is written, while it does not.
    pub fn trouble(&self) -> Option<Arc<String>> {
        self.shared.trouble.load_full()
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
        while tail.answered < ticket && !tail.closing {
            tail = self.shared.done.wait(tail).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Syncs, puts everything away and ends the thread, whether the disk takes it or not: one that
    /// refuses is given a few tries. What is appended later reaches the file but is looked after only
    /// at the next start.
    pub fn close(&self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_all();
        self.shared.done.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
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
    fn wake(&self, tail: MutexGuard<'_, Tail>) {
        let sleeping = tail.sleeping;
        drop(tail);
        if sleeping {
            self.work.notify_one();
        }
    }
}

impl Tail {
    fn append(&mut self, write: impl FnOnce(&mut crate::domain::codec::Encoder)) -> Position {
        let before = self.pending.len();
        record::frame(&mut self.pending, write);
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

/// The thread: syncs what comes, and puts finished segments away.
struct Keeper<P> {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    put_away: P,
    /// The highest number that a segment was to have. One that could not be begun may still be there,
    /// so no number is tried twice.
    newest: u64,
    /// The last segment that nothing is appended to any more.
    finished: u64,
    /// A finished segment could not be put away yet.
    behind: bool,
}

impl<P: PutAway> Keeper<P> {
    fn run(mut self) {
        let mut tries = TRIES_AT_CLOSE;
        loop {
            let (closing, asked) = self.wait_for_work();
            let written = self.sync().map_err(|e| format!("the journal cannot be written: {e}"));
            let is_written = written.is_ok();
            let outcome =
                written.and_then(|()| if self.is_due(closing) { self.turn_over() } else { Ok(()) });
            self.answer(asked);
            let pause = if outcome.is_ok() { GATHER } else { RETRY };
            // What comes while the last segment is put away shall be put away too.
            let is_done = is_written && (outcome.is_err() || self.is_quiet());
            self.report(outcome);
            if closing && (is_done || tries == 0) {
                return;
            }
            tries -= u32::from(closing);
            std::thread::sleep(pause);
        }
    }

    /// Sleeps until something was appended, somebody asks, or there is something to put away. Returns
    /// whether the journal closes, and how often it was asked to put everything away.
    fn wait_for_work(&self) -> (bool, u64) {
        let mut tail = self.shared.lock();
        loop {
            let durable = self.shared.durable.load(Ordering::Relaxed);
            let age = tail.began.elapsed();
            let is_old = tail.endings > 0 && age >= PUT_AWAY_AFTER;
            let has_work = tail.appended > durable || tail.asked > tail.answered || is_old;
            let is_troubled = self.behind || self.shared.trouble.load().is_some();
            if tail.closing || has_work || is_troubled {
                return (tail.closing, tail.asked);
            }
            let nap = if tail.endings > 0 {
                PUT_AWAY_AFTER.saturating_sub(age)
            } else {
                Duration::from_hours(1)
            };
            tail.sleeping = true;
            let woken = self.shared.work.wait_timeout(tail, nap);
            tail = woken.unwrap_or_else(PoisonError::into_inner).0;
            tail.sleeping = false;
        }
    }

    /// Writes what is pending and syncs the segment.
    fn sync(&mut self) -> io::Result<()> {
        if self.shared.lock().doubtful {
            self.start_over()?;
        }
        let (segment, up_to, in_doubt) = {
            let mut tail = self.shared.lock();
            tail.write_pending()?;
            (Arc::clone(&tail.segment), tail.appended, tail.unsynced.len())
        };
        if up_to == self.shared.durable.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.sync_segment(&*segment, up_to, in_doubt)
    }

    /// Syncs a segment and announces that everything up to `up_to`, of which `in_doubt` bytes were
    /// not yet, is durable.
    fn sync_segment(
        &mut self,
        segment: &dyn Segment,
        up_to: u64,
        in_doubt: usize,
    ) -> io::Result<()> {
        if let Err(error) = segment.sync() {
            self.shared.lock().doubtful = true;
            self.start_over()?;
            return Err(error);
        }
        self.shared.lock().unsynced.drain(..in_doubt);
        self.shared.durable.store(up_to, Ordering::Release);
        self.shared.announce.send_modify(|so_far| so_far.durable = up_to);
        Ok(())
    }

    /// Goes on in a new segment after a failed sync, with everything the failure left in doubt:
    /// nobody knows which of the unsynced pages are on the disk, so they are written once more.
    fn start_over(&mut self) -> io::Result<()> {
        let (number, segment) = self.begin_another()?;
        let mut tail = self.shared.lock();
        tail.segment = segment;
        tail.number = number;
        tail.length = 0;
        tail.doubtful = false;
        tail.refused = false;
        let mut doubtful = std::mem::take(&mut tail.unsynced);
        doubtful.append(&mut tail.pending);
        tail.pending = doubtful;
        Ok(())
    }

    fn begin_another(&mut self) -> io::Result<(u64, Arc<dyn Segment>)> {
        self.newest += 1;
        Ok((self.newest, begin_segment(&*self.disk, self.newest)?))
    }

    /// Whether nothing was appended since the last sync.
    fn is_quiet(&self) -> bool {
        self.shared.lock().appended == self.shared.durable.load(Ordering::Relaxed)
    }

    /// A disk that refused is tried with something real before calls are served again.
    fn is_due(&self, closing: bool) -> bool {
        let is_troubled = self.behind || self.shared.trouble.load().is_some();
        let tail = self.shared.lock();
        let is_full = tail.length >= PUT_AWAY_ABOVE;
        let is_old = tail.endings > 0 && tail.began.elapsed() >= PUT_AWAY_AFTER;
        is_troubled || closing || is_full || is_old || tail.asked > tail.answered
    }

    /// Puts what is still waiting away, then finishes the segment at hand and puts that away.
    fn turn_over(&mut self) -> Result<(), String> {
        if self.behind {
            self.put_finished_away()?;
        }
        self.begin_next().map_err(|e| format!("the journal cannot be written: {e}"))?;
        self.put_finished_away()
    }

    fn put_finished_away(&mut self) -> Result<(), String> {
        let stored = self.put_away.put_away(self.finished);
        stored.map_err(|e| format!("the store cannot be written: {e}"))?;
        self.behind = false;
        self.put_away.forget(self.finished);
        Ok(())
    }

    /// Swaps in a new segment and syncs the old one, which is finished then.
    fn begin_next(&mut self) -> io::Result<()> {
        let (number, next) = self.begin_another()?;
        let (finished, segment, up_to, in_doubt) = {
            let mut tail = self.shared.lock();
            if let Err(error) = tail.write_pending() {
                drop(tail);
                let _ = self.disk.remove(number);
                return Err(error);
            }
            let finished = std::mem::replace(&mut tail.number, number);
            let segment = std::mem::replace(&mut tail.segment, next);
            tail.length = 0;
            tail.endings = 0;
            tail.began = Instant::now();
            (finished, segment, tail.appended, tail.unsynced.len())
        };
        self.sync_segment(&*segment, up_to, in_doubt)?;
        self.finished = finished;
        self.behind = true;
        Ok(())
    }

    /// Lets those go on who had asked for everything to be put away, whether it could be or not.
    fn answer(&self, asked: u64) {
        let mut tail = self.shared.lock();
        if tail.answered < asked {
            tail.answered = asked;
            drop(tail);
            self.shared.done.notify_all();
        }
    }

    fn report(&self, outcome: Result<(), String>) {
        let known = self.shared.trouble.load();
        match outcome {
            Ok(()) if known.is_some() => {
                tracing::info!("the disk takes what is written again; calls are served again");
                self.shared.trouble.store(None);
            }
            Err(problem) if known.as_deref() != Some(&problem) => {
                tracing::error!("{problem}; calls are refused until that is over");
                self.shared.trouble.store(Some(Arc::new(problem)));
            }
            Ok(()) | Err(_) => {}
        }
    }
}

impl<P> Drop for Keeper<P> {
    /// Nobody may wait for a thread that has ended, in whatever way.
    fn drop(&mut self) {
        let mut tail = self.shared.lock();
        if !std::mem::replace(&mut tail.closing, true) {
            let problem = "the thread that looks after the journal broke off".to_owned();
            self.shared.trouble.store(Some(Arc::new(problem)));
        }
        drop(tail);
        self.shared.done.notify_all();
        self.shared.announce.send_modify(|so_far| so_far.ended = true);
    }
}
