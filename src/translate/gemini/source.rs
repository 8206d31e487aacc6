//! Gemini's stream as chat chunks.
//!
//! Each event has the shape of a whole answer. A call comes whole and often before the event with
//! the reason for the end. Usage stands in every event and counts up, so that the last one holds. A
//! candidate may say `STOP` and go on, as those do that run code in between: the end is told at the end.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::{About, Source};
use super::answer::{self, Ids, Said};

pub(super) struct GeminiSource {
    about: About,
    ids: Ids,
    choices: BTreeMap<u64, Progress>,
    usage: Option<Value>,
    tier: Option<String>,
}

/// How far a candidate has come.
#[derive(Default)]
struct Progress {
    calls: u64,
    images: usize,
    /// The signature of what was said: given once, at the end, as clients join what comes in pieces.
    signature: Option<String>,
    /// The last reason for an end.
    finish: Option<String>,
}

impl GeminiSource {
    pub(super) fn new(about: &About) -> Self {
        Self {
            about: about.clone(),
            ids: Ids::new(about),
            choices: BTreeMap::new(),
            usage: None,
            tier: None,
        }
    }

    fn chunk(&self, choices: &[Value]) -> Value {
        let mut chunk = json!({
            "id": format!("chatcmpl-{}", self.about.id),
            "object": "chat.completion.chunk",
            "created": self.about.created,
            "model": self.about.model,
            "choices": choices,
        });
        if let Some(tier) = &self.tier {
            chunk["service_tier"] = tier.as_str().into();
        }
        chunk
    }

    /// What a candidate adds, if it adds anything.
    fn choice(&mut self, candidate: &Value, at: usize) -> Option<Value> {
        let index = answer::index(candidate, at);
        let is_first = !self.choices.contains_key(&index);
        let said = Said::read(candidate, &mut self.ids);
        let progress = self.choices.entry(index).or_default();
        let delta = progress.delta(said, is_first);
        if let Some(finish) = candidate.get("finishReason").and_then(Value::as_str) {
            progress.finish = Some(finish.to_owned());
        }
        let logprobs = answer::logprobs(candidate);
        let is_empty = delta.as_object().is_some_and(serde_json::Map::is_empty);
        (!is_empty || !logprobs.is_null()).then(|| {
            json!({ "index": index, "delta": delta, "logprobs": logprobs, "finish_reason": null })
        })
    }
}

impl Progress {
    fn delta(&mut self, said: Said, is_first: bool) -> Value {
        let mut delta = json!({});
        if is_first {
            delta["role"] = "assistant".into();
        }
        if !said.reasoning.is_empty() {
            delta["reasoning_content"] = said.reasoning.into();
        }
        if let Some(content) = said.content.filter(|text| is_first || !text.is_empty()) {
            delta["content"] = content.into();
        }
        if !said.calls.is_empty() {
            let mut calls = Vec::new();
            for call in said.calls {
                let mut indexed = json!({ "index": self.calls });
                self.calls = self.calls.saturating_add(1);
                if let Some(members) = indexed.as_object_mut() {
                    members.extend(call);
                }
                calls.push(indexed);
            }
            delta["tool_calls"] = calls.into();
        }
        if !said.images.is_empty() {
            let mut images = said.images;
            for image in &mut images {
                image["index"] = self.images.into();
                self.images = self.images.saturating_add(1);
            }
            delta["images"] = images.into();
        }
        if said.signature.is_some() {
            self.signature = said.signature;
        }
        delta
    }

    /// The choice that ends the candidate; `None` where it never said that it ends.
    fn end(&self, index: u64) -> Option<Value> {
        let theirs = self.finish.as_deref()?;
        let finish = answer::finish(theirs, self.calls > 0)?;
        let mut delta = json!({});
        if let Some(signature) = &self.signature {
            delta["extra_content"] = answer::extra_content(signature);
        }
        let mut choice =
            json!({ "index": index, "delta": delta, "logprobs": null, "finish_reason": finish });
        answer::note_reason(&mut choice, theirs, finish);
        Some(choice)
    }
}

impl Source for GeminiSource {
    fn event(&mut self, _name: Option<&str>, event: &Value, out: &mut Vec<Value>) {
        if let Some(error) = super::error_of(event) {
            out.push(json!({ "error": error_chunk(error) }));
            // What failed must not look as if it had ended.
            self.choices.clear();
            return;
        }
        if let Some(usage) = event.get("usageMetadata").and_then(answer::usage) {
            self.usage = Some(usage);
        }
        if let Some(tier) = answer::service_tier(event) {
            self.tier = Some(tier.to_owned());
        }
        let mut choices = Vec::new();
        for (at, candidate) in answer::candidates(event).enumerate() {
            choices.extend(self.choice(candidate, at));
        }
        if let (true, Some(reason)) = (self.choices.is_empty(), answer::block_reason(event)) {
            self.choices.insert(0, Progress::default());
            choices.push(answer::blocked(reason, "delta"));
        }
        if !choices.is_empty() {
            out.push(self.chunk(&choices));
        }
    }

    fn finish(&mut self, out: &mut Vec<Value>) {
        let ends = self.choices.iter().filter_map(|(index, progress)| progress.end(*index));
        let ends: Vec<_> = ends.collect();
        if !ends.is_empty() {
            out.push(self.chunk(&ends));
        }
        if let Some(usage) = self.usage.take() {
            let mut chunk = self.chunk(&[]);
            chunk["usage"] = usage;
            out.push(chunk);
        }
    }
}

/// An error amid a stream, in chat's shape.
fn error_chunk(error: &Value) -> Value {
    let status =
        error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    let message = error.get("message").and_then(Value::as_str);
    json!({
        "message": message.unwrap_or("The provider ended its answer with an error."),
        "type": super::kind(status.unwrap_or(500)),
        "param": null,
        "code": error.get("status").and_then(Value::as_str),
    })
}
