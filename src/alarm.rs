//! A timer for waits that nearly always end before it.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is kept from one wait to the next. As long as each is to end later than the one before,
/// setting it anew touches nothing that others share: it rings at the older time, finds that it is not yet
/// due, and goes on.
#[derive(Debug)]
pub struct Alarm {
    timer: Pin<Box<Sleep>>,
    due: Instant,
    /// Who is woken when it rings.
    waker: Option<Waker>,
}

impl Alarm {
    pub fn new(due: Instant) -> Self {
        Self { timer: Box::pin(sleep_until(due)), due, waker: None }
    }

    pub fn set(&mut self, due: Instant) {
        self.due = due;
        if self.timer.deadline() > due {
            self.timer.as_mut().reset(due);
        }
    }

    /// Ready once it is due.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let wakes = |waker: &Waker| waker.will_wake(context.waker());
        if self.waker.as_ref().is_some_and(wakes) && !self.timer.is_elapsed() {
            return Poll::Pending;
        }
        while self.look(context).is_ready() {
            if Instant::now() >= self.due {
                self.waker = None;
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(self.due);
        }
        self.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// Looks whether the timer has ended, and has whoever looks woken when it does. A task that has done all
    /// it may do at a time would be told that it has not, and nobody would be woken.
    fn look(&mut self, context: &mut Context<'_>) -> Poll<()> {
        pin!(unconstrained(self.timer.as_mut())).poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(test);
    }

    async fn rings(alarm: &mut Alarm) -> Duration {
        let began = Instant::now();
        poll_fn(|context| alarm.poll(context)).await;
        began.elapsed()
    }

    #[test]
    fn it_rings_when_it_is_due_however_often_it_was_set() {
        run(async {
            let (short, long) = (Duration::from_millis(30), Duration::from_millis(90));
            let mut alarm = Alarm::new(Instant::now() + short);
            alarm.set(Instant::now() + long);
            assert!(rings(&mut alarm).await >= long, "later than it was first set to");
            alarm.set(Instant::now() + Duration::from_mins(1));
            assert!(poll_fn(|context| Poll::Ready(alarm.poll(context).is_pending())).await);
            alarm.set(Instant::now() + short);
            let took = rings(&mut alarm).await;
            assert!(took >= short && took < Duration::from_secs(30), "earlier: {took:?}");
            assert!(rings(&mut alarm).await < short, "it goes on ringing until it is set anew");
        });
    }

    #[test]
    fn it_rings_for_a_task_that_had_done_all_it_may() {
        run(async {
            let mut alarm = Alarm::new(Instant::now() + Duration::from_millis(30));
            let mut is_first = true;
            let rings = poll_fn(|context| {
                while std::mem::take(&mut is_first) && tokio::task::coop::has_budget_remaining() {
                    is_first = true;
                    let _ = pin!(tokio::task::coop::consume_budget()).poll(context);
                }
                alarm.poll(context)
            });
            tokio::time::timeout(Duration::from_secs(20), rings).await.unwrap();
        });
    }

    #[test]
    fn whoever_waits_now_is_woken() {
        run(async {
            let due = Instant::now() + Duration::from_millis(30);
            let mut alarm = Alarm::new(due);
            // Somebody who has left since.
            let mut gone = Context::from_waker(Waker::noop());
            assert!(alarm.poll(&mut gone).is_pending());
            rings(&mut alarm).await;
            assert!(Instant::now() >= due);
        });
    }
}
