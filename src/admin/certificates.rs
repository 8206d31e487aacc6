//! How it stands with the certificates of the listeners: those in files, and the one that is ordered.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Desk;
use crate::acme::Shelf;
use crate::config::{Acme, Certificate, Config, Tls};
use crate::domain::window::Timestamp;
use crate::metrics::page::{Kind, Millis, Page};

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CertificateStatus {
    /// Which listeners show it: `gateway`, `admin`.
    pub listener: String,
    /// The file, or the names that it is ordered for.
    pub source: String,
    /// Whether it is ordered by ACME.
    pub ordered: bool,
    /// Absent where there is none yet.
    pub valid_from: Option<Timestamp>,
    pub valid_until: Option<Timestamp>,
    /// When the next one is ordered.
    pub next_order: Option<Timestamp>,
    /// Why the last order failed.
    pub last_failure: Option<String>,
    pub failed_at: Option<Timestamp>,
}

/// Of each listener that speaks TLS.
pub(super) fn standing(desk: &Desk) -> Vec<CertificateStatus> {
    let (Some(live), Some(served)) = (&desk.live, &desk.served) else { return Vec::new() };
    let config = &live.load().config;
    let doors = doors(config).into_iter();
    doors
        .filter_map(|(listener, tls)| match (tls, &config.acme) {
            (Tls::Files(certificate), _) => Some(in_files(listener, certificate)),
            (Tls::Acme, Some(plan)) => Some(ordered(listener, plan, &served.shelf)),
            (Tls::Acme, None) => None,
        })
        .collect()
}

fn doors(config: &Config) -> Vec<(&'static str, &Tls)> {
    let all = [("gateway", &config.server.tls), ("admin", &config.admin.tls)];
    all.into_iter().filter_map(|(listener, tls)| Some((listener, tls.as_ref()?))).collect()
}

fn in_files(listener: &str, certificate: &Certificate) -> CertificateStatus {
    let pair = certificate.pair.as_ref();
    CertificateStatus {
        listener: listener.to_owned(),
        source: certificate.certificate_file.display().to_string(),
        ordered: false,
        valid_from: pair.map(|pair| pair.valid_from),
        valid_until: pair.map(|pair| pair.valid_until),
        next_order: None,
        last_failure: None,
        failed_at: None,
    }
}

fn ordered(listener: &str, plan: &Acme, shelf: &Arc<Shelf>) -> CertificateStatus {
    let (held, standing) = (shelf.held(), shelf.standing());
    let (last_failure, failed_at) = standing.last_failure.unzip();
    CertificateStatus {
        listener: listener.to_owned(),
        source: plan.names.join(", "),
        ordered: true,
        valid_from: held.as_ref().map(|held| held.pair.valid_from),
        valid_until: held.as_ref().map(|held| held.pair.valid_until),
        next_order: standing.next,
        last_failure,
        failed_at,
    }
}

/// The end of each certificate, and how orders went.
pub(super) fn write(desk: &Desk, page: &mut Page) {
    let all = standing(desk);
    let help = "When the certificate of a listener ends; 0 while there is none.";
    page.family("conduit_tls_certificate_expiry_timestamp_seconds", Kind::Gauge, help);
    for one in &all {
        let end = one.valid_until.map_or(0, Timestamp::millis);
        page.sample(&[("listener", &one.listener)], Millis(end));
    }
    let Some(served) = desk.served.as_deref().filter(|_| all.iter().any(|one| one.ordered)) else {
        return;
    };
    let standing = served.shelf.standing();
    let help = "Certificates that were ordered, by what came of it.";
    page.family("conduit_acme_orders_total", Kind::Counter, help);
    page.sample(&[("result", "issued")], standing.issued);
    page.sample(&[("result", "failed")], standing.failed);
}
