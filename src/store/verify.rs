//! Whether the books add up: receipts, hourly totals, adjustments, accounts and their windows tell the
//! same story, each being written down separately; and so do those of teams.
//!
//! Everything is read in one transaction, so calls may go on meanwhile; nothing is ever changed here.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::path::Path;

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable};

use super::adjust::adjustments;
use super::recovery::open_holds;
use super::schema::{
    self, ACCOUNTS, Account, FORMAT, HOURS, KEYS, META, OPEN, PRUNED, PRUNED_KEY, RECEIPTS,
    TEAM_ACCOUNTS, TEAM_HOURS,
};
use super::{CACHE_BYTES, Store, StoreError, Totals};
use crate::domain::adjustment::{Adjustment, Corrected, Correction};
use crate::domain::budget::Remembered;
use crate::domain::codec::Decoder;
use crate::domain::key::KeyId;
use crate::domain::money::Money;
use crate::domain::receipt::{KnownNames, Written};
use crate::domain::team::{Owner, TeamId};
use crate::domain::usage::Class;
use crate::domain::window::{Period, Timestamp};

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Books {
    pub keys: u64,
    pub receipts: u64,
    /// Receipts that were deleted because of their age, of which sums are kept.
    pub pruned: u64,
    pub hours: u64,
    pub adjustments: u64,
    /// What all calls cost.
    pub cost: Money,
    pub differences: Vec<Difference>,
    /// What is remembered of each account.
    pub accounts: HashMap<Owner, Remembered>,
}

/// Two places that should say the same and do not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub owner: Owner,
    pub what: String,
    pub expected: String,
    pub found: String,
}

impl Store {
    /// Adds everything up and compares, as it is on the disk once the journal is put away.
    pub fn verify(&self) -> Result<Books, StoreError> {
        self.bring_up_to_date()?;
        audit(&self.read()?)
    }
}

/// Adds up the store in a file that no process has open, as a backup, without changing it.
pub fn verify_file(path: &Path) -> Result<Books, StoreError> {
    let db = Database::builder().set_cache_size(CACHE_BYTES).open_read_only(path);
    let db = db.map_err(|error| StoreError::opening(path, error))?;
    audit_file(&db.begin_read()?, path)
}

/// What a file that no process has open says of itself.
#[derive(Debug)]
pub struct Seen {
    pub format: u64,
    /// The format that opening it would bring it to.
    pub newest_format: u64,
    pub books: Books,
    /// Calls that were under way when it was closed.
    pub open_holds: usize,
    /// What opening it would enter.
    pub journal_bytes: u64,
    pub last_receipt: Option<Timestamp>,
}

/// Looks at the store in a file that no process has open, without changing it.
pub fn look_at(path: &Path) -> Result<Seen, StoreError> {
    let db = Database::builder().set_cache_size(CACHE_BYTES).open_read_only(path);
    let db = db.map_err(|error| StoreError::opening(path, error))?;
    let read = db.begin_read()?;
    let books = audit_file(&read, path)?;
    let has_holds = schema::has(&read, OPEN)?;
    let open_holds = if has_holds { open_holds(&read)?.len() } else { 0 };
    let last = read.open_table(RECEIPTS)?.last()?.map(|(place, _)| place.value().0);
    Ok(Seen {
        format: schema::check(&read, path)?.unwrap_or_default(),
        newest_format: FORMAT,
        books,
        open_holds,
        journal_bytes: super::disk::bytes_beside(path),
        last_receipt: last.map(Timestamp::from_millis),
    })
}

/// As [`audit`], of a file that may be anything.
pub(super) fn audit_file(read: &ReadTransaction, path: &Path) -> Result<Books, StoreError> {
    if schema::check(read, path)?.is_none() {
        let reason = "there is nothing in it".to_owned();
        return Err(StoreError::Foreign { path: path.to_owned(), reason });
    }
    audit(read)
}

/// What the receipts, the hours and the adjustments say of one key.
#[derive(Default)]
struct Sums {
    account: Account,
    has_account: bool,
    /// Of the receipts, those deleted included.
    receipts: Totals,
    hours: Totals,
    corrected: Corrected,
    windows: [WindowSums; 3],
}

/// What a window's amount must be, or between what.
///
/// A call belongs to the window in which its money was set aside, which its receipt does not say: one
/// that began before the window and ended in it may belong here or not.
#[derive(Default)]
struct WindowSums {
    least: Money,
    most: Money,
    /// From the start of the hour: what a window that came from a change of rule was added up from, and
    /// all there is of receipts that were deleted.
    most_by_hours: Money,
    charged: Money,
    credited: Money,
    charged_since: Money,
    credited_since: Money,
}

impl Sums {
    fn take_adjustment(&mut self, owner: Owner, adjustment: &Adjustment) {
        let Some((part, counted)) = adjustment.part_of(owner) else { return };
        self.corrected.add(adjustment.correction);
        let starts = self.account.windows.starts;
        for (period, window) in self.windows.iter_mut().enumerate() {
            let is_same = part[period] == starts[period];
            let counted = if is_same { counted[period] } else { Money::ZERO };
            let is_since = adjustment.at >= starts[period].hour();
            let amount = if is_since { adjustment.correction.amount() } else { Money::ZERO };
            match adjustment.correction {
                Correction::Charge(_) => {
                    add(&mut window.charged, counted);
                    add(&mut window.charged_since, amount);
                }
                Correction::Credit(_) => {
                    add(&mut window.credited, counted);
                    add(&mut window.credited_since, amount);
                }
            }
        }
    }

    fn take_hour(&mut self, hour: u64, cost: Money) {
        for (window, start) in self.windows.iter_mut().zip(self.account.windows.starts) {
            if hour >= start.hour().millis() {
                add(&mut window.most_by_hours, cost);
            }
        }
    }
}

/// The calls and the cost of one hour, key, provider and model.
type HourSums = BTreeMap<(u64, u64, usize), (u64, Money)>;

/// Names by number, so that a year of hours does not hold each a million times.
#[derive(Default)]
struct Names(HashMap<String, usize>);

impl Names {
    fn number(&mut self, name: String) -> usize {
        let next = self.0.len();
        *self.0.entry(name).or_insert(next)
    }
}

struct Audit {
    sums: BTreeMap<u64, Sums>,
    teams: BTreeMap<u64, Sums>,
    pruned_through: Option<Timestamp>,
    names: Names,
    by_hour: HourSums,
    books: Books,
}

fn add(sum: &mut Money, amount: Money) {
    *sum = sum.saturating_add(amount);
}

fn audit(read: &ReadTransaction) -> Result<Books, StoreError> {
    let through = read.open_table(META)?.get(PRUNED_KEY)?;
    let mut audit = Audit {
        sums: BTreeMap::new(),
        teams: BTreeMap::new(),
        pruned_through: through.map(|through| Timestamp::from_millis(through.value())),
        names: Names::default(),
        by_hour: HourSums::new(),
        books: Books::default(),
    };
    audit.read_accounts(read)?;
    audit.read_pruned(read)?;
    audit.read_receipts(read)?;
    audit.read_hours(read)?;
    audit.read_teams(read)?;
    for adjustment in adjustments(read)? {
        audit.take_adjustment(&adjustment);
    }
    audit.compare_keys();
    audit.compare_teams();
    audit.check_names(read)?;
    Ok(audit.books)
}

impl Audit {
    fn read_accounts(&mut self, read: &ReadTransaction) -> Result<(), StoreError> {
        for row in read.open_table(ACCOUNTS)?.iter()? {
            let (key, account) = row?;
            let account = Account::decode(account.value())?;
            let sums = Sums { account, has_account: true, ..Sums::default() };
            self.sums.insert(key.value(), sums);
            self.books.accounts.insert(Owner::Key(KeyId::from_bits(key.value())), account.windows);
        }
        Ok(())
    }

    fn read_pruned(&mut self, read: &ReadTransaction) -> Result<(), StoreError> {
        if !schema::has(read, PRUNED)? {
            return Ok(());
        }
        for row in read.open_table(PRUNED)?.iter()? {
            let (key, totals) = row?;
            let totals = Totals::decode(totals.value())?;
            self.books.pruned += totals.calls;
            self.sums.entry(key.value()).or_default().receipts.add(&totals);
        }
        Ok(())
    }

    fn read_receipts(&mut self, read: &ReadTransaction) -> Result<(), StoreError> {
        for row in read.open_table(RECEIPTS)?.iter()? {
            let (_, run) = row?;
            let mut known = KnownNames::default();
            let mut input = Decoder::new(run.value());
            while !input.is_empty() {
                self.take_receipt(&Written::decode(&mut input, &mut known)?);
            }
        }
        Ok(())
    }

    fn take_receipt(&mut self, receipt: &Written<'_>) {
        self.books.receipts += 1;
        let sums = self.sums.entry(receipt.key.bits()).or_default();
        sums.receipts.add_receipt(receipt);
        for (window, start) in sums.windows.iter_mut().zip(sums.account.windows.starts) {
            if receipt.at >= start {
                add(&mut window.most, receipt.cost);
            }
            if receipt.id.began() >= start {
                add(&mut window.least, receipt.cost);
            }
        }
        let name = self.names.number(super::report::place(receipt.provider, receipt.model));
        let place = (receipt.at.hour().millis(), receipt.key.bits(), name);
        let (calls, cost) = self.by_hour.entry(place).or_default();
        *calls += 1;
        add(cost, receipt.cost);
    }

    fn read_hours(&mut self, read: &ReadTransaction) -> Result<(), StoreError> {
        for row in read.open_table(HOURS)?.iter()? {
            let (place, totals) = row?;
            let (hour, key, name) = place.value();
            let totals = Totals::decode(totals.value())?;
            self.books.hours += 1;
            let sums = self.sums.entry(key).or_default();
            sums.hours.add(&totals);
            sums.take_hour(hour, totals.cost);
            let name = self.names.number(name.to_owned());
            let place = (hour, key, name);
            let receipts = self.by_hour.remove(&place).unwrap_or_default();
            self.compare_hour(place, receipts, (totals.calls, totals.cost));
        }
        for (place, receipts) in std::mem::take(&mut self.by_hour) {
            self.compare_hour(place, receipts, (0, Money::ZERO));
        }
        Ok(())
    }

    /// Receipts of an hour against its totals, where none of them was deleted.
    fn compare_hour(
        &mut self,
        (hour, key, _): (u64, u64, usize),
        receipts: (u64, Money),
        totals: (u64, Money),
    ) {
        let hour = Timestamp::from_millis(hour);
        if self.pruned_through.is_some_and(|through| through.hour() >= hour) {
            return;
        }
        let what = |what: &str| format!("{what} in the hour from {hour}: receipts against totals");
        let owner = Owner::Key(KeyId::from_bits(key));
        self.compare(owner, &what("calls"), receipts.0, totals.0);
        self.compare(owner, &what("USD"), receipts.1, totals.1);
    }

    fn read_teams(&mut self, read: &ReadTransaction) -> Result<(), StoreError> {
        if !schema::has(read, TEAM_ACCOUNTS)? {
            return Ok(());
        }
        for row in read.open_table(TEAM_ACCOUNTS)?.iter()? {
            let (team, account) = row?;
            let account = Account::decode(account.value())?;
            let owner = Owner::Team(TeamId::from_bits(team.value()));
            self.books.accounts.insert(owner, account.windows);
            let sums = Sums { account, has_account: true, ..Sums::default() };
            self.teams.insert(team.value(), sums);
        }
        for row in read.open_table(TEAM_HOURS)?.iter()? {
            let (place, cost) = row?;
            let (team, hour) = place.value();
            let cost = Money::from_nano(cost.value());
            let sums = self.teams.entry(team).or_default();
            add(&mut sums.hours.cost, cost);
            sums.take_hour(hour, cost);
        }
        Ok(())
    }

    fn take_adjustment(&mut self, adjustment: &Adjustment) {
        self.books.adjustments += 1;
        let sums = self.sums.entry(adjustment.key.bits()).or_default();
        sums.take_adjustment(Owner::Key(adjustment.key), adjustment);
        if let Some(part) = &adjustment.team {
            let sums = self.teams.entry(part.team.bits()).or_default();
            sums.take_adjustment(Owner::Team(part.team), adjustment);
        }
    }

    fn compare_keys(&mut self) {
        for (key, sums) in std::mem::take(&mut self.sums) {
            add(&mut self.books.cost, sums.account.windows.total);
            let key = Owner::Key(KeyId::from_bits(key));
            self.compare_totals(key, &sums.receipts, &sums.hours);
            let account = &sums.account;
            let (calls, cost) = (sums.receipts.calls, sums.receipts.cost);
            self.compare(key, "calls: receipts against account", calls, account.calls);
            self.compare(key, "USD: receipts against account", cost, account.windows.total);
            self.compare_corrections(key, &sums);
            if sums.has_account {
                for period in Period::ALL {
                    self.compare_window(key, period, account, &sums.windows[period.index()]);
                }
            }
        }
    }

    /// Receipts do not say which team a call was for: what a team spent stands in its account and in
    /// its hours.
    fn compare_teams(&mut self) {
        for (team, mut sums) in std::mem::take(&mut self.teams) {
            let team = Owner::Team(TeamId::from_bits(team));
            let account = &sums.account;
            let what = "USD: hourly totals against account";
            self.compare(team, what, sums.hours.cost, account.windows.total);
            self.compare_corrections(team, &sums);
            for period in Period::ALL {
                let window = &mut sums.windows[period.index()];
                window.most = window.most_by_hours;
                self.compare_window(team, period, &sums.account, window);
            }
        }
    }

    fn compare_corrections(&mut self, owner: Owner, sums: &Sums) {
        let (entries, sum) = (sums.corrected, sums.account.corrected);
        let what = |what: &str| format!("USD {what}: adjustments against account");
        self.compare(owner, &what("charged"), entries.charged, sum.charged);
        self.compare(owner, &what("credited"), entries.credited, sum.credited);
    }

    fn compare_totals(&mut self, key: Owner, receipts: &Totals, hours: &Totals) {
        let what = |what: &str| format!("{what}: receipts against hourly totals");
        self.compare(key, &what("calls"), receipts.calls, hours.calls);
        self.compare(key, &what("calls that failed"), receipts.failed, hours.failed);
        self.compare(key, &what("estimated calls"), receipts.estimated, hours.estimated);
        self.compare(key, &what("USD"), receipts.cost, hours.cost);
        for class in Class::ALL {
            let (counted, summed) = (receipts.usage.get(class), hours.usage.get(class));
            self.compare(key, &what(class.name()), counted, summed);
        }
    }

    fn compare_window(&mut self, key: Owner, period: Period, account: &Account, sums: &WindowSums) {
        let windows = &account.windows;
        let index = period.index();
        let start = windows.starts[index];
        let (posted, credited) = (windows.posted[index], windows.credited[index]);
        let is_rebuilt = windows.replaced[index].is_some();
        let is_cut = self.pruned_through.is_some_and(|through| through >= start);
        let (charged, most) = match (is_rebuilt, is_cut) {
            (true, _) => (sums.charged_since, sums.most_by_hours),
            (false, true) => (sums.charged, sums.most_by_hours),
            (false, false) => (sums.charged, sums.most),
        };
        let least_charged = if is_rebuilt { Money::ZERO } else { charged };
        let least = sums.least.saturating_add(least_charged);
        let most = most.saturating_add(charged);
        let what = |what: &str| format!("USD {what} in the {period} window from {start}");
        if posted < least || posted > most {
            let expected =
                if least == most { least.to_string() } else { format!("{least} to {most}") };
            self.differ(key, what("posted"), expected, posted.to_string());
        }
        if !is_rebuilt {
            self.compare(key, &what("credited"), sums.credited, credited);
        } else if credited > sums.credited_since {
            let expected = format!("at most {}", sums.credited_since);
            self.differ(key, what("credited"), expected, credited.to_string());
        }
    }

    /// Every account is a key's.
    fn check_names(&mut self, read: &ReadTransaction) -> Result<(), StoreError> {
        let keys = read.open_table(KEYS)?;
        for row in keys.iter()? {
            row?;
            self.books.keys += 1;
        }
        let mut owners: Vec<Owner> = self.books.accounts.keys().copied().collect();
        owners.sort_unstable();
        for owner in owners {
            // A team may be deleted, and its account stays; a key never is.
            let Owner::Key(key) = owner else { continue };
            if keys.get(key.bits())?.is_none() {
                let what = "an account that belongs to no key".to_owned();
                self.differ(owner, what, "a key".to_owned(), "none".to_owned());
            }
        }
        Ok(())
    }

    fn compare<T: Copy + PartialEq + Display>(
        &mut self,
        owner: Owner,
        what: &str,
        expected: T,
        found: T,
    ) {
        if expected != found {
            self.differ(owner, what.to_owned(), expected.to_string(), found.to_string());
        }
    }

    fn differ(&mut self, owner: Owner, what: String, expected: String, found: String) {
        self.books.differences.push(Difference { owner, what, expected, found });
    }
}
