//! OpenAI's responses: what is asked may lie at the provider, and the provider may run tools for it.
//!
//! Usage always comes in an answer and in the last event of a stream, so nothing is asked for here.

use super::parts::{self, Media};
use super::scan::{Object, members, objects, word};
use super::splice;
use super::{Call, CapField, RequestError};
use crate::domain::usage::ServiceTier;
use crate::provider::endpoint::Endpoint;
use crate::provider::json::Cursor;

members!(
    /// The members that are read.
    Body {
        Model = "model",
        Input = "input",
        Instructions = "instructions",
        Stream = "stream",
        MaxOutputTokens = "max_output_tokens",
        MaxToolCalls = "max_tool_calls",
        ServiceTier = "service_tier",
        Tools = "tools",
        Text = "text",
        Background = "background",
        PreviousResponse = "previous_response_id",
        Conversation = "conversation",
        Prompt = "prompt",
        ContextManagement = "context_management",
    }
);

members!(
    Tool {
        Type = "type" as "tools.type",
        ContextSize = "search_context_size" as "tools.search_context_size",
    }
);

/// What becomes part of the prompt, where it is in the body.
const PROMPT: [Body; 4] = [Body::Input, Body::Instructions, Body::Tools, Body::Text];
/// What brings in a prompt that lies at the provider.
const STORED: [Body; 3] = [Body::PreviousResponse, Body::Conversation, Body::Prompt];

pub(super) fn read(named: Option<&str>, text: &str) -> Result<Call, RequestError> {
    let body = Object::of_body(text)?;
    let (model, slot, unnamed) = splice::model_of(&body, Body::Model, named, None)?;
    let stored = STORED.into_iter().any(|member| body.has(member));
    if !stored {
        body.required(Body::Input)?;
    }
    let mut call = Call::new(Endpoint::Responses, model, text.len());
    call.models = vec![slot];
    call.must_name_model = unnamed;
    call.stream = body.flag(Body::Stream)?;
    call.background = body.flag(Body::Background)?;
    call.service = body.word(Body::ServiceTier).map(|word| ServiceTier::from_word(&word));
    call.prompt_bytes = body.length(&PROMPT);
    call.tools = body.has(Body::Tools);
    let cap = splice::cap(&body, Body::MaxOutputTokens, CapField::MaxOutputTokens)?;
    call.set_caps(cap.into_iter().collect());
    call.cap_slot = Some(splice::cap_slot(&body, Body::MaxOutputTokens, r#""max_output_tokens":"#));
    call.unseen_input = stored;
    let mut media = Media::default();
    if let Some(raw) = body.raw(Body::Input) {
        items(raw, &mut media);
    }
    call.set_media(media);
    tools(&body, text, &mut call)?;
    Ok(call)
}

/// Reads the items of an input; a text has none.
fn items(raw: &str, media: &mut Media) {
    let read = Cursor::new(raw.as_bytes()).array(|cursor| item(cursor, media));
    media.other |= read.is_none();
}

/// An item without a type is a message, or refers to another item by its id alone.
fn item(cursor: &mut Cursor<'_>, media: &mut Media) -> Option<()> {
    let mut kind: Option<&[u8]> = None;
    let mut has_role = false;
    let mut contents: Vec<&[u8]> = Vec::new();
    cursor.object(|cursor, key, _| {
        let value = cursor.skip()?;
        match key {
            b"type" => media.other |= kind.replace(value).is_some(),
            b"role" => has_role = true,
            b"content" | b"output" => contents.push(value),
            key => media.other |= key.contains(&b'\\'),
        }
        Some(())
    })?;
    match kind {
        // All in the body: what is encrypted in them is longer than what it stands for.
        Some(
            br#""function_call""#
            | br#""custom_tool_call""#
            | br#""reasoning""#
            | br#""web_search_call""#
            | br#""file_search_call""#
            | br#""code_interpreter_call""#
            | br#""mcp_list_tools""#
            | br#""mcp_approval_request""#
            | br#""mcp_approval_response""#
            | br#""local_shell_call""#
            | br#""shell_call""#
            | br#""apply_patch_call""#,
        ) => return Some(()),
        Some(
            br#""message""#
            | br#""function_call_output""#
            | br#""custom_tool_call_output""#
            | br#""local_shell_call_output""#
            | br#""apply_patch_call_output""#,
        ) => {}
        None if has_role => {}
        Some(br#""item_reference""#) | None => media.unseen = true,
        Some(_) => media.other = true,
    }
    contents.into_iter().try_for_each(|raw| parts::parts(&mut Cursor::new(raw), media))
}

/// What the provider runs by itself. `max_tool_calls` bounds the uses of all of them together (API
/// reference of responses).
fn tools(body: &Object<'_, Body>, text: &str, call: &mut Call) -> Result<(), RequestError> {
    let limit = body.number(Body::MaxToolCalls)?;
    if let Some(raw) = body.raw(Body::Tools) {
        for tool in objects(raw, "tools")? {
            self::tool(&Object::of_part(text, tool)?, call);
        }
    }
    // The provider writes a shorter prompt when this one grows too long, and reads both.
    call.hosted_tools |= body.has(Body::ContextManagement);
    if call.hosted_tools {
        call.tool_limit = limit;
        call.search_limit = limit;
    }
    Ok(())
}

fn tool(tool: &Object<'_, Tool>, call: &mut Call) {
    let kind = tool.word(Tool::Type).unwrap_or_default();
    match kind.as_str() {
        // The client runs these.
        "function"
        | "custom"
        | "local_shell"
        | "apply_patch"
        | "namespace"
        | "computer"
        | "computer_use"
        | "computer_use_preview" => return,
        kind if kind.starts_with("web_search") => {
            call.searches = true;
            let size = tool.raw(Tool::ContextSize).and_then(word);
            call.search_context = wider(call.search_context.take(), size);
        }
        // Charged by their tokens alone.
        "mcp" | "tool_search" => {}
        // A container for a session, a search in files, an image of another model.
        _ => call.unpriced = Some(("tools", kind)),
    }
    call.hosted_tools = true;
}

/// The wider of two search contexts, which is the dearer.
fn wider(one: Option<String>, other: Option<String>) -> Option<String> {
    let rank = |context: &Option<String>| match context.as_deref() {
        Some("low") => 0,
        None | Some("medium") => 1,
        Some(_) => 2,
    };
    match one {
        Some(_) if rank(&one) >= rank(&other) => one,
        _ => other.or(one),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Edits, Head, read as read_any, rewrite};
    use super::*;
    use bytes::Bytes;

    fn with(members: &str) -> Result<Call, RequestError> {
        read(None, &format!(r#"{{"model":"m","input":"hi"{members}}}"#))
    }

    #[test]
    fn the_facts_of_a_call_are_read() {
        let call = with(
            r#","stream":true,"instructions":"be brief","max_output_tokens":50,"max_tokens":7,
            "service_tier":"flex","tools":[{"type":"function","name":"f"}],"store":true,"n":"x""#,
        );
        let call = call.expect("a call");
        assert!(call.stream && !call.background && !call.hosted_tools && !call.unseen_input);
        assert_eq!((call.output_cap, call.service), (Some(50), Some(ServiceTier::Flex)));
        assert_eq!(with("").map(|call| call.output_cap), Ok(None));
        assert_eq!(read(None, r#"{"model":"m"}"#), Err(RequestError::Missing("input")));
        assert_eq!(
            with(r#","background":true,"background":false"#),
            Err(RequestError::Duplicate("background"))
        );
        assert_eq!(with(r#","background":true"#).map(|call| call.background), Ok(true));
    }

    #[test]
    fn what_lies_at_the_provider_is_noticed() {
        for stored in [
            r#"{"model":"m","previous_response_id":"r"}"#,
            r#"{"model":"m","input":"a","conversation":{"id":"c"}}"#,
            r#"{"model":"m","prompt":{"id":"p","version":"2"}}"#,
            r#"{"model":"m","input":[{"type":"item_reference","id":"i"}]}"#,
            r#"{"model":"m","input":[{"id":"i"}]}"#,
            r#"{"model":"m","input":[{"role":"user","content":[{"type":"input_image","file_id":"f"}]}]}"#,
        ] {
            assert_eq!(read(None, stored).map(|call| call.unseen_input), Ok(true), "{stored}");
        }
        assert_eq!(
            with(r#","previous_response_id":null"#).map(|call| call.unseen_input),
            Ok(false)
        );
    }

    #[test]
    fn items_of_text_are_told_from_others() {
        for (items, media, images) in [
            (r#"{"role":"user","content":"a"}"#, false, None),
            (
                r#"{"type":"message","role":"user","content":[{"type":"input_text","text":"a"}]}"#,
                false,
                None,
            ),
            (
                r#"{"type":"function_call","arguments":"{}"},{"type":"function_call_output","output":"x"}"#,
                false,
                None,
            ),
            (r#"{"type":"reasoning","summary":[],"encrypted_content":"e"}"#, false, None),
            (
                r#"{"role":"user","content":[{"type":"input_image","image_url":"u"},{"type":"input_text"}]}"#,
                true,
                Some(1),
            ),
            (
                r#"{"type":"function_call_output","output":[{"type":"input_image","image_url":"u"}]}"#,
                true,
                Some(1),
            ),
            (r#"{"role":"user","content":[{"type":"input_file","file_url":"u"}]}"#, true, None),
            (
                r#"{"type":"computer_call_output","output":{"type":"computer_screenshot"}}"#,
                true,
                None,
            ),
            (r#"{"role":"user","c\u006fntent":[]}"#, true, None),
        ] {
            let body = format!(r#"{{"model":"m","input":[{items}]}}"#);
            let facts = read(None, &body).map(|call| (call.media, call.images_in));
            assert_eq!(facts, Ok((media, images)), "{items}");
        }
    }

    #[test]
    fn tools_of_the_provider_are_told_from_the_clients() {
        for (tools, hosted, searches, unpriced) in [
            (
                r#"{"type":"function"},{"type":"custom"},{"type":"computer_use_preview"}"#,
                false,
                false,
                false,
            ),
            (r#"{"type":"web_search"}"#, true, true, false),
            (r#"{"type":"web_search_preview_2025_03_11"}"#, true, true, false),
            (r#"{"type":"mcp","server_url":"u"}"#, true, false, false),
            (r#"{"type":"file_search"}"#, true, false, true),
            (r#"{"type":"code_interpreter","container":{"type":"auto"}}"#, true, false, true),
            (r#"{"type":"image_generation"}"#, true, false, true),
            ("{}", true, false, true),
        ] {
            let call = with(&format!(r#","max_tool_calls":4,"tools":[{tools}]"#)).expect("a call");
            let facts = (call.hosted_tools, call.searches, call.unpriced.is_some());
            assert_eq!(facts, (hosted, searches, unpriced), "{tools}");
            assert_eq!(call.tool_limit, hosted.then_some(4));
        }
        let sized = r#","tools":[{"type":"web_search","search_context_size":"high"},{"type":"web_search"}]"#;
        let call = with(sized).expect("a call");
        assert_eq!((call.search_context.as_deref(), call.search_limit), (Some("high"), None));
    }

    #[test]
    fn a_cap_is_put_where_none_is_and_usage_is_not_asked_for() {
        for (members, expected) in [
            ("", r#"{"max_output_tokens":9,"model":"m","input":"hi"}"#),
            (r#","max_output_tokens":50"#, r#"{"model":"m","input":"hi","max_output_tokens":9}"#),
            (
                r#","max_output_tokens": null"#,
                r#"{"model":"m","input":"hi","max_output_tokens": 9}"#,
            ),
        ] {
            let body = Bytes::from(format!(r#"{{"model":"m","input":"hi"{members}}}"#));
            let call = read_any(Endpoint::Responses, &Head::default(), &body).expect("a call");
            let edits =
                Edits { model: None, include_usage: true, output_cap: Some(9), old_cap: false };
            assert_eq!(rewrite(&body, &call, &edits), expected);
        }
    }
}
