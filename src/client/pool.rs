//! Connections at rest, and how many calls there may be at once.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::unconstrained;

use super::ClientError;
use super::connect::Transport;

/// What is made room for before it is read, at first and at most: a connection whose reads fill the room
/// is given more.
const LEAST_ROOM: usize = 8 << 10;
const MOST_ROOM: usize = 64 << 10;

/// A connection, and what has come on it and was not used yet.
pub(super) struct Connection {
    pub(super) transport: Transport,
    pub(super) buffer: BytesMut,
}

impl Connection {
    /// Reads what has come; nothing at the end of the connection.
    pub(super) fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buffer.capacity() - self.buffer.len() < LEAST_ROOM / 8 {
            self.buffer.reserve(self.buffer.len().clamp(LEAST_ROOM, MOST_ROOM));
        }
        pin!(self.transport.read_buf(&mut self.buffer)).poll(context)
    }
}

pub(super) struct Pool {
    /// Those that were used last are at the back.
    idle: RefCell<VecDeque<Idle>>,
    places: Arc<Semaphore>,
    keep: Duration,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// A call's place among those that may be under way.
pub(super) type Place = OwnedSemaphorePermit;

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("idle", &self.idle.borrow().len()).finish_non_exhaustive()
    }
}

impl Pool {
    pub(super) fn new(limit: usize, keep: Duration) -> Self {
        let places = Arc::new(Semaphore::new(limit.clamp(1, Semaphore::MAX_PERMITS)));
        Self { idle: RefCell::default(), places, keep }
    }

    /// Waits for a place.
    pub(super) async fn place(&self) -> Result<Place, ClientError> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        place.map_err(|_| ClientError::Closed)
    }

    /// A connection at rest that is still good, if there is one.
    pub(super) async fn take(&self) -> Option<Connection> {
        // Each look takes a little of what the task may do at a time, and once that is used up any
        // connection looks as if nothing had come on it.
        unconstrained(poll_fn(|context| Poll::Ready(self.take_now(context)))).await
    }

    /// Closes what has been at rest for too long, and what its host has closed.
    pub(super) async fn tidy(&self) {
        let is_good = |idle: &mut Idle, context: &mut Context<'_>| {
            idle.since.elapsed() < self.keep && idle.connection.poll_read(context).is_pending()
        };
        unconstrained(poll_fn(|context| {
            self.idle.borrow_mut().retain_mut(|idle| is_good(idle, context));
            Poll::Ready(())
        }))
        .await;
    }

    fn take_now(&self, context: &mut Context<'_>) -> Option<Connection> {
        loop {
            let Idle { mut connection, since } = self.idle.borrow_mut().pop_back()?;
            // Nobody has asked anything: what comes now can only be a goodbye, or nonsense.
            if since.elapsed() < self.keep && connection.poll_read(context).is_pending() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for the next call.
    pub(super) fn put(&self, connection: Connection) {
        let now = Instant::now();
        let mut idle = self.idle.borrow_mut();
        while idle.front().is_some_and(|oldest| now.duration_since(oldest.since) >= self.keep) {
            idle.pop_front();
        }
        idle.push_back(Idle { connection, since: now });
    }
}
