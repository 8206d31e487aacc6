//! A form that is too large to be kept: its beginning is read until it is known what the call is and how
//! much it can cost, and the rest goes on to the provider as it comes.
//!
//! What comes later is read along. It must not change what was decided: a field that would is refused, and
//! the last bytes never leave before the form is known to be whole, so that a provider never serves what
//! was refused. What has begun to flow cannot be sent again: it has one attempt. Never more than a few
//! chunks are in memory; a client that is faster than the provider waits.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::future::ready;
use futures_util::stream::{once, poll_fn};
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, Sleep};

use super::body::{self, SILENCE};
use crate::client::Outgoing;
use crate::error::ApiError;
use crate::message::Body;
use crate::provider::endpoint::Endpoint;
use crate::provider::request::multipart::{Form, FormField, Scanner};
use crate::provider::request::{Call, RequestError, read_form};

/// A form up to this size is kept whole, and can be sent to another target.
pub(super) const KEPT: usize = 4 << 20;
/// How much text may stand behind the files of a form that flows.
const LATE_TEXT: u64 = 4 << 10;
/// The fields that decide place and price.
const DECIDING: [FormField; 5] = [
    FormField::Stream,
    FormField::N,
    FormField::Size,
    FormField::Quality,
    FormField::PartialImages,
];

/// What has come of a form.
pub(super) enum Arrived {
    Whole(Bytes),
    /// The beginning of one that flows.
    Begun(Bytes, Rc<Upload>),
}

/// A form under way.
pub(super) struct Upload {
    /// How long all of it is.
    length: u64,
    state: RefCell<State>,
    /// Nothing of the rest has been asked for yet.
    is_untouched: Cell<bool>,
    /// All of it has been handed on.
    is_whole: Cell<bool>,
    /// It is the client that is waited for.
    waits: Cell<bool>,
    /// How much has come.
    came: Cell<u64>,
    fault: RefCell<Option<ApiError>>,
}

struct State {
    body: Body,
    scanner: Scanner,
    /// What had been said when the call was decided.
    decided: Form,
    silence: Pin<Box<Sleep>>,
}

/// Reads a form of a length that is announced: all of it, or, of one that is not to be kept, as much as
/// decides it. One whose deciding fields stand behind its files must be kept all the same.
pub(super) async fn arrive(
    content_type: &str,
    length: usize,
    mut body: Body,
) -> Result<Arrived, ApiError> {
    let mut scanner = Scanner::new(content_type)?;
    let mut start = BytesMut::new();
    while start.len() < length {
        let Some(chunk) = body::chunk(&mut body).await? else { break };
        scanner.push(&chunk)?;
        start.extend_from_slice(&chunk);
        if start.len() < length && scanner.is_ready() {
            let upload = Upload::new(length as u64, start.len() as u64, body, scanner);
            return Ok(Arrived::Begun(start.freeze(), Rc::new(upload)));
        }
    }
    Ok(Arrived::Whole(start.freeze()))
}

impl Upload {
    fn new(length: u64, came: u64, body: Body, scanner: Scanner) -> Self {
        let decided = scanner.form().clone();
        let silence = Box::pin(tokio::time::sleep(SILENCE));
        Self {
            length,
            state: RefCell::new(State { body, scanner, decided, silence }),
            is_untouched: Cell::new(true),
            is_whole: Cell::new(false),
            waits: Cell::new(false),
            came: Cell::new(came),
            fault: RefCell::new(None),
        }
    }

    /// The call that the form is, by what is known of it, with bounds for what is still to come.
    pub(super) fn call(
        &self,
        endpoint: Endpoint,
        named: Option<&str>,
    ) -> Result<Call, RequestError> {
        let state = self.state.borrow();
        let mut form = state.decided.clone();
        form.file_bytes += self.length.saturating_sub(self.came.get());
        let mut call = read_form(endpoint, named, state.scanner.boundary(), &form)?;
        call.body_bytes = call.body_bytes.saturating_add(LATE_TEXT);
        // There may be more of them than have come.
        call.images_in = None;
        Ok(call)
    }

    /// How long its files are and its prompt, once all of it has been handed on.
    pub(super) fn measured(&self) -> Option<(u64, u64)> {
        let state = self.state.borrow();
        let form = state.scanner.form();
        self.is_whole.get().then_some((form.file_bytes, form.prompt_bytes))
    }

    /// Whether the provider can have all of it.
    pub(super) const fn is_whole(&self) -> bool {
        self.is_whole.get()
    }

    /// Whether it can still be sent to another target.
    pub(super) const fn is_untouched(&self) -> bool {
        self.is_untouched.get()
    }

    /// How much has come, or whether more is waited for: while either changes the provider is not slow.
    pub(super) fn progress(&self) -> (u64, bool) {
        (self.came.get(), self.waits.get())
    }

    /// What is wrong with it, told once.
    pub(super) fn take_fault(&self) -> Option<ApiError> {
        self.fault.borrow_mut().take()
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, ApiError>>> {
        self.is_untouched.set(false);
        if self.is_whole.get() {
            return Poll::Ready(None);
        }
        let mut state = self.state.borrow_mut();
        let Poll::Ready(item) = Pin::new(&mut state.body).poll_next(context) else {
            if !self.waits.replace(true) {
                state.silence.as_mut().reset(Instant::now() + SILENCE);
            }
            let is_silent = state.silence.as_mut().poll(context).is_ready();
            return if is_silent {
                Poll::Ready(Some(Err(ApiError::BodyBroken)))
            } else {
                Poll::Pending
            };
        };
        self.waits.set(false);
        let Some(Ok(chunk)) = item else { return Poll::Ready(Some(Err(ApiError::BodyBroken))) };
        Poll::Ready(Some(self.take(&mut state, chunk)))
    }

    /// Reads along, and lets a chunk through that changes nothing.
    fn take(&self, state: &mut State, chunk: Bytes) -> Result<Bytes, ApiError> {
        state.scanner.push(&chunk)?;
        check_late(&state.decided, state.scanner.form())?;
        let came = self.came.get() + chunk.len() as u64;
        self.came.set(came);
        if came >= self.length {
            if !state.scanner.form().is_whole {
                return Err(RequestError::NotAForm("it ends before its last boundary").into());
            }
            self.is_whole.set(true);
        }
        Ok(chunk)
    }
}

/// Whether what has come since a call was decided leaves it as it is.
fn check_late(decided: &Form, now: &Form) -> Result<(), RequestError> {
    let is_late = |field: &FormField| decided.get(*field).is_none() && now.get(*field).is_some();
    if let Some(field) = DECIDING.into_iter().find(is_late) {
        return Err(RequestError::Late(field.name()));
    }
    if now.has_url && !decided.has_url {
        return Err(RequestError::Late("url"));
    }
    if now.text_bytes - decided.text_bytes > LATE_TEXT {
        let is_prompt = now.prompt_bytes > decided.prompt_bytes;
        return Err(RequestError::Late(if is_prompt { "prompt" } else { "text" }));
    }
    Ok(())
}

impl Upload {
    /// The body that a provider is sent: the beginning, which was `was` bytes long and has become `start`,
    /// and the rest as it comes.
    pub(super) fn flow(self: Rc<Self>, start: Bytes, was: usize) -> Outgoing {
        let length = self.length.saturating_sub(was as u64) + start.len() as u64;
        let rest = poll_fn(move |context| {
            self.poll(context).map(|item| {
                item.map(|chunk| {
                    chunk.map_err(|fault| {
                        self.fault.replace(Some(fault));
                        io::ErrorKind::InvalidData.into()
                    })
                })
            })
        });
        Outgoing::Flow(length, Box::pin(once(ready(Ok(start))).chain(rest)))
    }
}
