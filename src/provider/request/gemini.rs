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
    // There is nothing to hide from a client that did not ask.
    call.wants_usage = true;
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
