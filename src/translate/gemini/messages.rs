//! The messages of a chat as Gemini's `contents` and `systemInstruction`.
//!
//! Gemini knows two roles, `user` and `model`, and one instruction for the whole conversation: what
//! stands in messages of `system` and `developer`, wherever they are, goes there in its order. Results
//! of functions form a turn of their own, right after the turn that called. The names of speakers and
//! the text of earlier thought (`reasoning_content`) have no place: a thought's signature stands for it.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::super::Untranslatable;
use super::request::{cannot, present};
use super::{media, thinking};

/// What Gemini 3 takes for the signature of a call that another model made (ai.google.dev, "Thought
/// signatures"); without any it refuses the whole conversation.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

pub(super) struct Conversation {
    pub(super) system: Vec<Value>,
    pub(super) contents: Vec<Value>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    User,
    Model,
    Results,
}

#[derive(Default)]
struct Writer<'a> {
    system: Vec<Value>,
    turns: Vec<(Turn, Vec<Value>)>,
    /// The function that each call named.
    calls: HashMap<&'a str, &'a str>,
    needs_signatures: bool,
}

pub(super) fn conversation(
    chat: &Map<String, Value>,
    model: &str,
) -> Result<Conversation, Untranslatable> {
    let messages = chat.get("messages").and_then(Value::as_array);
    let messages = messages.ok_or_else(|| {
        Untranslatable::new("messages", "`messages` is missing or is not a list.")
    })?;
    let mut writer =
        Writer { needs_signatures: thinking::takes_levels(model), ..Writer::default() };
    for (index, message) in messages.iter().enumerate() {
        writer.message(message, &format!("messages[{index}]"))?;
    }
    if writer.turns.is_empty() {
        return Err(Untranslatable::new(
            "messages",
            "The provider of this model needs at least one message of the role `user`.",
        ));
    }
    let contents = writer.turns.into_iter().map(|(turn, parts)| {
        let role = if turn == Turn::Model { "model" } else { "user" };
        json!({ "role": role, "parts": parts })
    });
    Ok(Conversation { system: writer.system, contents: contents.collect() })
}

impl<'a> Writer<'a> {
    fn message(&mut self, message: &'a Value, param: &str) -> Result<(), Untranslatable> {
        let members = message.as_object().ok_or_else(|| cannot(param))?;
        let role = members.get("role").and_then(Value::as_str).unwrap_or_default();
        match role {
            "system" | "developer" => {
                let texts = content(members, param, text_part)?;
                self.system.extend(texts.into_iter().filter(|part| part != &json!({ "text": "" })));
            }
            "user" => {
                let parts = content(members, param, any_part)?;
                self.add(Turn::User, parts);
            }
            "assistant" => {
                let parts = self.said(members, param)?;
                self.add(Turn::Model, parts);
            }
            "tool" => {
                let part = self.result(members, param)?;
                self.add(Turn::Results, vec![part]);
            }
            _ => return Err(cannot(format!("{param}.role"))),
        }
        Ok(())
    }

    /// Adds parts to the conversation; messages of one turn become one.
    fn add(&mut self, turn: Turn, mut parts: Vec<Value>) {
        if parts.is_empty() {
            return;
        }
        match self.turns.last_mut() {
            Some((last, before)) if *last == turn => before.append(&mut parts),
            _ => self.turns.push((turn, parts)),
        }
    }

    /// What the model said and called.
    fn said(
        &mut self,
        members: &'a Map<String, Value>,
        param: &str,
    ) -> Result<Vec<Value>, Untranslatable> {
        for name in ["audio", "function_call"] {
            if present(members, name).is_some() {
                return Err(cannot(format!("{param}.{name}")));
            }
        }
        let mut parts = content(members, param, text_part)?;
        if let Some(refusal) = members.get("refusal").and_then(Value::as_str) {
            parts.push(json!({ "text": refusal }));
        }
        parts.retain(|part| part != &json!({ "text": "" }));
        let mut signature = signature(members);
        if let (Some(last), Some(signed)) = (parts.last_mut(), signature) {
            sign(last, signed);
            signature = None;
        }
        let calls = match present(members, "tool_calls") {
            None => &[][..],
            Some(calls) => calls.as_array().ok_or_else(|| cannot(format!("{param}.tool_calls")))?,
        };
        for (index, call) in calls.iter().enumerate() {
            let mut part = self.call(call, &format!("{param}.tool_calls[{index}]"))?;
            // Of calls in parallel only the first one must be signed.
            let first = (index == 0)
                .then(|| signature.take().or(self.needs_signatures.then_some(NO_SIGNATURE)));
            let own = call.as_object().and_then(self::signature);
            if let Some(signed) = own.or(first.flatten()) {
                sign(&mut part, signed);
            }
            parts.push(part);
        }
        if let (true, Some(signed)) = (parts.is_empty(), signature) {
            parts.push(json!({ "text": "", "thoughtSignature": signed }));
        }
        Ok(parts)
    }

    fn call(&mut self, call: &'a Value, param: &str) -> Result<Value, Untranslatable> {
        if call.get("type").and_then(Value::as_str).is_some_and(|kind| kind != "function") {
            return Err(cannot(format!("{param}.type")));
        }
        let text = |name: &str| {
            let value = call.pointer(&format!("/function/{name}")).and_then(Value::as_str);
            value.ok_or_else(|| cannot(format!("{param}.function.{name}")))
        };
        let name = text("name")?;
        let arguments = text("arguments")?;
        let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
        let arguments = serde_json::from_str::<Map<String, Value>>(arguments).map_err(|_| {
            let param = format!("{param}.function.arguments");
            Untranslatable::new(param, "The arguments of a call must be a JSON object.")
        })?;
        let mut function = Map::new();
        if let Some(id) = call.get("id").and_then(Value::as_str).filter(|id| !id.is_empty()) {
            self.calls.insert(id, name);
            function.insert("id".to_owned(), id.into());
        }
        function.insert("name".to_owned(), name.into());
        function.insert("args".to_owned(), arguments.into());
        Ok(json!({ "functionCall": function }))
    }

    /// A function's result. It stays the text that it is, under the name that Gemini reads it by: one
    /// for what went well, another for an error, where a frontend of ours knows that it is one.
    fn result(&self, members: &Map<String, Value>, param: &str) -> Result<Value, Untranslatable> {
        let id = members.get("tool_call_id").and_then(Value::as_str).unwrap_or_default();
        let name = self.calls.get(id).ok_or_else(|| {
            let param = format!("{param}.tool_call_id");
            Untranslatable::new(param, "No earlier message has a call of this id.")
        })?;
        let mut output = String::new();
        for part in content(members, param, text_part)? {
            output.push_str(part.get("text").and_then(Value::as_str).unwrap_or_default());
        }
        let is_error = members.get("is_error") == Some(&Value::Bool(true));
        let outcome = if is_error { "error" } else { "output" };
        let response = json!({ outcome: output });
        Ok(json!({ "functionResponse": { "id": id, "name": name, "response": response } }))
    }
}

/// A message's content, part by part.
fn content(
    members: &Map<String, Value>,
    param: &str,
    part: fn(&Map<String, Value>, &str) -> Result<Value, Untranslatable>,
) -> Result<Vec<Value>, Untranslatable> {
    let param = format!("{param}.content");
    match members.get("content") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![json!({ "text": text })]),
        Some(Value::Array(list)) => {
            let parts = list.iter().enumerate().map(|(index, value)| {
                let param = format!("{param}[{index}]");
                let members = value.as_object().ok_or_else(|| cannot(&*param))?;
                part(members, &param)
            });
            parts.collect()
        }
        Some(_) => Err(cannot(param)),
    }
}

fn text_part(part: &Map<String, Value>, param: &str) -> Result<Value, Untranslatable> {
    let name = match part.get("type").and_then(Value::as_str) {
        Some("text") => "text",
        Some("refusal") => "refusal",
        _ => return Err(cannot(format!("{param}.type"))),
    };
    let text = part.get(name).and_then(Value::as_str);
    let text = text.ok_or_else(|| cannot(format!("{param}.{name}")))?;
    Ok(json!({ "text": text }))
}

fn any_part(part: &Map<String, Value>, param: &str) -> Result<Value, Untranslatable> {
    match part.get("type").and_then(Value::as_str) {
        Some("image_url") => media::image(part, param),
        Some("input_audio") => media::audio(part, param),
        Some("file") => media::file(part, param),
        _ => text_part(part, param),
    }
}

/// The signature of thought that a message or a call carries.
fn signature(members: &Map<String, Value>) -> Option<&str> {
    members.get("extra_content")?.pointer("/google/thought_signature")?.as_str()
}

fn sign(part: &mut Value, signature: &str) {
    if let Some(part) = part.as_object_mut() {
        part.insert("thoughtSignature".to_owned(), signature.into());
    }
}
