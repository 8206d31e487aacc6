//! Gemini's methods: the model stands in the path, and the method says whether the answer is a stream.
//!
//! Google reads the names of members in camelCase and as its schema writes them, in `snake_case` (the
//! JSON mapping of Protocol Buffers): both are read here, and both together are one member twice. What
//! a model thinks counts toward `maxOutputTokens` (googleapis/python-genai#2062 measured it), so that cap
//! bounds all output that is charged.

use super::parts::Media;
use super::scan::{Member, Object, differs_in_case, members, objects, word};
use super::splice::{self, ModelSlot, Slot};
use super::{Call, CapField, RequestError, check_model};
use crate::domain::usage::ServiceTier;
use crate::provider::endpoint::Endpoint;
use crate::provider::json::Cursor;

members!(
    /// The members that are read.
    Body {
        Model = "model",
        Contents = "contents",
        Content = "content",
        Requests = "requests",
        System = "systemInstruction" or "system_instruction",
        Tools = "tools",
        Config = "generationConfig" or "generation_config",
        Cached = "cachedContent" or "cached_content",
        ServiceTier = "serviceTier" or "service_tier",
        Whole = "generateContentRequest" or "generate_content_request",
    }
);

members!(
    Config {
        Cap = "maxOutputTokens" or "max_output_tokens" as "generationConfig.maxOutputTokens",
        Candidates = "candidateCount" or "candidate_count" as "generationConfig.candidateCount",
        Schema = "responseSchema" or "response_schema" as "generationConfig.responseSchema",
        JsonSchema = "responseJsonSchema" or "response_json_schema" as "generationConfig.responseJsonSchema",
    }
);

/// What a name begins with in a body.
const PREFIX: &str = "models/";
const PROMPT: [Body; 6] =
    [Body::Contents, Body::Content, Body::Requests, Body::System, Body::Tools, Body::Whole];

pub(super) fn read(endpoint: Endpoint, model: &str, text: &str) -> Result<Call, RequestError> {
    check_model("model", model)?;
    let body = Object::of_body(text)?;
    let mut call = Call::new(endpoint, model.to_owned(), text.len());
    named(&body, &mut call)?;
    call.prompt_bytes = body.length(&PROMPT);
    call.tools = body.has(Body::Tools);
    match endpoint {
        Endpoint::GenerateContent | Endpoint::StreamGenerateContent => generate(&body, &mut call)?,
        Endpoint::GeminiCountTokens => count(&body, &mut call)?,
        Endpoint::BatchEmbedContents => batch(&body, text, &mut call)?,
        _ => {
            let mut media = Media::default();
            contents(body.required(Body::Content)?, &mut media);
            call.set_media(media);
        }
    }
    Ok(call)
}

/// A body may name the model as well: the same one.
fn named(body: &Object<'_, Body>, call: &mut Call) -> Result<(), RequestError> {
    let param = Body::Model.param();
    let Some(raw) = body.raw(Body::Model) else { return Ok(()) };
    let written = word(raw).ok_or(RequestError::WrongType { param, expected: "a string" })?;
    let (prefix, name) = match written.strip_prefix(PREFIX) {
        Some(name) => (PREFIX, name),
        None => ("", written.as_str()),
    };
    if name != call.model {
        return Err(RequestError::OtherModel(param));
    }
    let slot = Slot::value(body.place(raw));
    call.models.push(ModelSlot { slot, prefix, is_json: true });
    Ok(())
}

fn generate(body: &Object<'_, Body>, call: &mut Call) -> Result<(), RequestError> {
    let mut media = Media::default();
    contents(body.required(Body::Contents)?, &mut media);
    contents(body.raw(Body::System).unwrap_or("[]"), &mut media);
    call.set_media(media);
    call.stream = call.endpoint == Endpoint::StreamGenerateContent;
    call.service =
        body.word(Body::ServiceTier).map(|word| ServiceTier::from_word(&word.to_ascii_lowercase()));
    call.unseen_input |= body.has(Body::Cached);
    match body.object::<Config>(Body::Config)? {
        None => call.cap_slot = Some(new_config(body)),
        Some(config) => {
            let cap = splice::cap(&config, Config::Cap, CapField::MaxOutputTokens)?;
            call.set_caps(cap.into_iter().collect());
            // A number that is zero is as good as none in Google's schema.
            call.output_cap = call.output_cap.filter(|cap| *cap > 0);
            call.cap_slot = Some(splice::cap_slot(&config, Config::Cap, r#""maxOutputTokens":"#));
            call.choices = config.number(Config::Candidates)?.unwrap_or(1).max(1);
            call.prompt_bytes += config.length(&[Config::Schema, Config::JsonSchema]);
        }
    }
    tools(body, call)
}

/// Where a configuration goes that is not there yet.
fn new_config(body: &Object<'_, Body>) -> Slot {
    match body.written(Body::Config) {
        Some(null) => {
            Slot { at: body.place(null), before: r#"{"maxOutputTokens":"#.into(), after: "}" }
        }
        None => Slot {
            at: body.start()..body.start(),
            before: r#""generationConfig":{"maxOutputTokens":"#.into(),
            after: if body.is_empty() { "}" } else { "}," },
        },
    }
}

/// A count of tokens is asked for contents, or for a whole call.
fn count(body: &Object<'_, Body>, call: &mut Call) -> Result<(), RequestError> {
    match body.object::<Body>(Body::Whole)? {
        Some(whole) => named(&whole, call),
        None => body.required(Body::Contents).map(drop),
    }
}

fn batch(body: &Object<'_, Body>, text: &str, call: &mut Call) -> Result<(), RequestError> {
    let raw = body.required(Body::Requests)?;
    let mut media = Media::default();
    for request in objects(raw, "requests")? {
        let request = Object::<Body>::of_part(text, request)?;
        named(&request, call)?;
        contents(request.required(Body::Content)?, &mut media);
    }
    call.set_media(media);
    Ok(())
}

/// What the provider runs by itself. Nothing in a call bounds how often.
fn tools(body: &Object<'_, Body>, call: &mut Call) -> Result<(), RequestError> {
    let Some(raw) = body.raw(Body::Tools) else { return Ok(()) };
    for tool in objects(raw, "tools")? {
        let read = Cursor::new(tool.as_bytes()).object(|cursor, key, _| {
            let is_there = cursor.skip()? != b"null";
            if is_there {
                self::tool(&String::from_utf8_lossy(key), call);
            }
            Some(())
        });
        if read.is_none() {
            return Err(RequestError::WrongType { param: "tools", expected: "a list of objects" });
        }
    }
    Ok(())
}

fn tool(key: &str, call: &mut Call) {
    match key {
        // The client runs these.
        "functionDeclarations" | "function_declarations" | "computerUse" | "computer_use" => return,
        // What was found is not charged as input, but a search may be run for each step of the model.
        "googleSearch" | "google_search" | "googleSearchRetrieval" | "google_search_retrieval" => {
            call.searches = true;
        }
        "codeExecution" | "code_execution" | "urlContext" | "url_context" | "mcpServers"
        | "mcp_servers" => {}
        // A search in maps, in files, or what nobody knows yet.
        _ => call.unpriced = Some(("tools", key.to_owned())),
    }
    call.hosted_tools = true;
}

/// Reads contents, or one of them.
fn contents(raw: &str, media: &mut Media) {
    let mut cursor = Cursor::new(raw.as_bytes());
    let read = match raw.as_bytes().first() {
        Some(b'[') => cursor.array(|cursor| content(cursor, media)),
        _ => content(&mut cursor, media),
    };
    media.other |= read.is_none();
}

fn content(cursor: &mut Cursor<'_>, media: &mut Media) -> Option<()> {
    cursor.object(|cursor, key, _| match key {
        b"parts" if cursor.peek()? == b'[' => cursor.array(|cursor| part(cursor, media)),
        b"parts" => part(cursor, media),
        key => {
            media.other |= key.contains(&b'\\') || is_other_case(key, "parts");
            cursor.skip().map(drop)
        }
    })
}

/// A part is text only if all that it has is known to be text.
fn part(cursor: &mut Cursor<'_>, media: &mut Media) -> Option<()> {
    cursor.object(|cursor, key, _| {
        match key {
            b"text"
            | b"thought"
            | b"thoughtSignature"
            | b"thought_signature"
            | b"functionCall"
            | b"function_call"
            | b"executableCode"
            | b"executable_code"
            | b"codeExecutionResult"
            | b"code_execution_result" => {
                cursor.skip()?;
            }
            b"functionResponse" | b"function_response" => {
                let value = cursor.skip()?;
                let has = |word: &[u8]| memchr::memmem::find(value, word).is_some();
                media.other |= has(b"\"parts\"") || has(br"\u");
            }
            b"inlineData" | b"inline_data" => inline(cursor, media)?,
            b"fileData" | b"file_data" => {
                cursor.skip()?;
                (media.other, media.unseen) = (true, true);
            }
            _ => {
                cursor.skip()?;
                media.other = true;
            }
        }
        Some(())
    })
}

/// Data in the body is an image if its type says so, once.
fn inline(cursor: &mut Cursor<'_>, media: &mut Media) -> Option<()> {
    let mut images = 0;
    cursor.object(|cursor, key, _| {
        let value = cursor.skip()?;
        match key {
            b"mimeType" | b"mime_type" if value.starts_with(b"\"image/") => images += 1,
            b"mimeType" | b"mime_type" => media.other = true,
            key => media.other |= key.contains(&b'\\'),
        }
        Some(())
    })?;
    media.other |= images != 1;
    media.images += 1;
    Some(())
}

fn is_other_case(key: &[u8], name: &str) -> bool {
    std::str::from_utf8(key).is_ok_and(|key| differs_in_case(key, name))
}

#[cfg(test)]
mod tests {
    use super::super::{Edits, Head, read as read_any, rewrite};
    use super::*;
    use bytes::Bytes;

    fn generate(body: &str) -> Result<Call, RequestError> {
        read(Endpoint::GenerateContent, "gemini-x", body)
    }

    #[test]
    fn both_spellings_are_read_and_together_they_are_a_duplicate() {
        for body in [
            r#"{"contents":[],"generationConfig":{"maxOutputTokens":70,"candidateCount":3},"serviceTier":"FLEX"}"#,
            r#"{"contents":[],"generation_config":{"max_output_tokens":70,"candidate_count":3},"service_tier":"flex"}"#,
        ] {
            let call = generate(body).expect("a call");
            assert_eq!((&*call.model, call.output_cap, call.choices), ("gemini-x", Some(70), 3));
            assert_eq!((call.service, call.stream), (Some(ServiceTier::Flex), false));
        }
        assert_eq!(
            generate(r#"{"contents":[],"generationConfig":{},"generation_config":{}}"#),
            Err(RequestError::Duplicate("generationConfig"))
        );
        assert_eq!(
            generate(
                r#"{"contents":[],"generationConfig":{"max_output_tokens":1,"maxOutputTokens":2}}"#
            ),
            Err(RequestError::Duplicate("generationConfig.maxOutputTokens"))
        );
        let written = "GenerationConfig".to_owned();
        assert_eq!(
            generate(r#"{"contents":[],"GenerationConfig":{}}"#),
            Err(RequestError::LetterCase { written, param: "generationConfig" })
        );
    }

    #[test]
    fn the_model_is_that_of_the_path_and_the_method_says_whether_it_streams() {
        let body = r#"{"contents":[],"model":"models/gemini-x","stream":false}"#;
        let call = read(Endpoint::StreamGenerateContent, "gemini-x", body).expect("a call");
        assert!(call.stream);
        let other = read(Endpoint::GenerateContent, "gemini-y", body);
        assert_eq!(other, Err(RequestError::OtherModel("model")));
        assert_eq!(read(Endpoint::GenerateContent, "", body), Err(RequestError::Empty("model")));
        assert_eq!(generate("{}"), Err(RequestError::Missing("contents")));
    }

    #[test]
    fn a_cap_goes_into_the_configuration_wherever_that_is() {
        for (body, expected) in [
            (r#"{"contents":[]}"#, r#"{"generationConfig":{"maxOutputTokens":9},"contents":[]}"#),
            (
                r#"{"contents":[],"generationConfig":null}"#,
                r#"{"contents":[],"generationConfig":{"maxOutputTokens":9}}"#,
            ),
            (
                r#"{"contents":[],"generation_config":{ }}"#,
                r#"{"contents":[],"generation_config":{"maxOutputTokens":9 }}"#,
            ),
            (
                r#"{"contents":[],"generation_config":{"topK": 1}}"#,
                r#"{"contents":[],"generation_config":{"maxOutputTokens":9,"topK": 1}}"#,
            ),
            (
                r#"{"contents":[],"generation_config":{"max_output_tokens":0}}"#,
                r#"{"contents":[],"generation_config":{"max_output_tokens":9}}"#,
            ),
            (
                r#"{"contents":[],"generationConfig":{"maxOutputTokens":null}}"#,
                r#"{"contents":[],"generationConfig":{"maxOutputTokens":9}}"#,
            ),
        ] {
            let head = Head { model: Some("gemini-x"), content_type: None };
            let body = Bytes::copy_from_slice(body.as_bytes());
            let call = read_any(Endpoint::GenerateContent, &head, &body).expect("a call");
            assert_eq!(call.output_cap, None);
            let edits = Edits {
                model: Some("other"),
                include_usage: true,
                output_cap: Some(9),
                old_cap: false,
            };
            assert_eq!(rewrite(&body, &call, &edits), expected);
        }
    }

    #[test]
    fn a_model_is_renamed_wherever_a_body_names_it() {
        for (endpoint, body, expected) in [
            (
                Endpoint::BatchEmbedContents,
                r#"{"requests":[{"model":"models/m","content":{"parts":[]}},{"model":"m","content":{}}]}"#,
                r#"{"requests":[{"model":"models/n","content":{"parts":[]}},{"model":"n","content":{}}]}"#,
            ),
            (
                Endpoint::GeminiCountTokens,
                r#"{"generateContentRequest":{"model":"models/m","contents":[]}}"#,
                r#"{"generateContentRequest":{"model":"models/n","contents":[]}}"#,
            ),
            (Endpoint::EmbedContent, r#"{"content":{}}"#, r#"{"content":{}}"#),
        ] {
            let head = Head { model: Some("m"), content_type: None };
            let body = Bytes::copy_from_slice(body.as_bytes());
            let call = read_any(endpoint, &head, &body).expect("a call");
            assert!(!call.can_be_capped());
            let edits = Edits {
                model: Some("n"),
                include_usage: true,
                output_cap: Some(9),
                old_cap: false,
            };
            assert_eq!(rewrite(&body, &call, &edits), expected);
        }
    }

    #[test]
    fn what_is_not_text_is_noticed_however_it_is_written() {
        for (part, media, images, unseen) in [
            (r#"{"text":"a","thoughtSignature":"s"}"#, false, None, false),
            (r#"{"functionResponse":{"name":"f","response":{"a":1}}}"#, false, None, false),
            (r#"{"inlineData":{"mimeType":"image/png","data":"AA"}}"#, true, Some(1), false),
            (r#"{"inline_data":{"data":"AA","mime_type":"audio/wav"}}"#, true, None, false),
            (r#"{"inlineData":{"data":"AA"}}"#, true, None, false),
            (r#"{"fileData":{"fileUri":"u"}}"#, true, None, true),
            (r#"{"t\u0065xt":"a"}"#, true, None, false),
            (r#"{"functionResponse":{"parts":[]}}"#, true, None, false),
        ] {
            let body = format!(r#"{{"contents":[{{"role":"user","parts":[{part}]}}]}}"#);
            let facts = generate(&body).map(|call| (call.media, call.images_in, call.unseen_input));
            assert_eq!(facts, Ok((media, images, unseen)), "{part}");
        }
        let cached = generate(r#"{"contents":[],"cachedContent":"c"}"#);
        assert_eq!(cached.map(|call| call.unseen_input), Ok(true));
    }

    #[test]
    fn tools_of_the_provider_are_told_from_the_clients() {
        for (tools, hosted, searches, unpriced) in [
            (r#"{"functionDeclarations":[]}"#, false, false, false),
            (r#"{"function_declarations":[]},{"googleSearch":{}}"#, true, true, false),
            (r#"{"codeExecution":{}},{"urlContext":{}}"#, true, false, false),
            (r#"{"googleMaps":{}}"#, true, false, true),
            (r#"{"fileSearch":null}"#, false, false, false),
        ] {
            let call =
                generate(&format!(r#"{{"contents":[],"tools":[{tools}]}}"#)).expect("a call");
            let facts = (call.hosted_tools, call.searches, call.unpriced.is_some());
            assert_eq!(facts, (hosted, searches, unpriced), "{tools}");
        }
    }
}
