//! Keys and teams against a book-keeper with nothing but a list, step by step; then all at once from
//! many threads.

use std::collections::HashSet;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use proptest::prelude::*;
use redb::backends::InMemoryBackend;

use super::*;
use crate::domain::key::{Controls, Limits};
use crate::domain::request_id::RequestId;
use crate::store::disk::{Disk, Segment};

/// A disk that takes everything and keeps nothing.
struct Nowhere;

impl Disk for Nowhere {
    fn create(&self, _: u64) -> io::Result<Arc<dyn Segment>> {
        Ok(Arc::new(Self))
    }

    fn list(&self) -> io::Result<Vec<u64>> {
        Ok(Vec::new())
    }

    fn read(&self, _: u64) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn remove(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn boot(&self) -> Option<Arc<str>> {
        None
    }
}

impl Segment for Nowhere {
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

fn ledger() -> Arc<Ledger> {
    let (store, found) = Store::open_with(InMemoryBackend::new, Arc::new(Nowhere)).unwrap();
    Ledger::load(Arc::new(store), found.open, Policy::default(), clock::now()).unwrap()
}

fn usd(nano: u64) -> Money {
    Money::from_nano(nano)
}

fn daily(limit: Option<u64>) -> Limits {
    Limits { daily: limit.map(usd), ..Limits::default() }
}

fn weekly(limit: Option<u64>) -> Limits {
    Limits { weekly: limit.map(usd), ..Limits::default() }
}

fn key(ledger: &Ledger, n: u64, limits: Limits, controls: Controls) -> Arc<Account> {
    let record = KeyRecord {
        id: KeyId::from_bits(n),
        name: format!("key {n}"),
        hash: KeyHash::from_bytes([u8::try_from(n).unwrap(); 32]),
        tail: String::new(),
        retiring: None,
        created: clock::now(),
        expires: None,
        disabled: false,
        revoked: None,
        limits,
        models: Vec::new(),
        tags: Vec::new(),
        controls,
    };
    ledger.create_key(record, clock::now()).unwrap()
}

fn team(ledger: &Ledger, n: u64, limits: Limits) -> Arc<Team> {
    let id = TeamId::from_bits(n);
    let record = TeamRecord { id, name: format!("team {n}"), created: clock::now(), limits };
    ledger.create_team(record, clock::now()).unwrap()
}

fn move_to(ledger: &Ledger, account: &Account, team: Option<TeamId>) {
    let moved = ledger.change_key(account.id(), |key| {
        key.controls.team = team;
        Ok::<_, StoreError>(())
    });
    moved.unwrap();
}

fn call() -> Description {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let n = CALLS.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let mut random = [0; 10];
    random[2..].copy_from_slice(&n);
    let text: Arc<str> = "m".into();
    Description {
        id: RequestId::new(clock::now(), random),
        model: Arc::clone(&text),
        provider: Arc::clone(&text),
        upstream_model: Arc::clone(&text),
        endpoint: Arc::clone(&text),
        price: text,
    }
}

fn post(hold: Hold, cost: u64) {
    let receipt = Receipt { cost: usd(cost), ..whole_hold_receipt(hold.opened(), clock::now()) };
    hold.post(&receipt);
}

type Asking<'a> = Pin<Box<dyn Future<Output = Result<Hold, Refusal>> + 'a>>;

fn ask<'a>(ledger: &'a Arc<Ledger>, account: &'a Arc<Account>, amount: u64) -> Asking<'a> {
    Box::pin(async move {
        let call = call();
        ledger.hold(account, usd(amount), call, clock::now()).await
    })
}

fn poll(asking: &mut Asking<'_>) -> Option<Result<Hold, Refusal>> {
    match asking.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

#[derive(Clone, Debug)]
enum Step {
    Ask { key: usize, amount: u64 },
    Post { which: usize, share: u64 },
    Void { which: usize },
    Leave { which: usize },
    LimitKey { key: usize, limit: Option<u64> },
    LimitTeam { team: usize, limit: Option<u64> },
    Move { key: usize, team: Option<usize> },
}

const KEYS: usize = 3;
const TEAMS: usize = 2;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let limit = || proptest::option::weighted(0.9, 0u64..600);
    let step = prop_oneof![
        10 => (0..KEYS, 1u64..200).prop_map(|(key, amount)| Step::Ask { key, amount }),
        5 => (any::<usize>(), 0u64..=60).prop_map(|(which, share)| Step::Post { which, share }),
        3 => any::<usize>().prop_map(|which| Step::Void { which }),
        1 => any::<usize>().prop_map(|which| Step::Leave { which }),
        1 => (0..KEYS, limit()).prop_map(|(key, limit)| Step::LimitKey { key, limit }),
        1 => (0..TEAMS, limit()).prop_map(|(team, limit)| Step::LimitTeam { team, limit }),
        1 => (0..KEYS, proptest::option::weighted(0.8, 0..TEAMS))
            .prop_map(|(key, team)| Step::Move { key, team }),
    ];
    proptest::collection::vec(step, 1..120)
}

/// A call as the book-keeper writes it down.
struct Entry {
    key: usize,
    team: Option<usize>,
    amount: u64,
    hold: Option<Hold>,
}

struct Waiting<'a> {
    key: usize,
    amount: u64,
    asking: Asking<'a>,
}

struct Books {
    entries: Vec<Entry>,
    key_limits: [Option<u64>; KEYS],
    team_limits: [Option<u64>; TEAMS],
    teams: [Option<usize>; KEYS],
}

impl Books {
    /// Posted and held of whoever `is_theirs` says.
    fn sums(&self, is_theirs: impl Fn(&Entry) -> bool) -> (u64, u64) {
        let of = |open: bool| {
            let theirs = self.entries.iter().filter(|e| e.hold.is_some() == open && is_theirs(e));
            theirs.map(|entry| entry.amount).sum()
        };
        (of(false), of(true))
    }

    fn of_key(&self, key: usize) -> (u64, u64) {
        self.sums(|entry| entry.key == key)
    }

    fn of_team(&self, team: usize) -> (u64, u64) {
        self.sums(|entry| entry.team == Some(team))
    }

    /// Whether other holds are in the way of `amount`, which would fit without them.
    fn is_full(limit: Option<u64>, (posted, held): (u64, u64), amount: u64) -> bool {
        let Some(limit) = limit else { return false };
        assert!(posted < limit && posted + amount <= limit, "who can never be served still waits");
        posted + held + amount > limit
    }

    /// Nobody waits who need not.
    fn check_lines(&self, waiting: &[Waiting<'_>]) {
        for line in (0..TEAMS).map(Some).chain([None]) {
            let mut full = HashSet::new();
            for call in waiting.iter().filter(|call| self.teams[call.key] == line) {
                if full.contains(&call.key) {
                    continue;
                }
                if Self::is_full(self.key_limits[call.key], self.of_key(call.key), call.amount) {
                    full.insert(call.key);
                    continue;
                }
                let Some(team) = line else { panic!("a call waits for nothing") };
                let is_full =
                    Self::is_full(self.team_limits[team], self.of_team(team), call.amount);
                assert!(is_full, "a call waits for nothing in the line of its team");
                break;
            }
        }
    }
}

/// Lets everybody go on who can, and writes down what was granted.
fn settle_down(books: &mut Books, waiting: &mut Vec<Waiting<'_>>) {
    let mut granted = false;
    loop {
        let before = waiting.len();
        let mut still = Vec::new();
        for mut call in waiting.drain(..) {
            match poll(&mut call.asking) {
                None => still.push(call),
                Some(Ok(hold)) => {
                    granted = true;
                    let team = books.teams[call.key];
                    let Waiting { key, amount, .. } = call;
                    books.entries.push(Entry { key, team, amount, hold: Some(hold) });
                }
                Some(Err(_)) => {}
            }
        }
        *waiting = still;
        if waiting.len() == before {
            break;
        }
    }
    if granted {
        books.check_lines(waiting);
    }
}

fn is_within(limit: Option<u64>, (posted, held): (u64, u64)) -> bool {
    limit.is_none_or(|limit| posted + held <= limit)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn keys_and_teams_agree_with_a_naive_list(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _inside = runtime.enter();
        let ledger = ledger();
        let mut books = Books {
            entries: Vec::new(),
            key_limits: [Some(300); KEYS],
            team_limits: [Some(400); TEAMS],
            teams: [Some(0), Some(0), None],
        };
        let teams: Vec<_> =
            (0..TEAMS).map(|n| team(&ledger, n as u64, weekly(books.team_limits[n]))).collect();
        let keys: Vec<_> = (0..KEYS)
            .map(|n| {
                let team = books.teams[n].map(|n| teams[n].id());
                let controls = Controls { team, ..Controls::default() };
                key(&ledger, n as u64, daily(books.key_limits[n]), controls)
            })
            .collect();
        let mut waiting: Vec<Waiting<'_>> = Vec::new();
        for step in steps {
            let open: Vec<usize> =
                (0..books.entries.len()).filter(|i| books.entries[*i].hold.is_some()).collect();
            let before = books.entries.len();
            match step {
                Step::Ask { key, amount } => {
                    waiting.push(Waiting { key, amount, asking: ask(&ledger, &keys[key], amount) });
                }
                Step::Post { which, share } if !open.is_empty() => {
                    let entry = &mut books.entries[open[which % open.len()]];
                    entry.amount = entry.amount * share / 100;
                    post(entry.hold.take().unwrap(), entry.amount);
                }
                Step::Void { which } if !open.is_empty() => {
                    let entry = &mut books.entries[open[which % open.len()]];
                    entry.amount = 0;
                    entry.hold.take().unwrap().void();
                }
                Step::Leave { which } if !waiting.is_empty() => {
                    let index = which % waiting.len();
                    waiting.remove(index);
                }
                Step::Post { .. } | Step::Void { .. } | Step::Leave { .. } => {}
                Step::LimitKey { key, limit } => {
                    books.key_limits[key] = limit;
                    let changed = ledger.change_key(keys[key].id(), |key| {
                        key.limits = daily(limit);
                        Ok::<_, StoreError>(())
                    });
                    changed.unwrap();
                }
                Step::LimitTeam { team, limit } => {
                    books.team_limits[team] = limit;
                    ledger.change_team(teams[team].id(), |t| t.limits = weekly(limit)).unwrap();
                }
                Step::Move { key, team } => {
                    let moves = books.teams[key] != team;
                    books.teams[key] = team;
                    move_to(&ledger, &keys[key], team.map(|n| teams[n].id()));
                    // Who moves stands at the end of the other line.
                    let (moved, stay): (Vec<_>, Vec<_>) =
                        waiting.drain(..).partition(|call| moves && call.key == key);
                    waiting.extend(stay.into_iter().chain(moved));
                }
            }
            settle_down(&mut books, &mut waiting);
            books.check_lines(&waiting);
            for entry in &books.entries[before..] {
                prop_assert!(is_within(books.key_limits[entry.key], books.of_key(entry.key)));
                if let Some(team) = entry.team {
                    prop_assert!(is_within(books.team_limits[team], books.of_team(team)));
                }
            }
            let rule = WindowRule::Rolling;
            for (n, account) in keys.iter().enumerate() {
                let [standing, ..] = account.standing(&rule, clock::now());
                let found = (standing.spent.nano(), standing.held.nano());
                prop_assert_eq!(found, books.of_key(n));
            }
            for (n, team) in teams.iter().enumerate() {
                let [standing, ..] = team.standing(&rule, clock::now());
                let found = (standing.spent.nano(), standing.held.nano());
                prop_assert_eq!(found, books.of_team(n));
            }
        }
        while let Some(entry) = books.entries.iter_mut().find(|entry| entry.hold.is_some()) {
            entry.amount = 0;
            entry.hold.take().unwrap().void();
            settle_down(&mut books, &mut waiting);
        }
        prop_assert!(waiting.is_empty(), "somebody waits though nothing is held");
        prop_assert_eq!(ledger.held(), Money::ZERO);
        for team in &teams {
            prop_assert_eq!(team.in_flight(), (0, 0));
        }
    }
}

#[test]
fn a_team_s_limit_is_a_ceiling_from_all_threads_and_nobody_waits_for_ever() {
    const THREADS: u64 = 8;
    const CALLS: u64 = 400;
    let ledger = ledger();
    let teams = [team(&ledger, 0, daily(Some(1_000))), team(&ledger, 1, daily(Some(700)))];
    let keys: Vec<_> = (0..5)
        .map(|n| {
            let team = (n < 4).then(|| teams[usize::from(n >= 2)].id());
            let controls = Controls { team, ..Controls::default() };
            key(&ledger, n, daily(Some(500)), controls)
        })
        .collect();
    let is_over = AtomicBool::new(false);
    let admitted = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (ledger, keys, admitted) = (&ledger, &keys, &admitted);
                scope.spawn(move || {
                    let runtime =
                        tokio::runtime::Builder::new_current_thread().enable_time().build();
                    runtime.unwrap().block_on(async {
                        let calls = FuturesUnordered::new();
                        for n in 0..CALLS {
                            let n = n * THREADS + thread;
                            let account = &keys[usize::try_from(n).unwrap() % keys.len()];
                            calls.push(async move {
                                let hold = ask(ledger, account, 1 + n * 37 % 300).await;
                                tokio::task::yield_now().await;
                                hold.expect("money comes back, so everybody is served").void();
                                admitted.fetch_add(1, Ordering::Relaxed);
                            });
                        }
                        calls.collect::<Vec<()>>().await;
                    });
                })
            })
            .collect();
        scope.spawn(|| {
            let mut round = 0;
            while !is_over.load(Ordering::Relaxed) {
                round += 1;
                std::thread::sleep(std::time::Duration::from_millis(1));
                let to = [Some(teams[0].id()), Some(teams[1].id()), None][round % 3];
                move_to(&ledger, &keys[round % 2 * 3], to);
                for team in &teams {
                    let standing = &team.standing(&WindowRule::Rolling, clock::now())[0];
                    assert!(
                        standing.spent.saturating_add(standing.held) <= standing.limit.unwrap()
                    );
                }
            }
        });
        let ended: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        is_over.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok));
    });
    assert_eq!(admitted.into_inner(), THREADS * CALLS);
    assert_eq!(ledger.held(), Money::ZERO);
    for team in &teams {
        assert_eq!(team.in_flight(), (0, 0));
    }
}

#[test]
fn who_came_first_to_a_full_team_goes_first_and_a_full_key_keeps_nobody_else() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _inside = runtime.enter();
    let ledger = ledger();
    let team = team(&ledger, 1, daily(Some(100)));
    let controls = || Controls { team: Some(team.id()), ..Controls::default() };
    let keys = [1, 2, 3].map(|n| key(&ledger, n, daily(Some(60)), controls()));
    let first = poll(&mut ask(&ledger, &keys[0], 60)).unwrap().unwrap();
    let mut of_full_key = ask(&ledger, &keys[0], 30);
    assert!(poll(&mut of_full_key).is_none());
    let passes_by = poll(&mut ask(&ledger, &keys[1], 10)).unwrap().unwrap();
    let mut large = ask(&ledger, &keys[1], 45);
    assert!(poll(&mut large).is_none());
    let mut small = ask(&ledger, &keys[2], 5);
    assert!(
        poll(&mut small).is_none(),
        "it would fit, but must not go past who waits for the team"
    );
    passes_by.void();
    assert!(poll(&mut large).is_none() && poll(&mut small).is_none());
    first.void();
    for mut asking in [of_full_key, large, small] {
        poll(&mut asking).expect("there is money for all").unwrap().void();
    }
    assert_eq!(team.in_flight(), (0, 0));
}

#[test]
fn a_refusal_leaves_nothing_behind_and_a_pass_ends_with_its_hold() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let ledger = ledger();
    let controls =
        Controls { rpm: Some(3), tpm: Some(100), parallel: Some(2), ..Controls::default() };
    let account = key(&ledger, 1, daily(Some(50)), controls);
    let now = clock::now();
    let enter = |prompt_tokens, output_tokens| {
        let estimate = Estimate { prompt_tokens, output_tokens };
        account.enter(&account.record().controls, estimate, || now)
    };
    let left = || {
        let rates = account.rates(now);
        (rates.requests.unwrap().remaining, rates.tokens.unwrap().remaining)
    };
    assert_eq!(enter(101, 0).err(), Some(Throttled::Prompt { limit: 100, tokens: 101 }));
    assert_eq!(left(), (3, 100));
    drop(enter(10, 1_000_000).unwrap());
    assert_eq!(left(), (3, 100), "money refused it");

    let first = enter(10, 30).unwrap();
    let second = enter(10, 10).unwrap();
    assert_eq!(left(), (1, 40));
    assert_eq!(enter(1, 0).err(), Some(Throttled::Parallel { limit: 2 }));
    drop(second);
    assert_eq!(left(), (2, 60));
    let wait_ms = 600;
    assert_eq!(enter(61, 0).err(), Some(Throttled::Tokens { limit: 100, wait_ms }));
    assert_eq!(left(), (2, 60), "a request that is short of tokens does not count");

    let mut hold = runtime.block_on(ask(&ledger, &account, 50)).unwrap();
    hold.carry(first);
    post(hold, 5);
    assert_eq!(account.in_flight().0, 0);
    assert_eq!(left().1, 60, "nobody counted: what was taken stays taken");
    let again = enter(1, 0).unwrap();
    let once_more = enter(1, 0).unwrap();
    assert_eq!(left().0, 0);
    drop(again);
    assert!(enter(1, 0).is_ok());
    drop(once_more);
}
