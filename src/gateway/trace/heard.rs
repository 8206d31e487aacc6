//! An answer on its way to its client, of which a copy is heard for the trace. It must not change, hold up
//! or gather anything.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;

use super::Trace;
use crate::message::Body;

pub(super) struct Heard {
    body: Body,
    trace: Rc<Trace>,
}

impl Heard {
    pub(super) const fn new(body: Body, trace: Rc<Trace>) -> Self {
        Self { body, trace }
    }
}

impl Stream for Heard {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.body).poll_next(context);
        if let Poll::Ready(Some(Ok(chunk))) = &next {
            self.trace.said(chunk);
        }
        next
    }
}
