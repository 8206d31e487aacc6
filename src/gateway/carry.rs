//! The bytes of a call on their way to a target, and of a whole answer on their way back: as they are
//! where both sides speak one dialect, else translated.
//!
//! What is metered is always what the provider sent, never what was made of it.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::Errand;
use super::route::Destination;
use crate::provider::address::usual_query;
use crate::provider::endpoint::Endpoint;
use crate::provider::kind::StreamUsage;
use crate::provider::request::{self, Edits};
use crate::translate::{
    About, Backend, Brief, Failure, StreamTranslation, Translation, Untranslatable, extension,
    functions, reshape,
};

/// A call as its target is sent it.
pub(super) struct Outgoing {
    pub(super) endpoint: Endpoint,
    /// The name that the provider knows the model by: in some dialects a part of the address.
    pub(super) model: Arc<str>,
    pub(super) query: Option<&'static str>,
    pub(super) body: Bytes,
    /// What its answer says of it; absent where nothing is translated.
    pub(super) about: Option<Rc<About>>,
}

/// What must change in a call that goes through as it is.
pub(super) fn edits<'a>(errand: &Errand<'_>, target: &'a Destination) -> Edits<'a> {
    let model = &*target.upstream_model;
    Edits {
        model: (errand.call.model != model).then_some(model),
        include_usage: asks_usage(errand, target),
        output_cap: errand.cap,
        old_cap: target.provider.kind.has_old_cap(),
    }
}

/// Whether usage must be asked for, which is hidden from a client that did not.
pub(super) fn asks_usage(errand: &Errand<'_>, target: &Destination) -> bool {
    errand.call.stream && target.provider.stream_usage == StreamUsage::Ask
}

/// The call as `target` is sent it.
pub(super) fn outgoing(
    errand: &Errand<'_>,
    target: &Destination,
) -> Result<Outgoing, Untranslatable> {
    let endpoint = target.endpoint(errand.call.endpoint, errand.call.stream);
    let model = Arc::clone(&target.upstream_model);
    let Some(translation) = &target.translation else {
        let body = request::rewrite(errand.body, errand.call, &edits(errand, target));
        let query = errand.query;
        return Ok(Outgoing { endpoint, model, query, body, about: None });
    };
    let call = members(errand.body)?;
    let has_functions = translation.frontend.is_none() && functions::are_in(&call);
    let translation = translation.with_functions(has_functions);
    let settings = translation.frontend.map(|frontend| frontend.settings(&call));
    let about = About { has_functions, ..about(errand, settings.unwrap_or_default()) };
    let chat = match translation.frontend {
        Some(frontend) => frontend.request(&call)?,
        None => call,
    };
    let translated = match translation.backend {
        Some(backend) if has_functions => request_one_call(backend, chat, &brief(errand, target))?,
        Some(backend) => backend.request(&chat, &brief(errand, target))?,
        None => chat_for(chat, errand, target),
    };
    let body = Bytes::from(Value::Object(translated).to_string());
    let query = usual_query(endpoint);
    Ok(Outgoing { endpoint, model, query, body, about: Some(Rc::new(about)) })
}

/// Asks for one call of a tool at a time, where the target can be told so.
fn request_one_call(
    backend: &dyn Backend,
    mut chat: Map<String, Value>,
    brief: &Brief<'_>,
) -> Result<Map<String, Value>, Untranslatable> {
    const ONE: &str = "parallel_tool_calls";
    let usual = backend.request(&chat, brief);
    chat.insert(ONE.to_owned(), json!(false));
    backend.request(&chat, brief).or(usual)
}

/// Whether `target` can be sent the call at all.
pub(super) fn can_say(errand: &Errand<'_>, target: &Destination) -> bool {
    target.translation.is_none() || outgoing(errand, target).is_ok()
}

fn members(body: &[u8]) -> Result<Map<String, Value>, Untranslatable> {
    serde_json::from_slice(body).map_err(|error| Untranslatable {
        param: None,
        message: format!("the body cannot be read as JSON: {error}"),
    })
}

fn brief<'a>(errand: &Errand<'_>, target: &'a Destination) -> Brief<'a> {
    Brief {
        model: &target.upstream_model,
        stream: errand.call.stream,
        output_cap: errand.cap.or(errand.call.output_cap),
        max_output_tokens: target.max_output_tokens,
    }
}

/// A chat call that came from another dialect, as a provider of chat takes it.
fn chat_for(
    mut chat: Map<String, Value>,
    errand: &Errand<'_>,
    target: &Destination,
) -> Map<String, Value> {
    const CAPS: [&str; 2] = ["max_completion_tokens", "max_tokens"];
    let kind = target.provider.kind;
    extension::remove(&mut chat, kind);
    if kind.has_old_cap()
        && let Some(cap) = chat.shift_remove(CAPS[0])
    {
        chat.insert(CAPS[1].to_owned(), cap);
    }
    chat.insert("model".to_owned(), json!(*target.upstream_model));
    if errand.call.stream {
        chat.insert("stream".to_owned(), json!(true));
    }
    if asks_usage(errand, target) {
        let options = chat.entry("stream_options").or_insert_with(|| json!({}));
        if !options.is_object() {
            *options = json!({});
        }
        options["include_usage"] = json!(true);
    } else {
        chat.shift_remove("stream_options");
    }
    if let Some(cap) = errand.cap {
        let written: Vec<_> = CAPS.into_iter().filter(|name| chat.contains_key(*name)).collect();
        let usual = CAPS[usize::from(kind.has_old_cap())];
        let names = if written.is_empty() { vec![usual] } else { written };
        chat.extend(names.into_iter().map(|name| (name.to_owned(), json!(cap))));
    }
    chat
}

/// What answers say of the call that they belong to.
fn about(errand: &Errand<'_>, settings: Map<String, Value>) -> About {
    let id = errand.id.to_string();
    About {
        id: id.strip_prefix("req_").unwrap_or(&id).to_owned(),
        created: errand.id.began().millis() / 1000,
        model: errand.call.model.clone(),
        wants_usage: errand.call.wants_usage,
        has_functions: false,
        settings,
    }
}

/// The way back of an answer that is translated.
pub(super) struct Way<'a> {
    pub(super) translation: Translation,
    pub(super) about: &'a About,
    /// The client asked for a stream.
    pub(super) stream: bool,
}

/// An answer in the client's dialect.
pub(super) struct Translated {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) body: Bytes,
}

/// A whole answer of a provider, or the stream that the client asked for in its place.
pub(super) fn answer(way: &Way<'_>, answer: &[u8]) -> Translated {
    let Ok(value) = serde_json::from_slice::<Value>(answer) else {
        return failure(way, 502, answer);
    };
    let completion = match way.translation.backend {
        Some(backend) => backend.answer(&value, way.about),
        None => value,
    };
    completed(way, &completion)
}

/// The same of what has been made a chat completion before.
pub(super) fn completed(way: &Way<'_>, completion: &Value) -> Translated {
    if way.stream {
        let from_chat = Translation { backend: None, ..way.translation };
        let mut stream = StreamTranslation::new(&from_chat, way.about);
        let mut body = Vec::new();
        for chunk in reshape::chunks(completion) {
            body.extend_from_slice(&stream.push(format!("data: {chunk}\n\n").as_bytes()));
        }
        body.extend_from_slice(&stream.finish());
        let body = Bytes::from(body);
        return Translated { status: 200, content_type: "text/event-stream", body };
    }
    let body = match way.translation.frontend {
        Some(frontend) => frontend.answer(completion, way.about),
        None => completion.clone(),
    };
    Translated { status: 200, content_type: JSON, body: Bytes::from(body.to_string()) }
}

const JSON: &str = "application/json";

/// An answer of a provider that is an error.
pub(super) fn failure(way: &Way<'_>, status: u16, body: &[u8]) -> Translated {
    let mut failure = match way.translation.backend {
        Some(backend) => backend.failure(status, body),
        None => chat_failure(status, body),
    };
    if failure.status < 400 {
        // An error that came with a status of success.
        failure.status = 502;
    }
    let body = match way.translation.frontend {
        Some(frontend) => frontend.failure(&failure, way.about),
        None => json!({ "error": {
            "message": failure.message,
            "type": failure.kind,
            "param": failure.param,
            "code": failure.code,
        }}),
    };
    let body = Bytes::from(body.to_string());
    Translated { status: failure.status, content_type: JSON, body }
}

/// What an error in `OpenAI`'s shape says, or whatever came in its place.
fn chat_failure(status: u16, body: &[u8]) -> Failure {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    // Google's compatible address wraps it into a list; some servers have a text in place of the object.
    let error = value.get(0).unwrap_or(&value).get("error").unwrap_or(&Value::Null);
    let text = |name: &str| match error.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let message = text("message").or_else(|| error.as_str().map(str::to_owned));
    let usual = if status >= 500 { "server_error" } else { "invalid_request_error" };
    Failure {
        status,
        message: message.unwrap_or_else(|| format!("The provider answered with status {status}.")),
        kind: text("type").unwrap_or_else(|| usual.to_owned()),
        code: text("code"),
        param: text("param"),
    }
}
