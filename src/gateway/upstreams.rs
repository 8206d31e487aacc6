//! A worker's connections to providers, kept across calls and across reloads that leave a provider's
//! address as it is.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use secrecy::{ExposeSecret, SecretString};

use crate::client::{Client, Origin, Terms};
use crate::config::Provider;
use crate::domain::choice;
use crate::fields::{Headers, is_value};
use crate::map::Map;
use crate::provider::endpoint::{Dialect, Endpoint};
use crate::provider::kind::KeyHeader;

/// Longer than providers keep an idle connection: they are the ones to close it.
const KEEP_ALIVE: Duration = Duration::from_secs(90);

/// What a call to one provider needs, prepared once for each worker.
pub(super) struct Upstream {
    pub(super) provider: Arc<Provider>,
    /// None where the provider's address makes no URL, and for the one that is built in.
    pub(super) client: Option<Client>,
    /// Configured headers.
    pub(super) headers: Headers,
    /// Headers of a call whose client sent none of that name.
    pub(super) usual_headers: Headers,
    pub(super) keys: Vec<Key>,
    /// Whose turn it is among them.
    turn: Cell<usize>,
    /// Where endpoints are that have one place for all models.
    uris: [Option<Uri>; Endpoint::ALL.len()],
}

/// A provider's key.
pub(super) struct Key {
    /// The header that carries it, and all that this says.
    pub(super) name: &'static str,
    pub(super) value: SecretString,
    /// What it is known by where its state is kept; says nothing about it.
    pub(super) fingerprint: u64,
}

impl Upstream {
    /// The key whose turn it is among those that `is_fit` and, if none is, among all; `None` where
    /// there are none.
    pub(super) fn key(&self, is_fit: impl Fn(&Key) -> bool) -> Option<&Key> {
        if self.keys.len() < 2 {
            return self.keys.first();
        }
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let in_turn = |from: usize| &self.keys[turn.wrapping_add(from) % self.keys.len()];
        let fit = (0..self.keys.len()).map(in_turn).find(|key| is_fit(key));
        Some(fit.unwrap_or_else(|| in_turn(0)))
    }

    /// The address of an endpoint for a model; `None` if the provider's address, or the model's name,
    /// does not make one.
    pub(super) fn uri(
        &self,
        endpoint: Endpoint,
        model: &str,
        query: Option<&'static str>,
    ) -> Option<Cow<'_, Uri>> {
        if self.provider.layout.is_fixed() && query.is_none() {
            return self.uris[endpoint as usize].as_ref().map(Cow::Borrowed);
        }
        uri(&self.provider, &self.provider.layout.path(endpoint, model)?, query).map(Cow::Owned)
    }

    /// The address of something else below the provider's.
    pub(super) fn uri_below(&self, path: &str, query: &str) -> Option<Uri> {
        uri(&self.provider, path, Some(query).filter(|query| !query.is_empty()))
    }
}

/// All providers that this worker has called.
pub(super) struct Upstreams {
    tls: Arc<rustls::ClientConfig>,
    known: RefCell<Map<Arc<str>, Rc<Upstream>>>,
}

impl Upstreams {
    pub(super) fn new(tls: Arc<rustls::ClientConfig>) -> Self {
        Self { tls, known: RefCell::default() }
    }

    /// What is needed to call `provider`. A provider that a reload replaced is prepared anew, but its
    /// connections are kept if they would be made in the same way.
    pub(super) fn get(&self, provider: &Arc<Provider>) -> Rc<Upstream> {
        let earlier = self.known.borrow().get(&provider.name).cloned();
        if let Some(upstream) = &earlier
            && Arc::ptr_eq(&upstream.provider, provider)
        {
            return Rc::clone(upstream);
        }
        let origin =
            provider.base_url.as_ref().and_then(|url| Origin::of(&url.join("").parse().ok()?));
        let client = match (earlier, origin) {
            (Some(earlier), Some(origin)) if connects_alike(&earlier, provider, &origin) => {
                earlier.client.clone()
            }
            (_, origin) => origin.map(|origin| self.client(provider, origin)),
        };
        let upstream = Rc::new(Upstream {
            client,
            headers: own_headers(provider),
            keys: keys(provider),
            turn: Cell::new(0),
            usual_headers: usual_headers(provider),
            uris: Endpoint::ALL.map(|endpoint| {
                let name = Some(endpoint.name()).filter(|_| provider.layout.is_fixed())?;
                uri(provider, name, None)
            }),
            provider: Arc::clone(provider),
        });
        self.known.borrow_mut().insert(Arc::clone(&provider.name), Rc::clone(&upstream));
        upstream
    }

    fn client(&self, provider: &Provider, origin: Origin) -> Client {
        let terms = Terms {
            tls: Arc::clone(&self.tls),
            connect: Duration::from_millis(provider.timeouts.connect_ms),
            limit: provider.max_connections,
            keep: KEEP_ALIVE,
        };
        let client = Client::new(origin, &terms);
        actix_web::rt::spawn(client.tidy());
        client
    }
}

fn connects_alike(one: &Upstream, other: &Provider, origin: &Origin) -> bool {
    one.client.as_ref().is_some_and(|client| client.origin() == origin)
        && one.provider.timeouts.connect_ms == other.timeouts.connect_ms
        && one.provider.max_connections == other.max_connections
}

fn own_headers(provider: &Provider) -> Headers {
    let mut headers = Headers::default();
    for extra in &provider.headers {
        headers.set(extra.name.to_ascii_lowercase(), extra.value.expose_secret());
    }
    headers
}

/// Anthropic refuses a call without a version, which its own clients send; others do not know it.
fn usual_headers(provider: &Provider) -> Headers {
    let mut headers = Headers::default();
    if provider.kind.dialect() == Dialect::Anthropic {
        headers.add("anthropic-version", "2023-06-01");
    }
    headers
}

/// Each of the provider's keys as the header that carries it.
fn keys(provider: &Provider) -> Vec<Key> {
    let name = match provider.key_header {
        KeyHeader::Bearer => "authorization",
        KeyHeader::ApiKey => "api-key",
        KeyHeader::XApiKey => "x-api-key",
        KeyHeader::XGoogApiKey => "x-goog-api-key",
    };
    let key = |secret: &SecretString| {
        let text = secret.expose_secret();
        let value = match provider.key_header {
            KeyHeader::Bearer => SecretString::from(format!("Bearer {text}")),
            _ => secret.clone(),
        };
        let fingerprint = choice::fingerprint(&[provider.name.as_bytes(), text.as_bytes()]);
        is_value(text.as_bytes()).then_some(Key { name, value, fingerprint })
    };
    provider.keys.iter().filter_map(key).collect()
}

fn uri(provider: &Provider, path: &str, query: Option<&str>) -> Option<Uri> {
    let mut address = provider.base_url.as_ref()?.join(path);
    let version = provider.api_version.as_ref().map(|version| format!("api-version={version}"));
    let parts = [version.as_deref(), query].into_iter().flatten();
    for (part, mark) in parts.zip(['?', '&']) {
        address.push(mark);
        address.push_str(part);
    }
    address.parse().ok()
}

/// TLS towards providers: the roots this program brings and those of the system, which may have a
/// private one.
pub fn tls() -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let system = rustls_native_certs::load_native_certs();
    let (_, ignored) = roots.add_parsable_certificates(system.certs);
    if ignored > 0 || !system.errors.is_empty() {
        tracing::debug!(ignored, errors = ?system.errors, "some of the system's certificates are not used");
    }
    let mut config =
        rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}
