//! Anthropic's messages, and the count of their tokens, which costs nothing.
//!
//! Thinking counts toward `max_tokens`. Anthropic refuses a call whose `thinking.budget_tokens` is not
//! below it, except where thinking and tools alternate, and then the budget may be above it from the
//! start (its guide to extended thinking): so a cap is lowered no further than to just above the budget,
//! and where the client's own cap is not above it there is nothing to keep.

use super::parts::{self, Media};
use super::scan::{Object, members, objects};
use super::splice;
use super::{Call, CapField, RequestError};
use crate::domain::usage::ServiceTier;
use crate::provider::endpoint::Endpoint;

members!(
    /// The members that are read.
    Body {
        Model = "model",
        Messages = "messages",
        System = "system",
        MaxTokens = "max_tokens",
        Stream = "stream",
        Tools = "tools",
        ServiceTier = "service_tier",
        Thinking = "thinking",
        McpServers = "mcp_servers",
        Container = "container",
        ContextManagement = "context_management",
        Speed = "speed",
        InferenceGeo = "inference_geo",
        Fallbacks = "fallbacks",
        OutputFormat = "output_format",
        OutputConfig = "output_config",
    }
);

members!(
    Thinking {
        BudgetTokens = "budget_tokens" as "thinking.budget_tokens",
    }
);

members!(
    Tool {
        Type = "type" as "tools.type",
        MaxUses = "max_uses" as "tools.max_uses",
    }
);

/// What becomes part of the prompt.
const PROMPT: [Body; 5] =
    [Body::Messages, Body::System, Body::Tools, Body::OutputFormat, Body::OutputConfig];

pub(super) fn read(endpoint: Endpoint, text: &str) -> Result<Call, RequestError> {
    let body = Object::of_body(text)?;
    let (model, slot) = splice::required_model(&body, Body::Model)?;
    if !body.required(Body::Messages)?.starts_with('[') {
        let expected = "a list of messages";
        return Err(RequestError::WrongType { param: "messages", expected });
    }
    let mut call = Call::new(endpoint, model, text.len());
    call.models.push(slot);
    call.prompt_bytes = body.length(&PROMPT);
    if endpoint == Endpoint::CountTokens {
        return Ok(call);
    }
    cap(&body, &mut call)?;
    call.stream = body.flag(Body::Stream)?;
    // There is nothing to hide from a client that did not ask.
    call.wants_usage = true;
    call.service = body.word(Body::ServiceTier).map(|word| ServiceTier::from_word(&word));
    call.other_models = body.has(Body::Fallbacks);
    let mut media = Media::default();
    for member in [Body::Messages, Body::System] {
        match body.raw(member) {
            Some(raw) if member == Body::Messages => parts::messages(raw, &mut media),
            Some(raw) => parts::content(raw, &mut media),
            None => {}
        }
    }
    call.set_media(media);
    tools(&body, text, &mut call)?;
    surcharges(&body, &mut call);
    Ok(call)
}

fn cap(body: &Object<'_, Body>, call: &mut Call) -> Result<(), RequestError> {
    body.required(Body::MaxTokens)?;
    let cap = splice::cap(body, Body::MaxTokens, CapField::MaxTokens)?;
    call.set_caps(cap.into_iter().collect());
    call.cap_slot = Some(splice::cap_slot(body, Body::MaxTokens, r#""max_tokens":"#));
    if let Some(thinking) = body.object::<Thinking>(Body::Thinking)? {
        let budget = thinking.number(Thinking::BudgetTokens)?;
        let kept = budget.filter(|budget| call.output_cap > Some(*budget));
        call.least_cap = kept.map_or(0, |budget| budget.saturating_add(1));
    }
    Ok(())
}

/// What the provider runs by itself: each tool as often as its `max_uses` says.
fn tools(body: &Object<'_, Body>, text: &str, call: &mut Call) -> Result<(), RequestError> {
    let mut limits = Limits::default();
    if let Some(raw) = body.raw(Body::Tools) {
        for tool in objects(raw, "tools")? {
            self::tool(&Object::of_part(text, tool)?, call, &mut limits)?;
        }
    }
    // Servers of tools, and a prompt that is shortened when it grows too long, are read without end.
    if [Body::McpServers, Body::ContextManagement].into_iter().any(|member| body.has(member)) {
        call.hosted_tools = true;
        limits.is_open = true;
    }
    call.unseen_input |= body.has(Body::Container);
    if call.hosted_tools && !limits.is_open {
        call.tool_limit = Some(limits.uses);
    }
    if call.searches && !limits.searches_are_open {
        call.search_limit = Some(limits.searches);
    }
    Ok(())
}

/// How often tools may be used, as far as all of them say so.
#[derive(Default)]
struct Limits {
    uses: u64,
    searches: u64,
    is_open: bool,
    searches_are_open: bool,
}

fn tool(tool: &Object<'_, Tool>, call: &mut Call, limits: &mut Limits) -> Result<(), RequestError> {
    let kind = tool.word(Tool::Type).unwrap_or_default();
    let is = |name: &str| kind.starts_with(name);
    // The client runs these; the kinds of Anthropic's own end with a date.
    let is_clients = matches!(kind.as_str(), "" | "custom")
        || ["bash_", "text_editor_", "computer_", "memory_"].into_iter().any(is);
    if is_clients {
        return Ok(());
    }
    let uses = tool.number(Tool::MaxUses)?;
    call.hosted_tools = true;
    limits.is_open |= uses.is_none();
    limits.uses = limits.uses.saturating_add(uses.unwrap_or(0));
    if is("web_search_") {
        call.searches = true;
        limits.searches_are_open |= uses.is_none();
        limits.searches = limits.searches.saturating_add(uses.unwrap_or(0));
    } else if !["web_fetch_", "tool_search_", "mcp_toolset"].into_iter().any(is) {
        // Time in a container, the advice of another model.
        call.unpriced = Some(("tools", kind));
    }
    Ok(())
}

/// Members that make every token dearer than the list says.
fn surcharges(body: &Object<'_, Body>, call: &mut Call) {
    for (member, usual) in [(Body::Speed, "standard"), (Body::InferenceGeo, "global")] {
        let asked = body.word(member).filter(|word| word != usual);
        if let Some(word) = asked {
            call.unpriced = Some((super::scan::Member::param(member), word));
        }
    }
}
