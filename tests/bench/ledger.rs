//! What the ledger costs: deciding and holding, commits in groups, recovery. Prints one table.
//!
//! Figures are of the machine and its disk; what they are compared with must have run on the same.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark talks to whoever runs it and fails where it unwraps"
)]

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use conduit::clock;
use conduit::domain::budget::{Balance, Enforcement, Remembered, Verdict};
use conduit::domain::key::{Controls, KeyHash, KeyId, KeyRecord, Limits};
use conduit::domain::money::{Money, Rate};
use conduit::domain::price::Line;
use conduit::domain::receipt::{Ending, Metered, Receipt};
use conduit::domain::request_id::RequestId;
use conduit::domain::usage::{Class, ServiceTier};
use conduit::domain::window::{Timestamp, WindowRule};
use conduit::ledger::account::Account;
use conduit::ledger::{Description, Ledger, Policy};
use conduit::store::Store;
use conduit::store::journal::Haste;
use conduit::store::record::OpenHold;
use tempfile::TempDir;

const RECEIPTS: u64 = 1_000_000;

fn main() {
    // Cargo says `--bench` when it means it; `cargo test --benches` only wants to see it build.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{:<58} {:>12}", format!("ledger, {cores} cores"), "");
    decision();
    ledger(cores);
    for writers in [1, 16, 64] {
        commits(writers);
    }
    recovery();
}

fn row(what: &str, figure: &str) {
    println!("{what:<58} {figure:>12}");
}

fn per_call(what: &str, calls: u64, elapsed: Duration) {
    row(what, &format!("{} ns", elapsed.as_nanos() / u128::from(calls)));
}

fn limits() -> Limits {
    let limit = Some(Money::from_nano(1 << 50));
    Limits { daily: limit, weekly: limit, monthly: limit }
}

fn decision() {
    const CALLS: u64 = 10_000_000;
    let now = clock::now();
    let mut balance = Balance::restore(&Remembered::default(), &WindowRule::Rolling, now, now);
    let (limits, amount) = (limits(), Money::from_nano(1_000));
    let began = Instant::now();
    for _ in 0..CALLS {
        balance.roll(&WindowRule::Rolling, now, now);
        let verdict = balance.decide(black_box(&limits), Enforcement::Hard, black_box(amount));
        assert_eq!(verdict, Verdict::Fits);
        let starts = balance.hold(amount);
        balance.settle(&starts, amount, Money::ZERO);
    }
    per_call("decide, hold, settle: the balance alone, three limits", CALLS, began.elapsed());
}

fn id(number: u64) -> RequestId {
    let mut random = [0; 10];
    random[..8].copy_from_slice(&number.to_be_bytes());
    RequestId::new(clock::now(), random)
}

fn describe(number: u64) -> Description {
    Description {
        id: id(number),
        model: "gpt-4o-mini".into(),
        provider: "openai".into(),
        upstream_model: "gpt-4o-mini-2024-07-18".into(),
        endpoint: "chat/completions".into(),
        price: "catalogue 2026-11".into(),
    }
}

fn key(bits: u64, now: Timestamp) -> KeyRecord {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&bits.to_be_bytes());
    KeyRecord {
        id: KeyId::from_bits(bits),
        name: bits.to_string(),
        hash: KeyHash::from_bytes(hash),
        tail: String::new(),
        retiring: None,
        created: now,
        expires: None,
        disabled: false,
        revoked: None,
        limits: limits(),
        models: Vec::new(),
        tags: Vec::new(),
        controls: Controls::default(),
    }
}

/// Polls once: these holds always fit, so nothing ever waits.
fn at_once<F: Future>(future: F) -> Option<F::Output> {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

fn ledger(cores: usize) {
    let folder = TempDir::new().unwrap();
    let (store, found) = Store::open(&folder.path().join("store")).unwrap();
    let now = clock::now();
    let ledger = Ledger::load(Arc::new(store), found.open, Policy::default(), now).unwrap();
    let accounts: Vec<_> =
        (0..cores as u64).map(|bits| ledger.create_key(key(bits, now), now).unwrap()).collect();
    hold_and_void("hold, void: one key, one thread", &ledger, &accounts[..1], 1, now);
    let what = format!("hold, void: one hot key, {cores} threads");
    hold_and_void(&what, &ledger, &accounts[..1], cores, now);
    let what = format!("hold, void: a key for each of {cores} threads");
    hold_and_void(&what, &ledger, &accounts, cores, now);
}

/// Of each call the time of the hold, which is on the call's way, and of both together.
fn hold_and_void(
    what: &str,
    ledger: &Arc<Ledger>,
    accounts: &[Arc<Account>],
    threads: usize,
    now: Timestamp,
) {
    const CALLS: u64 = 200_000;
    let in_hold = AtomicU64::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (account, in_hold) = (&accounts[thread % accounts.len()], &in_hold);
            scope.spawn(move || {
                let call = describe(0);
                let mut spent = Duration::ZERO;
                for _ in 0..CALLS {
                    let call = call.clone();
                    let began = Instant::now();
                    let hold = ledger.hold(account, Money::from_nano(1_000), call, now);
                    let hold = at_once(hold).unwrap().unwrap();
                    spent += began.elapsed();
                    hold.void();
                }
                in_hold.fetch_add(u64::try_from(spent.as_nanos()).unwrap(), Ordering::Relaxed);
            });
        }
    });
    let elapsed = began.elapsed();
    let calls = CALLS * threads as u64;
    let hold = Duration::from_nanos(in_hold.load(Ordering::Relaxed));
    per_call(&format!("{what}: in hold"), calls, hold);
    per_call(&format!("{what}: wall time per call"), calls, elapsed);
}

fn open_hold(number: u64, key: u64) -> OpenHold {
    let call = describe(number);
    OpenHold {
        id: call.id,
        key: KeyId::from_bits(key),
        amount: Money::from_nano(100_000),
        starts: [clock::now(); 3],
        share: None,
        model: call.model,
        provider: call.provider,
        upstream_model: call.upstream_model,
        endpoint: call.endpoint,
        price: call.price,
    }
}

fn receipt(hold: &OpenHold, at: Timestamp) -> Receipt {
    let line = |class, count| Line::new(class, count, Rate::from_nano_per_million(150_000_000));
    Receipt {
        id: hold.id,
        of: None,
        key: hold.key,
        at,
        model: Arc::clone(&hold.model),
        provider: Arc::clone(&hold.provider),
        upstream_model: Arc::clone(&hold.upstream_model),
        endpoint: Arc::clone(&hold.endpoint),
        status: 200,
        streamed: true,
        ending: Ending::Done,
        metered: Metered::Reported,
        service: ServiceTier::Standard,
        lines: vec![line(Class::Input, 1_234), line(Class::Output, 567)],
        cost: Money::from_nano(270_150),
        provider_cost: None,
        held: hold.amount,
        price: Arc::clone(&hold.price),
        first_byte_ms: Some(300),
        total_ms: 1_500,
    }
}

/// Writers that each hold, post and wait until the post outlives the machine.
fn commits(writers: u64) {
    const LASTS: Duration = Duration::from_secs(3);
    let folder = TempDir::new().unwrap();
    let (store, _) = Store::open(&folder.path().join("store")).unwrap();
    let began = Instant::now();
    let mut latencies: Vec<Duration> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..writers)
            .map(|writer| {
                let store = &store;
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    let mut latencies = Vec::new();
                    while began.elapsed() < LASTS {
                        let number = writer << 32 | latencies.len() as u64;
                        let held = open_hold(number, writer);
                        store.journal().hold(&held);
                        let posted = Instant::now();
                        let position = store.journal().post(
                            &held.starts,
                            None,
                            &receipt(&held, clock::now()),
                            Haste::Now,
                        );
                        assert!(runtime.block_on(store.journal().durable(position)));
                        latencies.push(posted.elapsed());
                    }
                    latencies
                })
            })
            .collect();
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    latencies.sort_unstable();
    let part = |hundredths: usize| latencies[(latencies.len() - 1) * hundredths / 100];
    let rate = latencies.len() as u64 / LASTS.as_secs();
    row(&format!("{writers} writers: durable posts"), &format!("{rate} /s"));
    row(
        &format!("{writers} writers: durable after, median"),
        &format!("{} µs", part(50).as_micros()),
    );
    row(&format!("{writers} writers: durable after, p99"), &format!("{} µs", part(99).as_micros()));
}

fn recovery() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let (store, _) = Store::open(&path).unwrap();
    let began = Instant::now();
    post(&store, 0..RECEIPTS);
    store.journal().put_away_now();
    let rate = u128::from(RECEIPTS) * 1_000 / began.elapsed().as_millis();
    row("posts in bulk, one thread, put away", &format!("{rate} /s"));
    let size = fs::metadata(&path).unwrap().len();
    row("store with a million receipts", &format!("{} MiB", size >> 20));

    // Copied while it is open, as a kill would leave it: a whole store, and a journal with more.
    post(&store, RECEIPTS..RECEIPTS + 10_000);
    let crashed = folder.path().join("crashed");
    copy(&path, &crashed);
    store.close();

    open("open after an orderly end", &path);
    open("open after a crash, with 10,000 calls in the journal", &crashed);
}

fn post(store: &Store, numbers: std::ops::Range<u64>) {
    let now = clock::now();
    for number in numbers {
        let held = open_hold(number, number % 100);
        store.journal().hold(&held);
        // Spread over a month, as receipts are.
        let at = now.plus_millis(number * 2_592);
        store.journal().post(&held.starts, None, &receipt(&held, at), Haste::Now);
    }
}

fn copy(store: &Path, to: &Path) {
    let journal = |store: &Path| {
        let mut path = store.as_os_str().to_owned();
        path.push(".journal");
        std::path::PathBuf::from(path)
    };
    fs::create_dir_all(journal(to)).unwrap();
    for segment in fs::read_dir(journal(store)).unwrap().flatten() {
        fs::copy(segment.path(), journal(to).join(segment.file_name())).unwrap();
    }
    fs::copy(store, to).unwrap();
}

fn open(what: &str, path: &Path) {
    let began = Instant::now();
    let (store, found) = Store::open(path).unwrap();
    let ledger =
        Ledger::load(Arc::new(store), found.open, Policy::default(), clock::now()).unwrap();
    row(what, &format!("{} ms", began.elapsed().as_millis()));
    drop(ledger);
}
