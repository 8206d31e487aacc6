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
    call.models = vec![slot];
    call.prompt_bytes = body.length(&PROMPT);
    call.tools = body.has(Body::Tools);
    if endpoint == Endpoint::CountTokens {
        return Ok(call);
    }
    cap(&body, &mut call)?;
    call.stream = body.flag(Body::Stream)?;
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

#[cfg(test)]
mod tests {
    use super::super::{Edits, Head, read, rewrite};
    use super::*;
    use bytes::Bytes;

    fn messages(members: &str) -> Result<Call, RequestError> {
        let body = format!(r#"{{"model":"m","max_tokens":4000,"messages":[]{members}}}"#);
        read(Endpoint::Messages, &Head::default(), body.as_bytes())
    }

    #[test]
    fn the_facts_of_a_call_are_read() {
        let body = r#"{"model":"claude","max_tokens":4000,"stream":true,"service_tier":"auto",
            "system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral","ttl":"1h"}}],
            "messages":[{"role":"user","content":"hi"}],"tools":[{"name":"f","input_schema":{}}]}"#;
        let call = read(Endpoint::Messages, &Head::default(), body.as_bytes()).expect("a call");
        assert!(call.stream && call.wants_usage && !call.media && !call.hosted_tools);
        assert_eq!((&*call.model, call.output_cap, call.choices), ("claude", Some(4000), 1));
        assert_eq!((call.least_cap, &call.unpriced), (0, &None));
        assert!(call.prompt_bytes > 100 && call.prompt_bytes < call.body_bytes);
    }

    #[test]
    fn what_the_wire_demands_must_be_there() {
        let of = |body: &str| read(Endpoint::Messages, &Head::default(), body.as_bytes());
        assert_eq!(of(r#"{"model":"m","messages":[]}"#), Err(RequestError::Missing("max_tokens")));
        assert_eq!(of(r#"{"model":"m","max_tokens":1}"#), Err(RequestError::Missing("messages")));
        let counted = br#"{"model":"m","messages":[]}"#;
        let call = read(Endpoint::CountTokens, &Head::default(), counted).expect("a call");
        assert!(call.is_free() && !call.can_be_capped());
        assert_eq!(
            messages(r#","Max_Tokens":1"#).map_err(|e| e.code()).err(),
            Some(Some("unknown_parameter"))
        );
        assert_eq!(
            messages(r#","thinking":{"budget_tokens":1,"budget_tokens":2}"#),
            Err(RequestError::Duplicate("thinking.budget_tokens"))
        );
        let tools = RequestError::WrongType { param: "tools", expected: "a list of objects" };
        assert_eq!(messages(r#","tools":[7]"#), Err(tools));
    }

    #[test]
    fn a_cap_stays_above_the_budget_for_thinking() {
        for (budget, least) in [(1024, 1025), (3999, 4000), (4000, 0), (9000, 0)] {
            let thinking = format!(r#","thinking":{{"type":"enabled","budget_tokens":{budget}}}"#);
            assert_eq!(messages(&thinking).map(|call| call.least_cap), Ok(least), "{budget}");
        }
        let adaptive = messages(r#","thinking":{"type":"adaptive"}"#);
        assert_eq!(adaptive.map(|call| call.least_cap), Ok(0));
    }

    #[test]
    fn tools_of_the_provider_are_told_from_the_clients() {
        for (tools, hosted, uses, searches, unpriced) in [
            (
                r#"{"type":"custom","name":"a"},{"name":"b"},{"type":"memory_20250818"}"#,
                false,
                None,
                false,
                false,
            ),
            (r#"{"type":"web_search_20250305","max_uses":3}"#, true, Some(3), true, false),
            (
                r#"{"type":"web_search_20260318"},{"type":"web_fetch_20250910","max_uses":1}"#,
                true,
                None,
                true,
                false,
            ),
            (r#"{"type":"web_fetch_20250910","max_uses":1}"#, true, Some(1), false, false),
            (r#"{"type":"tool_search_tool_bm25_20251119"}"#, true, None, false, false),
            (r#"{"type":"code_execution_20260521"}"#, true, None, false, true),
            (r#"{"type":"not_known_yet"}"#, true, None, false, true),
        ] {
            let call = messages(&format!(r#","tools":[{tools}]"#)).expect("a call");
            let facts =
                (call.hosted_tools, call.tool_limit, call.searches, call.unpriced.is_some());
            assert_eq!(facts, (hosted, uses, searches, unpriced), "{tools}");
        }
        let call = messages(
            r#","mcp_servers":[{"url":"u"}],"speed":"fast","container":"c"}"#.trim_end_matches('}'),
        );
        let call = call.expect("a call");
        assert!(call.hosted_tools && call.unseen_input);
        assert_eq!(call.unpriced, Some(("speed", "fast".to_owned())));
    }

    #[test]
    fn what_is_not_text_is_noticed() {
        let content = |parts: &str| {
            let body = format!(
                r#"{{"model":"m","max_tokens":1,"messages":[{{"role":"user","content":[{parts}]}}]}}"#
            );
            let call = read(Endpoint::Messages, &Head::default(), body.as_bytes()).expect("a call");
            (call.media, call.images_in, call.unseen_input)
        };
        let image =
            r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA"}}"#;
        assert_eq!(content(r#"{"type":"text","text":"a"}"#), (false, None, false));
        assert_eq!(content(image), (true, Some(1), false));
        let nested = format!(r#"{{"type":"tool_result","content":[{image},{image}]}},{image}"#);
        assert_eq!(content(&nested), (true, Some(3), false));
        assert_eq!(
            content(r#"{"type":"document","source":{"type":"url","url":"u"}}"#),
            (true, None, false)
        );
        assert_eq!(content(r#"{"type":"container_upload","file_id":"f"}"#), (true, None, true));
        assert_eq!(content(r#"{"type":"document","type":"text"}"#), (true, None, false));
    }

    #[test]
    fn only_the_model_and_the_cap_are_rewritten() {
        let body = Bytes::from(r#"{ "max_tokens" : 4000,"model":"m","messages":[],"top_k":1.0 }"#);
        let call = read(Endpoint::Messages, &Head::default(), &body).expect("a call");
        let edits = Edits {
            model: Some("claude"),
            include_usage: true,
            output_cap: Some(9),
            old_cap: false,
        };
        let out = rewrite(&body, &call, &edits);
        assert_eq!(out, r#"{ "max_tokens" : 9,"model":"claude","messages":[],"top_k":1.0 }"#);
    }
}
