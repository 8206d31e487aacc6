//! The admin API over HTTP: every operation of one table, behind one door.
//!
//! What is asked goes through the same steps whatever it is, in the order of [`Door::answer`]. Nothing
//! but signing in is answered before it is known who asks. No answer may be kept by a browser, framed,
//! or read by a page from elsewhere.

mod attempts;
mod caller;
mod incoming;
pub mod metrics;
pub mod openapi;
pub mod operations;
mod path;
mod refusal;
mod relay;
mod repeats;
mod request;
mod sign_in;
pub mod surface;

use std::net::IpAddr;
use std::sync::Mutex;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::{self, Data, Payload};
use actix_web::{Error, HttpRequest, HttpResponse};

use super::Desk;
use super::config::running;
use crate::clock;
use crate::domain::window::Timestamp;
use attempts::Attempts;
use caller::Caller;
use incoming::Incoming;
use operations::{Does, Needs, Operation};
use path::{Found, Segments};
use refusal::Refusal;
pub use relay::{PLAYGROUND, signed_in};
use serde_json::{Map, Value};

/// Marks a request that came over TLS.
#[derive(Clone, Copy, Debug)]
pub struct OverTls;

/// Where the API is.
pub const PREFIX: &str = "/admin/api/v1";

/// What the API works with.
pub struct Door {
    desk: Desk,
    attempts: Mutex<Attempts>,
}

/// What goes back.
struct Answer {
    status: u16,
    content_type: &'static str,
    body: String,
    headers: Vec<(&'static str, String)>,
}

impl Answer {
    fn json(status: u16, body: String) -> Self {
        Self { status, content_type: "application/json", body, headers: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// A request that may be carried out.
struct Admitted {
    /// Nobody, for what nobody needs to be known for.
    caller: Option<Caller>,
    operation: &'static Operation,
    segments: Segments,
    is_secure: bool,
    address: Option<IpAddr>,
}

/// What an operation is carried out with, once it may be.
struct Request<'a> {
    door: &'a Door,
    incoming: &'a Incoming,
    address: Option<IpAddr>,
    now: Timestamp,
}

impl Door {
    pub fn new(desk: Desk) -> Self {
        Self { desk, attempts: Mutex::default() }
    }

    /// Answers one request. Blocks on the disk.
    fn answer(&self, incoming: &Incoming) -> Answer {
        self.try_answer(incoming).unwrap_or_else(Refusal::answer)
    }

    fn try_answer(&self, incoming: &Incoming) -> Result<Answer, Refusal> {
        let now = clock::now();
        let Admitted { caller, operation, segments, is_secure, address } =
            self.admit(incoming, now)?;
        let request = Request { door: self, incoming, address, now };
        let members = request::members(operation, &segments, incoming)?;
        match caller {
            None => sign_in::sign_in(&request, members, is_secure),
            Some(caller) => carry_out(&request, &caller, operation, members, is_secure),
        }
    }

    /// Lets a request in, or not, before anything of its body is looked at.
    fn admit(&self, incoming: &Incoming, now: Timestamp) -> Result<Admitted, Refusal> {
        let live = running(&self.desk)?.load();
        let config = &live.config;
        let address = incoming.address(&config.server.trusted_proxies);

        caller::check_site(incoming, &config.admin.hosts)?;
        let is_secure = incoming.is_secure(&config.server.trusted_proxies);
        let caller = caller::identify(self.desk.ledger.store(), incoming, is_secure, now)?;
        let found = path::find(&incoming.method, &incoming.path);
        let admitted = |caller, operation, segments| {
            Ok(Admitted { caller, operation, segments, is_secure, address })
        };
        if let Found::Operation(operation, segments) = &found
            && operation.needs == Needs::Nobody
        {
            return admitted(None, *operation, segments.clone());
        }
        let caller = caller.ok_or_else(Refusal::unauthenticated)?;
        if incoming.method != "GET" {
            caller.check_csrf(incoming)?;
        }
        let (operation, segments) = match found {
            Found::Operation(operation, segments) => (operation, segments),
            Found::OtherMethods(allowed) => return Err(Refusal::method(&allowed)),
            Found::Nothing => return Err(Refusal::no_such_path(incoming)),
        };
        if !operation.needs.met_by(caller.role()) {
            return Err(Refusal::forbidden());
        }
        admitted(Some(caller), operation, segments)
    }
}

fn carry_out(
    request: &Request<'_>,
    caller: &Caller,
    operation: &'static Operation,
    members: Map<String, Value>,
    is_secure: bool,
) -> Result<Answer, Refusal> {
    let incoming = request.incoming;
    match &operation.does {
        Does::SignIn => Err(Refusal::failed("nobody needs to be known to sign in")),
        Does::ShowSession => Ok(sign_in::show(caller)),
        Does::SignOut => sign_in::sign_out(request, caller, is_secure),
        Does::ChangePassword => sign_in::change_password(request, caller, members, is_secure),
        Does::Describe => Ok(Answer::json(200, openapi::document().to_owned())),
        Does::Run(run) => {
            let by = caller.actor(request.address);
            let desk = &request.door.desk;
            let in_path = |refusal: &Refusal| operation.segments().any(|name| refusal.is_of(name));
            let work = || {
                let done = run(desk, &by, members);
                done.map_err(|refusal| if in_path(&refusal) { refusal.of_path() } else { refusal })
            };
            let done = match repeats::key(operation, incoming)? {
                Some(key) => match repeats::once(request, caller, operation, key, work)? {
                    repeats::Once::Done(done) => done,
                    repeats::Once::Before(answer) => return Ok(answer),
                },
                None => work()?,
            };
            if operation.csv && incoming.accepts_csv() {
                return request::as_csv(done.body);
            }
            Ok(Answer::json(operation.status, done.body.to_string()))
        }
    }
}

/// The routes of the API. What else the listener answers is added beside them.
pub fn routes(config: &mut web::ServiceConfig) {
    config.service(web::scope(PREFIX).default_service(web::to(handle)));
    metrics::routes(config);
}

async fn handle(door: Data<Door>, head: HttpRequest, payload: Payload) -> HttpResponse {
    let mut incoming = Incoming::without_body(&head);
    let longest = path::longest_body(&incoming.method, &incoming.path);
    if longest > incoming::LONGEST_BODY {
        // Whoever sends that much must be known before it is read.
        let asked = door.clone();
        let admitted = blocking(move || {
            let admitted = asked.admit(&incoming, clock::now());
            admitted.map(|_| incoming)
        });
        incoming = match admitted.await {
            Ok(incoming) => incoming,
            Err(refusal) => {
                let mut response = respond(refusal.answer());
                response.head_mut().set_connection_type(ConnectionType::Close);
                return response;
            }
        };
    }
    incoming.receive(payload, longest).await;
    let answer = blocking(move || Ok(door.answer(&incoming))).await;
    respond(answer.unwrap_or_else(Refusal::answer))
}

/// Does what blocks where no worker waits for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let done = web::block(work).await;
    let gone = |_| Err(Refusal::failed("the server is stopping, or has an error in itself"));
    done.unwrap_or_else(gone)
}

fn respond(answer: Answer) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    for (name, value) in answer.headers {
        response.append_header((name, value));
    }
    if status == StatusCode::PAYLOAD_TOO_LARGE || status == StatusCode::REQUEST_TIMEOUT {
        response.force_close();
    }
    response.content_type(answer.content_type).body(answer.body)
}

/// What every answer of the listener carries, unless it says otherwise itself.
const HEADERS: [(HeaderName, &str); 8] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

/// Stands before everything on the listener: refuses what was sent to another name than ours, because
/// a page elsewhere can make its own name lead here, and what is on no [`surface`], and sets the headers
/// of all answers.
pub async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<EitherBody<impl MessageBody>>, Error> {
    let is_ours = {
        let door = request.app_data::<Data<Door>>();
        let live = door.and_then(|door| door.desk.live.as_ref()).map(|live| live.load());
        let hosts = live.as_ref().map(|snapshot| snapshot.config.admin.hosts.as_slice());
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        host.is_some_and(|host| caller::is_ours(host, hosts.unwrap_or_default()))
    };
    let surface = surface::of(request.path());
    let refusal = match surface {
        _ if !is_ours => Some(Refusal::other_host()),
        None => Some(Refusal::nothing_there()),
        Some(_) => None,
    };
    let mut response = match refusal {
        None => next.call(request).await?.map_into_left_body(),
        Some(refusal) => request.into_response(respond(refusal.answer())).map_into_right_body(),
    };
    protect(response.headers_mut(), surface.is_some_and(|surface| surface.is_relayed));
    Ok(response)
}

/// Sets the headers of all answers. Those of a provider that stand in their way are taken out: what it
/// says must not loosen what holds for pages of ours.
fn protect(headers: &mut HeaderMap, is_relayed: bool) {
    if is_relayed {
        let cors = |name: &HeaderName| name.as_str().starts_with("access-control-");
        let theirs: Vec<_> = headers.keys().filter(|name| cors(name)).cloned().collect();
        let others = OTHERS.map(HeaderName::from_static);
        for name in theirs.iter().chain(&others).chain(HEADERS.iter().map(|(name, _)| name)) {
            headers.remove(name);
        }
    }
    for (name, value) in &HEADERS {
        if !headers.contains_key(name) {
            headers.insert(name.clone(), HeaderValue::from_static(value));
        }
    }
}

/// What a browser would do to our origin because a provider says so.
const OTHERS: [&str; 7] = [
    "clear-site-data",
    "content-security-policy-report-only",
    "link",
    "location",
    "refresh",
    "report-to",
    "service-worker-allowed",
];
