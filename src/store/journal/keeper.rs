//! The thread that syncs what is appended, and begins a new segment when one is large or old enough.
//!
//! Nobody who waits for it waits for more than one sync: what takes longer is the folder's.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::{RETRY, Segment, Shared, Tail, begin_segment};
use crate::metrics::histogram::OWN;
use crate::store::disk::Disk;

/// How long records gather before they are synced, unless somebody waits for one of them: longer
/// batches cost less, and a provider takes longer to answer.
const GATHER: Duration = Duration::from_millis(10);
/// The least time between two syncs that find many records, even where somebody waits.
const APART: Duration = Duration::from_millis(1);
/// How many bytes are many: those of about ten calls.
const MANY: u64 = 2_048;
/// How old a segment with endings in it may get before it is put away.
const PUT_AWAY_AFTER: Duration = Duration::from_secs(2);
/// How large a segment may get before it is put away.
const PUT_AWAY_ABOVE: u64 = 8 << 20;
/// How often a disk that refuses is tried again before the journal closes without it.
const TRIES_AT_CLOSE: u32 = 10;

/// Looks after the segment that is appended to.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    /// The highest number that a segment was to have. One that could not be begun may still be there,
    /// so no number is tried twice.
    newest: u64,
}

/// What woke the thread.
struct Work {
    closing: bool,
    /// How often it was asked to put everything away.
    asked: u64,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, disk: Arc<dyn Disk>, newest: u64) -> Self {
        Self { shared, disk, newest }
    }

    pub(super) fn run(mut self) {
        let mut tries = TRIES_AT_CLOSE;
        let mut found = 0;
        loop {
            let work = self.wait_for_work(found);
            let written = self.sync();
            found = *written.as_ref().unwrap_or(&0);
            let outcome = written.and_then(|_| self.turn_over(&work));
            if outcome.is_err() {
                self.shared.answer(work.asked);
            }
            let outcome = outcome.map_err(|e| format!("the journal cannot be written: {e}"));
            let is_refused = outcome.is_err();
            self.shared.report(&self.shared.trouble, outcome);
            if work.closing {
                let is_troubled = self.shared.has_trouble();
                if self.is_all_put_away() || tries == 0 {
                    return;
                }
                tries -= u32::from(is_troubled);
                std::thread::sleep(if is_troubled { RETRY } else { APART });
            } else if is_refused {
                std::thread::sleep(RETRY);
            }
        }
    }

    /// Sleeps until there is something to do: records that have gathered for long enough or that
    /// somebody waits for, a segment to finish, or the end. `found` is what the last sync found.
    fn wait_for_work(&self, found: u64) -> Work {
        let begun = Instant::now();
        let mut tail = self.shared.lock();
        loop {
            let durable = self.shared.durable.load(Ordering::Relaxed);
            let is_troubled = self.shared.trouble.load().is_some();
            if tail.closing || is_troubled || tail.is_finished() {
                break;
            }
            let nap = if tail.appended > durable {
                let wait = match tail.wanted {
                    true if found >= MANY => APART,
                    true => Duration::ZERO,
                    false => GATHER,
                };
                wait.saturating_sub(begun.elapsed())
            } else if tail.endings > 0 && tail.is_folder_idle() {
                PUT_AWAY_AFTER.saturating_sub(tail.began.elapsed())
            } else {
                Duration::from_hours(1)
            };
            if nap.is_zero() {
                break;
            }
            // Nobody needs to pay for a wake that changes nothing: while records gather only somebody
            // who waits for one does.
            tail.sleeping = tail.appended <= durable;
            tail.gathering = !tail.sleeping && !tail.wanted;
            let woken = self.shared.work.wait_timeout(tail, nap);
            tail = woken.unwrap_or_else(PoisonError::into_inner).0;
            tail.sleeping = false;
            tail.gathering = false;
        }
        tail.wanted = false;
        Work { closing: tail.closing, asked: tail.asked }
    }

    /// Writes what is pending and syncs the segment. Says how many bytes became durable.
    fn sync(&mut self) -> io::Result<u64> {
        if self.shared.lock().doubtful {
            self.start_over()?;
        }
        let (segment, up_to, in_doubt) = {
            let mut tail = self.shared.lock();
            tail.write_pending()?;
            (Arc::clone(&tail.segment), tail.appended, tail.unsynced.len())
        };
        let durable = self.shared.durable.load(Ordering::Relaxed);
        if up_to > durable {
            self.sync_segment(&*segment, up_to, in_doubt)?;
        }
        Ok(up_to - durable)
    }

    /// Syncs a segment and announces that everything up to `up_to`, of which `in_doubt` bytes were
    /// not yet, is durable.
    fn sync_segment(
        &mut self,
        segment: &dyn Segment,
        up_to: u64,
        in_doubt: usize,
    ) -> io::Result<()> {
        let began = Instant::now();
        if let Err(error) = segment.sync() {
            self.shared.lock().doubtful = true;
            self.start_over()?;
            return Err(error);
        }
        self.shared.syncs.observe(OWN, began.elapsed());
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

    /// Finishes the segment at hand if it is time for that: swaps in a new one, syncs the old one and
    /// leaves it to the folder. A disk that refused is tried with just that before calls are served
    /// again.
    fn turn_over(&mut self, work: &Work) -> io::Result<()> {
        let is_troubled = self.shared.trouble.load().is_some();
        let is_due = {
            let tail = self.shared.lock();
            let is_last = work.closing && tail.is_folder_idle() && tail.length > 0;
            is_troubled || is_last || tail.is_finished()
        };
        if !is_due {
            return Ok(());
        }
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
        let mut tail = self.shared.lock();
        tail.finished = finished;
        tail.covered = work.asked;
        drop(tail);
        self.shared.to_fold.notify_one();
        Ok(())
    }

    fn is_all_put_away(&self) -> bool {
        let tail = self.shared.lock();
        let is_synced = tail.appended == self.shared.durable.load(Ordering::Relaxed);
        is_synced && tail.length == 0 && tail.is_folder_idle()
    }
}

impl Tail {
    /// Whether the segment at hand has all that it shall have. While an earlier one is put away it goes
    /// on growing: two are never waited for.
    fn is_finished(&self) -> bool {
        let is_old = self.endings > 0 && self.began.elapsed() >= PUT_AWAY_AFTER;
        let is_full = self.length >= PUT_AWAY_ABOVE;
        self.is_folder_idle() && (is_old || is_full || self.asked > self.covered)
    }
}

impl Drop for Keeper {
    /// Nobody may wait for a thread that has ended, in whatever way.
    fn drop(&mut self) {
        self.shared.end("the thread that looks after the journal broke off");
        self.shared.announce.send_modify(|so_far| so_far.ended = true);
    }
}
