//! A change of the rule that says where windows begin: what was spent in the new ones is added up from
//! the hourly totals and written down, so that a limit holds across the change and a restart.

use std::collections::{BTreeMap, HashMap};

use redb::{ReadableTable, Table, WriteTransaction};

use super::schema::{
    ACCOUNTS, ADJUSTMENTS, Account, HOURS, META, RULE_KEY, TEAM_ACCOUNTS, TEAM_HOURS,
};
use super::{Store, StoreError, Totals};
use crate::domain::adjustment::{Adjustment, Correction};
use crate::domain::budget::{Remembered, Starts};
use crate::domain::key::KeyId;
use crate::domain::money::Money;
use crate::domain::team::Owner;
use crate::domain::window::{Period, Timestamp};

/// An account that goes over to other windows.
#[derive(Clone, Copy, Debug)]
pub struct Move {
    pub owner: Owner,
    pub starts: Starts,
    /// The windows of the calls under way; where nobody knows, those that are remembered.
    pub replaced: Option<Starts>,
}

/// What calls cost, by the start of the hour.
type Costs = BTreeMap<u64, Money>;

/// An adjustment, the windows it was counted in and how much of it was.
type Entry<'a> = (&'a Adjustment, Starts, [Money; 3]);

/// What was spent since windows began. An hour counts whole, and a credit takes only what surely was
/// posted before it: never too little.
struct Tally {
    starts: Starts,
    posted: [Money; 3],
    /// What the credits left of it.
    left: [Money; 3],
}

impl Tally {
    fn of(starts: Starts, costs: &Costs, entries: &[Entry<'_>]) -> Self {
        let mut tally = Self { starts, posted: [Money::ZERO; 3], left: [Money::ZERO; 3] };
        let mut sure = [Money::ZERO; 3];
        let mut entries = entries.iter().peekable();
        for (hour, cost) in costs {
            while let Some(entry) = entries.next_if(|(a, ..)| a.at.hour().millis() <= *hour) {
                tally.correct(entry, &mut sure);
            }
            tally.charge(|start| *hour >= start.hour().millis(), *cost);
        }
        for entry in entries {
            tally.correct(entry, &mut sure);
        }
        for (left, sure) in tally.left.iter_mut().zip(sure) {
            *left = left.saturating_sub(sure);
        }
        tally
    }

    fn charge(&mut self, is_since: impl Fn(Timestamp) -> bool, amount: Money) {
        for (period, start) in self.starts.into_iter().enumerate() {
            if is_since(start) {
                self.posted[period] = self.posted[period].saturating_add(amount);
                self.left[period] = self.left[period].saturating_add(amount);
            }
        }
    }

    /// A credit that was counted in a window which began no earlier than this one took what was posted
    /// in this one, too: that much is `sure`.
    fn correct(&mut self, (adjustment, starts, counted): &Entry<'_>, sure: &mut [Money; 3]) {
        let amount = match adjustment.correction {
            Correction::Charge(amount) => {
                return self.charge(|start| adjustment.at >= start, amount);
            }
            Correction::Credit(amount) => amount,
        };
        for (period, start) in self.starts.into_iter().enumerate() {
            if adjustment.at < start {
                continue;
            }
            let within = starts.iter().zip(counted).filter(|(counted_in, _)| **counted_in >= start);
            match within.map(|(_, counted)| *counted).max() {
                Some(counted) => sure[period] = sure[period].saturating_add(counted),
                None => self.left[period] = self.left[period].saturating_sub(amount),
            }
        }
    }
}

impl Store {
    /// The mark of the rule that the accounts' windows follow; `None` in a store that was never told.
    pub fn window_rule(&self) -> Result<Option<u64>, StoreError> {
        let read = self.read()?;
        let mark = read.open_table(META)?.get(RULE_KEY)?;
        Ok(mark.map(|mark| mark.value()))
    }

    /// Moves accounts to the windows of another rule and returns what is remembered of them then.
    pub fn follow_rule(
        &self,
        mark: u64,
        moves: &[Move],
    ) -> Result<HashMap<Owner, Remembered>, StoreError> {
        self.change(|write| {
            write.open_table(META)?.insert(RULE_KEY, mark)?;
            let mut remembered = HashMap::new();
            let first = moves.iter().flat_map(|change| change.starts).min().unwrap_or_default();
            let costs = costs_since(write, first.hour().millis(), moves)?;
            let adjustments = adjustments(write)?;
            let mut keys = write.open_table(ACCOUNTS)?;
            let mut teams = write.open_table(TEAM_ACCOUNTS)?;
            for change in moves {
                let owner = change.owner;
                let its = adjustments.iter().filter_map(|entry| {
                    let (starts, counted) = entry.part_of(owner)?;
                    Some((entry, starts, counted))
                });
                let none = Costs::new();
                let costs = costs.get(&owner).unwrap_or(&none);
                let tally = Tally::of(change.starts, costs, &its.collect::<Vec<_>>());
                let moved = match owner {
                    Owner::Key(key) => go_over(&mut keys, key.bits(), change, &tally)?,
                    Owner::Team(team) => go_over(&mut teams, team.bits(), change, &tally)?,
                };
                remembered.insert(owner, moved);
            }
            Ok(remembered)
        })
    }
}

fn adjustments(write: &WriteTransaction) -> Result<Vec<Adjustment>, StoreError> {
    let mut all = Vec::new();
    for row in write.open_table(ADJUSTMENTS)?.iter()? {
        all.push(Adjustment::decode(row?.1.value())?);
    }
    all.sort_by_key(|adjustment| (adjustment.at, adjustment.id));
    Ok(all)
}

fn costs_since(
    write: &WriteTransaction,
    first: u64,
    moves: &[Move],
) -> Result<HashMap<Owner, Costs>, StoreError> {
    let mut costs: HashMap<Owner, Costs> = HashMap::new();
    for row in write.open_table(HOURS)?.range((first, 0, "")..)? {
        let (place, totals) = row?;
        let (hour, key, _) = place.value();
        let cost = Totals::decode(totals.value())?.cost;
        let own = costs.entry(Owner::Key(KeyId::from_bits(key))).or_default();
        let sum = own.entry(hour).or_default();
        *sum = sum.saturating_add(cost);
    }
    let hours = write.open_table(TEAM_HOURS)?;
    let teams = moves.iter().filter_map(|change| match change.owner {
        Owner::Team(team) => Some(team),
        Owner::Key(_) => None,
    });
    for team in teams {
        let own = costs.entry(Owner::Team(team)).or_default();
        for row in hours.range((team.bits(), first)..=(team.bits(), u64::MAX))? {
            let (place, cost) = row?;
            own.insert(place.value().1, Money::from_nano(cost.value()));
        }
    }
    Ok(costs)
}

fn go_over(
    accounts: &mut Table<'_, u64, &[u8]>,
    row: u64,
    change: &Move,
    tally: &Tally,
) -> Result<Remembered, StoreError> {
    let account = accounts.get(row)?.map(|row| Account::decode(row.value())).transpose()?;
    let mut account = account.unwrap_or_default();
    let windows = &mut account.windows;
    let replaced = change.replaced.unwrap_or(windows.starts);
    for period in Period::ALL.map(Period::index) {
        if windows.starts[period] == change.starts[period] {
            continue;
        }
        windows.replaced[period] = Some(replaced[period]);
        windows.starts[period] = change.starts[period];
        windows.posted[period] = tally.posted[period];
        windows.credited[period] = tally.posted[period].saturating_sub(tally.left[period]);
    }
    accounts.insert(row, account.encode().as_slice())?;
    Ok(account.windows)
}
