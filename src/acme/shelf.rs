//! The certificate in force, what an authority is shown while it looks at a name, and how it stands with
//! the orders: what handshakes and administrators look at.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use rustls::sign::CertifiedKey;

use super::folder::{self, Held};
use crate::config::Acme;
use crate::domain::window::Timestamp;

#[derive(Default)]
pub struct Shelf {
    held: ArcSwapOption<Held>,
    /// By the name that is looked at.
    shown: Mutex<HashMap<String, Arc<CertifiedKey>>>,
    standing: Mutex<Standing>,
}

/// How it stands with the orders.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// When the next one is made, whether the last one failed or not.
    pub next: Option<Timestamp>,
    pub last_failure: Option<(String, Timestamp)>,
    pub issued: u64,
    pub failed: u64,
}

impl Shelf {
    /// One with what was kept, if that can be used.
    pub fn restore(plan: Option<&Acme>) -> Self {
        let shelf = Self::default();
        match plan.map(folder::kept) {
            None | Some(Ok(None)) => {}
            Some(Ok(Some(held))) => shelf.held.store(Some(Arc::new(held))),
            Some(Err(why)) => tracing::error!("the certificate that was ordered is lost: {why}"),
        }
        shelf
    }

    /// What clients are shown; nothing before there is a certificate.
    pub fn certificate(&self) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.held.load().as_ref()?.pair.signer))
    }

    /// What the authority is shown that looks at `name`; nothing where nobody was asked to.
    pub fn challenge(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.get(name).cloned()
    }

    pub fn held(&self) -> Option<Arc<Held>> {
        self.held.load_full()
    }

    pub fn standing(&self) -> Standing {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Standing)) {
        change(&mut self.standing.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn show(&self, name: String, certificate: CertifiedKey) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.insert(name, Arc::new(certificate));
    }

    /// Shows nothing more to authorities.
    pub(super) fn withdraw(&self) {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn put(&self, held: Held) {
        self.held.store(Some(Arc::new(held)));
        self.change(|standing| {
            standing.last_failure = None;
            standing.issued += 1;
        });
    }

    pub(super) fn fail(&self, why: String, at: Timestamp) {
        self.change(|standing| {
            standing.last_failure = Some((why, at));
            standing.failed += 1;
        });
    }

    pub(super) fn expect(&self, next: Timestamp) {
        self.change(|standing| standing.next = Some(next));
    }
}
