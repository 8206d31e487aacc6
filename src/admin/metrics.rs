//! The page that Prometheus reads: what calls have counted, and how things stand at this instant with
//! keys, holds, the journal, the configuration and the process.

use std::fs;

use super::{Desk, certificates};
use crate::clock;
use crate::config::Live;
use crate::domain::money::Money;
use crate::ledger::Standing;
use crate::metrics::MOST_CALLS;
use crate::metrics::histogram::OWN;
use crate::metrics::page::{Kind, Label, Millis, Page};

/// The most keys, and the most teams, whose limits are shown: the oldest.
const MOST_SHOWN: usize = 1_000;

/// What is written beside what the ledger and the store know.
pub type Counts = dyn Fn(&mut Page) + Send + Sync;

/// Writes the page. Reads accounts and files of the system: not for a worker of the gateway.
pub fn page(desk: &Desk) -> String {
    let mut page = Page::default();
    desk.ledger.metrics().write(&mut page);
    write_holds(desk, &mut page);
    write_limits(desk, &mut page);
    write_journal(desk, &mut page);
    if let Some(live) = desk.live.as_deref() {
        write_config(live, &mut page);
        certificates::write(desk, &mut page);
    }
    if let Some(counts) = &desk.counts {
        counts(&mut page);
    }
    write_process(desk, &mut page);
    page.finish()
}

fn write_holds(desk: &Desk, page: &mut Page) {
    let (mut holds, mut waiting, mut held) = (0_u64, 0, Money::ZERO);
    let accounts = desk.ledger.directory().all();
    for account in &accounts {
        let (open, in_line) = account.in_flight();
        holds = holds.saturating_add(open);
        waiting += in_line;
        held = held.saturating_add(account.held());
    }
    waiting += desk.ledger.teams().iter().map(|team| team.in_flight().1).sum::<usize>();
    page.single("conduit_keys", Kind::Gauge, "Keys there are, revoked ones too.", accounts.len());
    let help = "Calls under way: money is set aside for each.";
    page.single("conduit_holds_open", Kind::Gauge, help, holds);
    page.single("conduit_held_usd", Kind::Gauge, "Dollars that are set aside for calls.", held);
    let help = "Calls that stand in line for money that other calls hold.";
    page.single("conduit_waiting", Kind::Gauge, help, waiting);
}

/// What is shown of somebody with limits.
struct Limited {
    id: String,
    name: String,
    standing: [Standing; 3],
}

fn write_limits(desk: &Desk, page: &mut Page) {
    let (rule, now) = (desk.ledger.policy().windows.clone(), clock::now());
    let help = "What a key is called; always 1.";
    page.family("conduit_key_info", Kind::Gauge, help);
    let accounts = desk.ledger.directory().all();
    let records = accounts.iter().map(|account| account.record());
    for record in records.filter(|record| record.revoked.is_none()).take(MOST_CALLS) {
        page.sample(&[("key", &record.id.to_string()), ("name", &record.name)], 1);
    }
    let keys = accounts.into_iter().filter_map(|account| {
        let record = account.record();
        let is_shown = record.limits.any() && record.revoked.is_none();
        is_shown.then(|| Limited {
            id: record.id.to_string(),
            name: record.name.clone(),
            standing: account.standing(&rule, now),
        })
    });
    let keys: Vec<_> = keys.take(MOST_SHOWN).collect();
    let teams = desk.ledger.teams().into_iter().filter_map(|team| {
        let record = team.record();
        record.limits.any().then(|| Limited {
            id: record.id.to_string(),
            name: record.name.clone(),
            standing: team.standing(&rule, now),
        })
    });
    let teams: Vec<_> = teams.take(MOST_SHOWN).collect();
    page.family("conduit_team_info", Kind::Gauge, "What a team is called; always 1.");
    for team in &teams {
        page.sample(&[("team", &team.id), ("name", &team.name)], 1);
    }
    let limit: Amount = |standing| standing.limit;
    let spent: Amount = |standing| Some(standing.spent);
    let may = "may spend in a window that it has a limit for.";
    let has = "has spent in the present window of each of its limits.";
    for (whose, all, name, help, amount) in [
        ("key", &keys, "conduit_key_limit_usd", may, limit),
        ("key", &keys, "conduit_key_spent_usd", has, spent),
        ("team", &teams, "conduit_team_limit_usd", may, limit),
        ("team", &teams, "conduit_team_spent_usd", has, spent),
    ] {
        page.family(name, Kind::Gauge, &format!("What a {whose} {help}"));
        for of in all {
            each_limit(page, (whose, &of.id), &of.standing, amount);
        }
    }
}

/// A figure of a limit.
type Amount = fn(&Standing) -> Option<Money>;

fn each_limit(page: &mut Page, whose: Label<'_>, standing: &[Standing], amount: Amount) {
    for standing in standing.iter().filter(|standing| standing.limit.is_some()) {
        if let Some(amount) = amount(standing) {
            page.sample(&[whose, ("window", standing.period.name())], amount);
        }
    }
}

fn write_journal(desk: &Desk, page: &mut Page) {
    let journal = desk.ledger.store().journal();
    let load = journal.load();
    let help = "How long each sync of the journal took: what a call waits for before it is shown.";
    page.family("conduit_journal_sync_seconds", Kind::Histogram, help);
    page.histogram(&[], OWN, &load.syncs);
    let help = "How long it took each time to commit what the journal had gathered to the store.";
    page.family("conduit_store_commit_seconds", Kind::Histogram, help);
    page.histogram(&[], OWN, &load.put_aways);
    let help = "What was written to the journal and not yet synced.";
    page.single("conduit_journal_unsynced_bytes", Kind::Gauge, help, load.unsynced_bytes);
    let help = "How large the segment of the journal is that is written to.";
    page.single("conduit_journal_segment_bytes", Kind::Gauge, help, load.segment_bytes);
    let help = "Segments of the journal that wait to be committed to the store.";
    page.single("conduit_journal_segments_waiting", Kind::Gauge, help, load.to_put_away);
    let help = "Whether spending can be recorded; while it cannot, calls are refused.";
    let is_well = u8::from(journal.trouble().is_none());
    page.single("conduit_ledger_healthy", Kind::Gauge, help, is_well);
    let size = fs::metadata(desk.ledger.store().path()).map_or(0, |found| found.len());
    page.single("conduit_store_size_bytes", Kind::Gauge, "How large the store's file is.", size);
}

fn write_config(live: &Live, page: &mut Page) {
    let snapshot = live.snapshot();
    let help = "Whether the configuration in force is the file as it is now.";
    let is_good = u8::from(live.failed().is_none());
    page.single("conduit_config_last_reload_successful", Kind::Gauge, help, is_good);
    let name = "conduit_config_last_reload_success_timestamp_seconds";
    let help = "When the configuration in force was taken from its file.";
    page.single(name, Kind::Gauge, help, Millis(snapshot.loaded_at.millis()));
    let help = "How often a configuration was put in force since the start.";
    page.single("conduit_config_generation", Kind::Gauge, help, snapshot.generation);
    let help = "Options whose change waits for a restart.";
    let waiting = snapshot.needs_restart.len();
    page.single("conduit_config_options_waiting", Kind::Gauge, help, waiting);
}

fn write_process(desk: &Desk, page: &mut Page) {
    let help = "What is running; always 1.";
    page.family("conduit_build_info", Kind::Gauge, help);
    page.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    let name = "process_start_time_seconds";
    let start = Millis(desk.ledger.metrics().began().millis());
    page.single(name, Kind::Gauge, "When the process began to serve.", start);
    let Some(process) = Process::read() else { return };
    let help = "User and system time of the process.";
    page.single("process_cpu_seconds_total", Kind::Counter, help, Millis(process.cpu_ms));
    let name = "process_resident_memory_bytes";
    page.single(name, Kind::Gauge, "Memory of the process in use.", process.resident_bytes);
    let name = "process_virtual_memory_bytes";
    page.single(name, Kind::Gauge, "Memory of the process, in use or not.", process.virtual_bytes);
    page.single("process_open_fds", Kind::Gauge, "Files and connections open.", process.open_fds);
    if let Some(most) = process.most_fds {
        page.single("process_max_fds", Kind::Gauge, "Files and connections at most.", most);
    }
    page.single("process_threads", Kind::Gauge, "Threads of the process.", process.threads);
}

/// What the system says of this process.
struct Process {
    cpu_ms: u64,
    resident_bytes: u64,
    virtual_bytes: u64,
    threads: u64,
    open_fds: u64,
    most_fds: Option<u64>,
}

impl Process {
    /// Reads it from `/proc` (see proc(5)); `None` where there is none.
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        // Without the listing's own.
        let open_fds = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
        Self::parse(&stat, &status, &limits, open_fds as u64)
    }

    fn parse(stat: &str, status: &str, limits: &str, open_fds: u64) -> Option<Self> {
        // The name before it may hold anything, a bracket too.
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let field = |index: usize| fields.get(index)?.parse::<u64>().ok();
        let line = |name: &str| {
            let line =
                status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.split_ascii_whitespace().next()?.parse::<u64>().ok()
        };
        let most_fds = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        Some(Self {
            // In ticks, of which the kernel counts a hundred a second whatever its own clock does.
            cpu_ms: field(11)?.saturating_add(field(12)?).saturating_mul(10),
            resident_bytes: line("VmRSS")?.saturating_mul(1024),
            virtual_bytes: line("VmSize")?.saturating_mul(1024),
            threads: line("Threads")?,
            open_fds,
            most_fds: most_fds.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_of_a_process_is_read() {
        let stat = "7 (a) (b c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 12345 99 3";
        let status = "Name:\ta\nVmSize:\t  2048 kB\nVmRSS:\t     100 kB\nThreads:\t9\n";
        let limits =
            "Limit  Soft Limit  Hard Limit  Units\nMax open files   1024   524288   files\n";
        let read = Process::parse(stat, status, limits, 12).unwrap();
        assert_eq!((read.cpu_ms, read.threads, read.most_fds), (3_000, 9, Some(1_024)));
        assert_eq!((read.resident_bytes, read.virtual_bytes), (102_400, 2_097_152));
        assert!(Process::parse("", "", "", 0).is_none());
        assert!(Process::read().is_some());
    }
}
