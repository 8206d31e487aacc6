//! Calls of a busy key that do not wait for the disk each: whatever happens to the process or the
//! power, what their clients have seen is on the bill, and the limit is a ceiling.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use conduit::clock;
use conduit::domain::key::KeyId;
use conduit::domain::money::Money;
use conduit::domain::receipt::{Metered, Receipt};
use conduit::domain::request_id::RequestId;
use conduit::ledger::account::Account;
use conduit::ledger::{Description, Ledger, Policy};

use crate::books::{NOW, hold, key, new_id, read, receipt};
use crate::chance::Chance;
use crate::machine::{Crash, Image, Machine, Op};

const KEY: KeyId = KeyId::from_bits(1);
const CALLS_AT_ONCE: usize = 8;
const CALLS: usize = 400;
/// What is set aside for a call, and the most that it costs.
const CEILING: u64 = 1_000;

/// A client has seen its answer.
#[derive(Clone, Debug)]
struct Shown(RequestId, Money);

type Ground = Arc<Machine<Shown>>;

fn start(image: Image) -> (Ground, Arc<Ledger>) {
    let machine = Machine::new(image);
    let (store, found) = machine.open().unwrap();
    let ledger = Ledger::load(Arc::new(store), found.open, Policy::default(), NOW).unwrap();
    (machine, ledger)
}

/// A store with one key, which may spend `daily` nano-dollars a day.
fn made(daily: u64) -> Image {
    let machine = Machine::<()>::new(Image::default());
    let (store, _) = machine.open().unwrap();
    let mut record = key(KEY);
    record.limits.daily = Some(Money::from_nano(daily));
    store.insert_key(&record).unwrap();
    store.close();
    machine.synced_image()
}

fn describe(id: RequestId) -> Description {
    let text = || Arc::from("m");
    let (model, provider, upstream_model, endpoint, price) =
        (text(), text(), text(), text(), text());
    Description { id, model, provider, upstream_model, endpoint, price }
}

async fn call(
    machine: &Ground,
    ledger: &Arc<Ledger>,
    account: &Arc<Account>,
    chance: &mut Chance,
) -> bool {
    let id = new_id(chance);
    let held = ledger.hold(account, Money::from_nano(CEILING), describe(id), NOW).await;
    let Ok(held) = held else { return false };
    let receipt = receipt(&hold(id, KEY, CEILING), chance.below(CEILING));
    held.post_durably(&receipt).await;
    machine.note(Shown(id, receipt.cost));
    true
}

/// Runs calls until there were enough of them or the limit is spent.
fn run(limit: u64, chance: &mut Chance) -> Ground {
    let (machine, ledger) = start(made(limit));
    let account = ledger.directory().by_id(KEY).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let made = Rc::new(Cell::new(0));
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut workers = Vec::new();
        for _ in 0..CALLS_AT_ONCE {
            let (machine, ledger, account) = (machine.clone(), ledger.clone(), account.clone());
            let (made, mut chance) = (Rc::clone(&made), Chance::new(chance.next()));
            workers.push(tokio::task::spawn_local(async move {
                while made.get() < CALLS && call(&machine, &ledger, &account, &mut chance).await {
                    made.set(made.get() + 1);
                    tokio::time::sleep(Duration::from_micros(chance.below(300))).await;
                }
            }));
        }
        for worker in workers {
            worker.await.unwrap();
        }
    });
    machine
}

fn shown(log: &[Op<Shown>]) -> BTreeMap<RequestId, Money> {
    let each = log.iter().filter_map(|op| match op {
        Op::Note(Shown(id, cost)) => Some((*id, *cost)),
        _ => None,
    });
    each.collect()
}

fn sum<'a>(costs: impl Iterator<Item = &'a Money>) -> u64 {
    costs.map(|cost| cost.nano()).sum()
}

/// What the books say after a start on what a crash left.
fn reopened(image: Image) -> Vec<Receipt> {
    let (_, ledger) = start(image);
    ledger.store().journal().put_away_now();
    assert_eq!(ledger.held(), Money::ZERO);
    let differences = ledger.store().verify().unwrap().differences;
    assert!(differences.is_empty(), "{differences:?}");
    read(ledger.store()).into_values().collect()
}

fn check_images(limit: u64) {
    let mut chance = Chance::of_the_day("cover");
    let machine = run(limit, &mut chance);
    let log = machine.log();
    let all = shown(&log).len();
    let syncs = log.iter().filter(|op| matches!(op, Op::Sync { .. })).count();
    println!("{all} calls, {syncs} syncs");
    assert!(all > 2 * syncs, "calls wait for the disk: {all} calls, {syncs} syncs");
    let mut by_cover = 0;
    for _ in 0..120 {
        let done = chance.place(log.len() + 1);
        let crash = if chance.one_in(3) { Crash::Process } else { Crash::Power };
        println!("{crash:?} after {done}");
        let shown = shown(&log[..done]);
        let receipts = reopened(machine.image(done, crash, &mut chance));
        let own: BTreeMap<_, _> = receipts
            .iter()
            .filter(|receipt| receipt.metered == Metered::Reported)
            .map(|receipt| (receipt.id, receipt.cost))
            .collect();
        let cover = receipts.iter().filter(|receipt| &*receipt.endpoint == "cover");
        let cover = sum(cover.map(|receipt| &receipt.cost));
        let posted = sum(receipts.iter().map(|receipt| &receipt.cost));
        assert!(posted <= limit, "{posted} posted of {limit}");
        if crash == Crash::Process {
            assert_eq!(cover, 0, "nothing was lost, so nothing is charged for it");
        }
        let lost =
            shown.iter().filter(|(id, _)| !receipts.iter().any(|receipt| receipt.id == **id));
        let lost = sum(lost.map(|(_, cost)| cost));
        // Where the limit leaves less, calls whose end was lost are charged all that they held: with
        // that the whole limit is.
        let is_made_up = lost <= cover || posted == limit;
        assert!(is_made_up, "{lost} was shown and is gone, {cover} is charged in its place");
        let seen = sum(shown.values());
        assert!(seen <= posted, "{seen} was shown, {posted} is charged");
        assert!(crash == Crash::Power || shown.iter().all(|(id, cost)| own.get(id) == Some(cost)));
        by_cover += u32::from(lost > 0);
    }
    println!("{by_cover} times calls were gone that cover stood for");
}

#[test]
fn what_was_shown_of_a_busy_key_is_on_the_bill_whatever_instant_the_power_fails_in() {
    check_images(u64::from(u32::MAX));
}

#[test]
fn cover_is_posted_only_up_to_what_the_limit_leaves() {
    check_images(CALLS as u64 * CEILING / 3);
}

#[test]
fn cover_that_is_not_needed_any_more_is_taken_off() {
    let (machine, ledger) = start(made(1_000_000_000));
    let account = ledger.directory().by_id(KEY).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for n in 0..20_u8 {
            let id = RequestId::new(clock::now(), [n; 10]);
            let held =
                ledger.hold(&account, Money::from_nano(10), describe(id), NOW).await.unwrap();
            held.post_durably(&receipt(&hold(id, KEY, 10), 1)).await;
        }
    });
    ledger.retire_cover();
    ledger.store().journal().put_away_now();
    let left = || reopened(machine.synced_image());
    assert_eq!(left().len(), 21, "twenty calls and the cover of the last");
    std::thread::sleep(Duration::from_millis(1_200));
    ledger.retire_cover();
    ledger.store().journal().put_away_now();
    assert_eq!(left().len(), 20);
}
