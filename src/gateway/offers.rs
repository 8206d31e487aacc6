//! What the providers themselves list, for names that only a wildcard or the default provider reaches.
//!
//! A provider is asked when its list is first needed, and again when that has grown old, always beside
//! the request that needs it: a provider that is slow, down or of few words makes a list shorter and
//! never makes it fail.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::forward;
use super::upstreams::{Upstream, Upstreams};
use crate::config::Provider;
use crate::provider::offers::{self, MAX_OFFERS, Offer};

/// How long a list is taken for true.
const FRESH: Duration = Duration::from_hours(1);
/// How long a provider that did not give its list is left alone.
const PAUSE: Duration = Duration::from_mins(1);
/// How long a request waits for lists that have never been had.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// How long a provider may take for all of its list.
const PATIENCE: Duration = Duration::from_secs(15);
const MAX_PAGE: usize = 4 << 20;
const MAX_PAGES: usize = 20;

/// The lists of all providers; shared by the workers.
#[derive(Debug, Default)]
pub struct Offers {
    known: Mutex<HashMap<Arc<str>, Known>>,
    /// Some list has come, or will not.
    told: Notify,
}

#[derive(Debug)]
struct Known {
    /// Whose list it is; another address under the same name has another list.
    address: String,
    offers: Arc<[Offer]>,
    ask_after: Instant,
    is_asking: bool,
    /// It has been asked before, whatever came of it.
    was_asked: bool,
}

/// Ends the asking of one provider, also where it is given up halfway.
struct Asking {
    offers: Arc<Offers>,
    provider: Arc<str>,
    address: String,
    found: Option<Vec<Offer>>,
}

impl Offers {
    /// What each of `providers` offers, as far as that is known within a moment.
    pub(super) async fn of(
        self: &Arc<Self>,
        upstreams: &Upstreams,
        providers: &[Arc<Provider>],
    ) -> HashMap<Arc<str>, Arc<[Offer]>> {
        for provider in providers {
            if let Some(asking) = self.begin(provider) {
                actix_web::rt::spawn(ask(upstreams.get(provider), asking));
            }
        }
        let end = Instant::now() + FIRST_WAIT;
        loop {
            let told = self.told.notified();
            if self.has_all(providers) || tokio::time::timeout_at(end, told).await.is_err() {
                break;
            }
        }
        let known = self.lock();
        let each = providers.iter().filter_map(|provider| {
            Some((Arc::clone(&provider.name), Arc::clone(&known.get(&provider.name)?.offers)))
        });
        each.collect()
    }

    /// Whose turn it is to ask a provider, if it is to be asked at all.
    fn begin(self: &Arc<Self>, provider: &Provider) -> Option<Asking> {
        let address = provider.base_url.as_ref().filter(|_| offers::is_listed(provider.kind))?;
        let address = format!("{} {address}", provider.kind.name());
        let now = Instant::now();
        let mut known = self.lock();
        let entry = known.entry(Arc::clone(&provider.name));
        let new = || Known {
            address: address.clone(),
            offers: Arc::default(),
            ask_after: now,
            is_asking: false,
            was_asked: false,
        };
        let entry = entry.or_insert_with(new);
        if entry.address != address {
            *entry = new();
        }
        if entry.is_asking || now < entry.ask_after {
            return None;
        }
        entry.is_asking = true;
        let (offers, provider) = (Arc::clone(self), Arc::clone(&provider.name));
        Some(Asking { offers, provider, address, found: None })
    }

    fn has_all(&self, providers: &[Arc<Provider>]) -> bool {
        let known = self.lock();
        let waits = |provider: &Arc<Provider>| {
            known.get(&provider.name).is_some_and(|known| known.is_asking && !known.was_asked)
        };
        !providers.iter().any(waits)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut known = self.offers.lock();
        if let Some(entry) = known.get_mut(&self.provider).filter(|e| e.address == self.address) {
            (entry.is_asking, entry.was_asked) = (false, true);
            entry.ask_after = Instant::now() + if self.found.is_some() { FRESH } else { PAUSE };
            if let Some(found) = self.found.take() {
                entry.offers = Arc::from(found);
            }
        }
        drop(known);
        self.offers.told.notify_waiters();
    }
}

/// Asks a provider for its list, and keeps what it says.
async fn ask(upstream: Rc<Upstream>, mut asking: Asking) {
    let found = tokio::time::timeout(PATIENCE, list(&upstream)).await;
    asking.found = found.ok().flatten();
    if asking.found.is_none() {
        tracing::debug!(
            provider = &*asking.provider,
            "the provider did not give its list of models"
        );
    }
}

/// All parts of a provider's list. What came before a part that failed is not a list.
async fn list(upstream: &Upstream) -> Option<Vec<Offer>> {
    let kind = upstream.provider.kind;
    let mut found: Vec<Offer> = Vec::new();
    let mut query = Some(offers::first_query(kind.dialect()).to_owned());
    for _ in 0..MAX_PAGES {
        let Some(asked) = query else { break };
        let uri = upstream.uri_below(offers::PATH, &asked)?;
        let body = forward::get(upstream, &uri, MAX_PAGE).await.ok()?;
        let page = offers::read(kind, &body)?;
        found.extend(page.offers);
        query = page.next_query.filter(|_| found.len() < MAX_OFFERS);
    }
    found.truncate(MAX_OFFERS);
    Some(found)
}
