//! Where a secret is to be found: the name of a variable, a path or the name of a credential, and never
//! the secret itself, which is pasted there more often than not.

use secrecy::SecretString;

use super::Context;
use crate::config::problem::Problem;
use crate::config::reader::{At, looks_secret};
use crate::config::secrets;

/// Where a secret is to be found.
pub(super) enum Source<'a> {
    Variable(&'a str),
    File(&'a str),
    Credential(&'a str),
}

impl<'a> Source<'a> {
    /// The place that is written; `which` of the three options of `secret` names it: `…_env`, `…_file`
    /// or `…_credential`.
    pub(super) fn written(
        secret: &str,
        which: usize,
        text: &'a At<String>,
        context: &Context<'_>,
    ) -> Option<Self> {
        if which == 1 {
            // Also where it is not read now.
            context.secret_file(&text.value);
        }
        let place = match which {
            0 => is_variable_name(&text.value).then_some(Self::Variable(&text.value)),
            1 => is_file_name(&text.value).then_some(Self::File(&text.value)),
            _ => is_credential_name(&text.value).then_some(Self::Credential(&text.value)),
        };
        if place.is_none() {
            context.findings.mask(text.span.clone());
            let what = match which {
                0 => "env` must be the name of an environment variable",
                1 => "file` must be a path",
                _ => "credential` must be the name of a systemd credential",
            };
            let help = "a key itself is never written in this file";
            let message = format!("`{secret}_{what}");
            context.report(Problem::at(text.span.clone(), message).help(help));
        }
        place
    }

    /// # Errors
    /// A sentence that names the place.
    pub(super) fn fetch(&self, context: &Context<'_>) -> Result<SecretString, String> {
        match self {
            Self::Variable(name) => secrets::from_variable(name, context.environment),
            Self::File(path) => secrets::from_file(&context.secret_file(path)),
            Self::Credential(name) => secrets::from_credential(name, context.environment),
        }
    }
}

fn is_variable_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.bytes().all(plain)
        && text.bytes().next().is_some_and(|b| !b.is_ascii_digit())
        && !looks_secret(text)
}

fn is_file_name(text: &str) -> bool {
    !text.is_empty() && !text.contains('\0') && (text.contains(['/', '.']) || !looks_secret(text))
}

fn is_credential_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !matches!(text, "" | "." | "..") && text.bytes().all(plain) && !looks_secret(text)
}
