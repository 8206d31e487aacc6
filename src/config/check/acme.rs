//! Checks which certificate is to be ordered, of whom, and that somebody wants it.

use std::path::Path;

use super::{Context, Secrets, file_path};
use crate::config::base_url::BaseUrl;
use crate::config::file::{self, File};
use crate::config::model::{Acme, Binding};
use crate::config::problem::Problem;
use crate::config::reader::At;
use crate::config::secrets;

const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Beside the store, which is kept as well.
const FOLDER: &str = "acme";
/// What the best known authority puts into one certificate.
const MOST_NAMES: usize = 100;

/// `None` where no certificate is ordered.
pub(super) fn resolve(file: &File, store: &Path, context: &Context<'_>) -> Option<Acme> {
    let doors = [&file.server.tls, &file.admin.tls];
    let wanted = doors.into_iter().flatten().find_map(|tls| tls.acme.as_ref().filter(|a| a.value));
    let Some(written) = &file.acme else {
        if let Some(wanted) = wanted {
            let message = "a certificate is to be ordered, and nothing says for which name";
            let help = "add a section [acme] with `names` and `agree_to_terms = true`";
            context.report(Problem::at(wanted.span.clone(), message).help(help));
        }
        return None;
    };
    if wanted.is_none() {
        let message = "`acme` orders a certificate that no listener has";
        let help = "write `acme = true` in [server.tls], or take this section away";
        context.report(Problem::at(written.span.clone(), message).help(help));
    }
    agreed(written, context);
    let folder = written
        .folder
        .as_ref()
        .map(|_| file_path(written.folder.as_ref(), "acme.folder", "", context));
    let authority = written.authority_file.as_ref();
    Some(Acme {
        names: names(written, context),
        directory: directory(written, context),
        contact: written.contact.as_ref().and_then(|contact| self::contact(contact, context)),
        authority_file: authority.map(|_| file_path(authority, "acme.authority_file", "", context)),
        folder: folder.unwrap_or_else(|| store.with_file_name(FOLDER)),
        binding: binding(written, context),
    })
}

/// Nobody agrees to a contract by a default.
fn agreed(written: &file::Acme, context: &Context<'_>) {
    let agreement = written.agree_to_terms.as_ref();
    if agreement.is_some_and(|agreement| agreement.value) {
        return;
    }
    let span = agreement.map_or(&written.span, |agreement| &agreement.span);
    let message = "`acme.agree_to_terms` must be true";
    let help = "an authority gives certificates to those who agree to its terms: read them first";
    context.report(Problem::at(span.clone(), message).help(help));
}

fn names(written: &file::Acme, context: &Context<'_>) -> Vec<String> {
    let all = written.names.as_deref().unwrap_or_default();
    if all.is_empty() {
        let message = "`acme.names` is missing";
        let help = "name what the certificate is for: names = [\"gateway.example.com\"]";
        context.report(Problem::at(written.span.clone(), message).help(help));
    }
    let mut names: Vec<String> = Vec::new();
    for text in all {
        let name = text.value.to_ascii_lowercase();
        let wrong = match wrong_with(&name) {
            None if names.contains(&name) => Some("is written twice"),
            None if names.len() == MOST_NAMES => Some("is one too many: there may be 100"),
            wrong => wrong,
        };
        if let Some(wrong) = wrong {
            let message = format!("`acme.names`: `{}` {wrong}", text.value.escape_debug());
            context.report(Problem::at(text.span.clone(), message));
        } else {
            names.push(name);
        }
    }
    names
}

/// What keeps a text from being a name that can be looked at over TLS (RFC 8737).
fn wrong_with(name: &str) -> Option<&'static str> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.starts_with("*.") {
        Some("has a wildcard, which is proven by DNS alone: let another client of ACME order it")
    } else if name.parse::<std::net::IpAddr>().is_ok() {
        Some("is an address: only names are ordered")
    } else if name.len() > 253 || !name.split('.').all(is_label) {
        Some("is not the name of a host: write gateway.example.com")
    } else {
        None
    }
}

fn directory(written: &file::Acme, context: &Context<'_>) -> String {
    let Some(text) = &written.directory else { return LETS_ENCRYPT.to_owned() };
    let wrong = match BaseUrl::parse(&text.value) {
        Ok(url) if url.is_https() => return text.value.clone(),
        Ok(_) => "it must begin with https://".to_owned(),
        Err(why) => why,
    };
    let message = format!("`acme.directory` is not the address of an authority: {wrong}");
    context.report(Problem::at(text.span.clone(), message));
    LETS_ENCRYPT.to_owned()
}

/// The address of a person, as authorities write it.
fn contact(written: &At<String>, context: &Context<'_>) -> Option<String> {
    let address = written.value.strip_prefix("mailto:").unwrap_or(&written.value);
    let parts = address.split_once('@');
    let is_address = parts.is_some_and(|(who, host)| !who.is_empty() && !host.is_empty())
        && address.bytes().all(|byte| byte.is_ascii_graphic() && !b",?<>\"".contains(&byte));
    if !is_address {
        let message = format!(
            "`acme.contact`: `{}` is not an address for mail",
            written.value.escape_debug()
        );
        context.report(Problem::at(written.span.clone(), message));
    }
    is_address.then(|| format!("mailto:{address}"))
}

fn binding(written: &file::Acme, context: &Context<'_>) -> Option<Binding> {
    let (id, file) = match (&written.binding_id, &written.binding_file) {
        (None, None) => return None,
        (Some(id), Some(file)) => (id, file),
        (Some(alone), None) | (None, Some(alone)) => {
            let message = "`acme.eab_key_id` and `acme.eab_key_file` belong together";
            context.report(Problem::at(alone.span.clone(), message));
            return None;
        }
    };
    let read = secrets::line_of_file(&context.secret_file(&file.value), "key");
    let key = match read {
        _ if context.secrets == Secrets::Skip => None,
        Ok(key) => Some(key),
        Err(why) => {
            let message = format!("`acme.eab_key_file`: {why}");
            context.report(Problem::at(file.span.clone(), message));
            None
        }
    };
    Some(Binding { key_id: id.value.clone(), key })
}
