//! Carries what the ACME client asks to the authority, by the HTTP client that everything else here goes
//! out by: it must not bring a second one along.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use awc::{Client, Connector};
use bytes::Bytes;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use tokio::sync::{mpsc, oneshot};

const PATIENCE: Duration = Duration::from_secs(30);
/// No answer of an authority comes near it.
const LONGEST_ANSWER: usize = 1 << 20;
const USER_AGENT: &str = concat!("conduit/", env!("CARGO_PKG_VERSION"));
/// How authorities say what is wrong (RFC 7807).
const PROBLEM: &str = "application/problem+json";

type Request = http1::Request<BodyWrapper<Bytes>>;
type Answer = Result<BytesResponse, Error>;

/// What an ACME client sends by. The HTTP client belongs to one thread, and an ACME client must not.
pub(super) struct Postman(mpsc::Sender<Errand>);

/// What is to be sent.
pub(super) struct Errands(mpsc::Receiver<Errand>);

struct Errand {
    request: Request,
    answer: oneshot::Sender<Answer>,
}

/// Both ends.
pub(super) fn client() -> (Postman, Errands) {
    let (sender, receiver) = mpsc::channel(1);
    (Postman(sender), Errands(receiver))
}

impl HttpClient for Postman {
    fn request(&self, request: Request) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
        let (answer, answered) = oneshot::channel();
        let errands = self.0.clone();
        Box::pin(async move {
            let gone = Error::Str("nobody sends it");
            if errands.send(Errand { request, answer }).await.is_err() {
                return Err(gone);
            }
            answered.await.unwrap_or(Err(gone))
        })
    }
}

impl Errands {
    /// Runs them one after the other, until nobody has any more.
    pub(super) async fn run(mut self, tls: Arc<rustls::ClientConfig>) {
        let connector = Connector::new().rustls_0_23(tls);
        let client = Client::builder().connector(connector).disable_redirects().finish();
        while let Some(Errand { request, answer }) = self.0.recv().await {
            let sent = tokio::time::timeout(PATIENCE, send(&client, request)).await;
            let late = Err(other("no answer in time"));
            // Whoever asked may have lost patience.
            let _ = answer.send(sent.unwrap_or(late));
        }
    }
}

fn other(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Other(why.into())
}

async fn send(client: &Client, request: Request) -> Answer {
    let (head, body) = request.into_parts();
    let body = BytesResponse::from(http1::Response::new(body)).body.into_bytes().await;
    let url = head.uri.to_string();
    let method = head.method.as_str().parse::<awc::http::Method>().map_err(other)?;
    let mut sent = client.request(method, &url).timeout(PATIENCE);
    for (name, value) in &head.headers {
        if name != http1::header::USER_AGENT {
            sent = sent.insert_header((name.as_str(), value.as_bytes()));
        }
    }
    let sent = sent.insert_header(("user-agent", USER_AGENT));
    let answer = sent.send_body(body.map_err(Error::Other)?).await;
    let mut answer = answer.map_err(|error| other(format!("{url}: {error}")))?;
    let status = answer.status();
    let of_problem =
        |value: &awc::http::header::HeaderValue| value.as_bytes().starts_with(PROBLEM.as_bytes());
    let tells = answer.headers().get("content-type").is_some_and(of_problem);
    if !status.is_success() && !tells {
        return Err(other(format!("{url} answers {status}")));
    }
    let mut parts = http1::Response::builder().status(status.as_u16());
    for (name, value) in answer.headers() {
        parts = parts.header(name.as_str(), value.as_bytes());
    }
    let (parts, ()) = parts.body(()).map_err(Error::Http)?.into_parts();
    let body = answer.body().limit(LONGEST_ANSWER).await;
    let body = body.map_err(|error| other(format!("{url}: {error}")))?;
    Ok(BytesResponse { parts, body: Box::new(body) })
}
