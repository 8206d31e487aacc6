//! Connections at rest, and how many calls there may be at once.

use std::cell::RefCell;
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
use crate::alarm::Alarm;
use crate::fields::Room;

/// What is made room for before it is read, at first and at most: a connection whose reads fill the room
/// is given more.
const LEAST_ROOM: usize = 8 << 10;
const MOST_ROOM: usize = 64 << 10;

/// A connection, and what has come on it and was not used yet.
pub(super) struct Connection {
    pub(super) transport: Transport,
    pub(super) buffer: BytesMut,
    /// For answers that do not come; made when the first is waited for.
    pub(super) alarm: Option<Alarm>,
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

/// How many heads may be written at a time without making room anew: calls are sent in company.
const MOST_ROOMS: usize = 64;

pub(super) struct Pool {
    /// Those that were used last are at the back.
    idle: RefCell<Vec<Idle>>,
    places: Arc<Semaphore>,
    keep: Duration,
    /// For the heads of requests.
    rooms: RefCell<Vec<Room>>,
}

struct Idle {
    connection: Box<Connection>,
    since: Instant,
}

impl Idle {
    /// Whether it can be used. Nobody has asked anything on it: what comes now can only be a goodbye, or
    /// nonsense.
    fn is_good(&mut self, keep: Duration, context: &mut Context<'_>) -> bool {
        self.since.elapsed() < keep && self.connection.poll_read(context).is_pending()
    }
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
        Self { idle: RefCell::default(), places, keep, rooms: RefCell::default() }
    }

    /// Room for the head of a request.
    pub(super) fn take_room(&self) -> BytesMut {
        self.rooms.borrow_mut().pop().unwrap_or_default().take()
    }

    /// Takes it back once the head is out.
    pub(super) fn keep_room(&self, written: BytesMut) {
        let mut rooms = self.rooms.borrow_mut();
        if rooms.len() < MOST_ROOMS {
            let mut room = Room::default();
            room.keep(written);
            rooms.push(room);
        }
    }

    /// A place, if there is one and nobody waits for it.
    pub(super) fn place_now(&self) -> Option<Place> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Waits for a place.
    pub(super) async fn place(&self) -> Result<Place, ClientError> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        place.map_err(|_| ClientError::Closed)
    }

    /// A connection at rest that is still good, if there is one.
    pub(super) async fn take(&self) -> Option<Box<Connection>> {
        // Each look takes a little of what the task may do at a time, and once that is used up any
        // connection looks as if nothing had come on it.
        unconstrained(poll_fn(|context| Poll::Ready(self.take_now(context)))).await
    }

    /// Closes what has been at rest for too long, and what its host has closed.
    pub(super) async fn tidy(&self) {
        unconstrained(poll_fn(|context| {
            self.idle.borrow_mut().retain_mut(|idle| idle.is_good(self.keep, context));
            Poll::Ready(())
        }))
        .await;
    }

    fn take_now(&self, context: &mut Context<'_>) -> Option<Box<Connection>> {
        loop {
            let mut idle = self.idle.borrow_mut().pop()?;
            if idle.is_good(self.keep, context) {
                return Some(idle.connection);
            }
        }
    }

    /// Keeps a connection for the next call.
    pub(super) fn put(&self, connection: Box<Connection>) {
        self.idle.borrow_mut().push(Idle { connection, since: Instant::now() });
    }
}
