//! An answer on its way to its client, of which a copy is heard for the trace. It must not change, hold up
//! or gather anything.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;

use super::Trace;

pub(super) struct Heard {
    body: BoxBody,
    trace: Rc<Trace>,
}

impl Heard {
    pub(super) const fn new(body: BoxBody, trace: Rc<Trace>) -> Self {
        Self { body, trace }
    }
}

impl MessageBody for Heard {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let next = Pin::new(&mut self.body).poll_next(context);
        if let Poll::Ready(Some(Ok(chunk))) = &next {
            self.trace.said(chunk);
        }
        next
    }
}
