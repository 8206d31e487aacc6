//! Where the gateway answers: what a service manager passed, and the rest bound by ourselves. All of it
//! is there before anything serves, so that whatever is in the way is known at once.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;

use super::ServeError;
use super::passed::{Passed, Sorted};
use crate::admin::socket;
use crate::config::Config;

/// Sockets that listen.
pub(super) struct Sockets {
    pub(super) gateway: Vec<TcpListener>,
    /// Where the admin API answers; none if the configuration says so.
    pub(super) admin: Vec<TcpListener>,
    pub(super) socket: UnixListener,
    pub(super) passed: Which,
}

/// Which of them somebody else keeps open, so that who connects while nobody accepts waits instead of
/// being refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Which {
    pub(super) gateway: bool,
    pub(super) admin: bool,
    pub(super) socket: bool,
}

impl Sockets {
    /// Takes what was passed and binds what is missing.
    pub(super) fn open(config: &Config, passed: Passed) -> Result<Self, ServeError> {
        let Sorted { gateway, admin, socket } = passed.sort(config)?;
        let which = Which {
            gateway: !gateway.is_empty(),
            admin: !admin.is_empty(),
            socket: socket.is_some(),
        };
        Ok(Self {
            gateway: open_gateway(config, gateway)?,
            admin: open_admin(config, admin)?,
            socket: open_socket(config, socket)?,
            passed: which,
        })
    }
}

fn open_gateway(
    config: &Config,
    mut listeners: Vec<TcpListener>,
) -> Result<Vec<TcpListener>, ServeError> {
    if !listeners.is_empty() && config.server.listen_is_default {
        return Ok(listeners);
    }
    for address in missing(&config.server.listen, &listeners) {
        listeners.push(listen(address)?);
    }
    Ok(listeners)
}

fn open_admin(
    config: &Config,
    mut listeners: Vec<TcpListener>,
) -> Result<Vec<TcpListener>, ServeError> {
    let is_default = config.admin.listen_is_default;
    if !listeners.is_empty() && is_default {
        return Ok(listeners);
    }
    for address in missing(&config.admin.listen, &listeners) {
        match listen(address) {
            Ok(listener) => listeners.push(listener),
            // A gateway that ran without this door must not fail for want of it.
            Err(error) if is_default => {
                tracing::warn!("there is no admin API over HTTP: {error}; see `admin.listen`");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(listeners)
}

fn open_socket(config: &Config, passed: Option<UnixListener>) -> Result<UnixListener, ServeError> {
    let path = &config.admin.socket;
    passed.map_or_else(
        || socket::listen(path).map_err(|reason| ServeError::Socket { path: path.clone(), reason }),
        Ok,
    )
}

/// The addresses at which none of these listens.
fn missing(configured: &[SocketAddr], listeners: &[TcpListener]) -> Vec<SocketAddr> {
    let there = |address: &SocketAddr| super::passed::is_covered(*address, listeners);
    configured.iter().filter(|address| !there(address)).copied().collect()
}

/// Binds before the workers exist, with an address that can be taken over from a process that has
/// just ended.
fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let bind = || -> io::Result<TcpListener> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bind().map_err(|reason| ServeError::Listen { address, reason })
}
