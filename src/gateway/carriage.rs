//! A stream on its way through: the meter reads what the provider sent, and the client gets the same
//! bytes, or their translation.

use bytes::Bytes;

use crate::domain::receipt::Ending;
use crate::domain::request_id::RequestId;
use crate::error::{ApiError, UpstreamError};
use crate::provider::endpoint::Endpoint;
use crate::provider::meter::{Forward, StreamMeter, StreamReport};
use crate::translate::StreamTranslation;

/// One stream; see the module.
pub(super) struct Carriage {
    meter: StreamMeter,
    translation: Option<StreamTranslation>,
    /// What the client called, and the call's name: for an error of ours.
    client: (Endpoint, RequestId),
    /// Whether the end of an event has been sent last, so that an error of ours can follow.
    between_events: bool,
}

impl Carriage {
    pub(super) const fn new(
        meter: StreamMeter,
        translation: Option<StreamTranslation>,
        client: (Endpoint, RequestId),
    ) -> Self {
        Self { meter, translation, client, between_events: true }
    }

    pub(super) const fn report(&self) -> &StreamReport {
        self.meter.report()
    }

    /// How the stream ended, if it ends here.
    pub(super) const fn ending(&self) -> Ending {
        let report = self.meter.report();
        match (report.error, report.done || report.finished) {
            (true, _) => Ending::UpstreamError,
            (false, true) => Ending::Done,
            // Nobody read the rest: that it came to its end is all that can be said of it.
            (false, false) if report.overflow => Ending::Done,
            (false, false) => Ending::UpstreamCut,
        }
    }

    /// Reads a chunk and says what to send for it.
    pub(super) fn push(&mut self, chunk: Bytes) -> Forward {
        let Some(translation) = &mut self.translation else {
            self.between_events = chunk.ends_with(b"\n\n") || chunk.ends_with(b"\r\n\r\n");
            return self.meter.push(chunk);
        };
        let mut forward = Forward::from(translation.push(&chunk));
        self.meter.push(chunk);
        if self.meter.report().done {
            // The provider may keep its connection open; the client need not wait for that.
            forward.push(translation.finish());
        }
        forward
    }

    /// Ends the stream together with the provider's, and says how that ended.
    pub(super) fn finish(&mut self) -> (Forward, Ending) {
        let mut forward = self.meter.finish();
        let ending = self.ending();
        if ending == Ending::UpstreamCut {
            self.tell(UpstreamError::Broken, &mut forward);
        } else if let Some(translation) = &mut self.translation {
            forward = Forward::from(translation.finish());
        }
        (forward, ending)
    }

    /// Ends a stream that its provider broke off.
    pub(super) fn fail(&mut self, error: UpstreamError) -> Forward {
        let mut forward = self.meter.finish();
        self.tell(error, &mut forward);
        forward
    }

    /// Says what went wrong in the only way that is left after the status went out: an event with an
    /// `error`, which official clients raise.
    fn tell(&mut self, error: UpstreamError, forward: &mut Forward) {
        let error = ApiError::Upstream(error);
        if let Some(translation) = &mut self.translation {
            *forward = Forward::from(translation.fail(&error.to_string()));
            return;
        }
        if !self.meter.is_of_events() {
            return;
        }
        let gap = if self.between_events { "" } else { "\n\n" };
        let event = error.event(self.client.0, Some(self.client.1));
        forward.push(Bytes::from(format!("{gap}{event}")));
    }
}
