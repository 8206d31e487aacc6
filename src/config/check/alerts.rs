//! Checks where warnings about limits go, and takes in the secret that signs them.

use secrecy::SecretString;

use super::{Context, Secrets};
use crate::config::base_url::BaseUrl;
use crate::config::file::File;
use crate::config::model::{Alerts, Webhook};
use crate::config::problem::Problem;
use crate::config::secrets;

/// At which hundredths of a limit somebody is told where the file does not say.
const DEFAULT_AT: [u64; 3] = [50, 80, 100];

pub(super) fn resolve(file: &File, context: &Context<'_>) -> Alerts {
    let written = &file.alerts;
    let mut at = written.at.clone().unwrap_or_else(|| DEFAULT_AT.to_vec());
    at.sort_unstable();
    at.dedup();
    let secret = secret(file, context);
    // Unlike a provider's, a receiver's address may carry a token in its query.
    let address = |text: &str| BaseUrl::parse(text.split('?').next().unwrap_or_default());
    let webhook = written.webhook.as_ref().and_then(|text| match address(&text.value) {
        Ok(_) => Some(Webhook { url: text.value.clone(), secret }),
        Err(why) => {
            let message = format!("`alerts.webhook` is not an address for calls: {why}");
            context.report(Problem::at(text.span.clone(), message));
            None
        }
    });
    Alerts { at, webhook }
}

fn secret(file: &File, context: &Context<'_>) -> Option<SecretString> {
    let written = &file.alerts;
    let (place, found) = match (&written.secret_env, &written.secret_file) {
        (Some(variable), None) => {
            (variable, secrets::from_variable(&variable.value, context.environment))
        }
        (None, Some(path)) => (path, secrets::from_file(&context.secret_file(&path.value))),
        (Some(first), Some(second)) => {
            let message = "`alerts` has two places for its secret";
            let problem = Problem::at(second.span.clone(), message).label("only one of them");
            context.report(problem.other(first.span.clone(), "the other is here"));
            return None;
        }
        (None, None) => return None,
    };
    if context.secrets == Secrets::Skip {
        return None;
    }
    found
        .map_err(|why| {
            let message = format!("`alerts` has no secret: {why}");
            context.report(Problem::at(place.span.clone(), message));
        })
        .ok()
}
