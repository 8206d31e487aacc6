//! Puts everything together, runs it until it is told to stop, and takes it down in order: no new
//! calls, streams to their end or the deadline, everything posted, the store closed.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::dev::{Server as ActixServer, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use futures_util::future::OptionFuture;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::admin::models::TargetView;
use crate::admin::{AdminError, Desk, http, password, socket};
use crate::catalogue::saved;
use crate::config::{Config, Live};
use crate::domain::window::Timestamp;
use crate::gateway::routes::routes;
use crate::gateway::{Edge, Health, Offers, Stopping, tls};
use crate::ledger::{Ledger, Policy};
use crate::store::{Ends, Found, Retention, Store, StoreError};
use crate::{alerts, clock, dashboard, logging};

/// How long a command may have the store open while the server starts.
const COMMAND_TIME: Duration = Duration::from_secs(3);

/// Why the server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot listen on {address}: {reason}")]
    Listen { address: SocketAddr, reason: io::Error },
    #[error("cannot make the admin socket {path}: {reason}")]
    Socket { path: PathBuf, reason: io::Error },
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
    listeners: Vec<TcpListener>,
    /// Where the admin API answers; none if the configuration says so.
    admin_listeners: Vec<TcpListener>,
    socket: std::os::unix::net::UnixListener,
}

impl Server {
    /// Opens the store and binds every socket, so that whatever is in the way is known at once.
    pub fn bind(live: Arc<Live>) -> Result<Self, ServeError> {
        let snapshot = live.snapshot();
        let config = &snapshot.config;
        let (store, found) = open_store(&config.store.path)?;
        if found.is_new {
            tracing::info!(store = %config.store.path.display(), "a new store was made");
        }
        live.set_prices(saved::prices(&config.store.path));
        let ledger = Ledger::load(Arc::new(store), found.open, policy(config), clock::now())?;
        let listen = |address: &SocketAddr| {
            listen(*address).map_err(|reason| ServeError::Listen { address: *address, reason })
        };
        let listeners = config.server.listen.iter().map(listen).collect::<Result<_, _>>()?;
        let admin_listeners = match config.admin.listen.iter().map(listen).collect() {
            Ok(listeners) => listeners,
            // A gateway that ran without this door must not fail for want of it.
            Err(error) if config.admin.listen_is_default => {
                tracing::warn!("there is no admin API over HTTP: {error}; see `admin.listen`");
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        let path = &config.admin.socket;
        let socket = socket::listen(path)
            .map_err(|reason| ServeError::Socket { path: path.clone(), reason })?;
        let server = Self { live, ledger, listeners, admin_listeners, socket };
        password::follow(&server.desk(), config)?;
        Ok(server)
    }

    /// What the admin verbs work on.
    pub fn desk(&self) -> Desk {
        Desk { ledger: Arc::clone(&self.ledger), live: Some(Arc::clone(&self.live)), targets: None }
    }

    /// Where calls are taken, with the ports that were really bound.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Where the admin API answers, with the ports that were really bound.
    pub fn admin_addresses(&self) -> Vec<SocketAddr> {
        self.admin_listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Serves until SIGTERM or SIGINT, or until `stop` resolves.
    pub fn run(self, stop: impl Future<Output = ()> + 'static) -> Result<(), ServeError> {
        actix_web::rt::System::new().block_on(self.serve(stop))
    }

    async fn serve(self, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        // Before anybody is told that the server runs.
        let signals = Signals::listen()?;
        let mut desk = self.desk();
        let administration = self.admin_addresses();
        let Self { live, ledger, listeners, admin_listeners, socket } = self;
        let stopping = Arc::new(Stopping::default());
        let health = Arc::new(Health::default());
        desk.targets = Some(Arc::new(targets_of(&health)));
        let offers = Arc::new(Offers::default());
        let snapshot = live.snapshot();
        let config = &snapshot.config;
        let deadline = Duration::from_millis(config.server.shutdown_deadline_ms);

        let addresses: Vec<_> = listeners.iter().filter_map(|l| l.local_addr().ok()).collect();
        let tls = Arc::new(tls());
        let edge = {
            let (live, ledger) = (Arc::clone(&live), Arc::clone(&ledger));
            let (stopping, health, tls) =
                (Arc::clone(&stopping), Arc::clone(&health), Arc::clone(&tls));
            move || {
                let (live, ledger) = (Arc::clone(&live), Arc::clone(&ledger));
                let (stopping, health) = (Arc::clone(&stopping), Arc::clone(&health));
                Edge::new(live, ledger, stopping, health, Arc::clone(&offers), Arc::clone(&tls))
            }
        };
        let gateway = {
            let edge = edge.clone();
            let app = move || App::new().app_data(web::Data::new(edge())).configure(routes);
            let mut server = HttpServer::new(app)
                .workers(config.server.workers)
                .keep_alive(Duration::from_millis(config.server.keep_alive_ms))
                .client_request_timeout(Duration::from_millis(config.server.header_timeout_ms))
                .client_disconnect_timeout(Duration::from_secs(1))
                // A client that closes its side has left: its call ends, and with it the hold.
                .h1_allow_half_closed(false)
                .shutdown_timeout(deadline.as_secs().max(1))
                .disable_signals();
            for listener in listeners {
                server = server.listen(listener)?;
            }
            server.run()
        };
        let api = (!admin_listeners.is_empty())
            .then(|| serve_admin(&desk, admin_listeners, edge))
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

        follow_config(&live, &ledger);
        let retention = delete_what_is_old(&live, &ledger)?;
        let alerts = tell_alerts(&live, &ledger, &tls);
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
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);

        let handles: Vec<_> = [Some(&gateway), Some(&admin), api.as_ref()]
            .into_iter()
            .flatten()
            .map(ActixServer::handle)
            .collect();
        let orderly = async {
            tokio::select! {
                () = signals.told_to_stop(Arc::clone(&live)) => {}
                () = stop => {}
            }
            shut_down(&stopping, &handles).await;
        };
        let (served, administered, answered, ()) =
            tokio::join!(gateway, admin, OptionFuture::from(api), orderly);
        drop((watch, retention));
        alerts.abort();
        let _ = std::fs::remove_file(&config.admin.socket);
        ledger.store().journal().close();
        tracing::info!("conduit has stopped");
        served.and(administered).and(answered.unwrap_or(Ok(()))).map_err(ServeError::from)
    }
}

/// Opens the store, and waits a little where a command has it open just then: a service must not fail
/// to start because somebody looked at the bill.
fn open_store(path: &Path) -> Result<(Store, Found), StoreError> {
    let end = Instant::now() + COMMAND_TIME;
    loop {
        match Store::open(path) {
            Err(StoreError::InUse(_)) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(50));
            }
            opened => return opened,
        }
    }
}

/// Binds before the workers exist, with an address that can be taken over from a process that has
/// just ended.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Keeps what is derived from the configuration in step with it.
fn follow_config(live: &Live, ledger: &Arc<Ledger>) {
    let ledger = Arc::clone(ledger);
    live.on_change(move |snapshot| {
        let desk = Desk { ledger: Arc::clone(&ledger), live: None, targets: None };
        if let Err(error) = password::follow(&desk, &snapshot.config) {
            tracing::error!("the admin password stays what it was: {error}");
        }
        logging::set_filter(&snapshot.config.log.filter);
        if let Err(error) = ledger.set_policy(policy(&snapshot.config)) {
            tracing::error!("the accounts keep the windows they had: {error}");
        }
    });
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

    /// Returns at SIGTERM or SIGINT; a SIGHUP reads the configuration again.
    async fn told_to_stop(mut self, live: Arc<Live>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => live.trigger(),
            }
        }
    }
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
    desk: &Desk,
    listeners: Vec<TcpListener>,
    edge: impl Fn() -> Edge + Send + Clone + 'static,
) -> io::Result<ActixServer> {
    let door = web::Data::new(http::Door::new(desk.clone()));
    let mut server = HttpServer::new(move || {
        let gateway = web::scope("/playground").app_data(web::Data::new(edge())).configure(routes);
        App::new()
            .wrap(from_fn(http::guard))
            .app_data(door.clone())
            .configure(http::routes)
            .configure(dashboard::routes)
            .service(gateway.wrap(from_fn(http::signed_in)))
    })
    .workers(1)
    .h1_allow_half_closed(false)
    .shutdown_timeout(1)
    .disable_signals();
    for listener in listeners {
        server = server.listen(listener)?;
    }
    Ok(server.run())
}

/// Ends the gateway first, so that administrators see it end.
async fn shut_down(stopping: &Stopping, handles: &[ServerHandle]) {
    tracing::info!("stopping: no new calls; those under way may end");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    stopping.begin();
    for handle in handles {
        handle.stop(true).await;
    }
}
