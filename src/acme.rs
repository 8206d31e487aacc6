//! Orders the certificate of a public name, and a new one well before it ends, by ACME (RFC 8555).
//!
//! The authority looks at the name over the gateway's own TLS port (TLS-ALPN-01, RFC 8737), so nothing
//! else has to be reachable. What was ordered is kept in a folder, and nothing that is kept is ordered
//! again. An authority that is away, or refuses, must never be in the way of a call: the certificate that
//! is there goes on, and it is asked again with longer and longer pauses.

mod folder;
mod order;
mod post;
mod schedule;
mod shelf;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock;
use crate::config::{Acme, Live};
use crate::domain::window::Timestamp;
pub use folder::{Held, kept};
use order::Trouble;
use schedule::{Advice, Kind};
pub use shelf::{Shelf, Standing};

/// A machine that slept finds out so late at most that time went on.
const LONGEST_SLEEP: Duration = Duration::from_hours(1);
/// From the first question to the certificate.
const PATIENCE: Duration = Duration::from_mins(5);

/// Orders what the configuration asks for, for as long as the server runs.
pub struct Orders {
    pub shelf: Arc<Shelf>,
    /// Told of each configuration that comes into force.
    pub changed: Arc<Notify>,
    /// How authorities are believed that name no roots of their own.
    pub tls: Arc<rustls::ClientConfig>,
}

/// What lies behind the attempt that comes next.
#[derive(Default)]
struct Past {
    failures: u32,
    /// Not before then.
    rest_until: Option<Timestamp>,
    /// What the authority says of when the certificate is to be replaced.
    advice: Option<Advice>,
}

impl Orders {
    /// Never ends.
    pub async fn keep(self, live: &Live) {
        let mut past = Past::default();
        loop {
            let plan = live.load().config.acme.clone();
            let Some(plan) = plan else {
                self.changed.notified().await;
                continue;
            };
            let now = clock::now();
            let due = self.due(&plan, &mut past, now).await;
            self.shelf.expect(due);
            if due > now {
                let pause = Duration::from_millis(due.millis_since(now)).min(LONGEST_SLEEP);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    // Whoever mended the configuration does not want to wait.
                    () = self.changed.notified() => past = Past::default(),
                }
                continue;
            }
            self.order(&plan, &mut past).await;
        }
    }

    /// When to order next.
    async fn due(&self, plan: &Acme, past: &mut Past, now: Timestamp) -> Timestamp {
        let held = self.shelf.held().filter(|held| held.fits(plan));
        let due = match held {
            None => now,
            Some(held) => {
                if past.advice.as_ref().is_none_or(|advice| advice.ask_again <= now) {
                    past.advice = Some(self.ask(plan, &held, now).await);
                }
                let usual = schedule::renewal(held.pair.valid_from, held.pair.valid_until);
                let latest = schedule::latest(held.pair.valid_from, held.pair.valid_until);
                let advised = past.advice.as_ref().and_then(|advice| advice.renew_at);
                advised.unwrap_or(usual).min(latest)
            }
        };
        past.rest_until.map_or(due, |rest| rest.max(due))
    }

    /// Asks when the certificate should be replaced (RFC 9773); authorities that do not say are left
    /// alone for a day.
    async fn ask(&self, plan: &Acme, held: &Held, now: Timestamp) -> Advice {
        let asked = tokio::time::timeout(PATIENCE, order::advice(plan, held, &self.tls)).await;
        match asked {
            Ok(Ok((window, again))) => Advice::given(window, again, now, clock::random()),
            Ok(Err(trouble)) => {
                tracing::debug!("no advice on when to renew the certificate: {}", trouble.why);
                Advice::none(now)
            }
            Err(_) => Advice::none(now),
        }
    }

    async fn order(&self, plan: &Acme, past: &mut Past) {
        let names = plan.names.join(", ");
        tracing::info!(names, directory = plan.directory, "a certificate is ordered");
        let held = self.shelf.held();
        // An authority that refused once might because of what the order says of the one before.
        let before = held.as_deref().filter(|held| past.failures == 0 && held.fits(plan));
        let before = before.filter(|_| past.advice.as_ref().is_some_and(|a| a.renew_at.is_some()));
        let ordered = order::order(plan, &self.shelf, before, &self.tls);
        let ordered = match tokio::time::timeout(PATIENCE, ordered).await {
            Ok(ordered) => ordered,
            Err(_) => Err(Trouble::unreachable("it took too long".to_owned())),
        };
        self.shelf.withdraw();
        match ordered.and_then(|issued| folder::keep(plan, &issued).map_err(Trouble::here)) {
            Ok(held) => {
                *past = Past::default();
                let until = held.pair.valid_until;
                tracing::info!(names, valid_until = %until, "a certificate has come");
                self.shelf.put(held);
            }
            Err(trouble) => self.fail(plan, past, &trouble),
        }
    }

    fn fail(&self, plan: &Acme, past: &mut Past, trouble: &Trouble) {
        if trouble.kind == Kind::NoAccount {
            folder::forget_account(plan);
        }
        past.failures = past.failures.saturating_add(1);
        let now = clock::now();
        let pause = schedule::pause(trouble.kind, past.failures, clock::random());
        let next = now.plus_millis(pause);
        past.rest_until = Some(next);
        tracing::error!(
            names = plan.names.join(", "),
            directory = plan.directory,
            next_attempt = %next,
            "no certificate: {}",
            trouble.why
        );
        self.shelf.fail(trouble.why.clone(), now);
    }
}
