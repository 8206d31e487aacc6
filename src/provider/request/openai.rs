//! OpenAI's chat completions, completions, embeddings and moderations.

use super::parts::{self, Media};
use super::scan::{Member, Object, members, objects, word};
use super::splice::{self, Cap, Options};
use super::{Call, CapField, RequestError};
use crate::domain::usage::ServiceTier;
use crate::provider::endpoint::Endpoint;
use crate::provider::json::Cursor;

/// What moderates where no model is named (`OpenAI`'s API reference).
const MODERATION_MODEL: &str = "omni-moderation-latest";
/// How many sources xAI's live search reads where `max_search_results` says nothing; each is charged as a
/// search (its guide to live search).
const SOURCES: u64 = 20;

members!(
    /// The members that are read.
    Body {
        Model = "model",
        Messages = "messages",
        Input = "input",
        Prompt = "prompt",
        Stream = "stream",
        StreamOptions = "stream_options",
        MaxCompletionTokens = "max_completion_tokens",
        MaxTokens = "max_tokens",
        MaxOutputTokens = "max_output_tokens",
        N = "n",
        BestOf = "best_of",
        ServiceTier = "service_tier",
        Suffix = "suffix",
        Tools = "tools",
        Functions = "functions",
        ResponseFormat = "response_format",
        Prediction = "prediction",
        WebSearchOptions = "web_search_options",
        SearchParameters = "search_parameters",
        Plugins = "plugins",
        Models = "models",
    }
);

members!(StreamOptions { IncludeUsage = "include_usage" as "stream_options.include_usage" });
members!(Tool { Type = "type" as "tools.type" });
members!(SearchOptions { ContextSize = "search_context_size" as "web_search_options.search_context_size" });
members!(LiveSearch { MaxResults = "max_search_results" as "search_parameters.max_search_results" });

/// What becomes part of the prompt.
const PROMPT: [Body; 7] = [
    Body::Messages,
    Body::Input,
    Body::Prompt,
    Body::Suffix,
    Body::Tools,
    Body::Functions,
    Body::ResponseFormat,
];
const SEARCH: [Body; 3] = [Body::WebSearchOptions, Body::SearchParameters, Body::Plugins];

pub(super) fn read(
    endpoint: Endpoint,
    named: Option<&str>,
    text: &str,
) -> Result<Call, RequestError> {
    let body = Object::of_body(text)?;
    let default = (endpoint == Endpoint::Moderations).then_some(MODERATION_MODEL);
    let (model, slot, unnamed) = splice::model_of(&body, Body::Model, named, default)?;
    let options = stream_options(&body)?;
    check_prompt(&body, endpoint)?;
    let mut call = Call::new(endpoint, model, text.len());
    call.models = vec![slot];
    call.must_name_model = unnamed;
    call.stream = body.flag(Body::Stream)?;
    call.wants_usage = matches!(&options, Options::With(at) if &text[at.clone()] == "true");
    call.options = options;
    call.choices = choices(&body, endpoint)?;
    call.service = body.word(Body::ServiceTier).map(|word| ServiceTier::from_word(&word));
    call.prompt_bytes = body.length(&PROMPT);
    call.tools = body.has(Body::Tools) || body.has(Body::Functions);
    call.predicted_bytes = body.length(&[Body::Prediction]);
    call.other_models = body.has(Body::Models);
    call.set_media(media(&body, endpoint));
    if endpoint.generates() {
        cap(&body, &mut call)?;
    }
    searches(&body, &mut call)?;
    hosted_tools(&body, text, &mut call)?;
    Ok(call)
}

fn stream_options(body: &Object<'_, Body>) -> Result<Options, RequestError> {
    let Some(written) = body.written(Body::StreamOptions) else {
        return Ok(Options::Absent(body.start()));
    };
    let Some(options) = body.object::<StreamOptions>(Body::StreamOptions)? else {
        return Ok(Options::Null(body.place(written)));
    };
    Ok(match options.written(StreamOptions::IncludeUsage) {
        Some(value) => Options::With(options.place(value)),
        None => Options::Without { start: options.start(), empty: options.is_empty() },
    })
}

/// Tools that a provider runs by itself, such as `OpenRouter`'s `openrouter:web_search`. A list that is none
/// is for the provider to judge.
fn hosted_tools(body: &Object<'_, Body>, text: &str, call: &mut Call) -> Result<(), RequestError> {
    let Some(raw) = body.raw(Body::Tools) else { return Ok(()) };
    for tool in objects(raw, "tools").unwrap_or_default() {
        let tool: Object<'_, Tool> = Object::of_part(text, tool)?;
        let kind = tool.word(Tool::Type).unwrap_or_default();
        if matches!(kind.as_str(), "" | "function" | "custom") {
            continue;
        }
        call.hosted_tools = true;
        if kind.contains("web_search") {
            call.searches = true;
        } else {
            call.unpriced = Some(("tools", kind));
        }
    }
    Ok(())
}

/// What is asked must be there; what is in it is for the provider to judge.
fn check_prompt(body: &Object<'_, Body>, endpoint: Endpoint) -> Result<(), RequestError> {
    let member = match endpoint {
        Endpoint::Chat => Body::Messages,
        Endpoint::Completions => Body::Prompt,
        _ => Body::Input,
    };
    let raw = body.required(member)?;
    if member == Body::Messages && !raw.starts_with('[') {
        let param = member.param();
        return Err(RequestError::WrongType { param, expected: "a list of messages" });
    }
    Ok(())
}

fn cap(body: &Object<'_, Body>, call: &mut Call) -> Result<(), RequestError> {
    let fields = [Body::MaxCompletionTokens, Body::MaxTokens, Body::MaxOutputTokens];
    let mut caps: Vec<Cap> = Vec::new();
    for (member, field) in fields.into_iter().zip(CapField::ALL) {
        caps.extend(splice::cap(body, member, field)?);
    }
    call.set_caps(caps);
    let (own, name) = match call.endpoint {
        Endpoint::Chat => (Body::MaxCompletionTokens, r#""max_completion_tokens":"#),
        _ => (Body::MaxTokens, r#""max_tokens":"#),
    };
    call.cap_slot = Some(splice::cap_slot(body, own, name));
    if own == Body::MaxCompletionTokens {
        call.old_cap_slot = Some(splice::cap_slot(body, Body::MaxTokens, r#""max_tokens":"#));
    }
    Ok(())
}

fn choices(body: &Object<'_, Body>, endpoint: Endpoint) -> Result<u64, RequestError> {
    if !endpoint.generates() {
        return Ok(1);
    }
    let each = body.number(Body::N)?.max(body.number(Body::BestOf)?).unwrap_or(1).max(1);
    let prompts = match body.raw(Body::Prompt) {
        Some(raw) if endpoint == Endpoint::Completions => count_prompts(raw),
        _ => 1,
    };
    Ok(each.saturating_mul(prompts))
}

/// A list of texts or of token lists is a prompt each; a list of tokens is one.
fn count_prompts(raw: &str) -> u64 {
    let mut prompts = 0u64;
    let mut tokens = 0;
    Cursor::new(raw.as_bytes()).array(|cursor| {
        match cursor.peek()? {
            b'"' | b'[' => prompts += 1,
            _ => tokens = 1,
        }
        cursor.skip().map(drop)
    });
    (prompts + tokens).max(1)
}

fn media(body: &Object<'_, Body>, endpoint: Endpoint) -> Media {
    let mut media = Media::default();
    match endpoint {
        Endpoint::Chat => body.raw(Body::Messages).map(|raw| parts::messages(raw, &mut media)),
        Endpoint::Embeddings | Endpoint::Moderations => {
            body.raw(Body::Input).map(|raw| parts::content(raw, &mut media))
        }
        _ => None,
    };
    media
}

/// Searches of chat: once for a call by `OpenAI` and Perplexity, for each source by xAI.
fn searches(body: &Object<'_, Body>, call: &mut Call) -> Result<(), RequestError> {
    call.searches = SEARCH.into_iter().any(|member| body.has(member));
    let is_object = |member| body.raw(member).is_some_and(|raw| raw.starts_with('{'));
    if is_object(Body::WebSearchOptions) {
        let options = body.object::<SearchOptions>(Body::WebSearchOptions)?;
        call.search_context =
            options.and_then(|options| options.raw(SearchOptions::ContextSize).and_then(word));
    }
    if is_object(Body::SearchParameters) {
        let live = body.object::<LiveSearch>(Body::SearchParameters)?;
        let most = live.map(|live| live.number(LiveSearch::MaxResults)).transpose()?.flatten();
        call.search_limit = Some(most.unwrap_or(SOURCES));
    }
    Ok(())
}
