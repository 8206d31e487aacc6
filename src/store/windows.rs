//! A change of the rule that says where windows begin: what was spent in the new ones is added up from
//! the hourly totals and written down, so that a limit holds across the change and a restart.

use std::collections::HashMap;

use redb::{ReadableTable, WriteTransaction};

use super::schema::{ACCOUNTS, ADJUSTMENTS, Account, HOURS, META, RULE_KEY};
use super::{Store, StoreError, Totals};
use crate::domain::adjustment::{Adjustment, Correction};
use crate::domain::budget::{Remembered, Starts};
use crate::domain::key::KeyId;
use crate::domain::money::Money;
use crate::domain::window::{Period, Timestamp};

/// An account that goes over to other windows.
#[derive(Clone, Copy, Debug)]
pub struct Move {
    pub key: KeyId,
    pub starts: Starts,
    /// The windows of the calls under way; where nobody knows, those that are remembered.
    pub replaced: Option<Starts>,
}

/// What a key spent since its windows began. An hour counts whole, and a credit takes only what was
/// posted in the hours before it: never too little.
#[derive(Default)]
struct Tally {
    starts: Starts,
    posted: [Money; 3],
    /// What the credits left of it.
    left: [Money; 3],
}

impl Tally {
    fn charge(&mut self, since: impl Fn(Timestamp) -> bool, amount: Money) {
        for (period, start) in self.starts.into_iter().enumerate() {
            if since(start) {
                self.posted[period] = self.posted[period].saturating_add(amount);
                self.left[period] = self.left[period].saturating_add(amount);
            }
        }
    }

    fn correct(&mut self, adjustment: &Adjustment) {
        match adjustment.correction {
            Correction::Charge(amount) => self.charge(|start| adjustment.at >= start, amount),
            Correction::Credit(amount) => {
                for (start, left) in self.starts.iter().zip(&mut self.left) {
                    if adjustment.at >= *start {
                        *left = left.saturating_sub(amount);
                    }
                }
            }
        }
    }

    fn credited(&self, period: usize) -> Money {
        self.posted[period].saturating_sub(self.left[period])
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
    ) -> Result<HashMap<KeyId, Remembered>, StoreError> {
        let write = self.write()?;
        write.open_table(META)?.insert(RULE_KEY, mark)?;
        let mut remembered = HashMap::new();
        {
            let tallies = tally(&write, moves)?;
            let mut accounts = write.open_table(ACCOUNTS)?;
            for change in moves {
                let key = change.key.bits();
                let account = accounts.get(key)?.map(|row| Account::decode(row.value()));
                let mut account = account.transpose()?.unwrap_or_default();
                if let Some(tally) = tallies.get(&change.key) {
                    go_over(&mut account.windows, change, tally);
                }
                accounts.insert(key, account.encode().as_slice())?;
                remembered.insert(change.key, account.windows);
            }
        }
        write.commit()?;
        Ok(remembered)
    }
}

fn go_over(windows: &mut Remembered, change: &Move, tally: &Tally) {
    let replaced = change.replaced.unwrap_or(windows.starts);
    for period in Period::ALL.map(Period::index) {
        if windows.starts[period] == change.starts[period] {
            continue;
        }
        windows.replaced[period] = Some(replaced[period]);
        windows.starts[period] = change.starts[period];
        windows.posted[period] = tally.posted[period];
        windows.credited[period] = tally.credited(period);
    }
}

fn tally(write: &WriteTransaction, moves: &[Move]) -> Result<HashMap<KeyId, Tally>, StoreError> {
    let new = |change: &Move| (change.key, Tally { starts: change.starts, ..Tally::default() });
    let mut tallies: HashMap<KeyId, Tally> = moves.iter().map(new).collect();
    let mut adjustments = Vec::new();
    for row in write.open_table(ADJUSTMENTS)?.iter()? {
        adjustments.push(Adjustment::decode(row?.1.value())?);
    }
    adjustments.sort_by_key(|adjustment| adjustment.at);
    let mut adjustments = adjustments.iter().peekable();
    let first = moves.iter().flat_map(|change| change.starts).min().unwrap_or_default();
    let hours = write.open_table(HOURS)?;
    for row in hours.range((first.hour().millis(), 0, "")..)? {
        let (place, totals) = row?;
        let (hour, key, _) = place.value();
        while let Some(adjustment) = adjustments.next_if(|a| a.at.hour().millis() <= hour) {
            if let Some(tally) = tallies.get_mut(&adjustment.key) {
                tally.correct(adjustment);
            }
        }
        if let Some(tally) = tallies.get_mut(&KeyId::from_bits(key)) {
            let cost = Totals::decode(totals.value())?.cost;
            tally.charge(|start| hour >= start.hour().millis(), cost);
        }
    }
    for adjustment in adjustments {
        if let Some(tally) = tallies.get_mut(&adjustment.key) {
            tally.correct(adjustment);
        }
    }
    Ok(tallies)
}
