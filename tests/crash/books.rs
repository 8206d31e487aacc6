//! What a workload did and was promised, and whether a store still says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use conduit::domain::key::{Controls, KeyHash, KeyId, KeyRecord, Limits};
use conduit::domain::money::Money;
use conduit::domain::receipt::{Ending, Metered, Receipt};
use conduit::domain::request_id::RequestId;
use conduit::domain::team::{Share, TeamId, TeamRecord};
use conduit::domain::usage::ServiceTier;
use conduit::domain::window::Timestamp;
use conduit::ledger::{Ledger, Policy};
use conduit::store::record::OpenHold;
use conduit::store::{Grouping, Store, UsageFilter};

use crate::chance::Chance;
use crate::machine::{Crash, Image, Machine, Op};

pub(crate) const BEGAN: Timestamp = Timestamp::from_millis(1_800_000_000_000);
/// Within the first hour, so that all windows are the first.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_800_000_001_000);

const TEAM: TeamId = TeamId::from_bits(9);

/// Whether a key's calls count for the team too.
const fn is_shared(key: KeyId) -> bool {
    key.bits() >= 2
}

/// What a workload writes beside what it does.
#[derive(Clone, Debug)]
pub(crate) enum Note {
    /// About to be appended.
    Hold(OpenHold),
    Post(Receipt),
    Void(RequestId),
    /// The ending was appended to a disk that takes it: it outlives the process.
    Returned(RequestId),
    /// Reported durable: they outlive the machine.
    HoldDurable(RequestId),
    EndDurable(RequestId),
    Key(KeyId),
}

pub(crate) fn hold(id: RequestId, key: KeyId, amount: u64) -> OpenHold {
    OpenHold {
        id,
        key,
        amount: Money::from_nano(amount),
        starts: [BEGAN; 3],
        share: is_shared(key).then_some(Share { team: TEAM, starts: [BEGAN; 3] }),
        model: "m".into(),
        provider: "p".into(),
        upstream_model: "m".into(),
        endpoint: "chat/completions".into(),
        price: "config".into(),
    }
}

pub(crate) fn receipt(hold: &OpenHold, cost: u64) -> Receipt {
    Receipt {
        id: hold.id,
        of: None,
        key: hold.key,
        at: NOW,
        model: Arc::clone(&hold.model),
        provider: Arc::clone(&hold.provider),
        upstream_model: Arc::clone(&hold.upstream_model),
        endpoint: Arc::clone(&hold.endpoint),
        status: 200,
        streamed: false,
        ending: Ending::Done,
        metered: Metered::Reported,
        service: ServiceTier::Standard,
        lines: Vec::new(),
        cost: Money::from_nano(cost),
        provider_cost: None,
        held: hold.amount,
        price: Arc::clone(&hold.price),
        first_byte_ms: Some(1),
        total_ms: 2,
    }
}

pub(crate) fn new_id(chance: &mut Chance) -> RequestId {
    let mut random = [0; 10];
    random[..8].copy_from_slice(&chance.next().to_be_bytes());
    RequestId::new(BEGAN, random)
}

pub(crate) fn key(id: KeyId) -> KeyRecord {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&id.bits().to_be_bytes());
    KeyRecord {
        id,
        name: format!("key {id}"),
        hash: KeyHash::from_bytes(hash),
        tail: "tail".to_owned(),
        retiring: None,
        created: BEGAN,
        expires: None,
        disabled: false,
        revoked: None,
        limits: Limits::default(),
        models: Vec::new(),
        tags: Vec::new(),
        controls: Controls::default(),
    }
}

pub(crate) fn team() -> TeamRecord {
    TeamRecord { id: TEAM, name: "team".to_owned(), created: BEGAN, limits: Limits::default() }
}

/// What had been done and promised at some instant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Books {
    holds: BTreeMap<RequestId, OpenHold>,
    posts: BTreeMap<RequestId, Money>,
    voids: BTreeSet<RequestId>,
    returned: BTreeSet<RequestId>,
    durable_holds: BTreeSet<RequestId>,
    durable_ends: BTreeSet<RequestId>,
    keys: BTreeSet<KeyId>,
}

impl Books {
    pub(crate) fn of(log: &[Op<Note>]) -> Self {
        let mut books = Self::default();
        for op in log {
            let Op::Note(note) = op else { continue };
            match note.clone() {
                Note::Hold(hold) => drop(books.holds.insert(hold.id, hold)),
                Note::Post(receipt) => drop(books.posts.insert(receipt.id, receipt.cost)),
                Note::Void(id) => drop(books.voids.insert(id)),
                Note::Returned(id) => drop(books.returned.insert(id)),
                Note::HoldDurable(id) => drop(books.durable_holds.insert(id)),
                Note::EndDurable(id) => {
                    books.durable_ends.insert(id);
                    // What outlives the machine outlives the process.
                    books.returned.insert(id);
                }
                Note::Key(id) => drop(books.keys.insert(id)),
            }
        }
        books
    }

    fn is_ended(&self, id: RequestId) -> bool {
        self.posts.contains_key(&id) || self.voids.contains(&id)
    }

    /// The endings that must be there after `crash`.
    fn promised(&self, crash: Crash) -> &BTreeSet<RequestId> {
        match crash {
            Crash::Process => &self.returned,
            Crash::Power => &self.durable_ends,
        }
    }

    /// Opens what a crash left, several times and with another crash in between, and checks it all.
    pub(crate) fn check(&self, image: &Image, crash: Crash, chance: &mut Chance) {
        let machine = Machine::<()>::new(image.clone());
        let (store, found) = machine.open().unwrap();
        let receipts = read(&store);
        self.check_receipts(&receipts, crash, &BTreeMap::new());
        self.check_open(&found.open, &receipts, crash);
        check_books(&store, &receipts);
        let keys: BTreeSet<_> = store.keys().unwrap().iter().map(|key| key.id).collect();
        assert!(keys.is_superset(&self.keys), "a key that was promised is gone");
        drop(store);

        let (store, again) = machine.open().unwrap();
        assert_eq!(read(&store), receipts, "opening changed the receipts");
        assert_eq!(sorted(again.open), sorted(found.open.clone()), "opening changed the holds");

        let ledger = load(store, &found.open);
        let recovered = found.open.iter().map(|hold| (hold.id, hold.amount)).collect();
        ledger.store().journal().put_away_now();
        let receipts = read(ledger.store());
        self.check_receipts(&receipts, crash, &recovered);
        for (id, amount) in &recovered {
            let receipt = receipts.get(id).expect("an open hold is posted");
            assert_eq!((receipt.cost, receipt.metered), (*amount, Metered::Recovered));
        }
        check_books(ledger.store(), &receipts);
        assert_eq!(ledger.held(), Money::ZERO);
        drop(ledger);
        let (store, found) = machine.open().unwrap();
        assert_eq!((read(&store), found.open), (receipts.clone(), vec![]));
        drop(store);

        let log = machine.log();
        let second = machine.image(chance.place(log.len() + 1), Crash::Power, chance);
        self.check_after_second_crash(second, crash, &recovered);
    }

    /// Whatever instant of a recovery the power failed in, the next one ends as the first would have.
    fn check_after_second_crash(
        &self,
        image: Image,
        crash: Crash,
        recovered: &BTreeMap<RequestId, Money>,
    ) {
        // What the process had handed over is in doubt again now that the power has failed: only
        // receipts that were promised for that are.
        let machine = Machine::<()>::new(image);
        let (store, found) = machine.open().unwrap();
        let receipts = read(&store);
        if crash == Crash::Power {
            self.check_receipts(&receipts, crash, recovered);
        }
        let ledger = load(store, &found.open);
        ledger.store().journal().put_away_now();
        let receipts = read(ledger.store());
        if crash == Crash::Power {
            for id in recovered.keys() {
                assert!(receipts.contains_key(id), "recovered once, then lost");
            }
        }
        check_books(ledger.store(), &receipts);
    }

    fn check_receipts(
        &self,
        receipts: &BTreeMap<RequestId, Receipt>,
        crash: Crash,
        recovered: &BTreeMap<RequestId, Money>,
    ) {
        for (id, receipt) in receipts {
            let cost = if receipt.metered == Metered::Recovered {
                recovered.get(id)
            } else {
                self.posts.get(id)
            };
            assert_eq!(cost, Some(&receipt.cost), "a receipt that nobody wrote: {receipt:?}");
        }
        for id in self.promised(crash).iter().filter(|id| self.posts.contains_key(id)) {
            let receipt =
                receipts.get(id).unwrap_or_else(|| panic!("{id} was promised and is gone"));
            assert_eq!(receipt.metered, Metered::Reported, "{id} was promised and posted anew");
        }
    }

    fn check_open(&self, open: &[OpenHold], receipts: &BTreeMap<RequestId, Receipt>, crash: Crash) {
        let found: BTreeSet<_> = open.iter().map(|hold| hold.id).collect();
        assert_eq!(found.len(), open.len(), "a hold is open twice");
        for hold in open {
            assert_eq!(self.holds.get(&hold.id), Some(hold), "a hold that nobody made");
            assert!(!receipts.contains_key(&hold.id), "{} is open and posted", hold.id);
            assert!(!self.promised(crash).contains(&hold.id), "{} had ended", hold.id);
        }
        for id in self.durable_holds.iter().filter(|id| !self.is_ended(**id)) {
            assert!(found.contains(id), "the hold {id} was promised and is gone");
        }
    }
}

fn sorted(mut open: Vec<OpenHold>) -> Vec<OpenHold> {
    open.sort_by_key(|hold| hold.id);
    open
}

fn load(store: Store, open: &[OpenHold]) -> Arc<Ledger> {
    Ledger::load(Arc::new(store), open.to_vec(), Policy::default(), NOW).unwrap()
}

/// All receipts, none of them twice.
pub(crate) fn read(store: &Store) -> BTreeMap<RequestId, Receipt> {
    let mut receipts = BTreeMap::new();
    store
        .receipts(Timestamp::from_millis(0), |receipt| {
            let twice = receipts.insert(receipt.id, receipt);
            assert!(twice.is_none(), "a call has two receipts: {twice:?}");
            true
        })
        .unwrap();
    receipts
}

/// All sums agree, and the team's with the receipts of its keys.
fn check_books(store: &Store, receipts: &BTreeMap<RequestId, Receipt>) {
    check_totals(store, receipts);
    let shared = receipts.values().filter(|receipt| is_shared(receipt.key));
    let sum = shared.fold(Money::ZERO, |sum, receipt| sum.checked_add(receipt.cost).unwrap());
    let posted = store.team_accounts().unwrap().get(&TEAM).map_or([Money::ZERO; 3], |t| t.posted);
    assert_eq!(posted, [sum; 3], "a team's account differs from its receipts");
    let differences = store.verify().unwrap().differences;
    assert!(differences.is_empty(), "{differences:?}");
}

/// Accounts, hourly totals and receipts agree.
pub(crate) fn check_totals(store: &Store, receipts: &BTreeMap<RequestId, Receipt>) {
    let mut sums = BTreeMap::<KeyId, (u64, Money)>::new();
    for receipt in receipts.values() {
        let (calls, cost) = sums.entry(receipt.key).or_default();
        *calls += 1;
        *cost = cost.checked_add(receipt.cost).unwrap();
    }
    let rows = store.usage(&UsageFilter::default(), Grouping::Key).unwrap();
    let hours = rows.into_iter().map(|row| (row.key.unwrap(), (row.totals.calls, row.totals.cost)));
    assert_eq!(hours.collect::<BTreeMap<_, _>>(), sums, "hourly totals differ from receipts");
    let accounts = store.accounts().unwrap();
    for (key, (_, cost)) in &sums {
        assert_eq!(accounts[key].posted, [*cost; 3], "an account differs from its receipts");
    }
    assert_eq!(accounts.len(), sums.len());
}
