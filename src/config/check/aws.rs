//! What Bedrock needs: a region, and a key to send or credentials to sign with, from where Amazon's own
//! tools look for them unless the file says otherwise.

use std::ops::Range;

use secrecy::SecretString;

use super::secret::Source;
use super::{Context, Secrets, address};
use crate::config::base_url::BaseUrl;
use crate::config::file::{self, Place};
use crate::config::model::{Aws, Credentials};
use crate::config::problem::Problem;
use crate::provider::kind::{Kind, Preset};

/// Which region Amazon's tools take without being told another, the first that is set.
const REGION_VARIABLES: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];
const ACCESS_KEY_ID: &str = "AWS_ACCESS_KEY_ID";
const SECRET_ACCESS_KEY: &str = "AWS_SECRET_ACCESS_KEY";
const SESSION_TOKEN: &str = "AWS_SESSION_TOKEN";

/// The region that is written, that of the address, or that of the environment; reports one that is
/// missing or has no meaning.
pub(super) fn region(
    written: &file::Provider,
    preset: &Preset,
    context: &Context<'_>,
) -> Option<String> {
    if preset.kind != Kind::Bedrock {
        if let Some(region) = &written.region {
            let message = "`region` has a meaning only with kind `bedrock`";
            context.report(Problem::at(region.span.clone(), message));
        }
        return None;
    }
    if let Some(region) = &written.region {
        if is_region(&region.value) {
            return Some(region.value.clone());
        }
        let message = "`region` must be a region such as \"us-east-1\"";
        context.report(Problem::at(region.span.clone(), message));
        return None;
    }
    let of_address = written.base_url.right().and_then(|url| of_host(&url.value));
    let found =
        of_address.or_else(|| REGION_VARIABLES.iter().find_map(|name| context.variable(name)));
    if found.as_deref().is_none_or(|region| !is_region(region)) && context.secrets == Secrets::Read
    {
        let message = format!("provider `{}` needs a `region`", written.name.value);
        let problem = Problem::at(written.name.span.clone(), message);
        context.report(problem.help("write region = \"us-east-1\", or set AWS_REGION"));
    }
    found.filter(|region| is_region(region))
}

fn is_region(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=32).contains(&text.len()) && text.bytes().all(plain)
}

/// The region in a host of Amazon's.
fn of_host(url: &str) -> Option<String> {
    let url = BaseUrl::parse(url).ok()?;
    let mut labels = url.host().split('.');
    labels.find(|label| matches!(*label, "bedrock-runtime" | "bedrock-runtime-fips"))?;
    labels.next().map(str::to_owned)
}

/// What calls are signed with, where no key is sent instead.
pub(super) fn resolve(
    written: &file::Provider,
    preset: &Preset,
    base_url: Option<&BaseUrl>,
    region: Option<String>,
    has_key: bool,
    context: &Context<'_>,
) -> Option<Aws> {
    let places = &written.aws;
    if preset.kind != Kind::Bedrock {
        let all = [&places.access_key_id, &places.secret_access_key, &places.session_token];
        for text in all.iter().flat_map(|place| place.options()).filter_map(|o| o.right()) {
            let message = "credentials to sign with have a meaning only with kind `bedrock`";
            context.report(Problem::at(text.span.clone(), message));
        }
        return None;
    }
    let region = region?;
    let is_own = address::is_presets_own(preset, base_url);
    let credentials = if !places.is_absent() {
        written_credentials(written, has_key, context)
    } else if has_key || places.has_secrets || !is_own || context.secrets == Secrets::Skip {
        None
    } else {
        usual_credentials(written, context)
    };
    Some(Aws { region, credentials })
}

/// The credentials whose places are written.
fn written_credentials(
    written: &file::Provider,
    has_key: bool,
    context: &Context<'_>,
) -> Option<Credentials> {
    let places = &written.aws;
    if has_key {
        let message = format!(
            "provider `{}` has a key to send and credentials to sign with",
            written.name.value
        );
        context.report(Problem::at(written.name.span.clone(), message).label("only one of them"));
    }
    for (place, option) in
        [(&places.access_key_id, "access_key_id"), (&places.secret_access_key, "secret_access_key")]
    {
        if place.is_absent() {
            let message = format!("provider `{}` needs an `{option}_env`", written.name.value);
            let problem = Problem::at(written.name.span.clone(), message);
            context.report(problem.help(format!("or `{option}_file`, or `{option}_credential`")));
        }
    }
    let name = &written.name.value;
    let access_key_id = of_place(&places.access_key_id, "access_key_id", name, context);
    let secret_access_key = of_place(&places.secret_access_key, "secret_access_key", name, context);
    let session_token = of_place(&places.session_token, "session_token", name, context);
    Some(Credentials {
        access_key_id: access_key_id?,
        secret_access_key: secret_access_key?,
        session_token,
    })
}

fn of_place(
    place: &Place,
    secret: &str,
    provider: &str,
    context: &Context<'_>,
) -> Option<SecretString> {
    let options = place.options();
    let mut given =
        options.iter().enumerate().filter_map(|(at, option)| Some((at, option.right()?)));
    let (which, text) = given.next()?;
    if let Some((_, second)) = given.next() {
        let message = format!("provider `{provider}` has two places for its `{secret}`");
        let problem = Problem::at(second.span.clone(), message).label("only one of them");
        context.report(problem.other(text.span.clone(), "the other is here"));
        return None;
    }
    let source = Source::written(secret, which, text, context)?;
    if context.secrets == Secrets::Skip {
        return None;
    }
    fetch(&source, secret, provider, text.span.clone(), context)
}

fn fetch(
    source: &Source<'_>,
    secret: &str,
    provider: &str,
    span: Range<usize>,
    context: &Context<'_>,
) -> Option<SecretString> {
    let found = source.fetch(context);
    if let Err(why) = &found {
        let message = format!("provider `{provider}` has no {secret}: {why}");
        context.report(Problem::at(span, message));
    }
    found.ok()
}

/// The credentials of the environment, as Amazon's own tools name them.
fn usual_credentials(written: &file::Provider, context: &Context<'_>) -> Option<Credentials> {
    let name = &written.name;
    if context.variable(ACCESS_KEY_ID).is_none() {
        let message = format!(
            "provider `{}` has no key: neither AWS_BEARER_TOKEN_BEDROCK nor {ACCESS_KEY_ID} is set",
            name.value
        );
        context.report(Problem::at(name.span.clone(), message));
        return None;
    }
    let variable = |variable: &str, secret: &str| {
        fetch(&Source::Variable(variable), secret, &name.value, name.span.clone(), context)
    };
    let session_token = context.variable(SESSION_TOKEN).is_some();
    Some(Credentials {
        access_key_id: variable(ACCESS_KEY_ID, "access_key_id")?,
        secret_access_key: variable(SECRET_ACCESS_KEY, "secret_access_key")?,
        session_token: session_token.then(|| variable(SESSION_TOKEN, "session_token")).flatten(),
    })
}
