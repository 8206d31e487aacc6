//! Puts everything together, runs it until it is told to stop, and takes it down in order: no new
//! calls, streams to their end or the deadline, everything posted, the store closed.

mod door;
mod h1;
mod h2;
mod outlet;
mod passed;
mod proxy;
mod pulse;
mod site;
mod sockets;
mod stop;
mod supervisor;
mod tls;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_server::Server as ActixServer;
use actix_service::{IntoServiceFactory as _, ServiceFactory as _};
use actix_web::dev::AppConfig;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use futures_util::future::OptionFuture;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use crate::acme::{Orders, Shelf};
use crate::admin::models::TargetView;
use crate::admin::{AdminError, Desk, Served, http, password, socket};
use crate::catalogue::saved;
use crate::config::{Config, Live};
use crate::domain::window::Timestamp;
use crate::gateway::{self, Edge, Gateway, Health, Offers, Stopping, label};
use crate::ledger::{Ledger, Policy};
use crate::metrics::page::{Kind, Page};
use crate::metrics::{Metrics, OTHER};
use crate::store::{Ends, Found, Retention, Store, StoreError};
use crate::traces::{self, Spans, Tracer};
use crate::{alerts, clock, dashboard, logging};

use door::Manner;
pub use passed::{Passed, PassedError};
use pulse::Pulse;
use site::Site;
use sockets::Sockets;
use supervisor::Subject;

/// How long a command may have the store open while the server starts.
const COMMAND_TIME: Duration = Duration::from_secs(3);
/// How long the admin listener waits for a request, and between two.
const ADMIN_PATIENCE: Duration = Duration::from_secs(5);
/// How long a server that stops may take to put everything away, beyond what it gives its calls.
const CLOSING_TIME: Duration = Duration::from_secs(30);

/// Why the server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot listen on {address}: {reason}")]
    Listen { address: SocketAddr, reason: io::Error },
    #[error("cannot make the admin socket {path}: {reason}")]
    Socket { path: PathBuf, reason: io::Error },
    #[error(transparent)]
    Passed(#[from] PassedError),
    #[error("the admin password of the configuration cannot be taken: {0}")]
    Password(#[from] AdminError),
    #[error("the server failed: {0}")]
    Failed(#[from] io::Error),
}

/// The part of the configuration that the ledger follows.
pub fn policy(config: &Config) -> Policy {
    Policy {
        windows: config.limits.windows.clone(),
        enforcement: config.limits.enforcement,
        max_wait_ms: config.limits.max_wait_ms,
        alert_at: config.alerts.at.clone(),
    }
}

/// A server whose sockets are bound and whose store is open, before it serves.
pub struct Server {
    live: Arc<Live>,
    ledger: Arc<Ledger>,
    sockets: Sockets,
    shelf: Arc<Shelf>,
}

impl Server {
    /// Opens the store and binds every socket, so that whatever is in the way is known at once.
    pub fn bind(live: Arc<Live>) -> Result<Self, ServeError> {
        Self::bind_beside(live, Passed::default())
    }

    /// The same with the sockets that a service manager passed. It may start this process while the one
    /// before still ends: that is waited for.
    pub fn bind_beside(live: Arc<Live>, passed: Passed) -> Result<Self, ServeError> {
        let snapshot = live.snapshot();
        let config = &snapshot.config;
        let patience = if passed.is_empty() {
            COMMAND_TIME
        } else {
            Duration::from_millis(config.server.shutdown_deadline_ms) + CLOSING_TIME
        };
        let (store, found) = open_store(&config.store.path, patience)?;
        if found.is_new {
            tracing::info!(store = %config.store.path.display(), "a new store was made");
        }
        if let Some(migrated) = &found.migrated {
            tracing::warn!("{migrated}");
        }
        live.set_prices(saved::prices(&config.store.path));
        let metrics = metrics(&live);
        let (store, policy, now) = (Arc::new(store), policy(config), clock::now());
        let ledger = Ledger::load_counting(store, found.open, policy, metrics, now)?;
        let sockets = Sockets::open(config, passed)?;
        let shelf = Arc::new(Shelf::restore(config.acme.as_ref()));
        let server = Self { live, ledger, sockets, shelf };
        password::follow(&server.desk(), config)?;
        Ok(server)
    }

    /// What the admin verbs work on.
    pub fn desk(&self) -> Desk {
        Desk {
            ledger: Arc::clone(&self.ledger),
            live: Some(Arc::clone(&self.live)),
            targets: None,
            counts: None,
            served: Some(Arc::new(Served {
                listen: self.addresses(),
                admin: self.admin_addresses(),
                shelf: Arc::clone(&self.shelf),
            })),
        }
    }

    /// Where calls are taken, with the ports that were really bound.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.gateway.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Where the admin API answers, with the ports that were really bound.
    pub fn admin_addresses(&self) -> Vec<SocketAddr> {
        self.sockets.admin.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Serves until SIGTERM or SIGINT, or until `stop` resolves.
    pub fn run(self, stop: impl Future<Output = ()> + 'static) -> Result<(), ServeError> {
        actix_web::rt::System::new().block_on(self.serve(stop))
    }

    async fn serve(self, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        // Before anybody is told that the server runs.
        let signals = Signals::listen()?;
        let mut desk = self.desk();
        let (addresses, administration) = (self.addresses(), self.admin_addresses());
        let Self { live, ledger, sockets, shelf } = self;
        let Sockets { gateway: listeners, admin: admin_listeners, socket, passed } = sockets;
        let stopping = Arc::new(Stopping::default());
        let health = Arc::new(Health::default());
        desk.targets = Some(Arc::new(targets_of(&health)));
        let (tracer, spans) = traces::queue();
        desk.counts = Some(Arc::new(counts_of(&health, &ledger, &tracer)));
        let snapshot = live.snapshot();
        let config = &snapshot.config;
        let deadline = Duration::from_millis(config.server.shutdown_deadline_ms);

        let tls = Arc::new(gateway::tls());
        let edge = edges(&live, &ledger, &stopping, &health, &tls, &tracer);
        let pulse = Arc::new(Pulse::new(supervisor::beat()));
        let loops = config.server.workers * listeners.len();
        let gateway = serve_calls(&live, &shelf, &stopping, listeners, edge.clone(), &pulse)?;
        let api = (!admin_listeners.is_empty())
            .then(|| serve_admin(&live, &shelf, &stopping, &desk, admin_listeners, edge))
            .transpose()?;
        let admin = HttpServer::new(move || {
            let data = web::Data::new(desk.clone());
            App::new().app_data(data).configure(socket::routes)
        })
        .on_connect(socket::meet)
        .workers(1)
        .shutdown_timeout(1)
        .disable_signals()
        .listen_uds(socket)?
        .run();

        snapshot.warn();
        let changed = Arc::new(Notify::new());
        follow_config(&live, &ledger, &changed);
        let orders = order_certificates(&live, &shelf, changed, &tls);
        let retention = delete_what_is_old(&live, &ledger)?;
        let alerts = tell_alerts(&live, &ledger, &tls);
        let spans = send_spans(spans, &live, &tls);
        let cover = retire_cover(&ledger);
        let watch = live.watch();
        if let Err(error) = &watch {
            tracing::warn!("the configuration is not followed as it is saved: {error}");
        }
        tracing::info!(
            listen = ?addresses,
            admin = ?administration,
            config = %live.path().display(),
            version = env!("CARGO_PKG_VERSION"),
            "conduit serves"
        );
        let subject = Subject::new(&live, &ledger, &addresses);
        supervisor::follow_reloads(&subject);
        supervisor::ready(&subject);

        let servers = stop::Servers {
            gateway: gateway.handle(),
            socket: admin.handle(),
            admin: api.as_ref().map(ActixServer::handle),
        };
        let orderly = async {
            tokio::select! {
                () = signals.told_to_stop(Arc::clone(&live)) => {}
                () = stop => {}
                () = supervisor::keep_status(subject) => {}
            }
            // A reload that is under way must not say that all is as before.
            live.on_reload(|_| {});
            let deadline = Instant::now() + deadline;
            tokio::select! {
                () = stop::shut_down(&stopping, &ledger, servers, passed, deadline) => {}
                () = supervisor::stopping(&ledger, deadline) => {}
            }
        };
        let needed = || if stopping.is_stopping() { 0 } else { loops };
        let watchdog = supervisor::feed_watchdog(Arc::clone(&pulse), Arc::clone(&ledger), needed);
        let serving = async { tokio::join!(gateway, admin, OptionFuture::from(api), orderly) };
        tokio::pin!(watchdog, serving);
        let (served, administered, answered, ()) = tokio::select! {
            biased;
            done = &mut serving => done,
            () = &mut watchdog => serving.await,
        };
        drop((watch, retention));
        alerts.abort();
        orders.abort();
        tracer.finish().await;
        spans.abort();
        cover.abort();
        if !passed.socket {
            let _ = std::fs::remove_file(&config.admin.socket);
        }
        ledger.close();
        tracing::info!("conduit has stopped");
        served.and(administered).and(answered.unwrap_or(Ok(()))).map_err(ServeError::from)
    }
}

/// Makes what each worker of the gateway works with.
fn edges(
    live: &Arc<Live>,
    ledger: &Arc<Ledger>,
    stopping: &Arc<Stopping>,
    health: &Arc<Health>,
    tls: &Arc<rustls::ClientConfig>,
    tracer: &Tracer,
) -> impl Fn() -> Edge + Send + Clone + use<> {
    let (live, ledger, stopping) = (Arc::clone(live), Arc::clone(ledger), Arc::clone(stopping));
    let (health, tls, tracer) = (Arc::clone(health), Arc::clone(tls), tracer.clone());
    let offers = Arc::new(Offers::default());
    move || {
        let (live, ledger) = (Arc::clone(&live), Arc::clone(&ledger));
        let (stopping, health) = (Arc::clone(&stopping), Arc::clone(&health));
        let (offers, tls) = (Arc::clone(&offers), Arc::clone(&tls));
        Edge::new(live, ledger, stopping, health, offers, tls, tracer.clone())
    }
}

/// Sends what is traced for as long as the server runs.
fn send_spans(
    spans: Spans,
    live: &Arc<Live>,
    tls: &Arc<rustls::ClientConfig>,
) -> actix_web::rt::task::JoinHandle<()> {
    let (live, tls) = (Arc::clone(live), Arc::clone(tls));
    actix_web::rt::spawn(async move { spans.deliver(&live, tls).await })
}

/// The server of calls.
fn serve_calls(
    live: &Arc<Live>,
    shelf: &Arc<Shelf>,
    stopping: &Arc<Stopping>,
    listeners: Vec<TcpListener>,
    edge: impl Fn() -> Edge + Send + Clone + 'static,
    pulse: &Arc<Pulse>,
) -> io::Result<ActixServer> {
    let snapshot = live.load();
    let config = &snapshot.config.server;
    let deadline = Duration::from_millis(config.shutdown_deadline_ms);
    let manner = Manner {
        keep_alive: Duration::from_millis(config.keep_alive_ms),
        header_timeout: Duration::from_millis(config.header_timeout_ms),
        last_calls: deadline / 2,
        tls: tls::acceptor(live, shelf, tls::Door::Gateway)?,
        proxy_protocol: config.proxy_protocol,
        live: Arc::clone(live),
        stopping: Arc::clone(stopping),
    };
    let pulse = Arc::clone(pulse);
    let make = async move || {
        pulse.follow_worker();
        Ok(Gateway::new(edge()))
    };
    let mut builder = ActixServer::build()
        .workers(config.workers)
        .shutdown_timeout(deadline.as_secs().max(1))
        .disable_signals();
    for listener in listeners {
        builder = door::listen(builder, listener, manner.clone(), make.clone())?;
    }
    Ok(builder.run())
}

/// Opens the store, and waits where somebody else has it: a service must not fail to start because a
/// command looked at the bill, or because the process before it has not ended yet.
fn open_store(path: &Path, patience: Duration) -> Result<(Store, Found), StoreError> {
    let end = Instant::now() + patience;
    let mut is_told = false;
    loop {
        match Store::open(path) {
            Err(StoreError::InUse(_)) if Instant::now() < end => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::info!(store = %path.display(), "another process has the store open");
                    supervisor::waiting("Waiting for another process to close the store", patience);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            opened => return opened,
        }
    }
}

/// Keeps what is derived from the configuration in step with it.
fn follow_config(live: &Live, ledger: &Arc<Ledger>, changed: &Arc<Notify>) {
    let (ledger, changed) = (Arc::clone(ledger), Arc::clone(changed));
    live.on_change(move |snapshot| {
        changed.notify_one();
        let desk = Desk::without_server(Arc::clone(&ledger));
        if let Err(error) = password::follow(&desk, &snapshot.config) {
            tracing::error!("the admin password stays what it was: {error}");
        }
        logging::follow(&snapshot.config.log);
        ledger.metrics().rename();
        if let Err(error) = ledger.set_policy(policy(&snapshot.config)) {
            tracing::error!("the accounts keep the windows they had: {error}");
        }
    });
}

/// Orders certificates for as long as the server runs.
fn order_certificates(
    live: &Arc<Live>,
    shelf: &Arc<Shelf>,
    changed: Arc<Notify>,
    tls: &Arc<rustls::ClientConfig>,
) -> actix_web::rt::task::JoinHandle<()> {
    let (live, shelf, tls) = (Arc::clone(live), Arc::clone(shelf), Arc::clone(tls));
    actix_web::rt::spawn(async move { Orders { shelf, changed, tls }.keep(&live).await })
}

/// Deletes what is older than the configuration keeps it.
fn delete_what_is_old(live: &Arc<Live>, ledger: &Ledger) -> io::Result<Retention> {
    let live = Arc::clone(live);
    Retention::start(Arc::clone(ledger.store()), move || {
        let config = &live.snapshot().config;
        let now = clock::now().millis();
        let before = |keep: u64| Timestamp::from_millis(now.saturating_sub(keep));
        Ends {
            receipts: before(config.store.receipts_keep_ms),
            audit: before(config.admin.audit_keep_ms),
        }
    })
}

/// The signals that the server heeds, from when this is made: without it they end the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Returns at SIGTERM or SIGINT; a SIGHUP opens the files of logs anew and reads the configuration
    /// again.
    async fn told_to_stop(mut self, live: Arc<Live>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => {
                    logging::reopen();
                    reload(&live);
                }
            }
        }
    }
}

/// Has the configuration read again, by the thread that watches the file or, where there is none, by one
/// of its own.
fn reload(live: &Arc<Live>) {
    if !live.trigger() {
        let live = Arc::clone(live);
        drop(actix_web::rt::task::spawn_blocking(move || live.reload()));
    }
}

/// Takes cover off that keys do not need any more, for as long as the server runs.
fn retire_cover(ledger: &Arc<Ledger>) -> actix_web::rt::task::JoinHandle<()> {
    let ledger = Arc::clone(ledger);
    actix_web::rt::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            ledger.retire_cover();
        }
    })
}

/// Sends alerts for as long as the server runs.
fn tell_alerts(
    live: &Arc<Live>,
    ledger: &Ledger,
    tls: &Arc<rustls::ClientConfig>,
) -> actix_web::rt::task::JoinHandle<()> {
    let (alarm, queue) = alerts::queue();
    ledger.set_alarm(alarm);
    let (live, tls) = (Arc::clone(live), Arc::clone(tls));
    actix_web::rt::spawn(async move { queue.deliver(&live, tls).await })
}

/// Counts calls, by the names that the configuration in force has for models.
fn metrics(live: &Arc<Live>) -> Metrics {
    // Whoever follows the configuration has the ledger, which has this: not another way round.
    let live = Arc::downgrade(live);
    Metrics::new(clock::now(), move |provider, model, upstream_model| match live.upgrade() {
        Some(live) => label(&live.load().config, provider, model, upstream_model),
        None => OTHER.into(),
    })
}

/// What else is counted while the server runs: how targets fare, and what waits in queues.
fn counts_of(
    health: &Arc<Health>,
    ledger: &Arc<Ledger>,
    tracer: &Tracer,
) -> impl Fn(&mut Page) + Send + Sync + use<> {
    let (health, ledger, tracer) = (Arc::clone(health), Arc::clone(ledger), tracer.clone());
    move |page| {
        let mut cooling = BTreeMap::<String, u64>::new();
        for target in health.snapshot() {
            let count = cooling.entry(target.provider).or_default();
            *count += u64::from(target.cooling_until.is_some());
        }
        let help = "Models of a provider that are left alone for a while because they failed.";
        page.family("conduit_upstream_targets_cooling", Kind::Gauge, help);
        for (provider, count) in &cooling {
            page.sample(&[("provider", provider)], count);
        }
        let help = "Alerts that wait for the webhook.";
        page.single("conduit_alerts_waiting", Kind::Gauge, help, ledger.alerts_waiting());
        let help = "Lines of logs that could not be written.";
        page.family("conduit_log_lines_dropped_total", Kind::Counter, help);
        for (log, count) in logging::dropped() {
            page.sample(&[("log", log)], count);
        }
        let (waiting, sent, dropped) = tracer.counts();
        let help = "Spans that wait to be sent to the collector of traces.";
        page.single("conduit_spans_waiting", Kind::Gauge, help, waiting);
        let help = "Spans that the collector of traces took.";
        page.single("conduit_spans_sent_total", Kind::Counter, help, sent);
        let help = "Spans that did not fit into the queue or were not taken.";
        page.single("conduit_spans_dropped_total", Kind::Counter, help, dropped);
    }
}

/// How targets fare, as administrators are told.
fn targets_of(health: &Arc<Health>) -> impl Fn() -> Vec<TargetView> + Send + Sync + use<> {
    let health = Arc::clone(health);
    move || {
        let each = health.snapshot().into_iter().map(|standing| TargetView {
            provider: standing.provider,
            model: standing.model,
            state: standing.state.to_owned(),
            cooling_until: standing.cooling_until,
            attempts: standing.attempts,
            failed: standing.failed,
            last_failure: standing.last_failure,
            last_failure_at: standing.last_failure_at,
        });
        each.collect()
    }
}

/// The server of the admin API and the dashboard, which may call the gateway from its playground.
fn serve_admin(
    live: &Arc<Live>,
    shelf: &Arc<Shelf>,
    stopping: &Arc<Stopping>,
    desk: &Desk,
    listeners: Vec<TcpListener>,
    edge: impl Fn() -> Edge + Send + Clone + 'static,
) -> io::Result<ActixServer> {
    let manner = Manner {
        keep_alive: ADMIN_PATIENCE,
        header_timeout: ADMIN_PATIENCE,
        last_calls: Duration::ZERO,
        tls: tls::acceptor(live, shelf, tls::Door::Admin)?,
        proxy_protocol: live.load().config.admin.proxy_protocol,
        live: Arc::clone(live),
        stopping: Arc::clone(stopping),
    };
    let door = web::Data::new(http::Door::new(desk.clone()));
    let make = async move || {
        let gateway = web::Data::new(Gateway::new(edge()));
        let playground = web::scope(http::PLAYGROUND)
            .app_data(gateway)
            .default_service(web::to(site::play))
            .wrap(from_fn(http::signed_in));
        let app = App::new()
            .wrap(from_fn(http::guard))
            .app_data(door.clone())
            .configure(http::routes)
            .configure(dashboard::routes)
            .service(playground);
        let site = app.into_factory().new_service(AppConfig::default()).await;
        site.map(Site).map_err(|()| tracing::error!("the admin API cannot be served"))
    };
    let mut builder = ActixServer::build().workers(1).shutdown_timeout(1).disable_signals();
    for listener in listeners {
        builder = door::listen(builder, listener, manner.clone(), make.clone())?;
    }
    Ok(builder.run())
}
