//! What Gemini answers, as chat says it: candidates, calls, reasons for the end, usage.
//!
//! An answer and an event of a stream have the same shape; both are read here. Parts that only the
//! tools of Google's own make (code that it ran, pages that it searched) are left out: a chat call
//! cannot ask for them.

use serde_json::{Map, Value, json};

use super::super::About;
use super::super::media::to_data_url;

/// Gives calls an id where Gemini gave none: the same for the same answer, and another for each call.
pub(super) struct Ids {
    id: String,
    made: u64,
}

impl Ids {
    pub(super) fn new(about: &About) -> Self {
        Self { id: about.id.clone(), made: 0 }
    }

    fn make(&mut self) -> String {
        let id = format!("call_{}_{}", self.id, self.made);
        self.made = self.made.wrapping_add(1);
        id
    }
}

/// What a candidate's parts come to.
#[derive(Default)]
pub(super) struct Said {
    pub(super) content: Option<String>,
    pub(super) reasoning: String,
    pub(super) calls: Vec<Map<String, Value>>,
    pub(super) images: Vec<Value>,
    /// The last signature that no call has.
    pub(super) signature: Option<String>,
}

impl Said {
    pub(super) fn read(candidate: &Value, ids: &mut Ids) -> Self {
        let mut said = Self::default();
        let parts = candidate.pointer("/content/parts").and_then(Value::as_array);
        for part in parts.into_iter().flatten() {
            said.part(part, ids);
        }
        said
    }

    fn part(&mut self, part: &Value, ids: &mut Ids) {
        let signature = part.get("thoughtSignature").and_then(Value::as_str);
        if let Some(call) = part.get("functionCall").filter(|call| call.is_object()) {
            self.calls.push(tool_call(call, signature, ids));
            return;
        }
        if let Some(signature) = signature {
            self.signature = Some(signature.to_owned());
        }
        if let Some(text) = part.get("text").and_then(Value::as_str) {
            if part.get("thought") == Some(&Value::Bool(true)) {
                self.reasoning.push_str(text);
            } else {
                self.content.get_or_insert_default().push_str(text);
            }
        }
        if let Some(data) = part.get("inlineData") {
            self.images.extend(image(data, self.images.len()));
        }
    }
}

/// A signature where Google's own chat endpoint puts it.
pub(super) fn extra_content(signature: &str) -> Value {
    json!({ "google": { "thought_signature": signature } })
}

fn tool_call(call: &Value, signature: Option<&str>, ids: &mut Ids) -> Map<String, Value> {
    let id = call.get("id").and_then(Value::as_str).filter(|id| !id.is_empty());
    let name = call.get("name").and_then(Value::as_str).unwrap_or_default();
    let arguments = call.get("args").filter(|args| !args.is_null());
    let arguments = arguments.map_or_else(|| "{}".to_owned(), Value::to_string);
    let mut members = Map::new();
    members.insert("id".to_owned(), id.map_or_else(|| ids.make(), str::to_owned).into());
    members.insert("type".to_owned(), "function".into());
    members.insert("function".to_owned(), json!({ "name": name, "arguments": arguments }));
    if let Some(signature) = signature {
        members.insert("extra_content".to_owned(), extra_content(signature));
    }
    members
}

/// An image of the model's making, in the shape that OpenAI-compatible providers of such models use.
fn image(data: &Value, index: usize) -> Option<Value> {
    let kind = data.get("mimeType")?.as_str().filter(|kind| kind.starts_with("image/"))?;
    let data = data.get("data")?.as_str()?;
    let url = to_data_url(kind, data);
    Some(json!({ "type": "image_url", "index": index, "image_url": { "url": url } }))
}

/// The reason for an end in chat's words; `None` where there is none.
pub(super) fn finish(theirs: &str, has_calls: bool) -> Option<&'static str> {
    Some(match theirs {
        "FINISH_REASON_UNSPECIFIED" => return None,
        "STOP" if has_calls => "tool_calls",
        "STOP" => "stop",
        "MAX_TOKENS" => "length",
        // Withheld, blocked or broken: chat has one word for an answer that is not all there.
        _ => "content_filter",
    })
}

/// Why a prompt got no candidates at all.
pub(super) fn block_reason(answer: &Value) -> Option<&str> {
    answer.pointer("/promptFeedback/blockReason").and_then(Value::as_str)
}

/// The choice that stands for a prompt that was blocked, `part` being its message or its delta.
pub(super) fn blocked(reason: &str, part: &str) -> Value {
    json!({
        "index": 0,
        part: { "role": "assistant", "content": null, "refusal": null },
        "logprobs": null,
        "finish_reason": "content_filter",
        "native_finish_reason": reason,
    })
}

/// A whole answer as a chat completion.
pub(super) fn completion(answer: &Value, about: &About) -> Value {
    let mut ids = Ids::new(about);
    let mut choices = Vec::new();
    for (at, candidate) in candidates(answer).enumerate() {
        choices.push(choice(candidate, at, &mut ids));
    }
    if let (true, Some(reason)) = (choices.is_empty(), block_reason(answer)) {
        choices.push(blocked(reason, "message"));
    }
    let mut completion = json!({
        "id": format!("chatcmpl-{}", about.id),
        "object": "chat.completion",
        "created": about.created,
        "model": about.model,
        "choices": choices,
    });
    if let Some(usage) = answer.get("usageMetadata").and_then(usage) {
        completion["usage"] = usage;
    }
    if let Some(tier) = service_tier(answer) {
        completion["service_tier"] = tier.into();
    }
    completion
}

pub(super) fn candidates(answer: &Value) -> impl Iterator<Item = &Value> {
    answer.get("candidates").and_then(Value::as_array).into_iter().flatten()
}

/// Where a candidate stands among the choices: what it says, or else its place in the list.
pub(super) fn index(candidate: &Value, at: usize) -> u64 {
    let at = u64::try_from(at).unwrap_or_default();
    candidate.get("index").and_then(Value::as_u64).unwrap_or(at)
}

fn choice(candidate: &Value, at: usize, ids: &mut Ids) -> Value {
    let said = Said::read(candidate, ids);
    let theirs = candidate.get("finishReason").and_then(Value::as_str).unwrap_or_default();
    let finish = finish(if theirs.is_empty() { "STOP" } else { theirs }, !said.calls.is_empty());
    let finish = finish.unwrap_or("stop");
    let content = said.content.filter(|text| !text.is_empty() || said.calls.is_empty());
    let mut message = json!({ "role": "assistant", "content": content, "refusal": null });
    if !said.reasoning.is_empty() {
        message["reasoning_content"] = said.reasoning.into();
    }
    if !said.images.is_empty() {
        message["images"] = said.images.into();
    }
    if !said.calls.is_empty() {
        message["tool_calls"] = said.calls.into();
    }
    if let Some(signature) = said.signature {
        message["extra_content"] = extra_content(&signature);
    }
    let mut choice = json!({
        "index": index(candidate, at),
        "message": message,
        "logprobs": logprobs(candidate),
        "finish_reason": finish,
    });
    note_reason(&mut choice, theirs, finish);
    choice
}

/// Keeps Gemini's own word for an end that chat has no word for.
pub(super) fn note_reason(choice: &mut Value, theirs: &str, finish: &str) {
    if finish == "content_filter" {
        choice["native_finish_reason"] = theirs.into();
    }
}

/// The probabilities of the tokens, null where there are none.
pub(super) fn logprobs(candidate: &Value) -> Value {
    let list = |pointer: &str| candidate.pointer(pointer).and_then(Value::as_array);
    let Some(chosen) = list("/logprobsResult/chosenCandidates") else { return Value::Null };
    let others = list("/logprobsResult/topCandidates");
    let content = chosen.iter().enumerate().map(|(at, token)| {
        let others = others.and_then(|others| others.get(at)?.get("candidates")?.as_array());
        let top: Vec<_> = others.into_iter().flatten().map(logprob).map(Value::from).collect();
        let mut token = logprob(token);
        token.insert("top_logprobs".to_owned(), top.into());
        Value::from(token)
    });
    json!({ "content": content.collect::<Vec<_>>(), "refusal": null })
}

fn logprob(token: &Value) -> Map<String, Value> {
    let text = token.get("token").and_then(Value::as_str).unwrap_or_default();
    let probability = token.get("logProbability").cloned().unwrap_or_else(|| json!(0));
    let mut members = Map::new();
    members.insert("token".to_owned(), text.into());
    members.insert("logprob".to_owned(), probability);
    members.insert("bytes".to_owned(), text.as_bytes().into());
    members
}

/// Gemini's count of tokens as chat counts: thought within what was answered, and what tools read
/// within the prompt. A total that is higher than its parts holds thought that is not named.
pub(super) fn usage(theirs: &Value) -> Option<Value> {
    theirs.as_object()?;
    let count = |name: &str| theirs.get(name).and_then(Value::as_u64).unwrap_or_default();
    let prompt = count("promptTokenCount").saturating_add(count("toolUsePromptTokenCount"));
    let candidates = count("candidatesTokenCount");
    let named = candidates.saturating_add(count("thoughtsTokenCount"));
    let completion = named.max(count("totalTokenCount").saturating_sub(prompt));
    let audio = |name: &str| {
        let details = theirs.get(name).and_then(Value::as_array).into_iter().flatten();
        let audio = details.filter(|detail| detail["modality"] == "AUDIO");
        audio.filter_map(|detail| detail["tokenCount"].as_u64()).fold(0, u64::saturating_add)
    };
    Some(json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt.saturating_add(completion),
        "prompt_tokens_details": {
            "cached_tokens": count("cachedContentTokenCount"),
            "audio_tokens": audio("promptTokensDetails"),
        },
        "completion_tokens_details": {
            "reasoning_tokens": completion.saturating_sub(candidates),
            "audio_tokens": audio("candidatesTokensDetails"),
        },
    }))
}

/// The tier that served, in `OpenAI`'s words.
pub(super) fn service_tier(answer: &Value) -> Option<&str> {
    let tier = answer.pointer("/usageMetadata/serviceTier").and_then(Value::as_str)?;
    Some(if tier == "standard" { "default" } else { tier })
}
