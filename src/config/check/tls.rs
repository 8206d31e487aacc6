//! Checks the TLS of a listener, and reads its certificate and key.

use super::{Context, Secrets, file_path};
use crate::config::certificate::{self, Certificate};
use crate::config::file::Tls;
use crate::config::problem::Problem;

/// The certificate of the section `path`, such as `server.tls`; `None` where there is no such section.
pub(super) fn resolve(
    written: Option<&Tls>,
    path: &str,
    context: &Context<'_>,
) -> Option<Certificate> {
    let written = written?;
    for (option, value) in [("cert", &written.certificate), ("key", &written.key)] {
        if value.is_absent() {
            let message = format!("`{path}.{option}` is missing");
            let help = format!("name both files: `cert` and `key` of [{path}]");
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
