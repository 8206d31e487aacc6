//! The verbs that look into the books, correct them, copy them and prove them: in process, and by the
//! binary with a server up and down, which must come to the same.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use conduit::admin::adjust::{Adjust, AdjustmentView, ListAdjustments};
use conduit::admin::backup::BackUp;
use conduit::admin::explain::Explain;
use conduit::admin::holds::ListHolds;
use conduit::admin::keys::{CreateKey, ListKeys};
use conduit::admin::receipts::{ListReceipts, ReceiptView};
use conduit::admin::teams::CreateTeam;
use conduit::admin::usage::ReportUsage;
use conduit::admin::verify::{VerifyBooks, VerifyReport};
use conduit::admin::{AdminError, Desk, Verb};
use conduit::clock;
use conduit::domain::adjustment::AdjustmentId;
use conduit::domain::key::KeyId;
use conduit::domain::money::{Money, Rate};
use conduit::domain::price::{Basis, Line};
use conduit::domain::receipt::{Ending, Metered, ProviderCost, Receipt};
use conduit::domain::request_id::RequestId;
use conduit::domain::team::Owner;
use conduit::domain::usage::{Class, ServiceTier};
use conduit::domain::window::{Period, Timestamp, WindowRule};
use conduit::ledger::account::Account;
use conduit::ledger::{Description, Hold, Ledger, Policy};
use conduit::store::{Grouping, Store, StoreError, restore, verify_file};
use redb::ReadableTable;
use serde_json::Value;

fn usd(nano: u64) -> Money {
    Money::from_nano(nano)
}

/// A store in a folder, opened as a command does when no server runs.
struct Books {
    desk: Desk,
    runtime: tokio::runtime::Runtime,
}

fn open(store: &Path, policy: Policy) -> Books {
    let (store, found) = Store::open(store).unwrap();
    let ledger = Ledger::load(Arc::new(store), found.open, policy, clock::now()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    Books { desk: Desk::without_server(ledger), runtime }
}

impl Books {
    fn key(&self, name: &str) -> Arc<Account> {
        let made = CreateKey { name: name.to_owned(), ..CreateKey::default() }.run(&self.desk);
        self.desk.ledger.directory().by_id(made.unwrap().key.id).unwrap()
    }

    fn named(&self, name: &str) -> Arc<Account> {
        let all = self.desk.ledger.directory().all();
        all.into_iter().find(|account| account.record().name == name).unwrap()
    }

    fn hold(&self, account: &Arc<Account>, model: &str, now: Timestamp) -> Hold {
        let call = Description {
            id: RequestId::new(now, clock::random().unwrap()),
            model: model.into(),
            provider: "echo".into(),
            upstream_model: model.into(),
            endpoint: "chat/completions".into(),
            price: "test".into(),
        };
        let hold = self.desk.ledger.hold(account, usd(1_000), call, now);
        self.runtime.block_on(hold).unwrap()
    }

    /// A call that costs so many nano-dollars.
    fn call(&self, account: &Arc<Account>, cost: u64) -> RequestId {
        let hold = self.hold(account, "echo", clock::now());
        let receipt = receipt(&hold, "echo", cost);
        let id = hold.id();
        hold.post(&receipt);
        id
    }

    fn run<V: Verb>(&self, verb: V) -> V::Answer {
        verb.run(&self.desk).unwrap()
    }

    fn adjust(&self, key: &str, amount: &str) -> AdjustmentView {
        self.run(Adjust {
            id: None,
            key: key.to_owned(),
            amount_usd: amount.parse().unwrap(),
            why: "a test".to_owned(),
            by: "tester".to_owned(),
        })
    }

    /// What is spent in the day, the week and the month.
    fn spent(&self, account: &Account) -> [u64; 3] {
        let rule = &self.desk.ledger.policy().windows;
        account.standing(rule, clock::now()).map(|standing| standing.spent.nano())
    }

    fn receipts(&self) -> Vec<ReceiptView> {
        self.run(ListReceipts { limit: 1_000, ..ListReceipts::default() })
    }

    #[track_caller]
    fn verify(&self) -> VerifyReport {
        let report = self.run(VerifyBooks {});
        assert!(report.agrees, "{report:#?}");
        report
    }
}

fn receipt(hold: &Hold, model: &str, cost: u64) -> Receipt {
    let line = Line::new(Class::Input, cost, Rate::from_nano_per_million(1_000_000));
    Receipt {
        id: hold.id(),
        of: None,
        key: hold.key(),
        at: clock::now(),
        model: model.into(),
        provider: "echo".into(),
        upstream_model: model.into(),
        endpoint: "chat/completions".into(),
        status: if cost == 0 { 502 } else { 200 },
        streamed: false,
        ending: if cost == 0 { Ending::UpstreamError } else { Ending::Done },
        metered: if cost == 0 { Metered::Nothing } else { Metered::Reported },
        service: ServiceTier::Standard,
        lines: if cost == 0 { vec![] } else { vec![line] },
        cost: usd(cost),
        provider_cost: None,
        held: hold.amount(),
        price: "test".into(),
        first_byte_ms: Some(1),
        total_ms: 2,
    }
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("conduit.redb");
    (folder, store)
}

fn calendar() -> Policy {
    let zone = jiff::tz::TimeZone::get("UTC").unwrap();
    Policy { windows: WindowRule::Calendar(zone), ..Policy::default() }
}

#[test]
fn a_credit_takes_what_was_spent_and_a_charge_counts_whole() {
    let (_folder, store) = folder();
    {
        let books = open(&store, Policy::default());
        let key = books.key("a");
        books.call(&key, 300);
        let credit = books.adjust("a", "-0.0000005");
        assert_eq!(books.spent(&key), [0; 3], "a credit beyond what was spent gives no room");
        assert!(credit.windows.iter().all(|window| window.counted_usd == usd(300)));
        books.call(&key, 100);
        books.adjust("a", "0.00000005");
        books.adjust("a", "-0.00000002");
        assert_eq!(books.spent(&key), [130; 3]);
        let report = books.verify();
        assert_eq!((report.receipts, report.adjustments, report.cost_usd), (2, 3, usd(400)));
    }
    let books = open(&store, Policy::default());
    let key = books.named("a");
    assert_eq!(books.spent(&key), [130; 3], "it is the same after a start");
    books.verify();
    let listed = books.run(ListAdjustments::default());
    let amounts: Vec<_> = listed.iter().map(|entry| entry.amount_usd.to_string()).collect();
    assert_eq!(amounts, ["-0.00000002", "0.00000005", "-0.0000005"], "newest first");
    assert_eq!((listed[0].by.as_str(), listed[0].why.as_str()), ("tester", "a test"));

    for by in [Grouping::Day, Grouping::Key, Grouping::Model] {
        let report = books.run(ReportUsage { by, ..ReportUsage::default() });
        let total = &report.total;
        assert_eq!(
            (total.calls, total.cost_usd, total.charged_usd, total.credited_usd),
            (2, usd(400), usd(50), usd(520)),
            "{by:?}"
        );
        assert_eq!(report.rows.len(), if by == Grouping::Model { 2 } else { 1 });
    }
}

#[test]
fn an_adjustment_asked_for_twice_is_made_once() {
    let (_folder, store) = folder();
    let books = open(&store, Policy::default());
    let key = books.key("a");
    let id = AdjustmentId::new(clock::now(), [1; 10]);
    let ask = |amount: &str, why: &str| {
        let (amount_usd, why) = (amount.parse().unwrap(), why.to_owned());
        Adjust { id: Some(id), key: "a".to_owned(), amount_usd, why, by: String::new() }
            .run(&books.desk)
    };
    let first = ask("0.000000007", "once").unwrap();
    assert_eq!(ask("0.000000007", "twice").unwrap(), first);
    assert_eq!(books.spent(&key), [7; 3]);
    assert!(matches!(ask("7", "another"), Err(AdminError::Conflict(_))));
    assert!(matches!(ask("7", " "), Err(AdminError::Wrong { .. })));
    assert!(matches!(ask("7", "two\nlines"), Err(AdminError::Wrong { .. })));
    assert_eq!(books.run(ListAdjustments::default()).len(), 1);
    books.verify();
}

#[test]
fn receipts_come_newest_first_and_page_by_page() {
    let (_folder, store) = folder();
    let books = open(&store, Policy::default());
    let (a, b) = (books.key("a"), books.key("b"));
    let mut ids = Vec::new();
    for cost in 0..25 {
        ids.push(books.call(if cost % 5 == 0 { &b } else { &a }, cost));
        if cost % 7 == 0 {
            books.desk.ledger.store().journal().put_away_now();
        }
    }
    let all = books.receipts();
    assert_eq!(all.len(), 25);
    assert!(all.windows(2).all(|pair| (pair[0].at, pair[0].id) > (pair[1].at, pair[1].id)));
    let mut paged = Vec::new();
    let mut after = None;
    loop {
        let page = books.run(ListReceipts { limit: 4, after, ..ListReceipts::default() });
        after = page.last().map(ReceiptView::place);
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);

    let list = |verb: ListReceipts| books.run(ListReceipts { limit: 100, ..verb });
    let of_b = list(ListReceipts { key: Some("b".to_owned()), ..ListReceipts::default() });
    assert_eq!(of_b.len(), 5);
    let failed = list(ListReceipts { status: "5xx".parse().ok(), ..ListReceipts::default() });
    assert_eq!(failed.iter().map(|receipt| receipt.id).collect::<Vec<_>>(), [ids[0]]);
    let middle = all[12].at;
    let early = list(ListReceipts { until: Some(middle), ..ListReceipts::default() });
    let late = list(ListReceipts { since: Some(middle), ..ListReceipts::default() });
    assert_eq!(early.len() + late.len(), 25);
    assert!(early.iter().all(|receipt| receipt.at < middle));
    assert!(list(ListReceipts { recovered: true, ..ListReceipts::default() }).is_empty());
    let none = list(ListReceipts { since: Some(Timestamp::MAX), ..ListReceipts::default() });
    assert!(none.is_empty());

    let explained = books.run(Explain { id: ids[24] });
    assert_eq!(explained.receipt.cost_usd, usd(24));
    assert_eq!(explained.sum_usd, "0.000000024");
    let unknown = RequestId::new(clock::now(), [0; 10]);
    assert!(matches!(Explain { id: unknown }.run(&books.desk), Err(AdminError::NotFound(_))));
}

#[test]
fn a_bill_is_explained_line_by_line_with_its_attempts() {
    let (_folder, store) = folder();
    let books = open(&store, Policy::default());
    let key = books.key("a");
    let main = books.hold(&key, "echo", clock::now());
    let failed = books.hold(&key, "echo", clock::now().plus_millis(3));
    let attempt = Receipt { of: Some(main.id()), ..receipt(&failed, "echo", 7) };
    failed.post(&attempt);
    let basis = Basis {
        class: Some(Class::Input),
        service: ServiceTier::Priority,
        above_input_tokens: 200_000,
        variant: None,
    };
    let plain = Line::new(Class::Output, 3, Rate::from_nano_per_million(1_500_000));
    let cached =
        Line { basis, ..Line::new(Class::CacheRead, 1, Rate::from_nano_per_million(500_000)) };
    let other = Line {
        model: Some("wise-1".into()),
        ..Line::new(Class::Input, 1, Rate::from_nano_per_million(1))
    };
    let search = Line { unpriced: true, ..Line::new(Class::WebSearch, 2, Rate::ZERO) };
    let figure = ProviderCost { amount: usd(9), counts: false };
    let posted = Receipt {
        lines: vec![plain, cached, other, search],
        provider_cost: Some(figure),
        ..receipt(&main, "echo", 6)
    };
    let id = main.id();
    main.post(&posted);
    let explained = books.run(Explain { id });
    assert!(explained.adds_up, "{explained:#?}");
    assert_eq!((explained.sum_usd.as_str(), explained.rounded_usd), ("0.000000005000001", usd(6)));
    let lines = explained.receipt.lines.iter();
    let lines: Vec<_> = lines
        .map(|line| (line.nano_usd.as_str(), line.why.as_str(), line.model.as_deref()))
        .collect();
    assert_eq!(
        lines,
        [
            ("4.5", "", None),
            ("0.5", "as input, priority tier, prompt above 200000 tokens", None),
            ("0.000001", "", Some("wise-1")),
            ("0", "no price", None),
        ]
    );
    assert_eq!(explained.receipt.provider_cost_usd, Some(usd(9)));
    let attempts: Vec<_> = explained.attempts.iter().map(|a| (a.id, a.cost_usd)).collect();
    assert_eq!(attempts, [(attempt.id, usd(7))]);
    assert_eq!(explained.with_attempts_usd, usd(13));
    let of_attempt = books.run(Explain { id: attempt.id });
    assert_eq!((of_attempt.receipt.of, of_attempt.attempts.len()), (Some(id), 0));
    books.verify();
}

#[test]
fn a_receipt_that_does_not_add_up_is_called_so() {
    let (_folder, store) = folder();
    let books = open(&store, Policy::default());
    let key = books.key("a");
    let hold = books.hold(&key, "echo", clock::now());
    let (id, posted) = (hold.id(), Receipt { cost: usd(8), ..receipt(&hold, "echo", 7) });
    hold.post(&posted);
    let explained = books.run(Explain { id });
    assert!(!explained.adds_up && explained.because.contains("does not add up"));
    assert_eq!(explained.rounded_usd, usd(7));
    let hold = books.hold(&key, "echo", clock::now());
    let figure = Some(ProviderCost { amount: usd(8), counts: true });
    let posted = Receipt { cost: usd(8), provider_cost: figure, ..receipt(&hold, "echo", 7) };
    let id = hold.id();
    hold.post(&posted);
    let explained = books.run(Explain { id });
    assert!(explained.adds_up && explained.because.contains("provider's own figure"));
}

#[test]
fn holds_are_listed_while_they_are_open() {
    let (_folder, store) = folder();
    let books = open(&store, Policy::default());
    let key = books.key("a");
    assert!(books.run(ListHolds {}).is_empty());
    let first = books.hold(&key, "one", clock::now());
    let second = books.hold(&key, "two", clock::now().plus_millis(5));
    let open: Vec<_> = books.run(ListHolds {}).into_iter().map(|hold| hold.model).collect();
    assert_eq!(open, ["one", "two"]);
    // They are known as well once their segment is gone.
    let open = books.run(ListHolds {});
    assert_eq!((open.len(), open[0].amount_usd), (2, usd(1_000)));
    assert_eq!(open[0].key_name.as_deref(), Some("a"));
    let under_way = Explain { id: first.id() }.run(&books.desk).unwrap_err().to_string();
    assert!(under_way.contains("under way"), "{under_way}");
    first.void();
    let receipt = receipt(&second, "two", 5);
    second.post(&receipt);
    assert!(books.run(ListHolds {}).is_empty());
    books.verify();
}

#[test]
fn a_backup_has_the_calls_under_way_but_no_cover() {
    let (folder, store) = folder();
    let copy = folder.path().join("copy.redb");
    let books = open(&store, Policy::default());
    let key = books.key("a");
    let hold = books.hold(&key, "one", clock::now());
    // It has to wait for the disk, so the calls after it are covered.
    assert!(books.runtime.block_on(hold.promise().is_durable()));
    let store = books.desk.ledger.store();
    store.journal().put_away_now();
    store.back_up(&copy, false).unwrap();
    let (_, found) = Store::open(&copy).unwrap();
    let open: Vec<_> = found.open.iter().map(|hold| hold.id).collect();
    assert_eq!(open, [hold.id()]);
    hold.void();
}

#[test]
fn what_a_crash_broke_off_is_listed_as_recovered() {
    let (folder, store) = folder();
    let copy = folder.path().join("copy.redb");
    let lost = {
        let books = open(&store, Policy::default());
        let key = books.key("a");
        books.call(&key, 10);
        let hold = books.hold(&key, "lost", clock::now());
        assert!(books.runtime.block_on(hold.promise().is_durable()));
        // What a killed process leaves behind.
        fs::copy(&store, &copy).unwrap();
        let (from, to) = (journal(&store), journal(&copy));
        fs::create_dir(&to).unwrap();
        for segment in fs::read_dir(from).unwrap() {
            let segment = segment.unwrap();
            fs::copy(segment.path(), to.join(segment.file_name())).unwrap();
        }
        let id = hold.id();
        hold.void();
        id
    };
    let books = open(&copy, Policy::default());
    assert!(books.run(ListHolds {}).is_empty(), "opening posts them");
    let recovered = books.run(ListReceipts { recovered: true, ..ListReceipts::default() });
    assert_eq!(recovered.len(), 1);
    assert_eq!((recovered[0].id, recovered[0].cost_usd), (lost, usd(1_000)));
    assert_eq!(books.receipts().len(), 2);
    assert!(books.run(Explain { id: lost }).because.contains("all that was held"));
    assert_eq!(books.spent(&books.named("a")), [1_010; 3]);
    books.verify();
}

fn journal(store: &Path) -> PathBuf {
    let mut path = store.as_os_str().to_owned();
    path.push(".journal");
    PathBuf::from(path)
}

#[test]
fn old_receipts_go_and_the_books_still_add_up() {
    let (_folder, store) = folder();
    let books = open(&store, Policy::default());
    let key = books.key("a");
    for _ in 0..5 {
        for cost in 1..200 {
            books.call(&key, cost);
        }
        books.desk.ledger.store().journal().put_away_now();
        std::thread::sleep(Duration::from_millis(3));
    }
    let before = books.run(ReportUsage::default());
    let all = books.receipts();
    let middle = all[all.len() / 2].at;
    let mut deleted = 0;
    loop {
        let pruned = books.desk.ledger.store().prune_receipts(middle, 2).unwrap();
        deleted += pruned.receipts;
        books.verify();
        if pruned.is_done {
            break;
        }
    }
    assert!(deleted > 300, "{deleted}");
    assert_eq!(books.receipts().len() as u64 + deleted, 995);
    assert!(books.receipts().iter().all(|receipt| all.contains(receipt)));
    let after = books.run(ReportUsage::default());
    assert_eq!(after.total.cost_usd, before.total.cost_usd);
    let report = books.verify();
    assert_eq!((report.receipts + report.pruned_receipts, report.pruned_receipts), (995, deleted));
    let end = clock::now().plus_millis(1);
    while !books.desk.ledger.store().prune_receipts(end, 64).unwrap().is_done {}
    assert!(books.receipts().is_empty());
    books.call(&key, 7);
    books.adjust("a", "-0.000000003");
    books.verify();
}

#[test]
fn a_changed_rule_of_windows_forgets_nothing_not_even_across_starts() {
    let (_folder, store) = folder();
    {
        let books = open(&store, Policy::default());
        let key = books.key("a");
        books.call(&key, 100);
        let across = books.hold(&key, "across", clock::now());
        books.desk.ledger.set_policy(calendar()).unwrap();
        assert_eq!(books.spent(&key), [100; 3]);
        let receipt = receipt(&across, "across", 11);
        across.post(&receipt);
        books.call(&key, 20);
        assert_eq!(books.spent(&key), [131; 3]);
        books.adjust("a", "-0.00000003");
        books.verify();
    }
    {
        let books = open(&store, calendar());
        assert_eq!(books.spent(&books.named("a")), [101; 3], "the same rule after a start");
        books.verify();
    }
    {
        // The rule was changed while nothing ran.
        let books = open(&store, Policy::default());
        let key = books.named("a");
        let spent = books.spent(&key);
        assert!(
            spent.iter().all(|spent| (101..=131).contains(spent)),
            "{spent:?}: never too little"
        );
        books.call(&key, 5);
        assert_eq!(books.spent(&key), spent.map(|spent| spent + 5));
        books.verify();
    }
    let books = open(&store, Policy::default());
    books.verify();
}

#[test]
fn verify_names_what_does_not_add_up() {
    const ACCOUNTS: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("accounts");
    const RECEIPTS: redb::TableDefinition<'_, (u64, u64), &[u8]> =
        redb::TableDefinition::new("receipts");
    let (_folder, store) = folder();
    let (a, b): (KeyId, KeyId) = {
        let books = open(&store, Policy::default());
        let (a, b) = (books.key("a"), books.key("b"));
        books.call(&a, 5);
        books.call(&b, 6);
        books.verify();
        (a.id(), b.id())
    };
    let tamper = |change: &dyn Fn(&redb::WriteTransaction)| {
        let db = redb::Database::open(&store).unwrap();
        let write = db.begin_write().unwrap();
        change(&write);
        write.commit().unwrap();
    };
    // The one has now what the other had.
    tamper(&|write| {
        let mut accounts = write.open_table(ACCOUNTS).unwrap();
        let row = accounts.get(b.bits()).unwrap().unwrap().value().to_vec();
        accounts.insert(a.bits(), row.as_slice()).unwrap();
    });
    let report = open(&store, Policy::default()).run(VerifyBooks {});
    assert!(!report.agrees);
    assert!(report.differences.iter().all(|difference| difference.owner == a.to_string()));
    let usd = report.differences.iter().find(|d| d.what == "USD: receipts against account");
    let usd = usd.unwrap_or_else(|| panic!("{report:#?}"));
    assert_eq!((usd.expected.as_str(), usd.found.as_str()), ("0.000000005", "0.000000006"));
    // A row of receipts is lost.
    tamper(&|write| {
        write.open_table(RECEIPTS).unwrap().retain(|_, _| false).unwrap();
    });
    let books = verify_file(&store).unwrap();
    assert!(
        books
            .differences
            .iter()
            .any(|d| d.owner == Owner::Key(b) && d.what.contains("in the hour from"))
    );
}

#[test]
fn a_backup_under_load_is_whole_and_comes_back() {
    let (folder, store) = folder();
    let backup = folder.path().join("backup");
    let books = open(&store, Policy::default());
    let key = books.key("a");
    for cost in 1..50 {
        books.call(&key, cost);
    }
    books.adjust("a", "-0.000000007");
    let stop = Arc::new(AtomicBool::new(false));
    let load = {
        let (stop, desk) = (Arc::clone(&stop), books.desk.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let books = Books { desk, runtime: runtime.unwrap() };
            let key = books.named("a");
            let mut calls = 0u64;
            while !stop.load(Ordering::Relaxed) {
                books.call(&key, 3);
                calls += 1;
                std::thread::sleep(Duration::from_micros(500));
            }
            calls
        })
    };
    let ask = |file: &Path, force| BackUp { file: file.to_owned(), force }.run(&books.desk);
    let mut counts = Vec::new();
    for _ in 0..5 {
        let made = ask(&backup, true).unwrap();
        assert_eq!(made.bytes, fs::metadata(&backup).unwrap().len());
        let hash = blake3::hash(&fs::read(&backup).unwrap()).to_hex();
        assert_eq!(made.blake3, hash.as_str());
        let found = verify_file(&backup).unwrap();
        assert!(found.differences.is_empty(), "{found:#?}");
        counts.push(found.receipts);
        books.verify();
    }
    stop.store(true, Ordering::Relaxed);
    let calls = load.join().unwrap();
    assert!(calls > 0 && counts.windows(2).all(|pair| pair[0] <= pair[1]), "{counts:?}");
    assert!(!folder.path().join("backup.partial").exists());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(matches!(ask(&backup, false), Err(AdminError::Conflict(_))), "a file is there");
    assert!(matches!(ask(&store, true), Err(AdminError::Conflict(_))), "it is the store");
    assert!(matches!(ask(Path::new("relative"), true), Err(AdminError::Invalid(_))));

    ask(&backup, true).unwrap();
    let (receipts, keys) =
        (books.receipts(), books.run(ListKeys { all: true, ..ListKeys::default() }));
    let refused = restore(&backup, &store, false, clock::now());
    assert!(matches!(refused, Err(StoreError::InUse(_))), "{refused:?}");
    let refused = restore(&store, &store, false, clock::now());
    assert!(matches!(refused, Err(StoreError::Itself(_))), "{refused:?}");

    // Elsewhere, where nothing is yet.
    let elsewhere = folder.path().join("elsewhere.redb");
    assert_eq!(restore(&backup, &elsewhere, false, clock::now()).unwrap().kept, None);
    let same = open(&elsewhere, Policy::default());
    assert_eq!(same.receipts(), receipts);
    let ids = |keys: Vec<conduit::admin::keys::KeyView>| -> Vec<_> {
        keys.into_iter().map(|key| (key.id, key.name, key.secret_ends_in)).collect()
    };
    assert_eq!(ids(same.run(ListKeys { all: true, ..ListKeys::default() })), ids(keys));
    assert_eq!(same.spent(&same.named("a")), books.spent(&key));
    same.verify();
}

#[test]
fn a_restore_keeps_the_store_before_it_and_mixes_no_journals() {
    let (folder, store) = folder();
    let backup = folder.path().join("backup");
    {
        let books = open(&store, Policy::default());
        books.call(&books.key("a"), 5);
        books.run(BackUp { file: backup.clone(), force: false });
    }
    let open_one = {
        let books = open(&store, Policy::default());
        let key = books.named("a");
        for _ in 0..4 {
            books.call(&key, 7);
            books.desk.ledger.store().journal().put_away_now();
        }
        // Left open, as by a crash: its hold is in the journal's last segment.
        let hold = books.hold(&key, "open", clock::now());
        assert!(books.runtime.block_on(hold.promise().is_durable()));
        books.desk.ledger.store().journal().close();
        let id = hold.id();
        std::mem::forget(hold);
        // A forgotten hold keeps the ledger, and with it the file's lock: go on with copies.
        let copy = folder.path().join("crashed.redb");
        fs::copy(&store, &copy).unwrap();
        fs::create_dir(journal(&copy)).unwrap();
        for segment in fs::read_dir(journal(&store)).unwrap() {
            let segment = segment.unwrap();
            fs::copy(segment.path(), journal(&copy).join(segment.file_name())).unwrap();
        }
        id
    };
    let store = folder.path().join("crashed.redb");
    let restored = restore(&backup, &store, false, clock::now()).unwrap();
    assert_eq!(restored.books.receipts, 1);
    {
        let books = open(&store, Policy::default());
        assert_eq!(books.receipts().len(), 1, "nothing of the other store's journal");
        books.call(&books.named("a"), 9);
        books.verify();
    }
    let books = open(&store, Policy::default());
    assert_eq!(books.receipts().len(), 2);
    assert_eq!(books.spent(&books.named("a")), [14; 3]);
    let kept = open(&restored.kept.unwrap(), Policy::default());
    let receipts = kept.receipts();
    assert_eq!(receipts.len(), 6);
    assert!(receipts.iter().any(|r| r.id == open_one && r.metered == Metered::Recovered));
    kept.verify();
}

#[test]
fn what_is_no_good_backup_is_refused_and_changes_nothing() {
    let (folder, store) = folder();
    {
        let books = open(&store, Policy::default());
        books.call(&books.key("a"), 5);
    }
    let before = fs::read(&store).unwrap();
    let bad = folder.path().join("bad");
    fs::write(&bad, "not a store at all").unwrap();
    assert!(restore(&bad, &store, false, clock::now()).is_err());
    fs::write(&bad, b"").unwrap();
    assert!(restore(&bad, &store, false, clock::now()).is_err());
    assert!(restore(&folder.path().join("none"), &store, false, clock::now()).is_err());
    fs::remove_file(&bad).unwrap();
    {
        let db = redb::Database::create(&bad).unwrap();
        let write = db.begin_write().unwrap();
        let meta = redb::TableDefinition::<&str, u64>::new("meta");
        write.open_table(meta).unwrap().insert("format", 99).unwrap();
        write.commit().unwrap();
    }
    let newer = restore(&bad, &store, false, clock::now());
    assert!(matches!(newer, Err(StoreError::Newer { found: 99, .. })), "{newer:?}");
    let left: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(fs::read(&store).unwrap() == before);
    open(&store, Policy::default()).verify();
}

#[test]
fn a_credit_never_moves_a_limit_in_any_order_of_writing() {
    let (_folder, store) = folder();
    let books = open(&store, Policy::default());
    let key = books.key("a");
    for round in 0..20 {
        books.call(&key, 10);
        if round % 3 == 0 {
            // Some of what is credited is on the disk already, some is not.
            books.desk.ledger.store().journal().put_away_now();
        }
        if round % 2 == 0 {
            books.adjust("a", "-0.000000017");
        }
    }
    let expected = (0..20u64).fold(0, |spent: u64, round| {
        let spent = spent + 10;
        if round % 2 == 0 { spent.saturating_sub(17) } else { spent }
    });
    assert_eq!(books.spent(&key), [expected; 3]);
    books.verify();
    let remembered = books.desk.ledger.store().accounts().unwrap();
    assert_eq!(remembered[&key.id()].spent(Period::Daily), usd(expected));
}

#[test]
fn what_is_adjusted_for_a_key_counts_for_its_team() {
    let (_folder, store) = folder();
    let spent = |books: &Books| {
        let team = books.desk.ledger.teams().pop().unwrap();
        let rule = &books.desk.ledger.policy().windows;
        team.standing(rule, clock::now()).map(|standing| standing.spent.nano())
    };
    {
        let books = open(&store, Policy::default());
        books.run(CreateTeam { name: "crew".to_owned(), ..CreateTeam::default() });
        for name in ["a", "b"] {
            let team = Some("crew".to_owned());
            books.run(CreateKey { name: name.to_owned(), team, ..CreateKey::default() });
        }
        let (a, b) = (books.named("a"), books.named("b"));
        books.call(&a, 30);
        books.call(&b, 50);
        books.adjust("a", "-0.00000004");
        assert_eq!((books.spent(&a), spent(&books)), ([0; 3], [40; 3]));
        let across = books.hold(&b, "across", clock::now());
        books.desk.ledger.set_policy(calendar()).unwrap();
        let receipt = receipt(&across, "across", 7);
        across.post(&receipt);
        assert_eq!((books.spent(&b), spent(&books)), ([57; 3], [47; 3]));
        books.adjust("b", "0.000000002");
        books.verify();
    }
    let books = open(&store, calendar());
    assert_eq!(spent(&books), [49; 3], "a credit is kept across a change of rule");
    books.verify();
    drop(books);
    let books = open(&store, Policy::default());
    assert!(spent(&books).iter().all(|spent| (49..=89).contains(spent)));
    books.verify();
}

// --- by the binary ---

/// A folder with a configuration, for commands and for servers.
struct Site {
    folder: tempfile::TempDir,
    port: u16,
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "[server]\nlisten = \"127.0.0.1:{port}\"\n[log]\nlevel = \"warn\"\n\
             [providers.echo]\nkind = \"echo\"\n[models.echo]\nprovider = \"echo\"\n\
             price = {{ input = 1, output = 2 }}\n\
             [models.\"a,\\\"b\\\"\"]\nprovider = \"echo\"\nprice = {{ input = 1, output = 2 }}\n"
        );
        fs::write(folder.path().join("conduit.toml"), config).unwrap();
        Self { folder, port }
    }

    fn command(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_conduit"))
            .args(arguments)
            .arg("--config")
            .arg(self.folder.path().join("conduit.toml"))
            .current_dir(self.folder.path())
            .env("USER", "tester")
            .env_remove("SUDO_USER")
            .output()
            .unwrap()
    }

    /// What a command that must succeed prints.
    #[track_caller]
    fn says(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {complaint}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The exit code and the complaint of a command that must fail.
    #[track_caller]
    fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.command(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    fn serve(&self) -> Running {
        let child = Command::new(env!("CARGO_BIN_EXE_conduit"))
            .args(["serve", "--config"])
            .arg(self.folder.path().join("conduit.toml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let running = Running(child.unwrap());
        for _ in 0..600 {
            let is_up = TcpStream::connect(("127.0.0.1", self.port)).is_ok();
            if is_up && self.folder.path().join("data/admin.sock").exists() {
                return running;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the server does not come up");
    }

    /// Sends a call and returns its connection when the first bytes of the answer are there.
    fn call(&self, secret: &str, model: &str, stream: bool) -> (TcpStream, Vec<u8>) {
        // A stream lasts long enough for some commands to be run meanwhile, on a busy machine too.
        let words = if stream { 256 } else { 8 };
        let body = serde_json::json!({
            "model": model, "stream": stream, "max_tokens": words,
            "messages": [{"role": "user", "content": "word ".repeat(words)}],
        });
        let body = body.to_string();
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(
            connection,
            "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut first = vec![0; 4096];
        let count = connection.read(&mut first).unwrap();
        first.truncate(count);
        assert!(first.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&first));
        (connection, first)
    }

    fn finish(&self, secret: &str, model: &str) {
        let (mut connection, _) = self.call(secret, model, false);
        connection.read_to_end(&mut Vec::new()).unwrap();
    }
}

impl Running {
    /// Tells it to stop and waits until it has.
    fn stop(mut self) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(self.0.wait().unwrap().success());
    }

    /// Ends it as a crash does.
    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn commands_say_the_same_with_a_server_and_without() {
    let site = Site::new();
    let secret = site.says(&["keys", "create", "=ops, \"team\""]);
    let secret = secret.trim();
    let key = json(&site.says(&["keys", "list", "--json"]))[0]["id"].as_str().unwrap().to_owned();
    let server = site.serve();
    for model in ["echo", "a,\"b\"", "echo"] {
        site.finish(secret, model);
    }
    let credit = site.command(&["admin", "adjust", &key, "-5", "--why", "a bad day"]);
    assert!(credit.status.success());
    let told = String::from_utf8(credit.stderr).unwrap();
    assert!(told.contains("-5.00 USD") && told.contains("in the daily window only 0.0"), "{told}");
    let id = String::from_utf8(credit.stdout).unwrap();
    let again = ["admin", "adjust", &key, "-5", "--why", "a bad day", "--id", id.trim()];
    assert_eq!(site.says(&again), id);
    site.says(&["admin", "adjust", &key, "0.25", "--why", "by hand", "--by", "ann"]);

    let receipts = json(&site.says(&["admin", "receipts", "--json"]));
    assert_eq!(receipts.as_array().unwrap().len(), 3);
    let last = receipts[0]["id"].as_str().unwrap().to_owned();
    let ask: [&[&str]; 11] = [
        &["admin", "receipts", "--json"],
        &["admin", "receipts", "--csv"],
        &["admin", "receipts", "--csv", "--limit", "1", "--status", "2xx"],
        &["admin", "receipts", "--json", "--recovered"],
        &["admin", "explain", &last],
        &["admin", "explain", &last, "--json"],
        &["admin", "adjustments", "--json"],
        &["admin", "adjustments", "--key", &key],
        &["admin", "usage", "--csv", "--by", "key"],
        &["admin", "holds", "--json"],
        &["admin", "verify", "--json"],
    ];
    let served: Vec<_> = ask.iter().map(|arguments| site.says(arguments)).collect();
    server.stop();
    for (arguments, served) in ask.iter().zip(&served) {
        assert_eq!(&site.says(arguments), served, "{arguments:?}");
    }

    let csv = &served[1];
    assert_eq!(csv.lines().count(), 4, "{csv}");
    assert!(csv.starts_with("request,posted,key,name,model,"), "{csv}");
    assert!(
        csv.contains("\"'=ops, \"\"team\"\"\",\"a,\"\"b\"\"\",echo,200,done,reported,"),
        "{csv}"
    );
    assert_eq!(served[3], "[]\n");
    assert!(served[4].contains("USD per million") || served[4].contains("usd_per_million"));
    assert!(served[4].contains("rounded up once"), "{}", served[4]);
    let adjustments = json(&served[6]);
    assert_eq!(adjustments[0]["by"], "ann");
    assert_eq!(
        (&adjustments[1]["by"], &adjustments[1]["amount_usd"]),
        (&"tester".into(), &"-5.00".into())
    );
    let bill = &served[8];
    assert!(
        bill.starts_with("key_id,key_name,calls,failed,") && bill.contains(",-4.75,"),
        "{bill}"
    );
    // How long the answers took stands in every row of it, too.
    let took = bill.lines().nth(1).and_then(|row| row.rsplit(',').next()).unwrap();
    assert!(took.parse::<u64>().is_ok(), "{bill}");
    assert_eq!(served[9].trim(), "[]");
    assert_eq!(json(&served[10])["agrees"], true);

    let (code, complaint) = site.fails(&["admin", "explain", "req_0000000000000000000000"]);
    assert_eq!(code, 3, "{complaint}");
    assert_eq!(site.fails(&["admin", "adjust", &key, "0", "--why", "x"]).0, 2);
    assert_eq!(site.fails(&["admin", "adjust", "nobody", "1", "--why", "x"]).0, 3);
    assert_eq!(site.fails(&["admin", "adjust", &key, "1"]).0, 2, "it needs a reason");
}

#[test]
fn a_backup_of_a_running_server_is_restored_elsewhere() {
    let site = Site::new();
    let secret = site.says(&["keys", "create", "a"]);
    let secret = secret.trim();
    let server = site.serve();
    site.finish(secret, "echo");
    let said = site.says(&["admin", "backup", "copy"]);
    let file = site.folder.path().join("copy");
    assert!(said.contains(&*file.to_string_lossy()) && said.contains("blake3"), "{said}");
    let receipts = site.says(&["admin", "receipts", "--csv"]);
    assert_eq!(site.fails(&["admin", "backup", "copy"]).0, 4, "a file is there");
    site.says(&["admin", "backup", "copy", "--force"]);
    let (code, complaint) = site.fails(&["admin", "restore", "copy"]);
    assert!(code == 4 && complaint.contains("stop it before"), "{code} {complaint}");
    // Nobody asks the file's owner to have a configuration.
    let verified = Command::new(env!("CARGO_BIN_EXE_conduit"))
        .args(["admin", "verify"])
        .arg(&file)
        .current_dir(std::env::temp_dir())
        .output();
    let verified = verified.unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    assert!(String::from_utf8_lossy(&verified.stdout).contains("the books add up: 1 keys, 1 rec"));

    let other = Site::new();
    let said = other.says(&["admin", "restore", file.to_str().unwrap()]);
    assert!(said.contains("1 keys, 1 receipts") && !said.contains("is kept"), "{said}");
    let served = other.serve();
    other.finish(secret, "echo");
    served.stop();
    assert_eq!(other.says(&["admin", "receipts", "--csv"]).lines().count(), 3);
    let first = other.says(&["admin", "receipts", "--csv", "--until", &clock::now().to_string()]);
    assert!(first.ends_with(receipts.split_once('\n').unwrap().1), "{first}");
    other.says(&["admin", "verify"]);

    site.finish(secret, "echo");
    server.stop();
    let said = site.says(&["admin", "restore", "copy"]);
    assert!(said.contains("is kept as") && said.contains(".before-restore-"), "{said}");
    assert_eq!(site.says(&["admin", "receipts", "--csv"]), receipts);
    site.says(&["admin", "verify"]);
}

#[test]
fn a_killed_server_leaves_holds_that_are_recovered() {
    let site = Site::new();
    let secret = site.says(&["keys", "create", "a"]);
    let secret = secret.trim();
    let server = site.serve();
    site.finish(secret, "echo");
    let (stream, _) = site.call(secret, "echo", true);
    let holds = json(&site.says(&["admin", "holds", "--json"]));
    assert_eq!(holds.as_array().unwrap().len(), 1, "{holds}");
    assert_eq!((&holds[0]["model"], &holds[0]["key_name"]), (&"echo".into(), &"a".into()));
    let (code, complaint) = site.fails(&["admin", "explain", holds[0]["id"].as_str().unwrap()]);
    assert!(code == 3 && complaint.contains("under way"), "{complaint}");
    server.kill();
    drop(stream);
    assert_eq!(site.says(&["admin", "holds", "--json"]).trim(), "[]");
    let recovered = json(&site.says(&["admin", "receipts", "--recovered", "--json"]));
    assert_eq!(recovered.as_array().unwrap().len(), 1, "{recovered}");
    assert_eq!(recovered[0]["id"], holds[0]["id"]);
    assert_eq!(recovered[0]["cost_usd"], holds[0]["amount_usd"]);
    let server = site.serve();
    let report = json(&site.says(&["admin", "verify", "--json"]));
    assert_eq!((&report["agrees"], &report["receipts"]), (&true.into(), &2.into()), "{report}");
    server.stop();
}
