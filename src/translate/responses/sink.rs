//! Chat chunks as the events of a response, and a chat completion as a whole response.
//!
//! One hand writes both: a completion is a stream of one chunk whose events nobody sees. The last event
//! repeats everything, so what has come is kept, up to a bound.

use serde_json::{Value, json};

use super::super::{About, ClientEvent, Sink};
use super::output::{annotation, usage};
use super::settings::settings;
use super::writer::Writer;

/// The most that is kept of an answer, in bytes. No model answers with as much.
const KEPT_LIMIT: usize = 64 << 20;

/// Writes a response.
pub(super) struct ResponseSink {
    about: About,
    writer: Writer,
    has_begun: bool,
    finish: Option<String>,
    usage: Value,
    tier: Option<Value>,
    /// What went wrong, as a response says it.
    error: Option<Value>,
}

/// A chat completion as a response.
pub(super) fn response(completion: &Value, about: &About) -> Value {
    let mut chunk = completion.clone();
    for choice in chunk.get_mut("choices").and_then(Value::as_array_mut).into_iter().flatten() {
        into_delta(choice);
    }
    let mut sink = ResponseSink::new(about);
    let mut events = Vec::new();
    sink.chunk(&chunk, &mut events);
    sink.end(&mut events)
}

/// Makes a whole choice one of a stream: with a delta, calls that are counted, and an end.
fn into_delta(choice: &mut Value) {
    let Some(choice) = choice.as_object_mut() else { return };
    let mut message = choice.shift_remove("message").unwrap_or_default();
    let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
    for (index, call) in calls.into_iter().flatten().enumerate() {
        if let Some(call) = call.as_object_mut() {
            call.insert("index".to_owned(), index.into());
        }
    }
    choice.insert("delta".to_owned(), message);
    if choice.get("finish_reason").is_none_or(Value::is_null) {
        choice.insert("finish_reason".to_owned(), "stop".into());
    }
}

impl Sink for ResponseSink {
    fn chunk(&mut self, chunk: &Value, out: &mut Vec<ClientEvent>) {
        self.begin(out);
        if let Some(theirs) = chunk.get("usage").filter(|usage| usage.is_object()) {
            self.usage = usage(theirs);
        }
        if self.error.is_some() {
            return;
        }
        if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
            self.fail(error, out);
            return;
        }
        if let Some(tier) = chunk.get("service_tier").filter(|tier| tier.is_string()) {
            self.tier = Some(tier.clone());
        }
        let choices = chunk.get("choices").and_then(Value::as_array).into_iter().flatten();
        for choice in choices {
            // There is one choice, as nobody asked for more.
            if choice.get("index").and_then(Value::as_u64).unwrap_or_default() == 0 {
                self.choice(choice, out);
            }
        }
        if self.writer.kept > KEPT_LIMIT {
            self.fail(&json!({ "message": "The provider's answer is too long." }), out);
        }
    }

    fn finish(&mut self, out: &mut Vec<ClientEvent>) {
        self.end(out);
    }
}

impl ResponseSink {
    pub(super) fn new(about: &About) -> Self {
        let mut about = about.clone();
        if about.settings.is_empty() {
            about.settings = settings(&about.settings);
        }
        Self {
            writer: Writer::new(&about.id),
            about,
            has_begun: false,
            finish: None,
            usage: Value::Null,
            tier: None,
            error: None,
        }
    }

    fn begin(&mut self, out: &mut Vec<ClientEvent>) {
        if self.has_begun {
            return;
        }
        self.has_begun = true;
        for name in ["response.created", "response.in_progress"] {
            let response = self.response("in_progress");
            self.writer.emit(name, json!({ "response": response }), out);
        }
    }

    fn choice(&mut self, choice: &Value, out: &mut Vec<ClientEvent>) {
        let delta = choice.get("delta").unwrap_or(&Value::Null);
        let text = |name: &str| delta.get(name)?.as_str().filter(|text| !text.is_empty());
        let list = |name: &str| delta.get(name).and_then(Value::as_array).into_iter().flatten();
        let writer = &mut self.writer;
        if let Some(text) = text("reasoning_content").or_else(|| text("reasoning")) {
            writer.reason(text, out);
        }
        for block in list("thinking_blocks") {
            writer.keep_block(block, out);
        }
        let logprobs = choice.pointer("/logprobs/content").and_then(Value::as_array);
        if let Some(text) = text("content") {
            writer.say(false, text, logprobs.map(Vec::as_slice).unwrap_or_default(), out);
        }
        if let Some(text) = text("refusal") {
            writer.say(true, text, &[], out);
        }
        for cited in list("annotations") {
            writer.cite(annotation(cited), out);
        }
        for call in list("tool_calls") {
            writer.call(call, out);
        }
        if let Some(extra) = delta.get("extra_content").filter(|extra| extra.is_object()) {
            writer.keep_extra(extra);
        }
        if let Some(finish) = choice.get("finish_reason").and_then(Value::as_str) {
            self.finish = Some(finish.to_owned());
        }
    }

    /// Says that something went wrong; the end says it again.
    fn fail(&mut self, error: &Value, out: &mut Vec<ClientEvent>) {
        let text = |name: &str| error.get(name).and_then(Value::as_str);
        let message = text("message").or(error.as_str());
        let message = message.unwrap_or("The provider ended its answer with an error.");
        let is_rate = [text("type"), text("code")].into_iter().flatten();
        let is_rate = is_rate.into_iter().any(|word| word.starts_with("rate_limit"));
        // Clients know these two words of a longer list that is closed.
        let code = if is_rate { "rate_limit_exceeded" } else { "server_error" };
        let event = json!({ "code": code, "message": message, "param": text("param") });
        self.writer.emit("error", event, out);
        self.error = Some(json!({ "code": code, "message": message }));
    }

    /// Ends the response and gives it.
    fn end(&mut self, out: &mut Vec<ClientEvent>) -> Value {
        self.begin(out);
        if self.error.is_none() && self.finish.is_none() {
            let error = json!({ "message": "The provider's answer ended before it was whole." });
            self.fail(&error, out);
        }
        let (name, status) = match self.finish.as_deref() {
            _ if self.error.is_some() => ("response.failed", "failed"),
            Some("length" | "content_filter") => ("response.incomplete", "incomplete"),
            _ => ("response.completed", "completed"),
        };
        if self.error.is_none() {
            self.writer.close(status == "incomplete", out);
        }
        let response = self.response(status);
        self.writer.emit(name, json!({ "response": response }), out);
        response
    }

    /// The response as it is now.
    fn response(&self, status: &str) -> Value {
        let items = &self.writer.items;
        let last = items.len().saturating_sub(1);
        let output = items.iter().enumerate().map(|(index, item)| {
            let is_cut = !item.is_done || (status == "incomplete" && index == last);
            item.value(if is_cut { "incomplete" } else { "completed" })
        });
        let reason = match self.finish.as_deref() {
            _ if status != "incomplete" => None,
            Some("length") => Some("max_output_tokens"),
            _ => Some("content_filter"),
        };
        let mut response = json!({
            "id": format!("resp_{}", self.about.id),
            "object": "response",
            "created_at": self.about.created,
            "status": status,
            "error": self.error,
            "incomplete_details": reason.map(|reason| json!({ "reason": reason })),
            "model": self.about.model,
            "output": output.collect::<Vec<_>>(),
        });
        if let Some(members) = response.as_object_mut() {
            members.extend(self.about.settings.clone());
        }
        if let Some(tier) = &self.tier {
            response["service_tier"] = tier.clone();
        }
        response["usage"] = self.usage.clone();
        response
    }
}
