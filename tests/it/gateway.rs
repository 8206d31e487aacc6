//! A gateway of its own for each test: a store in a temporary folder, ports that the system chooses,
//! and books that are checked when it goes.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use conduit::admin::keys::{Change, CreateKey, NewSecret, SetLimits};
use conduit::admin::usage::ReportUsage;
use conduit::admin::{Desk, Verb};
use conduit::clock;
use conduit::config::Live;
use conduit::config::live::Source;
use conduit::domain::key::{KeyId, Limits};
use conduit::domain::money::Money;
use conduit::domain::pattern::Pattern;
use conduit::domain::receipt::Receipt;
use conduit::domain::window::{Period, Timestamp};
use conduit::server::{ServeError, Server};
use conduit::store::{Found, Grouping, Store, StoreError};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::client::{Answer, Client, post};
use crate::metrics::Metrics;
use crate::upstream::Upstream;

/// What the provider knows us by.
pub(crate) const PROVIDER_KEY: &str = "provider-key-1";
/// What messages to a webhook are signed with.
pub(crate) const WEBHOOK_SECRET: &str = "webhook-secret-1";
/// What calls to Bedrock are signed with, or sent with.
pub(crate) const BEDROCK_KEY_ID: &str = "AKIDEXAMPLE";
pub(crate) const BEDROCK_SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
pub(crate) const BEDROCK_TOKEN: &str = "bedrock-api-key-1";
/// Nano-dollars per token, as [`Setup`] prices its model.
pub(crate) const INPUT_RATE: u64 = 1_000;
pub(crate) const OUTPUT_RATE: u64 = 2_000;

const PATIENCE: Duration = Duration::from_secs(10);

/// A configuration to begin with: one provider, `model` with a price, `by-output` whose prompts are
/// free, so that what is set aside for a call is known to the token, and `unpriced` without a price.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    server: String,
    limits: String,
    provider: String,
    models: String,
    deadline: Option<&'static str>,
    /// Where the provider is; without it the gateway's own.
    pub(crate) upstream: Option<SocketAddr>,
}

impl Setup {
    pub(crate) fn to(upstream: &Upstream) -> Self {
        Self { upstream: Some(upstream.address()), ..Self::default() }
    }

    /// Adds a line to `[server]`.
    pub(crate) fn server(mut self, line: &str) -> Self {
        writeln!(self.server, "{line}").unwrap();
        self
    }

    pub(crate) fn limits(mut self, line: &str) -> Self {
        writeln!(self.limits, "{line}").unwrap();
        self
    }

    /// Adds a line to the provider.
    pub(crate) fn provider(mut self, line: &str) -> Self {
        writeln!(self.provider, "{line}").unwrap();
        self
    }

    /// Adds sections at the end.
    pub(crate) fn more(mut self, text: &str) -> Self {
        writeln!(self.models, "{text}").unwrap();
        self
    }

    pub(crate) const fn deadline(mut self, deadline: &'static str) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The text of the file.
    pub(crate) fn text(&self) -> String {
        let Self { server, limits, provider, models, .. } = self;
        let deadline = self.deadline.unwrap_or("1s");
        let upstream = self.upstream.unwrap();
        format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nworkers = 2\nshutdown_deadline = \"{deadline}\"\n\
             {server}\n[limits]\n{limits}\n[providers.scripted]\nkind = \"openai\"\n\
             base_url = \"http://{upstream}/v1\"\napi_key_env = \"SCRIPTED_KEY\"\n{provider}\n\
             [models.model]\nprovider = \"scripted\"\nmax_output_tokens = 1000\n\
             price = {{ input = 1, output = 2 }}\n\
             [models.by-output]\nprovider = \"scripted\"\nmax_output_tokens = 1000\n\
             price = {{ input = 0, output = 2 }}\n\
             [models.unpriced]\nprovider = \"scripted\"\n{models}\n"
        )
    }

    pub(crate) fn start(&self) -> Gateway {
        Gateway::start(&self.text())
    }
}

/// A key of this gateway.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) id: KeyId,
    pub(crate) secret: String,
}

impl Key {
    pub(crate) fn header(&self) -> String {
        format!("Authorization: Bearer {}", self.secret)
    }
}

/// A running gateway. Its books are checked when it is dropped.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) config: PathBuf,
    desk: Option<Desk>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Counts of calls began anew since the store was made.
    is_restarted: bool,
    _folder: TempDir,
}

fn variables(name: &str) -> Option<String> {
    let value = match name {
        "SCRIPTED_KEY" => PROVIDER_KEY,
        "SECOND_KEY" => "provider-key-2",
        "WEBHOOK_SECRET" => WEBHOOK_SECRET,
        "BEDROCK_KEY_ID" => BEDROCK_KEY_ID,
        "BEDROCK_SECRET" => BEDROCK_SECRET,
        "BEDROCK_SESSION" => "session/token+1=",
        "BEDROCK_TOKEN" => BEDROCK_TOKEN,
        "CONDUIT_ADMIN_LISTEN" => "off",
        _ => return None,
    };
    Some(value.to_owned())
}

/// Runs a server on a thread of its own.
fn run(config: &Path) -> (SocketAddr, Desk, oneshot::Sender<()>, JoinHandle<()>) {
    let source =
        Source { path: config.to_owned(), environment: Box::new(variables), clock: clock::now };
    let live = Live::open(source).unwrap_or_else(|problems| panic!("{}", problems.render(false)));
    let server = bind(&live);
    let (address, desk) = (server.addresses()[0], server.desk());
    let (stop, stopped) = oneshot::channel();
    let thread = thread::spawn(move || {
        let stop = async {
            // A sender that was dropped says the same.
            let _ = stopped.await;
        };
        server.run(stop).unwrap();
    });
    (address, desk, stop, thread)
}

/// The workers of a gateway that ran before may let go of its store a moment after its end.
fn bind(live: &Arc<Live>) -> Server {
    let end = Instant::now() + PATIENCE;
    loop {
        match Server::bind(Arc::clone(live)) {
            Err(ServeError::Store(StoreError::InUse(_))) if Instant::now() < end => {
                thread::sleep(Duration::from_millis(5));
            }
            bound => return bound.unwrap_or_else(|error| panic!("{error}")),
        }
    }
}

impl Gateway {
    pub(crate) fn start(config_text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("conduit.toml");
        fs::write(&config, config_text).unwrap();
        let (address, desk, stop, thread) = run(&config);
        Self {
            address,
            config,
            desk: Some(desk),
            stop: Some(stop),
            thread: Some(thread),
            is_restarted: false,
            _folder: folder,
        }
    }

    /// Stops the gateway and starts another on the same files.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.desk = None;
        self.is_restarted = true;
        let (address, desk, stop, thread) = run(&self.config);
        self.address = address;
        (self.desk, self.stop, self.thread) = (Some(desk), Some(stop), Some(thread));
    }

    pub(crate) fn desk(&self) -> &Desk {
        self.desk.as_ref().unwrap()
    }

    pub(crate) fn create(&self, verb: CreateKey) -> Key {
        let NewSecret { secret, key } = verb.run(self.desk()).unwrap();
        Key { id: key.id, secret }
    }

    /// A key without limits.
    pub(crate) fn key(&self) -> Key {
        self.limited(&format!("key {}", self.desk().ledger.directory().all().len()), None)
    }

    /// A key that may spend so many nano-dollars a day.
    pub(crate) fn limited(&self, name: &str, daily: impl Into<Option<u64>>) -> Key {
        let daily = daily.into().map(Money::from_nano);
        let limits = Limits { daily, ..Limits::default() };
        self.create(CreateKey { name: name.to_owned(), limits, ..CreateKey::default() })
    }

    /// A key that may use these models only.
    pub(crate) fn scoped(&self, name: &str, models: &[&str]) -> Key {
        let models = models.iter().map(|model| Pattern::new(model).unwrap()).collect();
        self.create(CreateKey { name: name.to_owned(), models, ..CreateKey::default() })
    }

    pub(crate) fn set_daily(&self, key: &Key, limit: Change<Money>) {
        let verb = SetLimits {
            key: key.id.to_string(),
            daily: limit,
            weekly: Change::Keep,
            monthly: Change::Keep,
        };
        verb.run(self.desk()).unwrap();
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// Sends these bytes on a connection of their own and reads one answer.
    pub(crate) fn exchange(&self, request: &[u8]) -> Answer {
        let mut client = self.client();
        client.try_send(request);
        client.answer()
    }

    /// Sends a chat call and reads its answer.
    pub(crate) fn call(&self, key: &Key, body: &str) -> Answer {
        self.exchange(&chat(key, body))
    }

    /// Sends a chat call and leaves the connection open.
    pub(crate) fn begin(&self, key: &Key, body: &str) -> Client {
        let mut client = self.client();
        client.send(&chat(key, body));
        client
    }

    /// All receipts, in the order of their posting.
    pub(crate) fn receipts(&self) -> Vec<Receipt> {
        let store = self.desk().ledger.store();
        store.journal().put_away_now();
        receipts(store)
    }

    /// Waits until so many receipts are there, and no more, and returns the last.
    pub(crate) fn receipt(&self, count: usize) -> Receipt {
        let end = Instant::now() + PATIENCE;
        let mut receipts = self.receipts();
        while receipts.len() < count && Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
            receipts = self.receipts();
        }
        assert_eq!(receipts.len(), count, "receipts: {receipts:#?}");
        receipts.pop().unwrap()
    }

    /// What a key has posted today.
    pub(crate) fn spent(&self, key: &Key) -> u64 {
        let ledger = &self.desk().ledger;
        let account = ledger.directory().by_id(key.id).unwrap();
        account.standing(&ledger.policy().windows, clock::now())[0].spent.nano()
    }

    /// How many of a key's calls are under way, and how many stand in line.
    pub(crate) fn in_flight(&self, key: &Key) -> (u64, usize) {
        self.desk().ledger.directory().by_id(key.id).unwrap().in_flight()
    }

    pub(crate) fn wait_for_flight(&self, key: &Key, expected: (u64, usize)) {
        let what = || format!("{expected:?}, at {:?}", self.in_flight(key));
        eventually(what, || self.in_flight(key) == expected);
    }

    /// Tells the gateway to stop, and returns at once.
    pub(crate) fn begin_stop(&mut self) {
        drop(self.stop.take());
    }

    /// Stops the gateway and returns when it has.
    pub(crate) fn stop(&mut self) {
        self.begin_stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    /// Checks that nothing is left open, and that everything adds up, in memory and on the disk.
    fn check_books(&mut self) {
        let ledger = Arc::clone(&self.desk().ledger);
        let accounts = ledger.directory().all();
        let open = || {
            let at_work = accounts.iter().filter(|account| account.in_flight() != (0, 0));
            (ledger.held(), at_work.count())
        };
        eventually(|| format!("open holds to end: {:?}", open()), || open() == (Money::ZERO, 0));
        self.stop();
        assert_eq!(open(), (Money::ZERO, 0), "something was held after the end");

        let report = ReportUsage { by: Grouping::Key, ..ReportUsage::default() };
        let report = report.run(self.desk()).unwrap();
        let receipts = receipts(ledger.store());
        let costs = receipts.iter().map(|receipt| receipt.cost);
        let cost = costs.fold(Money::ZERO, Money::saturating_add);
        assert_eq!(report.total.cost_usd, cost, "the report and the receipts differ");
        assert_eq!(report.total.calls, receipts.len() as u64);
        if !self.is_restarted {
            let metrics = Metrics::read(self.desk());
            let spend = Money::from_nano(metrics.nano("conduit_spend_usd_total"));
            assert_eq!(spend, cost, "the metrics and the receipts differ");
            assert_eq!(metrics.sum("conduit_calls_total", ""), receipts.len() as u64);
        }
        let mut ids: Vec<_> = receipts.iter().map(|receipt| receipt.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), receipts.len(), "a call was posted twice");
        let rule = ledger.policy().windows.clone();
        let mut spent = Vec::new();
        for account in &accounts {
            let row = report.rows.iter().find(|row| row.key_id == Some(account.id()));
            let reported = row.map_or(Money::ZERO, |row| row.cost_usd);
            for standing in account.standing(&rule, clock::now()) {
                assert_eq!(standing.spent, reported, "the account and the report differ");
            }
            spent.push((account.id(), reported));
        }

        let path = ledger.store().path().to_owned();
        drop((ledger, accounts, self.desk.take()));
        let (store, found) = open_again(&path);
        assert!(found.open.is_empty(), "open on the disk: {:?}", found.open);
        let remembered = store.accounts().unwrap();
        for (key, spent) in spent {
            let posted = remembered.get(&key).map(|account| account.posted);
            let posted = posted.unwrap_or_default();
            assert_eq!(posted[Period::Monthly.index()], spent, "the disk and the account differ");
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if thread::panicking() {
            self.begin_stop();
            return;
        }
        self.check_books();
    }
}

/// The workers of the gateway may take a moment longer than its end to let go of the store.
fn open_again(path: &Path) -> (Store, Found) {
    let end = Instant::now() + PATIENCE;
    loop {
        match Store::open(path) {
            Err(StoreError::InUse(_)) if Instant::now() < end => {
                thread::sleep(Duration::from_millis(5));
            }
            opened => return opened.unwrap(),
        }
    }
}

fn receipts(store: &Store) -> Vec<Receipt> {
    let mut receipts = Vec::new();
    let read = store.receipts(Timestamp::MIN, |receipt| {
        receipts.push(receipt);
        true
    });
    read.unwrap();
    receipts
}

/// Waits until something is so.
pub(crate) fn eventually(what: impl Fn() -> String, is_so: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain for {}", what());
        thread::sleep(Duration::from_millis(2));
    }
}

/// A chat call with this body.
pub(crate) fn chat(key: &Key, body: &str) -> Vec<u8> {
    let headers = [&*key.header(), "Content-Type: application/json"];
    post("/v1/chat/completions", &headers, body.as_bytes())
}

/// The messages that calls here send.
pub(crate) const MESSAGES: &str = r#"[{"role":"user","content":"Say hello to everybody."}]"#;

/// The body of a chat call with more members, as `,"stream":true`.
pub(crate) fn body(more: &str) -> String {
    format!(r#"{{"model":"model","messages":{MESSAGES}{more}}}"#)
}

/// What so many tokens cost, in nano-dollars.
pub(crate) const fn cost(prompt: u64, completion: u64) -> u64 {
    prompt * INPUT_RATE + completion * OUTPUT_RATE
}

/// What an estimate comes to: the prompt and so many bytes in so many events, four bytes a token.
pub(crate) fn estimate(content_bytes: u64, events: u64) -> u64 {
    let prompt = (MESSAGES.len() as u64).div_ceil(4);
    cost(prompt, content_bytes.div_ceil(4).max(events))
}

/// The body of a call whose cost is that of its output alone.
pub(crate) fn by_output(more: &str) -> String {
    format!(r#"{{"model":"by-output","messages":{MESSAGES}{more}}}"#)
}
