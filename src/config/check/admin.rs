//! Checks the doors of administration: the socket, the addresses of the admin API, the names it goes by,
//! and takes in the password where the configuration says which file has it.

use std::net::SocketAddr;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use super::{
    Context, DEFAULT_SOCKET, MILLIS_PER_DAY, Secrets, file_path, listen_address, proxy_protocol,
    tls,
};
use crate::config::file::File;
use crate::config::model::{Admin, Override};
use crate::config::problem::Problem;
use crate::config::reader::At;
use crate::config::secrets;

const DEFAULT_LISTEN: &str = "127.0.0.1:8081";
/// What the address of a Unix socket can hold, with the zero at its end.
const MAX_SOCKET_PATH: usize = 107;
/// The fewest characters of a password.
pub(in crate::config) const SHORTEST_PASSWORD: usize = 12;

pub(super) fn resolve(file: &File, context: &Context<'_>, overrides: &mut Vec<Override>) -> Admin {
    let written = &file.admin;
    let socket = socket(file, context, overrides);
    let mut listen_is_default = written.listen.is_none();
    let mut listen = Vec::new();
    for text in written.listen.iter().flatten() {
        let report = |message| {
            let message = format!("`admin.listen`: {message}");
            context.report(Problem::at(text.span.clone(), message));
        };
        match address(&text.value, file) {
            Err(message) => report(message),
            Ok(Some(address)) if address.port() != 0 && listen.contains(&address) => {
                report(format!("{address} is written twice"));
            }
            Ok(address) => listen.extend(address),
        }
    }
    if let Some(value) = context.variable("CONDUIT_ADMIN_LISTEN") {
        overrides.push(Override { variable: "CONDUIT_ADMIN_LISTEN", option: "admin.listen" });
        listen_is_default = false;
        let addresses = value.split(',').map(|text| address(text.trim(), file));
        match addresses.collect::<Result<Vec<_>, _>>() {
            Ok(addresses) => listen = addresses.into_iter().flatten().collect(),
            Err(message) => {
                context.report(Problem::nowhere(format!("CONDUIT_ADMIN_LISTEN: {message}")));
            }
        }
    }
    if listen_is_default {
        listen.extend(DEFAULT_LISTEN.parse::<SocketAddr>());
    }
    Admin {
        socket,
        listen,
        listen_is_default,
        hosts: written.hosts.iter().filter_map(|host| self::host(host, context)).collect(),
        password: password(file, context),
        metrics: written.metrics.unwrap_or_default(),
        audit_keep_ms: written.audit_keep_ms.unwrap_or(400 * MILLIS_PER_DAY),
        proxy_protocol: proxy_protocol(
            written.proxy_protocol.as_ref(),
            "admin.proxy_protocol",
            file,
            context,
        ),
        tls: tls::resolve(written.tls.as_ref(), "admin.tls", context),
    }
}

/// An address to answer at; `None` for the word that means nowhere. What other machines reach goes
/// over the network as it is, password and all, so that has to be meant, unless there is TLS.
fn address(text: &str, file: &File) -> Result<Option<SocketAddr>, String> {
    if text == "off" {
        return Ok(None);
    }
    let address = listen_address(text)?;
    let is_meant = file.admin.allow_remote == Some(true) || file.admin.tls.is_some();
    if !address.ip().is_loopback() && !is_meant {
        return Err(format!(
            "{address} is reachable from other machines, and what comes there is not encrypted: give \
             it a certificate by [admin.tls], put a proxy with TLS before 127.0.0.1, or write \
             `allow_remote = true`"
        ));
    }
    Ok(Some(address))
}

/// A name as a browser sends it, without a port.
fn host(written: &At<String>, context: &Context<'_>) -> Option<String> {
    let name = written.value.to_ascii_lowercase();
    let is_name = (1..=253).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    if !is_name {
        let message = format!(
            "`admin.hosts`: `{}` is not the name of a host: write admin.example.com",
            written.value.escape_debug()
        );
        context.report(Problem::at(written.span.clone(), message));
    }
    is_name.then_some(name)
}

fn password(file: &File, context: &Context<'_>) -> Option<SecretString> {
    let written = &file.admin;
    let (place, found) = match (&written.password_file, &written.password_credential) {
        (Some(path), None) => {
            (path, secrets::line_of_file(&context.secret_file(&path.value), "password"))
        }
        (None, Some(name)) => (name, secrets::line_of_credential(&name.value, context.environment)),
        (Some(first), Some(second)) => {
            let message = "`admin` has two places for its password";
            let problem = Problem::at(second.span.clone(), message).label("only one of them");
            context.report(problem.other(first.span.clone(), "the other is here"));
            return None;
        }
        (None, None) => return None,
    };
    if context.secrets == Secrets::Skip {
        return None;
    }
    let checked = found.and_then(|password| {
        if password.expose_secret().chars().count() < SHORTEST_PASSWORD {
            return Err(format!("it has fewer than {SHORTEST_PASSWORD} characters"));
        }
        Ok(password)
    });
    checked
        .map_err(|why| {
            let message = format!("`admin` has no password: {why}");
            context.report(Problem::at(place.span.clone(), message));
        })
        .ok()
}

fn socket(file: &File, context: &Context<'_>, overrides: &mut Vec<Override>) -> PathBuf {
    let written = file.admin.socket.as_ref();
    let mut socket = file_path(written, "admin.socket", DEFAULT_SOCKET, context);
    let variable = context.variable("CONDUIT_ADMIN_SOCKET");
    let overridden = variable.is_some();
    if let Some(value) = variable {
        overrides.push(Override { variable: "CONDUIT_ADMIN_SOCKET", option: "admin.socket" });
        socket = PathBuf::from(value);
    }
    let length = socket.as_os_str().len();
    if length > MAX_SOCKET_PATH {
        let message = format!(
            "the admin socket's path is {length} bytes long, and a socket's can have \
             {MAX_SOCKET_PATH}: {}",
            socket.display()
        );
        let problem = match written.filter(|_| !overridden) {
            Some(text) => Problem::at(text.span.clone(), message),
            None => Problem::nowhere(message).help("set `admin.socket` to a shorter path"),
        };
        context.report(problem);
    }
    socket
}
