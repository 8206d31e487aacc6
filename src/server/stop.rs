//! The end, in order: no new calls, streams to their end or the deadline, then everything else.
//!
//! Where a service manager keeps the socket open nobody is refused. Connections that nobody accepts wait
//! in the socket for the next process; those that are open are served on, each answer saying that it is
//! the connection's last, until nothing has come for a moment.

use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;

use super::sockets::Which;
use crate::gateway::Stopping;
use crate::ledger::Ledger;

/// After so long without a call open connections may be closed: whoever was about to use one has by then,
/// or finds it closed.
const QUIET: Duration = Duration::from_secs(1);
/// How often it is looked whether it is quiet.
const LOOK: Duration = Duration::from_millis(20);
/// What a connection to the doors of administration that was just taken may need to say what it wants.
const MOMENT: Duration = Duration::from_millis(200);
/// How long calls that were cut may take to be put on the books.
const POSTING_TIME: Duration = Duration::from_secs(2);

/// What is to be stopped.
pub(super) struct Servers {
    pub(super) gateway: ServerHandle,
    pub(super) socket: ServerHandle,
    pub(super) admin: Option<ServerHandle>,
}

/// Ends the gateway first, so that administrators see it end.
pub(super) async fn shut_down(
    stopping: &Stopping,
    ledger: &Ledger,
    servers: Servers,
    passed: Which,
    deadline: Instant,
) {
    let is_over = if passed.gateway {
        tracing::info!(
            "stopping: new connections wait for the next start; calls under way may end"
        );
        servers.gateway.pause().await;
        stopping.close_connections();
        quiet(stopping, ledger, deadline).await
    } else {
        tracing::info!("stopping: no new calls; those under way may end");
        stopping.close_connections();
        true
    };
    stopping.begin();
    servers.gateway.stop(is_over).await;
    posted(ledger).await;
    let doors = [(Some(servers.socket), passed.socket), (servers.admin, passed.admin)];
    for (door, passed) in doors {
        let Some(door) = door else { continue };
        if passed {
            door.pause().await;
            tokio::time::sleep(MOMENT).await;
        }
        door.stop(true).await;
    }
}

/// Waits until no call is under way and none has come for a while; `false` if that is not so by the
/// deadline.
async fn quiet(stopping: &Stopping, ledger: &Ledger, deadline: Instant) -> bool {
    let mut answers = stopping.answers();
    let mut since = Instant::now();
    loop {
        tokio::time::sleep(LOOK).await;
        let (now, before) = (Instant::now(), answers);
        answers = stopping.answers();
        let is_busy = answers.begun > answers.ended || ledger.calls_under_way() > 0;
        if is_busy || answers != before {
            since = now;
        }
        if now.duration_since(since) >= QUIET {
            return true;
        }
        if now >= deadline {
            return false;
        }
    }
}

/// Waits until what was cut is on the books.
async fn posted(ledger: &Ledger) {
    let end = Instant::now() + POSTING_TIME;
    while ledger.calls_under_way() > 0 && Instant::now() < end {
        tokio::time::sleep(LOOK).await;
    }
}
