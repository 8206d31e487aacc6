//! Disks that refuse: what was promised stays, the reason is said while it lasts, and service comes
//! back by itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use conduit::domain::key::KeyId;
use conduit::domain::money::Money;
use conduit::domain::request_id::RequestId;
use conduit::ledger::{Description, Ledger, Policy, Refusal};
use conduit::store::Store;
use conduit::store::journal::{Haste, Position};
use conduit::store::record::{Record, read_frames};

use crate::books::{NOW, check_totals, hold, key, new_id, read, receipt};
use crate::chance::Chance;
use crate::machine::{Crash, Faults, Image, Machine, Op};

const PATIENCE: Duration = Duration::from_secs(10);

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited too long: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Holds and posts `count` calls at one nano-dollar each; returns the place of the last.
fn post(store: &Store, chance: &mut Chance, count: u64) -> Position {
    let mut last = Position::default();
    for _ in 0..count {
        let held = hold(new_id(chance), KeyId::from_bits(1), 10);
        store.journal().hold(&held);
        last = store.journal().post(&held.starts, None, &receipt(&held, 1), Haste::Now);
    }
    last
}

fn calls(store: &Store) -> usize {
    let receipts = read(store);
    check_totals(store, &receipts);
    receipts.len()
}

/// Breaks the disk, posts, waits for the trouble to be said; repairs it, waits for it to be over.
fn break_and_repair(faults: Faults) {
    println!("{faults:?}");
    let mut chance = Chance::new(7);
    let machine = Machine::<()>::new(Image::default());
    let (store, _) = machine.open().unwrap();
    post(&store, &mut chance, 5);
    machine.break_it(faults);
    let last = post(&store, &mut chance, 5);
    if faults.db || faults.create {
        store.journal().put_away_now();
    }
    until("trouble", || store.journal().trouble().is_some());
    post(&store, &mut chance, 5);
    let asked = Instant::now();
    store.journal().put_away_now();
    assert!(asked.elapsed() < Duration::from_secs(5), "asking must not hang");
    machine.repair();
    until("the end of trouble", || store.journal().trouble().is_none());
    until("durability", || store.journal().is_durable(last));
    post(&store, &mut chance, 5);
    store.journal().put_away_now();
    assert_eq!(calls(&store), 20);
    store.insert_key(&key(KeyId::from_bits(2))).unwrap();
    store.close();
    let (store, found) = machine.open().unwrap();
    assert_eq!((calls(&store), found.open.len()), (20, 0));
}

#[test]
fn service_comes_back_by_itself_after_any_refusal() {
    let none = Faults::default();
    break_and_repair(Faults { full: true, ..none });
    break_and_repair(Faults { full: true, create: true, db: true, remove: true, ..none });
    break_and_repair(Faults { create: true, ..none });
    break_and_repair(Faults { db: true, ..none });
    break_and_repair(Faults { syncs: u32::MAX, ..none });
    break_and_repair(Faults { syncs: u32::MAX, short: Some(3), ..none });
}

#[test]
fn what_failed_to_be_synced_is_not_called_durable_by_a_later_sync_of_the_same_file() {
    for syncs in 1..6 {
        let mut chance = Chance::new(u64::from(syncs));
        let machine = Machine::<()>::new(Image::default());
        let (store, _) = machine.open().unwrap();
        machine.break_it(Faults { syncs, ..Faults::default() });
        let last = post(&store, &mut chance, 3);
        until("durability", || store.journal().is_durable(last));
        let image = machine.synced_image();
        let (survivor, _) = Machine::<()>::new(image).open().unwrap();
        assert_eq!(calls(&survivor), 3, "after {syncs} failed syncs");
    }
}

#[test]
fn a_segment_that_is_finished_while_its_sync_fails_is_not_called_durable() {
    for syncs in 1..6 {
        let mut chance = Chance::new(u64::from(syncs));
        let machine = Machine::<()>::new(Image::default());
        let (store, _) = machine.open().unwrap();
        let busy = AtomicBool::new(true);
        std::thread::scope(|scope| {
            // Appends go on while segments are finished, so that each has something unsynced.
            let (store, busy) = (&store, &busy);
            scope.spawn(move || {
                for _ in 0..20 {
                    store.journal().put_away_now();
                }
                busy.store(false, Ordering::Relaxed);
            });
            let mut posted = 0;
            let mut last = Position::default();
            let mut next_fault = 0;
            while busy.load(Ordering::Relaxed) && posted < 3_000 {
                if posted == next_fault {
                    machine.break_it(Faults { syncs, ..Faults::default() });
                    next_fault += 500;
                }
                last = post(store, &mut chance, 1);
                posted += 1;
            }
            until("durability", || store.journal().is_durable(last));
            let image = machine.synced_image();
            let (survivor, _) = Machine::<()>::new(image).open().unwrap();
            assert_eq!(calls(&survivor), posted);
        });
    }
}

#[test]
fn an_ending_reaches_the_operating_system_even_while_the_database_refuses() {
    let mut chance = Chance::new(3);
    let machine = Machine::<()>::new(Image::default());
    let (store, _) = machine.open().unwrap();
    machine.break_it(Faults { db: true, ..Faults::default() });
    post(&store, &mut chance, 1);
    store.journal().put_away_now();
    until("trouble", || store.journal().trouble().is_some());
    for posted in 2..40 {
        post(&store, &mut chance, 1);
        let image = machine.image(machine.log().len(), Crash::Process, &mut chance);
        let (survivor, _) = Machine::<()>::new(image).open().unwrap();
        assert_eq!(calls(&survivor), posted);
    }
}

#[test]
fn segments_that_cannot_be_deleted_do_not_open_holds_again() {
    let mut chance = Chance::new(4);
    let machine = Machine::<()>::new(Image::default());
    let (store, _) = machine.open().unwrap();
    let held = hold(new_id(&mut chance), KeyId::from_bits(1), 10);
    // The segment with the hold stays; the one with the ending is deleted.
    machine.break_it(Faults { stuck: machine.segments().last().copied(), ..Faults::default() });
    store.journal().hold(&held);
    store.journal().put_away_now();
    store.journal().post(&held.starts, None, &receipt(&held, 7), Haste::Now);
    store.journal().put_away_now();
    store.close();
    let (store, found) = machine.open().unwrap();
    assert_eq!((calls(&store), found.open), (1, vec![]));
}

#[test]
fn what_was_posted_before_asking_is_put_away_when_the_answer_comes() {
    let mut chance = Chance::new(5);
    let machine = Machine::<()>::new(Image::default());
    let (store, _) = machine.open().unwrap();
    machine.break_it(Faults { db_delay: Duration::from_millis(5), ..Faults::default() });
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (0..40).for_each(|_| store.journal().put_away_now()));
        }
        for posted in 1..40 {
            post(&store, &mut chance, 1);
            store.journal().put_away_now();
            assert_eq!(calls(&store), posted);
        }
    });
}

#[test]
fn closing_does_not_hang_on_a_disk_that_refuses_and_waits_for_one_that_recovers() {
    let mut chance = Chance::new(6);
    let faults = Faults { full: true, db: true, ..Faults::default() };
    for recovers in [false, true] {
        let machine = Machine::<()>::new(Image::default());
        let (store, _) = machine.open().unwrap();
        machine.break_it(faults);
        let last = post(&store, &mut chance, 5);
        let began = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(500));
                if recovers {
                    machine.repair();
                }
            });
            store.journal().close();
        });
        assert!(began.elapsed() < Duration::from_secs(5));
        let durable = wait_for(store.journal().durable(last));
        assert_eq!(durable, recovers, "nobody may wait for what will never be");
        store.journal().put_away_now();
        drop(store);
        machine.repair();
        let (store, _) = machine.open().unwrap();
        assert_eq!(calls(&store), if recovers { 5 } else { 0 });
    }
}

#[test]
fn what_ends_while_the_journal_closes_is_put_away_too() {
    let mut chance = Chance::new(10);
    let machine = Machine::<()>::new(Image::default());
    let (store, _) = machine.open().unwrap();
    post(&store, &mut chance, 1);
    machine.break_it(Faults { db_delay: Duration::from_millis(100), ..Faults::default() });
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(50));
            post(&store, &mut chance, 1);
        });
        store.journal().close();
    });
    assert_eq!(calls(&store), 2);
}

#[test]
fn money_is_given_on_only_after_the_ending_that_frees_it_is_written() {
    const ROUNDS: usize = 1_000;
    let mut chance = Chance::new(8);
    let machine = Machine::<()>::new(Image::default());
    let ledger = ledger(&machine, 10);
    let account = ledger.directory().by_id(KeyId::from_bits(1)).unwrap();
    let mut pairs = Vec::new();
    for _ in 0..ROUNDS {
        let (one, two) = (describe(&mut chance), describe(&mut chance));
        pairs.push((one.id, two.id));
        let first =
            wait_for(ledger.hold(&account, Money::from_nano(10), one.clone(), NOW)).unwrap();
        std::thread::scope(|scope| {
            let second = scope
                .spawn(|| wait_for(ledger.hold(&account, Money::from_nano(10), two.clone(), NOW)));
            while account.in_flight().1 == 0 {
                std::thread::yield_now();
            }
            let held = hold(first.id(), first.key(), 10);
            first.post(&receipt(&held, 0));
            second.join().unwrap().unwrap().void();
        });
    }
    drop(account);
    let places = order(&machine);
    for (one, two) in pairs {
        assert!(places.posts[&one] < places.holds[&two], "a crash could find both holds open");
    }
}

#[derive(Default)]
struct Places {
    holds: HashMap<RequestId, usize>,
    posts: HashMap<RequestId, usize>,
}

/// Where in the journal each record stands.
fn order(machine: &Machine) -> Places {
    let mut segments = BTreeMap::<u64, Vec<u8>>::new();
    for op in machine.log() {
        if let Op::Append { number, data, .. } = op {
            segments.entry(number).or_default().extend(data);
        }
    }
    let mut places = Places::default();
    let records = segments.values().flat_map(|segment| read_frames(&segment[8..]));
    for (place, record) in records.enumerate() {
        match record.unwrap() {
            Record::Hold(hold) => drop(places.holds.insert(hold.id, place)),
            Record::Post { receipt, .. } => drop(places.posts.insert(receipt.id, place)),
            Record::Void(_) => {}
        }
    }
    places
}

fn wait_for<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.unwrap().block_on(future)
}

#[test]
fn a_call_that_stood_in_line_when_the_disk_broke_is_refused() {
    wait_for(async {
        let mut chance = Chance::new(9);
        let machine = Machine::<()>::new(Image::default());
        let ledger = ledger(&machine, 10);
        let account = ledger.directory().by_id(KeyId::from_bits(1)).unwrap();
        let call = describe(&mut chance);
        let first = ledger.hold(&account, Money::from_nano(10), call.clone(), NOW).await.unwrap();
        let next = describe(&mut chance);
        let (second, ()) =
            tokio::join!(ledger.hold(&account, Money::from_nano(9), next.clone(), NOW), async {
                tokio::task::yield_now().await;
                machine.break_it(Faults { full: true, ..Faults::default() });
                let journal = ledger.store().journal();
                while journal.trouble().is_none() {
                    journal.void(describe(&mut chance).id);
                    std::thread::sleep(Duration::from_millis(5));
                }
                first.void();
            });
        assert!(matches!(second, Err(Refusal::Unsafe(_))));
        assert_eq!((ledger.held(), account.in_flight()), (Money::ZERO, (0, 0)));
        let refused = ledger.hold(&account, Money::from_nano(1), next.clone(), NOW).await;
        assert!(matches!(refused, Err(Refusal::Unsafe(_))));
        machine.repair();
        until("the end of trouble", || ledger.store().journal().trouble().is_none());
        ledger.hold(&account, Money::from_nano(1), next.clone(), NOW).await.unwrap().void();
    });
}

#[test]
fn the_promise_of_a_hold_that_has_ended_is_still_kept_before_an_answer_is_shown() {
    let mut chance = Chance::new(10);
    let machine = Machine::<()>::new(Image::default());
    let ledger = ledger(&machine, 10);
    let account = ledger.directory().by_id(KeyId::from_bits(1)).unwrap();
    machine.break_it(Faults { syncs: u32::MAX, ..Faults::default() });
    let call = describe(&mut chance);
    let first = wait_for(ledger.hold(&account, Money::from_nano(10), call.clone(), NOW)).unwrap();
    let promise = first.promise();
    let held = hold(first.id(), first.key(), 10);
    first.post(&receipt(&held, 1));
    let soon = Duration::from_millis(300);
    let early = wait_for(async { tokio::time::timeout(soon, promise.is_durable()).await });
    assert!(early.is_err(), "no sync has succeeded yet");
    machine.repair();
    assert!(wait_for(promise.is_durable()));
    let (survivor, _) = Machine::<()>::new(machine.synced_image()).open().unwrap();
    assert_eq!(calls(&survivor), 1);
}

/// A ledger with one key that may spend `daily` nano-dollars a day.
fn ledger(machine: &Arc<Machine>, daily: u64) -> Arc<Ledger> {
    let (store, found) = machine.open().unwrap();
    let ledger = Ledger::load(Arc::new(store), found.open, Policy::default(), NOW).unwrap();
    let mut record = key(KeyId::from_bits(1));
    record.limits.daily = Some(Money::from_nano(daily));
    ledger.create_key(record, NOW).unwrap();
    ledger
}

fn describe(chance: &mut Chance) -> Description {
    Description {
        id: new_id(chance),
        model: "m".into(),
        provider: "p".into(),
        upstream_model: "m".into(),
        endpoint: "chat/completions".into(),
        price: "config".into(),
    }
}
