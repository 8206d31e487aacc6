//! The end of a call, which comes exactly once: the hold is posted, the receipt written, the line
//! logged.
//!
//! A call that is dropped on the way, because its client left or a handler broke, ends here too: in
//! `Drop`, charged for what it had used by then.

use std::borrow::Cow;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::catalogue::Prices;
use crate::clock;
use crate::config::Provider;
use crate::domain::money::Money;
use crate::domain::price::{Bill, Pricing};
use crate::domain::receipt::{Ending, Metered, Receipt};
use crate::domain::request_id::RequestId;
use crate::ledger::{Description, Hold, Pass, Promise};
use crate::logging::{self, name};
use crate::provider::charge::{Fate, Terms, charge};
use crate::provider::endpoint::Endpoint;

pub(super) use crate::provider::charge::{Asked, Metering};

use super::Stopping;
use super::route::Destination;
use super::trace::{Attempt, Made, Trace};
use super::upload::Upload;

/// What is known of a call when it has been admitted.
pub(super) struct Admitted {
    /// Where it goes.
    pub(super) target: Rc<Destination>,
    /// Where the call came from.
    pub(super) client: Option<IpAddr>,
    pub(super) client_endpoint: Endpoint,
    /// The prices in force when it began, for what other models do in it.
    pub(super) prices: Arc<Prices>,
    /// What the provider is called at.
    pub(super) endpoint: Endpoint,
    pub(super) asked: Asked,
    pub(super) streamed: bool,
    pub(super) began: Instant,
}

/// A call under way. Ends by [`Settlement::end`], or else when it is dropped.
pub(super) struct Settlement {
    /// The call's own: that of its first attempt.
    id: RequestId,
    call: Admitted,
    hold: Option<Hold>,
    /// What the call took beside money, between two attempts.
    pass: Option<Pass>,
    /// What attempts cost that have ended.
    spent: Money,
    promise: Promise,
    stopping: Arc<Stopping>,
    trace: Option<Rc<Trace>>,
    /// The span of the present attempt.
    attempt: Option<Attempt>,
    status: u16,
    first_byte_ms: Option<u64>,
    /// When the request went out: from here on the provider may charge for it.
    sent: Option<Instant>,
    /// How long the first of the answer took from then.
    first_byte: Option<Duration>,
    /// What the provider must have all of, before it may.
    upload: Option<Rc<Upload>>,
    metering: Metering,
}

impl Settlement {
    pub(super) fn new(
        call: Admitted,
        hold: Hold,
        upload: Option<Rc<Upload>>,
        stopping: Arc<Stopping>,
        trace: Option<Rc<Trace>>,
    ) -> Self {
        Self {
            id: hold.id(),
            call,
            promise: hold.promise(),
            hold: Some(hold),
            pass: None,
            spent: Money::ZERO,
            stopping,
            trace,
            attempt: None,
            status: 0,
            first_byte_ms: None,
            sent: None,
            first_byte: None,
            upload,
            metering: Metering::default(),
        }
    }

    pub(super) const fn call(&self) -> &Admitted {
        &self.call
    }

    /// Whether the call has not ended yet.
    pub(super) const fn is_open(&self) -> bool {
        self.hold.is_some()
    }

    /// The request is on its way: from here on the provider may charge for it.
    pub(super) fn sent(&mut self) {
        self.sent = Some(Instant::now());
        self.attempt = self.trace.as_ref().and_then(Trace::attempt);
    }

    /// What the provider is told of the span of the present attempt.
    pub(super) fn traceparent(&self) -> Option<String> {
        self.attempt.as_ref().map(|attempt| attempt.context().to_string())
    }

    /// When the request of the present attempt went out.
    pub(super) const fn sent_at(&self) -> Option<Instant> {
        self.sent
    }

    /// The first of an answer's body has come, or its end.
    pub(super) fn began_to_answer(&mut self) {
        self.first_byte = self.sent.map(|sent| sent.elapsed());
    }

    /// The head of an answer has come.
    pub(super) fn answered(&mut self, status: u16) {
        self.status = status;
        self.first_byte_ms = Some(millis(self.call.began.elapsed()));
    }

    /// What is known of the usage so far: what counts if the call is dropped.
    pub(super) fn metered(&mut self, metering: impl Into<Metering>) {
        self.metering = metering.into();
    }

    /// Waits until the hold outlives the machine, also when it has ended meanwhile; `false` if it
    /// never will.
    pub(super) async fn hold_is_durable(&self) -> bool {
        self.promise.is_durable().await
    }

    /// What is set aside for the call.
    pub(super) fn held(&self) -> Money {
        self.hold.as_ref().map_or(Money::ZERO, Hold::amount)
    }

    /// Whether an attempt that ends in this way certainly cost nothing.
    pub(super) fn is_free(&self, ending: Ending) -> bool {
        let is_nothing = |hold: &Hold| self.bill(hold.amount(), ending).1 == Metered::Nothing;
        self.hold.as_ref().is_none_or(is_nothing)
    }

    /// Ends an attempt that may have cost something while its call goes on: its receipt is its own.
    pub(super) fn end_attempt(&mut self, ending: Ending) {
        let Some(hold) = self.hold.take() else { return };
        let now = Instant::now();
        let receipt = self.receipt(&hold, ending, now);
        self.spent = self.spent.saturating_add(receipt.cost);
        self.pass = hold.post_attempt(&receipt);
        self.record(&receipt, now);
    }

    /// Takes up the hold of the next attempt, after one that was billed.
    pub(super) fn renew(&mut self, mut hold: Hold) {
        hold.carry(self.pass.take());
        self.promise = hold.promise();
        self.hold = Some(hold);
    }

    /// Points the call to another target; what the last attempt was like is forgotten.
    pub(super) fn redirect(&mut self, description: &Description, target: &Rc<Destination>) {
        self.call.endpoint = target.endpoint(self.call.client_endpoint, self.call.streamed);
        if let Some(hold) = &mut self.hold {
            hold.redirect(description);
            self.promise = hold.promise();
        }
        self.call.target = Rc::clone(target);
        self.status = 0;
        self.first_byte_ms = None;
        (self.sent, self.first_byte) = (None, None);
        self.metering = Metering::default();
    }

    /// Ends the call and says what it cost, with all its attempts. When this returns, the receipt
    /// outlives the process.
    pub(super) fn end(&mut self, ending: Ending) -> Money {
        let Some(hold) = self.hold.take() else { return self.spent };
        let now = Instant::now();
        let receipt = self.receipt(&hold, ending, now);
        hold.post(&receipt);
        self.record(&receipt, now);
        self.spent.saturating_add(receipt.cost)
    }

    /// As [`Settlement::end`], but when this returns, the receipt and the hold both outlive the machine,
    /// or the receipt the process where the hold had done so before.
    pub(super) async fn end_durably(&mut self, ending: Ending) -> Money {
        let Some(hold) = self.hold.take() else { return self.spent };
        let (cost, durable) = {
            let now = Instant::now();
            let receipt = self.receipt(&hold, ending, now);
            self.record(&receipt, now);
            (receipt.cost, hold.post_durably(&receipt))
        };
        durable.await;
        self.spent.saturating_add(cost)
    }

    /// Ends a call that was never sent, as if it had not been made.
    pub(super) fn void(&mut self) {
        self.end_span(Ending::ClientGone, None);
        if let Some(hold) = self.hold.take() {
            hold.void();
        }
    }

    fn receipt(&self, hold: &Hold, ending: Ending, now: Instant) -> Receipt {
        let (bill, metered) = self.bill(hold.amount(), ending);
        let call = &self.call;
        let Description { id, model, upstream_model, provider, endpoint, price } =
            hold.description();
        Receipt {
            id,
            of: (id != self.id).then_some(self.id),
            key: hold.key(),
            at: clock::now(),
            model,
            provider,
            upstream_model,
            endpoint,
            status: if self.status == 0 { status_of(ending) } else { self.status },
            streamed: call.streamed,
            ending,
            metered,
            service: self.metering.service,
            lines: bill.lines,
            cost: bill.cost,
            provider_cost: bill.provider_cost,
            held: hold.amount(),
            price,
            first_byte_ms: self.first_byte_ms,
            total_ms: millis(now.saturating_duration_since(call.began)),
        }
    }

    /// Says that an attempt has ended, to those who read the log and to those who measure.
    fn record(&mut self, receipt: &Receipt, now: Instant) {
        log(receipt, self.call.client);
        self.end_span(receipt.ending, Some(receipt));
        let whole = self.sent.filter(|_| receipt.ending == Ending::Done);
        if whole.is_some() || self.first_byte.is_some() {
            let whole = whole.map(|sent| now.saturating_duration_since(sent));
            self.promise.metrics().timed(receipt, self.first_byte, whole);
        }
    }

    /// What was asked for: of what has flown by, as much as it was.
    fn asked(&self) -> Cow<'_, Asked> {
        let asked = &self.call.asked;
        match self.upload.as_ref().and_then(|upload| upload.measured()) {
            Some((file_bytes, prompt_bytes)) if asked.audio_bytes > 0 => {
                Cow::Owned(Asked { audio_bytes: file_bytes, prompt_bytes, ..asked.clone() })
            }
            Some((_, prompt_bytes)) => Cow::Owned(Asked { prompt_bytes, ..asked.clone() }),
            None => Cow::Borrowed(asked),
        }
    }

    /// Ends the span of the present attempt, if there is one: without a receipt where the attempt was not
    /// billed by itself.
    pub(super) fn end_span(&mut self, ending: Ending, receipt: Option<&Receipt>) {
        let Some(attempt) = self.attempt.take() else { return };
        attempt.end(&Made {
            provider: &self.call.target.provider,
            endpoint: self.call.endpoint,
            model: &self.call.target.upstream_model,
            status: self.status,
            streamed: self.call.streamed,
            ending,
            receipt,
        });
    }

    /// What the call used and costs, by the rule of [`charge`].
    fn bill(&self, held: Money, ending: Ending) -> (Bill, Metered) {
        let call = &self.call;
        // A redirect is not followed, so it is no answer either.
        let refused = self.status >= 300 || ending == Ending::UpstreamError;
        // Whoever answers has all that it needs, also of a form that is still on its way.
        let has_flown =
            self.status != 0 || self.upload.as_ref().is_none_or(|upload| upload.is_whole());
        let fate = match (self.sent.is_some() && has_flown, refused) {
            (false, _) => Fate::NotSent,
            (true, true) => Fate::Refused,
            (true, false) => Fate::Answered,
        };
        let asked = self.asked();
        let provider = &call.target.provider;
        let other_price = |model: &str| price_of(&call.prices, provider, model);
        let dearest = |class| call.prices.dearest(provider.kind.preset().catalogue, class);
        let terms = Terms {
            endpoint: call.endpoint,
            asked: &asked,
            pricing: &call.target.pricing,
            other_price: &other_price,
            dearest: &dearest,
            prefer_provider_cost: provider.prefer_provider_cost,
            held,
        };
        charge(&terms, &self.metering, fate)
    }
}

/// The price that the catalogue has for another model of the same provider.
fn price_of(prices: &Prices, provider: &Provider, model: &str) -> Option<Arc<Pricing>> {
    let listed = prices.find(provider.kind.preset().catalogue?, model)?;
    Some(Arc::clone(&listed.pricing))
}

impl Drop for Settlement {
    fn drop(&mut self) {
        if self.hold.is_none() {
            return;
        }
        let ending = if std::thread::panicking() {
            Ending::Crash
        } else if self.stopping.is_stopping() {
            Ending::Shutdown
        } else {
            Ending::ClientGone
        };
        self.end(ending);
    }
}

/// The status of a receipt whose provider never answered.
const fn status_of(ending: Ending) -> u16 {
    match ending {
        Ending::Done => 200,
        Ending::UpstreamError | Ending::UpstreamCut => 502,
        Ending::Timeout => 504,
        // What nginx writes for a client that left before the answer.
        Ending::ClientGone => 499,
        Ending::Shutdown => 503,
        Ending::Crash => 500,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// One line for each call; never a secret, a prompt or an answer.
fn log(receipt: &Receipt, client: Option<IpAddr>) {
    logging::call(|line| {
        let usage = receipt.usage();
        line.short(name!("request.id"), &receipt.id.text());
        line.short(name!("key.id"), &receipt.key.text());
        if let Some(client) = client {
            line.address(name!("client.address"), client);
        }
        line.text(name!("model"), &receipt.model);
        line.text(name!("provider"), &receipt.provider);
        line.text(name!("upstream.model"), &receipt.upstream_model);
        line.text(name!("endpoint"), &receipt.endpoint);
        line.number(name!("status"), receipt.status);
        line.flag(name!("stream"), receipt.streamed);
        line.word(name!("ending"), receipt.ending.name());
        line.word(name!("metered"), receipt.metered.name());
        line.number(name!("tokens.input"), usage.input_tokens());
        line.number(name!("tokens.output"), usage.output_tokens());
        line.short(name!("cost_usd"), &receipt.cost.text());
        if let Some(first_byte_ms) = receipt.first_byte_ms {
            line.number(name!("first_byte_ms"), first_byte_ms);
        }
        line.number(name!("duration_ms"), receipt.total_ms);
    });
}
