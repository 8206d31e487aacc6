//! Checks the TLS of a listener, and reads its certificate and key where they are in files.

use super::{Context, Secrets, file_path};
use crate::config::certificate::{self, Certificate};
use crate::config::file;
use crate::config::model::Tls;
use crate::config::problem::Problem;

/// What the section `path` says, such as `server.tls`; `None` where there is no such section.
pub(super) fn resolve(
    written: Option<&file::Tls>,
    path: &str,
    context: &Context<'_>,
) -> Option<Tls> {
    let written = written?;
    let files = [("cert", &written.certificate), ("key", &written.key)];
    if written.acme.as_ref().is_some_and(|acme| acme.value) {
        for (option, value) in files {
            let Some(file) = value.right() else { continue };
            let message = format!("`{path}` orders its certificate, and has `{option}`, too");
            let help = format!("write `acme = true` or name files by `cert` and `key` in [{path}]");
            context.report(Problem::at(file.span.clone(), message).help(help));
        }
        return Some(Tls::Acme);
    }
    in_files(written, path, context).map(Tls::Files)
}

fn in_files(written: &file::Tls, path: &str, context: &Context<'_>) -> Option<Certificate> {
    for (option, value) in [("cert", &written.certificate), ("key", &written.key)] {
        if value.is_absent() {
            let message = format!("`{path}.{option}` is missing");
            let help = format!(
                "name both files, `cert` and `key` of [{path}], or have a certificate ordered by \
                 `acme = true`"
            );
            context.report(Problem::at(written.span.clone(), message).help(help));
        }
    }
    let (certificate, key) = (written.certificate.right()?, written.key.right()?);
    let mut found = Certificate {
        certificate_file: file_path(Some(certificate), &format!("{path}.cert"), "", context),
        key_file: file_path(Some(key), &format!("{path}.key"), "", context),
        pair: None,
    };
    if context.secrets == Secrets::Read {
        match certificate::load(&found.certificate_file, &found.key_file) {
            Ok(pair) => found.pair = Some(pair.into()),
            Err(why) => {
                let span = if why.starts_with("the key") { &key.span } else { &certificate.span };
                context.report(Problem::at(span.clone(), format!("`{path}`: {why}")));
            }
        }
    }
    Some(found)
}
