//! Whether the store is whole, adds up, and agrees with the clock.

use std::path::Path;

use super::{Check, Patient, counted};
use crate::admin::client::Client;
use crate::admin::receipts::ListReceipts;
use crate::admin::verify::{VerifyBooks, VerifyReport};
use crate::clock;
use crate::domain::window::Timestamp;
use crate::store::{StoreError, look_at};

const STORE: &str = "store";
const CLOCK: &str = "clock";
/// A segment has so many bytes before anything is in it.
const EMPTY_JOURNAL: u64 = 8;
/// A receipt is made a moment before it is looked at.
const TOLERANCE_MS: u64 = 1_000;

pub(super) fn checks(patient: &Patient<'_>) -> Vec<Check> {
    let mut checks = if patient.status.is_some() {
        served(&patient.paths.socket)
    } else {
        closed(&patient.paths.store)
    };
    checks.extend(backups(&patient.paths.store));
    checks
}

/// Through the server, which has it open.
fn served(socket: &Path) -> Vec<Check> {
    let mut checks = Vec::new();
    let send = || Client::connect(socket).ok().flatten();
    if let Some(client) = send() {
        checks.push(match client.send(&VerifyBooks {}) {
            Ok(report) => books(&report),
            Err(error) => Check::bad(STORE, error.to_string(), "look into the server's log"),
        });
    }
    let newest = ListReceipts { limit: 1, ..ListReceipts::default() };
    if let Some(Ok(page)) = send().map(|client| client.send(&newest)) {
        let at = page.first().map(|receipt| receipt.at);
        checks.extend(at.and_then(|at| set_back(at, clock::now())));
    }
    checks
}

/// On the file, which nobody has open, without changing it.
fn closed(store: &Path) -> Vec<Check> {
    if !store.exists() {
        let found = format!("there is none at {} yet; the first start makes it", store.display());
        return vec![Check::good(STORE, found)];
    }
    let seen = match look_at(store) {
        Ok(seen) => seen,
        Err(error) => return vec![broken(&error)],
    };
    let mut checks = vec![books(&seen.books.into())];
    if seen.format < seen.newest_format {
        let found = format!(
            "it has format {}; the next start copies it and brings it to format {}",
            seen.format, seen.newest_format
        );
        checks.push(Check::good(STORE, found));
    }
    if seen.open_holds > 0 || seen.journal_bytes > EMPTY_JOURNAL {
        let found = format!(
            "{} and {} bytes of journal wait for the next start, which enters them",
            counted(seen.open_holds, "open call"),
            seen.journal_bytes
        );
        checks.push(Check::good(STORE, found));
    }
    checks.extend(seen.last_receipt.and_then(|at| set_back(at, clock::now())));
    checks
}

fn books(report: &VerifyReport) -> Check {
    if report.agrees {
        let found = format!(
            "the books add up: {} keys, {} receipts, {} USD",
            report.keys, report.receipts, report.cost_usd
        );
        return Check::good(STORE, found);
    }
    let found = format!("the books differ in {} places", report.differences.len());
    let advice = "`conduit admin verify` says where; restore a backup with `conduit admin restore`, \
                  or correct a key's account with `conduit admin adjust`";
    Check::bad(STORE, found, advice)
}

fn broken(error: &StoreError) -> Check {
    let advice = match error {
        StoreError::InUse(_) => {
            "is it the server's? Then name the configuration it was started with by --config"
        }
        StoreError::Newer { .. } => "install the version that wrote it",
        StoreError::Unclean(_) => {
            return Check::warning(
                STORE,
                error.to_string(),
                "start the server: it recovers what the journal has; then run this again",
            );
        }
        StoreError::Unusable { .. } => "run this as the service's user, or mend the rights",
        _ => "restore a backup: conduit admin restore FILE",
    };
    Check::bad(STORE, error.to_string(), advice)
}

/// A clock that was set back lets a window begin again.
fn set_back(newest: Timestamp, now: Timestamp) -> Option<Check> {
    if newest <= now.plus_millis(TOLERANCE_MS) {
        return None;
    }
    let found = format!("it says {now}, but the newest receipt is of {newest}");
    let advice =
        "the clock was set back, or stood wrong before: set it right, best by a time service";
    Some(Check::bad(CLOCK, found, advice))
}

/// The latest of the backups that lie beside the store.
fn backups(store: &Path) -> Option<Check> {
    const WEEK_MS: u64 = 7 * 86_400_000;
    let folder = store.parent()?.join("backups");
    let entries = std::fs::read_dir(&folder).ok()?;
    let made = entries.flatten().filter_map(|entry| entry.metadata().ok()?.modified().ok());
    let latest = made.max().map(clock::told)?;
    let found = format!("the latest in {} is of {latest}", folder.display());
    Some(if clock::now().millis_since(latest) > WEEK_MS {
        Check::warning("backup", found, "make one: conduit admin backup")
    } else {
        Check::good("backup", found)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_back_is_noticed() {
        let at = Timestamp::from_millis;
        assert!(set_back(at(10_000), at(9_500)).is_none());
        assert!(set_back(at(10_000), at(20_000)).is_none());
        assert!(set_back(at(10_000), at(5_000)).is_some());
    }
}
