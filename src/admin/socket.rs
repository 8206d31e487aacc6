//! The server's end of the Unix socket: makes it, with a mode that lets only its owner in, and runs
//! the verbs that come.

use std::any::Any;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use actix_web::dev::Extensions;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::access::{CreateToken, EndSessions, ListSessions, ListTokens, RevokeToken};
use super::adjust::{Adjust, ListAdjustments};
use super::audit::{ListAudit, perform};
use super::backup::{BackUp, BackUpBeside};
use super::config::ShowConfig;
use super::explain::Explain;
use super::holds::ListHolds;
use super::keys::{
    CreateKey, ListKeys, RevokeKey, RotateKey, SetDisabled, SetKey, SetLimits, ShowKey,
};
use super::models::{ListModels, ListProviders};
use super::password::SetPassword;
use super::prices::{LONGEST, ResetPrices, ShowPrices, UpdatePrices};
use super::receipts::ListReceipts;
use super::status::ReportStatus;
use super::teams::{CreateTeam, DeleteTeam, ListTeams, SetTeamLimits, ShowTeam};
use super::usage::ReportUsage;
use super::verify::VerifyBooks;
use super::{AdminError, Desk, Verb, http, metrics};
use crate::domain::audit::Actor;
use crate::metrics::page::CONTENT_TYPE;

/// Listens at `path` with mode 0600 from the first instant that anybody can find it there.
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`] when another server listens there; whatever the file system says.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    let mut made = path.as_os_str().to_owned();
    made.push(format!(".{}", std::process::id()));
    let made = PathBuf::from(made);
    let _ = std::fs::remove_file(&made);
    let listener = UnixListener::bind(&made)?;
    std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&made, path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The routes of the admin API.
pub fn routes(config: &mut web::ServiceConfig) {
    // A file of prices comes as a text in JSON, where a quote is two bytes.
    config.app_data(web::PayloadConfig::new(2 * LONGEST));
    config.route(http::metrics::PATH, web::get().to(show_metrics));
    verb::<CreateKey>(config);
    verb::<ListKeys>(config);
    verb::<ShowKey>(config);
    verb::<SetLimits>(config);
    verb::<SetKey>(config);
    verb::<RotateKey>(config);
    verb::<SetDisabled>(config);
    verb::<RevokeKey>(config);
    verb::<CreateTeam>(config);
    verb::<ListTeams>(config);
    verb::<ShowTeam>(config);
    verb::<SetTeamLimits>(config);
    verb::<DeleteTeam>(config);
    verb::<ReportUsage>(config);
    verb::<ReportStatus>(config);
    verb::<ListHolds>(config);
    verb::<ListReceipts>(config);
    verb::<Explain>(config);
    verb::<ShowPrices>(config);
    verb::<UpdatePrices>(config);
    verb::<ResetPrices>(config);
    verb::<Adjust>(config);
    verb::<ListAdjustments>(config);
    verb::<BackUp>(config);
    verb::<BackUpBeside>(config);
    verb::<VerifyBooks>(config);
    verb::<CreateToken>(config);
    verb::<ListTokens>(config);
    verb::<RevokeToken>(config);
    verb::<ListSessions>(config);
    verb::<EndSessions>(config);
    verb::<SetPassword>(config);
    verb::<ListAudit>(config);
    verb::<ShowConfig>(config);
    verb::<ListProviders>(config);
    verb::<ListModels>(config);
}

fn verb<V: Verb>(config: &mut web::ServiceConfig) {
    config.route(&format!("/admin/v1/{}", V::PATH), web::post().to(run::<V>));
}

/// The user at the other end of a connection, as the system tells.
#[derive(Clone, Copy, Debug)]
struct Peer {
    uid: u32,
}

/// Remembers who is at the other end of a new connection.
pub fn meet(connection: &dyn Any, known: &mut Extensions) {
    let stream = connection.downcast_ref::<actix_web::rt::net::UnixStream>();
    if let Some(credentials) = stream.and_then(|stream| stream.peer_cred().ok()) {
        known.insert(Peer { uid: credentials.uid() });
    }
}

async fn run<V: Verb>(head: HttpRequest, desk: web::Data<Desk>, body: web::Bytes) -> HttpResponse {
    let verb: V = match serde_json::from_slice(&body) {
        Ok(verb) => verb,
        Err(error) => return refuse(&AdminError::Invalid(error.to_string())),
    };
    let by = Actor::at_the_socket(head.conn_data::<Peer>().map(|peer| peer.uid));
    match web::block(move || perform(&desk, &by, verb)).await {
        Ok(Ok(answer)) => HttpResponse::Ok().json(answer),
        Ok(Err(error)) => refuse(&error),
        Err(_) => refuse(&AdminError::Failed("the server is stopping".to_owned())),
    }
}

/// Whoever can open the socket may see what is counted.
async fn show_metrics(desk: web::Data<Desk>) -> HttpResponse {
    match web::block(move || metrics::page(&desk)).await {
        Ok(page) => HttpResponse::Ok().content_type(CONTENT_TYPE).body(page),
        Err(_) => refuse(&AdminError::Failed("the server is stopping".to_owned())),
    }
}

fn refuse(error: &AdminError) -> HttpResponse {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    HttpResponse::build(status).json(json!({"error": {"message": error.to_string()}}))
}
