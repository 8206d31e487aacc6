//! The power fails, or the process is killed, at every sync of a workload and between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use conduit::domain::key::KeyId;
use conduit::domain::request_id::RequestId;
use conduit::store::Store;
use conduit::store::journal::{Haste, Position};

use crate::books::{Books, Note, hold, key, new_id, receipt, team};
use crate::chance::Chance;
use crate::machine::{Crash, Faults, Image, Machine, Op};

const WORKERS: u64 = 3;
const CALLS: u64 = 60;
const KEYS: u64 = 4;
const IMAGES: usize = 250;

/// Calls of one worker: held, posted, voided or left open, waited for or not.
fn call_often(machine: &Machine<Note>, store: &Store, mut chance: Chance, faulty: bool) {
    let mut waiting: Vec<(Position, Note)> = Vec::new();
    for _ in 0..CALLS {
        let held = hold(new_id(&mut chance), KeyId::from_bits(chance.below(KEYS)), 1_000);
        machine.note(Note::Hold(held.clone()));
        waiting.push((store.journal().hold(&held), Note::HoldDurable(held.id)));
        if chance.one_in(3) {
            wait(machine, store, &mut waiting);
        }
        match chance.below(8) {
            0 => {}
            1 => {
                machine.note(Note::Void(held.id));
                let position = store.journal().void(held.id);
                ended(machine, held.id, position, &mut waiting, faulty);
            }
            _ => {
                let receipt = receipt(&held, chance.below(1_000));
                machine.note(Note::Post(receipt.clone()));
                let share = held.share.as_ref();
                let position = store.journal().post(&held.starts, share, &receipt, Haste::Now);
                ended(machine, held.id, position, &mut waiting, faulty);
            }
        }
        if chance.one_in(4) {
            std::thread::sleep(Duration::from_micros(chance.below(3_000)));
        }
        waiting.retain(|(position, note)| {
            let is_durable = store.journal().is_durable(*position);
            if is_durable {
                machine.note(note.clone());
            }
            !is_durable
        });
    }
    wait(machine, store, &mut waiting);
}

fn ended(
    machine: &Machine<Note>,
    id: RequestId,
    position: Position,
    waiting: &mut Vec<(Position, Note)>,
    faulty: bool,
) {
    // While a disk refuses, an ending is in memory alone, and new calls are turned away.
    if !faulty {
        machine.note(Note::Returned(id));
    }
    waiting.push((position, Note::EndDurable(id)));
}

fn wait(machine: &Machine<Note>, store: &Store, waiting: &mut Vec<(Position, Note)>) {
    for (position, note) in waiting.drain(..) {
        while !store.journal().is_durable(position) {
            std::thread::sleep(Duration::from_micros(200));
        }
        machine.note(note);
    }
}

/// A run from an empty store to an orderly end, with faults on the way if `faulty`.
fn run(chance: &mut Chance, faulty: bool) -> Arc<Machine<Note>> {
    // A store is made under another name and renamed when it is whole: never is a part of it found.
    let fresh = Machine::<()>::new(Image::default());
    let (store, _) = fresh.open().unwrap();
    store.insert_team(&team()).unwrap();
    for bits in 0..KEYS {
        store.insert_key(&key(KeyId::from_bits(bits))).unwrap();
    }
    store.close();
    let machine = Machine::new(fresh.synced_image());
    let (store, _) = machine.open().unwrap();
    let busy = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let (machine, store, busy) = (&machine, &store, &busy);
        let mut others = chance.clone();
        scope.spawn(move || {
            for bits in KEYS..1_000 {
                let id = KeyId::from_bits(bits);
                if store.insert_key(&key(id)).is_ok() {
                    machine.note(Note::Key(id));
                }
                store.journal().put_away_now();
                std::thread::sleep(Duration::from_micros(others.below(15_000)));
                if !busy.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        let mut faults = chance.clone();
        scope.spawn(move || {
            while faulty && busy.load(Ordering::Relaxed) {
                machine.break_it(some_faults(&mut faults));
                std::thread::sleep(Duration::from_millis(faults.below(30)));
                machine.repair();
                std::thread::sleep(Duration::from_millis(200 + faults.below(200)));
            }
        });
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                let chance = Chance::new(chance.next());
                scope.spawn(move || call_often(machine, store, chance, faulty))
            })
            .collect();
        for worker in workers {
            worker.join().unwrap();
        }
        busy.store(false, Ordering::Relaxed);
    });
    store.close();
    machine
}

fn some_faults(chance: &mut Chance) -> Faults {
    Faults {
        full: chance.one_in(4),
        short: chance.one_in(2).then(|| 1 + chance.place(300)),
        syncs: u32::try_from(chance.below(4)).unwrap(),
        create: chance.one_in(3),
        remove: chance.one_in(2),
        db: chance.one_in(2),
        ..Faults::default()
    }
}

fn check_images(machine: &Machine<Note>, chance: &mut Chance) {
    let log = machine.log();
    let is_sync = |op: &Op<Note>| matches!(op, Op::DbSync | Op::Sync { .. } | Op::SyncNames);
    let syncs: Vec<usize> = (0..log.len()).filter(|at| is_sync(&log[*at])).collect();
    let mut instants: Vec<usize> = syncs.iter().flat_map(|at| [*at, at + 1]).collect();
    instants.extend((0..instants.len() / 2).map(|_| chance.place(log.len() + 1)));
    instants.push(log.len());
    let stride = instants.len().div_ceil(IMAGES);
    println!(
        "{} things done, {} syncs, every {stride} of {} instants",
        log.len(),
        syncs.len(),
        instants.len()
    );
    for done in instants.into_iter().skip(chance.place(stride)).step_by(stride) {
        let books = Books::of(&log[..done]);
        let crash = if chance.one_in(4) { Crash::Process } else { Crash::Power };
        println!("{crash:?} after {done}");
        books.check(&machine.image(done, crash, chance), crash, chance);
    }
}

#[test]
fn whatever_instant_the_power_fails_in_the_books_are_whole() {
    let mut chance = Chance::of_the_day("power");
    let machine = run(&mut chance, false);
    check_images(&machine, &mut chance);
}

#[test]
fn a_disk_that_fails_now_and_then_before_the_power_does_loses_nothing_promised() {
    let mut chance = Chance::of_the_day("faults");
    let machine = run(&mut chance, true);
    check_images(&machine, &mut chance);
}
