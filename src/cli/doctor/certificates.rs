//! The certificates of the listeners: that they are there, and go on long enough to be replaced in peace.

use super::{Check, Status};
use crate::admin::certificates::CertificateStatus;
use crate::config::{Acme, Certificate, Config, Tls};
use crate::domain::window::Timestamp;
use crate::{acme, clock};

const CERTIFICATE: &str = "certificate";

pub(super) fn checks(config: &Config, status: Option<&Status>) -> Vec<Check> {
    let now = clock::now();
    let mut checks: Vec<_> =
        config.certificates().map(|certificate| in_files(certificate, now)).collect();
    checks.dedup_by(|one, other| one.subject == other.subject);
    let is_ordered = [&config.server.tls, &config.admin.tls].contains(&&Some(Tls::Acme));
    if let Some(plan) = config.acme.as_ref().filter(|_| is_ordered) {
        let reported = status.and_then(|status| status.certificates.iter().find(|one| one.ordered));
        checks.push(ordered(plan, reported, now).of(plan.names.join(", ")));
    }
    checks
}

fn in_files(certificate: &Certificate, now: Timestamp) -> Check {
    let file = certificate.certificate_file.display().to_string();
    let Some(pair) = &certificate.pair else {
        return Check::skipped(CERTIFICATE, "it was not read").of(file);
    };
    let advice = "see why what renews it does not: its files are read again when they change";
    until(pair.valid_from, pair.valid_until, now, advice).of(file)
}

/// By what the server says that runs, or else by what it left.
fn ordered(plan: &Acme, reported: Option<&CertificateStatus>, now: Timestamp) -> Check {
    let kept = match acme::kept(plan) {
        Ok(kept) => kept.filter(|held| held.fits(plan)),
        Err(why) => {
            let advice = "run this as the service's user; what cannot be used is ordered anew";
            return Check::warning(CERTIFICATE, why, advice);
        }
    };
    let advice = "see that port 443 of the name leads to this gateway, as it is: the authority looks \
                  there by TLS";
    if let Some(why) = reported.and_then(|one| one.last_failure.as_ref()) {
        let found = format!("the last order failed: {why}");
        return match kept {
            Some(_) => Check::warning(CERTIFICATE, found, advice),
            None => Check::bad(CERTIFICATE, found, advice),
        };
    }
    match kept {
        Some(held) => until(held.pair.valid_from, held.pair.valid_until, now, advice),
        None => {
            Check::warning(CERTIFICATE, "there is none yet: a server that runs orders it", advice)
        }
    }
}

/// Whoever renews it in time begins well before the last fifth.
fn until(from: Timestamp, end: Timestamp, now: Timestamp, advice: &str) -> Check {
    let found = format!("it is valid until {end}");
    if now < from {
        Check::bad(CERTIFICATE, format!("it is valid only from {from}"), "look at the clock")
    } else if now >= end {
        Check::bad(CERTIFICATE, format!("it has expired: it was valid until {end}"), advice)
    } else if end.millis_since(now) < end.millis_since(from) / 5 {
        Check::warning(CERTIFICATE, found, advice)
    } else {
        Check::good(CERTIFICATE, found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn one_that_ends_soon_is_told_of() {
        let at = Timestamp::from_millis;
        let state = |now| until(at(100), at(200), at(now), "").state;
        assert_eq!([99, 100, 179].map(state), [State::Bad, State::Good, State::Good]);
        assert_eq!([181, 199, 200].map(state), [State::Warning, State::Warning, State::Bad]);
    }
}
