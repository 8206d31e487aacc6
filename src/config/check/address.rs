//! Where a provider is: the kind's own address or one that is written, and how its endpoints are laid
//! out below it.
//!
//! What people have at hand is what their provider's own tools ask for, and those add a part of the
//! path: the same part is added here where it is missing.

use super::Context;
use crate::config::base_url::BaseUrl;
use crate::config::file;
use crate::config::problem::Problem;
use crate::provider::address::Layout;
use crate::provider::kind::{Kind, Preset};

/// Where Amazon's own hosts are, those inside a private network too.
const AMAZON: [&str; 3] = [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"];

/// The address as it is written, or the kind's own.
pub(super) fn base_url(
    written: &file::Provider,
    preset: &Preset,
    region: Option<&str>,
    context: &Context<'_>,
) -> Option<BaseUrl> {
    let name = &written.name;
    if preset.kind == Kind::Echo {
        if let Some(text) = written.base_url.right() {
            let message = "a provider of kind `echo` answers by itself: it has no `base_url`";
            context.report(Problem::at(text.span.clone(), message));
        }
        return None;
    }
    if let Some(text) = written.base_url.right() {
        return match BaseUrl::parse(&text.value) {
            Ok(url) => Some(url),
            Err(why) => {
                // There may be a password or a key in it.
                if text.value.contains(['@', '?']) {
                    context.findings.mask(text.span.clone());
                }
                let message = format!("`base_url` of `{}`: {why}", name.value);
                context.report(Problem::at(text.span.clone(), message));
                None
            }
        };
    }
    if preset.kind == Kind::Bedrock && written.base_url.is_absent() {
        return BaseUrl::parse(&bedrock(region?)).ok();
    }
    match preset.base_url {
        Some(text) => BaseUrl::parse(text).ok(),
        None if written.base_url.is_absent() => {
            let message = format!("provider `{}` needs a `base_url`", name.value);
            let label = format!("kind `{}` has no address of its own", preset.name);
            context.report(Problem::at(name.span.clone(), message).label(label));
            None
        }
        None => None,
    }
}

/// Bedrock's address in a region.
fn bedrock(region: &str) -> String {
    let china = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("https://bedrock-runtime.{region}.amazonaws.com{china}")
}

/// The address that endpoints are appended to, and how.
pub(super) fn laid_out(
    kind: Kind,
    base_url: Option<BaseUrl>,
    api_version: Option<&str>,
) -> (Option<BaseUrl>, Layout) {
    let usual = Layout::of(kind.dialect());
    let Some(url) = base_url else { return (None, usual) };
    let (below, layout) = match kind {
        Kind::Azure => azure(url.path(), api_version),
        // Anthropic's clients, and those who imitate its API, count the version to the endpoint.
        Kind::Anthropic if !url.path().ends_with("/v1") => ("/v1", usual),
        Kind::Gemini if !ends_with_version(url.path()) => ("/v1beta", usual),
        _ => ("", usual),
    };
    let url =
        if below.is_empty() { Some(url) } else { BaseUrl::parse(&format!("{url}{below}")).ok() };
    (url, layout)
}

/// Azure's address as the portal shows it has no path. Below `/openai` there is its version 1, which
/// is like OpenAI's own, and the dated versions before it, with the deployment in the path
/// (learn.microsoft.com, "Azure OpenAI API version lifecycle"). Any other path is taken as it is.
fn azure(path: &str, api_version: Option<&str>) -> (&'static str, Layout) {
    let is_dated =
        api_version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()));
    match (path.rsplit('/').next().unwrap_or_default(), is_dated) {
        ("", true) => ("/openai", Layout::Deployments),
        ("", false) => ("/openai/v1", Layout::Plain),
        ("openai", true) => ("", Layout::Deployments),
        ("openai", false) => ("/v1", Layout::Plain),
        _ => ("", Layout::Plain),
    }
}

/// Whether a path ends with a version, as `/v1beta`.
fn ends_with_version(path: &str) -> bool {
    let last = path.rsplit('/').next().unwrap_or_default();
    last.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// Whether calls go where the kind's usual variable belongs: a key must not be sent to a server of
/// another name because nobody said which key it is for.
pub(super) fn is_presets_own(preset: &Preset, base_url: Option<&BaseUrl>) -> bool {
    if preset.kind == Kind::Bedrock {
        let is_amazons = |url: &BaseUrl| {
            let host = url.host();
            url.is_https() && AMAZON.iter().any(|domain| host.ends_with(domain))
        };
        return base_url.is_none_or(is_amazons);
    }
    let usual = preset.base_url.and_then(|text| BaseUrl::parse(text).ok());
    match (usual, base_url) {
        (Some(usual), Some(url)) => {
            usual.host() == url.host() && usual.is_https() == url.is_https()
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missing_part_of_an_address_is_added() {
        use Layout::*;
        let dated = Some("2024-10-21");
        for (kind, written, version, expected, layout) in [
            (
                Kind::Azure,
                "https://n.openai.azure.com/",
                None,
                "https://n.openai.azure.com/openai/v1",
                Plain,
            ),
            (
                Kind::Azure,
                "https://n.openai.azure.com",
                Some("preview"),
                "https://n.openai.azure.com/openai/v1",
                Plain,
            ),
            (
                Kind::Azure,
                "https://n.openai.azure.com",
                dated,
                "https://n.openai.azure.com/openai",
                Deployments,
            ),
            (
                Kind::Azure,
                "https://n.openai.azure.com/openai",
                dated,
                "https://n.openai.azure.com/openai",
                Deployments,
            ),
            (
                Kind::Azure,
                "https://n.openai.azure.com/openai/",
                None,
                "https://n.openai.azure.com/openai/v1",
                Plain,
            ),
            (
                Kind::Azure,
                "https://n.openai.azure.com/openai/v1",
                None,
                "https://n.openai.azure.com/openai/v1",
                Plain,
            ),
            (
                Kind::Azure,
                "https://n.openai.azure.com/openai/deployments/mine",
                dated,
                "https://n.openai.azure.com/openai/deployments/mine",
                Plain,
            ),
            (
                Kind::Azure,
                "https://n.services.ai.azure.com/models",
                dated,
                "https://n.services.ai.azure.com/models",
                Plain,
            ),
            (
                Kind::Azure,
                "https://apim.example/team/openai",
                dated,
                "https://apim.example/team/openai",
                Deployments,
            ),
            (
                Kind::Anthropic,
                "https://api.example/anthropic",
                None,
                "https://api.example/anthropic/v1",
                Plain,
            ),
            (Kind::Anthropic, "https://api.example/v1/", None, "https://api.example/v1", Plain),
            (Kind::Gemini, "https://g.example", None, "https://g.example/v1beta", Methods),
            (Kind::Gemini, "https://g.example/v1", None, "https://g.example/v1", Methods),
            (Kind::Gemini, "https://g.example/v1alpha", None, "https://g.example/v1alpha", Methods),
            (Kind::Bedrock, "https://g.example", None, "https://g.example", Bedrock),
            (Kind::OpenAi, "https://g.example", None, "https://g.example", Plain),
        ] {
            let url = BaseUrl::parse(written).ok();
            let (url, found) = laid_out(kind, url, version);
            assert_eq!(
                (url.map(|url| url.to_string()).as_deref(), found),
                (Some(expected), layout)
            );
        }
    }

    #[test]
    fn bedrock_is_where_its_region_is() {
        assert_eq!(bedrock("eu-west-1"), "https://bedrock-runtime.eu-west-1.amazonaws.com");
        assert_eq!(bedrock("cn-north-1"), "https://bedrock-runtime.cn-north-1.amazonaws.com.cn");
    }
}
