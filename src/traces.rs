//! Traces of calls for OpenTelemetry: spans are gathered in a queue and sent, many at a time, to a
//! collector that speaks OTLP over HTTP.
//!
//! A call never waits for any of this. What does not fit into the queue is dropped and counted, and so is
//! what the collector does not take. Never a secret is in a span.

mod otlp;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use awc::{Client, Connector};
use secrecy::ExposeSecret;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::config::{Live, Tracing};

/// How many spans may wait: OpenTelemetry's own default.
const QUEUE: usize = 2_048;
/// How many are sent at a time.
const BATCH: usize = 512;
/// How many of those that say what was asked and answered, which are a hundred times as large.
const LARGE_BATCH: usize = 32;
/// The pauses between tries.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];
/// How long nothing is said again of a collector that does not take spans.
const SILENCE: Duration = Duration::from_mins(1);
/// How long the end of the process waits for the last spans to be taken.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// Whose work a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// A request that came to us.
    Server,
    /// A request of ours to somebody.
    Client,
}

/// What an attribute says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Number(u64),
    Flag(bool),
}

/// A piece of work that is done.
#[derive(Clone, Debug)]
pub struct Span {
    pub trace: u128,
    pub id: u64,
    pub parent: Option<u64>,
    pub name: String,
    pub kind: SpanKind,
    /// Since 1970.
    pub start_ns: u64,
    pub end_ns: u64,
    pub attributes: Vec<(&'static str, Value)>,
    pub is_error: bool,
}

/// What has become of spans.
#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    dropped: AtomicU64,
}

/// The end that calls hold.
#[derive(Clone, Debug)]
pub struct Tracer {
    spans: Sender<Span>,
    flush: Sender<oneshot::Sender<()>>,
    counts: Arc<Counts>,
}

/// The end that spans are sent from.
pub struct Spans {
    waiting: Receiver<Span>,
    flush: Receiver<oneshot::Sender<()>>,
    counts: Arc<Counts>,
    /// When it was last said that the collector does not take spans.
    complained: Option<Instant>,
}

/// A queue for spans.
pub fn queue() -> (Tracer, Spans) {
    let (spans, waiting) = channel(QUEUE);
    let (flush, asked) = channel(1);
    let counts = Arc::<Counts>::default();
    let tracer = Tracer { spans, flush, counts: Arc::clone(&counts) };
    (tracer, Spans { waiting, flush: asked, counts, complained: None })
}

impl Tracer {
    /// Leaves a span to be sent; never waits.
    pub fn end(&self, span: Span) {
        if self.spans.try_send(span).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many spans wait, were sent and were dropped.
    pub fn counts(&self) -> (usize, u64, u64) {
        let waiting = self.spans.max_capacity() - self.spans.capacity();
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (waiting, read(&self.counts.sent), read(&self.counts.dropped))
    }

    /// Has what waits sent before the process ends, within bounds.
    pub async fn finish(&self) {
        let (done, told) = oneshot::channel();
        if self.flush.send(done).await.is_ok() {
            let _ = tokio::time::timeout(LAST_PATIENCE, told).await;
        }
    }
}

/// What there is to do.
enum Next {
    Send,
    Flush(oneshot::Sender<()>),
    Stop,
}

impl Spans {
    /// Sends what comes to the collector that the configuration names by then.
    pub async fn deliver(mut self, live: &Live, tls: Arc<rustls::ClientConfig>) {
        let connector = Connector::new().rustls_0_23(tls);
        let client = Client::builder().connector(connector).disable_redirects().finish();
        let mut batch = Vec::new();
        loop {
            let (delay, most) = live.load().config.tracing.as_ref().map_or((0, BATCH), |tracing| {
                (tracing.delay_ms, if tracing.capture_content { LARGE_BATCH } else { BATCH })
            });
            let next = self.gather(&mut batch, most, Duration::from_millis(delay)).await;
            let must_empty = !matches!(next, Next::Send);
            loop {
                while batch.len() < most
                    && let Ok(span) = self.waiting.try_recv()
                {
                    batch.push(span);
                }
                if !batch.is_empty() {
                    let tracing = live.load().config.tracing.clone();
                    self.send(&client, tracing.as_ref(), std::mem::take(&mut batch)).await;
                }
                if !must_empty || self.waiting.is_empty() {
                    break;
                }
            }
            match next {
                Next::Send => {}
                Next::Flush(done) => {
                    let _ = done.send(());
                }
                Next::Stop => return,
            }
        }
    }

    /// Waits until there is enough to send, or it has waited for long enough.
    async fn gather(&mut self, batch: &mut Vec<Span>, most: usize, delay: Duration) -> Next {
        let mut end = None;
        loop {
            let patience = async {
                match end {
                    Some(end) => tokio::time::sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                span = self.waiting.recv() => {
                    let Some(span) = span else { return Next::Stop };
                    batch.push(span);
                    end.get_or_insert_with(|| Instant::now() + delay);
                    if batch.len() >= most {
                        return Next::Send;
                    }
                }
                done = self.flush.recv() => return done.map_or(Next::Stop, Next::Flush),
                () = patience => return Next::Send,
            }
        }
    }

    /// Sends a batch until it is taken or patience is at its end.
    async fn send(&mut self, client: &Client, tracing: Option<&Tracing>, batch: Vec<Span>) {
        let count = batch.len() as u64;
        let Some(tracing) = tracing else {
            // Turned off meanwhile.
            self.counts.dropped.fetch_add(count, Ordering::Relaxed);
            return;
        };
        let body = bytes::Bytes::from(otlp::request(&tracing.resource, &batch));
        for pause in PAUSES.iter().map(Some).chain([None]) {
            let trouble = match post(client, tracing, body.clone()).await {
                Ok(()) => {
                    self.counts.sent.fetch_add(count, Ordering::Relaxed);
                    return;
                }
                Err(trouble) => trouble,
            };
            if let Some(pause) = pause.filter(|_| trouble.may_pass) {
                tokio::time::sleep(*pause).await;
                continue;
            }
            self.counts.dropped.fetch_add(count, Ordering::Relaxed);
            self.complain(tracing, &trouble);
            return;
        }
    }

    /// Says that spans were dropped, now and then: all of them are counted.
    fn complain(&mut self, tracing: &Tracing, trouble: &Trouble) {
        if self.complained.is_some_and(|before| before.elapsed() < SILENCE) {
            return;
        }
        self.complained = Some(Instant::now());
        tracing::warn!(
            endpoint = tracing.url,
            dropped = self.counts.dropped.load(Ordering::Relaxed),
            "the collector of traces does not take spans: {}",
            trouble.why
        );
    }
}

/// Why a batch was not taken.
struct Trouble {
    why: String,
    /// It is worth trying again (OTLP, "Retryable Response Codes").
    may_pass: bool,
}

async fn post(client: &Client, tracing: &Tracing, body: bytes::Bytes) -> Result<(), Trouble> {
    let mut request = client
        .post(&tracing.url)
        .timeout(Duration::from_millis(tracing.timeout_ms))
        .content_type("application/x-protobuf")
        .insert_header(("user-agent", concat!("conduit/", env!("CARGO_PKG_VERSION"))));
    for header in &tracing.headers {
        request = request.insert_header((header.name.as_str(), header.value.expose_secret()));
    }
    let sent = request.send_body(body).await;
    let answer = sent.map_err(|error| Trouble { why: error.to_string(), may_pass: true })?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let may_pass = matches!(status.as_u16(), 429 | 502 | 503 | 504);
    Err(Trouble { why: format!("it answered {status}"), may_pass })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_holds_nobody_up_and_is_counted() {
        let (tracer, _spans) = queue();
        let span = Span {
            trace: 1,
            id: 1,
            parent: None,
            name: String::new(),
            kind: SpanKind::Server,
            start_ns: 0,
            end_ns: 0,
            attributes: Vec::new(),
            is_error: false,
        };
        for _ in 0..QUEUE + 3 {
            tracer.end(span.clone());
        }
        assert_eq!(tracer.counts(), (QUEUE, 0, 3));
    }
}
