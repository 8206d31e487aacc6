//! What the service manager is told, by the protocol of `sd_notify(3)`: ready, reloading, stopping, that
//! all still turns, and a sentence for people. Where no manager listens, nothing happens.
//!
//! The watchdog is told only while the workers turn that serve calls and the journal takes what they
//! record: a gateway that hangs in any of these must look as if it hung.

use std::net::SocketAddr;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use super::pulse::Pulse;
use crate::config::live::Stage;
use crate::config::{Live, process_environment};
use crate::ledger::Ledger;

/// How often the sentence for people is brought up to date.
const STATUS_EVERY: Duration = Duration::from_secs(5);
/// How often while stopping, when somebody waits.
const STATUS_EVERY_AT_END: Duration = Duration::from_secs(1);
/// What putting everything away may take after the last call.
const CLOSING_TIME: Duration = Duration::from_secs(30);

/// Messages that wait for a manager that does not listen just then; what is more is dropped.
const MOST_WAITING: usize = 32;

/// Tells the service manager, if there is one. That it cannot be told, or does not listen, must not
/// disturb the service: a thread of its own waits for it.
fn tell(states: &[NotifyState<'_>]) {
    static MESSENGER: LazyLock<Option<SyncSender<String>>> = LazyLock::new(messenger);
    let Some(messenger) = &*MESSENGER else { return };
    let lines: Vec<_> = states.iter().map(ToString::to_string).collect();
    if messenger.try_send(lines.join("\n")).is_err() {
        tracing::debug!("the service manager does not listen: it was not told");
    }
}

/// Starts the thread that speaks with the service manager, if there is one.
fn messenger() -> Option<SyncSender<String>> {
    process_environment("NOTIFY_SOCKET").filter(|socket| !socket.is_empty())?;
    let (sender, messages) = sync_channel::<String>(MOST_WAITING);
    let speak = move || {
        for message in messages {
            if let Err(error) = sd_notify::notify(&[NotifyState::Custom(&message)]) {
                tracing::debug!("the service manager was not told: {error}");
            }
        }
    };
    std::thread::Builder::new().name("notify".to_owned()).spawn(speak).ok()?;
    Some(sender)
}

/// What the sentence is about.
#[derive(Clone)]
pub(super) struct Subject {
    live: Arc<Live>,
    ledger: Arc<Ledger>,
    addresses: Arc<str>,
}

impl Subject {
    pub(super) fn new(live: &Arc<Live>, ledger: &Arc<Ledger>, addresses: &[SocketAddr]) -> Self {
        let all: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let addresses = all.join(" and ").into();
        Self { live: Arc::clone(live), ledger: Arc::clone(ledger), addresses }
    }

    fn sentence(&self) -> String {
        let generation = self.live.load().generation;
        let config = if self.live.failed().is_some() {
            format!("the configuration file has errors, version {generation} stays in force")
        } else {
            format!("configuration version {generation} in force")
        };
        let doing = match self.ledger.store().journal().trouble() {
            Some(trouble) => format!("Refusing calls: {trouble}"),
            None => format!("Serving on {}, {}", self.addresses, under_way(&self.ledger)),
        };
        format!("{doing}; conduit {}; {config}", env!("CARGO_PKG_VERSION")).replace('\n', " ")
    }
}

fn under_way(ledger: &Ledger) -> String {
    match ledger.calls_under_way() {
        0 => "no call under way".to_owned(),
        1 => "1 call under way".to_owned(),
        count => format!("{count} calls under way"),
    }
}

/// The start waits for what another process has.
pub(super) fn waiting(reason: &str, patience: Duration) {
    tell(&[NotifyState::Status(reason), extension(patience)]);
}

/// All sockets are served.
pub(super) fn ready(subject: &Subject) {
    tell(&[NotifyState::Ready, NotifyState::Status(&subject.sentence())]);
}

/// Tells of each reload, from the thread that does it.
pub(super) fn follow_reloads(subject: &Subject) {
    let told = subject.clone();
    subject.live.on_reload(move |stage| match stage {
        Stage::Begins => {
            let now = NotifyState::monotonic_usec_now();
            let states = [Some(NotifyState::Reloading), now.ok()];
            tell(&states.into_iter().flatten().collect::<Vec<_>>());
        }
        Stage::Ended => ready(&told),
    });
}

/// Keeps the sentence up to date until it is dropped.
pub(super) async fn keep_status(subject: Subject) {
    let mut said = subject.sentence();
    let mut tick = tokio::time::interval(STATUS_EVERY);
    loop {
        tick.tick().await;
        let sentence = subject.sentence();
        if sentence != said {
            tell(&[NotifyState::Status(&sentence)]);
            said = sentence;
        }
    }
}

/// How often workers must beat, if the service manager watches.
pub(super) fn beat() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|period| period / 8)
}

/// Tells the watchdog twice in its period for as long as everything turns that serves calls. `workers`
/// says how many there must be.
pub(super) async fn feed_watchdog(
    pulse: Arc<Pulse>,
    ledger: Arc<Ledger>,
    workers: impl Fn() -> usize,
) {
    let Some(period) = sd_notify::watchdog_enabled().filter(|period| !period.is_zero()) else {
        return;
    };
    loop {
        let trouble = if !pulse.is_steady(workers(), period / 4) {
            "a thread that serves calls"
        } else if !journal_turns(&ledger, period / 4).await {
            "the journal"
        } else {
            tell(&[NotifyState::Watchdog]);
            tokio::time::sleep(period / 2).await;
            continue;
        };
        tracing::error!("the watchdog is not told that all is well: {trouble} does not turn");
        tokio::time::sleep(period / 8).await;
    }
}

/// Whether the journal makes durable what was recorded. One whose disk refuses does turn: it tries again,
/// and a restart would lose what waits.
async fn journal_turns(ledger: &Ledger, patience: Duration) -> bool {
    let journal = ledger.store().journal();
    let durable = tokio::time::timeout(patience, journal.durable(journal.position())).await;
    durable.unwrap_or_else(|_| journal.trouble().is_some())
}

/// Says that no new calls are taken and how long those under way may go on, until it is dropped.
pub(super) async fn stopping(ledger: &Ledger, deadline: Instant) {
    let say = |first: Option<NotifyState<'_>>| {
        let left = deadline.saturating_duration_since(Instant::now());
        let calls = under_way(ledger);
        let status = format!("Stopping: {calls}, for {} more seconds at most", left.as_secs());
        let states = [first, Some(NotifyState::Status(&status)), Some(extension(left))];
        tell(&states.into_iter().flatten().collect::<Vec<_>>());
    };
    say(Some(NotifyState::Stopping));
    loop {
        tokio::time::sleep(STATUS_EVERY_AT_END).await;
        say(None);
    }
}

/// Asks for more time than the unit may give: for what the configuration allows, and what comes after.
fn extension(left: Duration) -> NotifyState<'static> {
    let micros = (left + CLOSING_TIME).as_micros();
    NotifyState::ExtendTimeoutUsec(u32::try_from(micros).unwrap_or(u32::MAX))
}
