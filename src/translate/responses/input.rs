//! The items of a call as the messages of a chat.
//!
//! Items that a model wrote one after another, thoughts, words and calls, are one message of the
//! assistant. Thought goes as `reasoning_content`, as providers of open models read it, and as the
//! provider's own blocks where `encrypted_content` holds them; a summary, or what somebody else has
//! encrypted, means nothing to the provider and stays behind. `developer` is spoken as `system`, which
//! every provider knows.

use serde_json::{Map, Value, json};

use super::super::Untranslatable;
use super::super::thought::Place;
use super::output::unseal;
use super::{cannot, present};

pub(super) fn messages(call: &Map<String, Value>) -> Result<Vec<Value>, Untranslatable> {
    let mut writer = Writer::default();
    if let Some(instructions) = present(call, "instructions") {
        let text = instructions.as_str().ok_or_else(|| cannot("instructions"))?;
        writer.messages.push(json!({ "role": "system", "content": text }));
    }
    match call.get("input") {
        Some(Value::String(text)) => {
            writer.messages.push(json!({ "role": "user", "content": text }));
        }
        Some(Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                writer.item(item, &format!("input[{index}]"))?;
            }
        }
        _ => {
            return Err(Untranslatable::new("input", "`input` must be a text or a list of items."));
        }
    }
    writer.end_turn();
    Ok(writer.messages)
}

#[derive(Default)]
struct Writer {
    messages: Vec<Value>,
    /// What the assistant said and called since anybody else spoke.
    turn: Option<Turn>,
    /// What of it stands in messages before that turn, of which the places of thought know nothing.
    before: Place,
}

#[derive(Default)]
struct Turn {
    content: Option<Value>,
    reasoning: String,
    thinking_blocks: Vec<Value>,
    calls: Vec<Value>,
    extra: Option<Value>,
}

impl Turn {
    /// What it says, if it calls nothing.
    fn without_calls(&self) -> Option<&Value> {
        self.content.as_ref().filter(|_| self.calls.is_empty())
    }
}

impl Writer {
    fn item(&mut self, item: &Value, param: &str) -> Result<(), Untranslatable> {
        let members = item.as_object().ok_or_else(|| cannot(param))?;
        match members.get("type").and_then(Value::as_str) {
            None | Some("message") if members.contains_key("role") => self.message(members, param),
            Some("function_call") => {
                let call = call(members, param, "function", "arguments")?;
                self.turn().calls.push(call);
                Ok(())
            }
            Some("custom_tool_call") => {
                let call = call(members, param, "custom", "input")?;
                self.turn().calls.push(call);
                Ok(())
            }
            Some("function_call_output" | "custom_tool_call_output") => {
                let message = result(members, param)?;
                self.say(message);
                Ok(())
            }
            Some("reasoning") => {
                self.reasoning(members);
                Ok(())
            }
            _ => Err(cannot(format!("{param}.type"))),
        }
    }

    fn message(&mut self, members: &Map<String, Value>, param: &str) -> Result<(), Untranslatable> {
        let role = members.get("role").and_then(Value::as_str).unwrap_or_default();
        let content = content(members.get("content"), &format!("{param}.content"), role == "user")?;
        match role {
            "user" => self.say(json!({ "role": "user", "content": content })),
            "system" | "developer" => self.say(json!({ "role": "system", "content": content })),
            "assistant" => {
                // Results must follow right after their calls: what stands between belongs to them.
                if let Some(content) = self.turn.as_ref().and_then(Turn::without_calls) {
                    self.before.characters += characters(content);
                    self.end_turn();
                }
                let turn = self.turn();
                turn.content = Some(join(turn.content.take(), content));
                turn.extra = present(members, "extra_content").cloned().or(turn.extra.take());
            }
            _ => return Err(cannot(format!("{param}.role"))),
        }
        Ok(())
    }

    fn reasoning(&mut self, members: &Map<String, Value>) {
        let before = self.before;
        let turn = self.turn();
        let parts = members.get("content").and_then(Value::as_array).into_iter().flatten();
        for text in parts.filter_map(|part| part.get("text")?.as_str()) {
            turn.reasoning.push_str(text);
        }
        let sealed = members.get("encrypted_content").and_then(Value::as_str);
        for mut block in sealed.and_then(unseal).into_iter().flatten() {
            Place::of(&block).since(before).mark(&mut block);
            turn.thinking_blocks.push(block);
        }
    }

    fn turn(&mut self) -> &mut Turn {
        self.turn.get_or_insert_default()
    }

    /// Adds a message of anybody but the assistant.
    fn say(&mut self, message: Value) {
        self.end_turn();
        self.before = Place::default();
        self.messages.push(message);
    }

    fn end_turn(&mut self) {
        let Some(turn) = self.turn.take() else { return };
        if turn.content.is_none() && turn.calls.is_empty() {
            // Thought that came to nothing is no message.
            return;
        }
        let mut message = json!({ "role": "assistant", "content": turn.content });
        if !turn.reasoning.is_empty() {
            message["reasoning_content"] = turn.reasoning.into();
        }
        if !turn.thinking_blocks.is_empty() {
            message["thinking_blocks"] = turn.thinking_blocks.into();
        }
        if !turn.calls.is_empty() {
            message["tool_calls"] = turn.calls.into();
        }
        if let Some(extra) = turn.extra {
            message["extra_content"] = extra;
        }
        self.messages.push(message);
    }
}

/// A text member that an item must have.
fn text<'a>(
    members: &'a Map<String, Value>,
    param: &str,
    name: &str,
) -> Result<&'a str, Untranslatable> {
    let text = members.get(name).and_then(Value::as_str);
    text.ok_or_else(|| {
        Untranslatable::new(format!("{param}.{name}"), format!("`{name}` must be a text."))
    })
}

fn call(
    members: &Map<String, Value>,
    param: &str,
    kind: &str,
    with: &str,
) -> Result<Value, Untranslatable> {
    let (id, name) = (text(members, param, "call_id")?, text(members, param, "name")?);
    let given = text(members, param, with)?;
    let mut call = json!({ "id": id, "type": kind, kind: { "name": name, with: given } });
    if let Some(extra) = present(members, "extra_content") {
        call["extra_content"] = extra.clone();
    }
    Ok(call)
}

fn result(members: &Map<String, Value>, param: &str) -> Result<Value, Untranslatable> {
    let id = text(members, param, "call_id")?;
    let content = content(members.get("output"), &format!("{param}.output"), false)?;
    Ok(json!({ "role": "tool", "tool_call_id": id, "content": content }))
}

/// What stands in a message or a result. Text alone becomes a text, as not every provider reads lists.
fn content(
    content: Option<&Value>,
    param: &str,
    takes_media: bool,
) -> Result<Value, Untranslatable> {
    let parts = match content {
        Some(Value::String(text)) => return Ok(json!(text)),
        Some(Value::Array(parts)) => parts,
        _ => return Err(cannot(param)),
    };
    let mut theirs = Vec::new();
    for (index, value) in parts.iter().enumerate() {
        let param = format!("{param}[{index}]");
        let members = value.as_object().ok_or_else(|| cannot(&*param))?;
        theirs.push(part(members, &param, takes_media)?);
    }
    match &mut theirs[..] {
        [] => Ok(json!("")),
        [one] if one["type"] == "text" => Ok(one["text"].take()),
        _ => Ok(theirs.into()),
    }
}

fn part(
    members: &Map<String, Value>,
    param: &str,
    takes_media: bool,
) -> Result<Value, Untranslatable> {
    match members.get("type").and_then(Value::as_str) {
        Some("input_text" | "output_text" | "text") => {
            Ok(json!({ "type": "text", "text": text(members, param, "text")? }))
        }
        Some("refusal") => {
            Ok(json!({ "type": "refusal", "refusal": text(members, param, "refusal")? }))
        }
        Some("input_image") if takes_media => image(members, param),
        Some("input_file") if takes_media => file(members, param),
        Some("input_audio") if takes_media => {
            Ok(json!({ "type": "input_audio", "input_audio": members.get("input_audio") }))
        }
        _ => Err(cannot(format!("{param}.type"))),
    }
}

fn image(members: &Map<String, Value>, param: &str) -> Result<Value, Untranslatable> {
    if present(members, "file_id").is_some() {
        return Err(cannot(format!("{param}.file_id")));
    }
    let mut image = json!({ "url": text(members, param, "image_url")? });
    if let Some(detail) = present(members, "detail") {
        // Chat knows nothing finer than `high`.
        let is_finer = detail == "original";
        image["detail"] = if is_finer { "high".into() } else { detail.clone() };
    }
    Ok(json!({ "type": "image_url", "image_url": image }))
}

fn file(members: &Map<String, Value>, param: &str) -> Result<Value, Untranslatable> {
    if present(members, "file_url").is_some() {
        return Err(cannot(format!("{param}.file_url")));
    }
    let mut file = Map::new();
    for name in ["file_id", "file_data", "filename"] {
        if let Some(value) = present(members, name) {
            file.insert(name.to_owned(), value.clone());
        }
    }
    Ok(json!({ "type": "file", "file": file }))
}

/// How much text a content has.
fn characters(content: &Value) -> usize {
    let count = |text: &Value| text.as_str().map_or(0, |text| text.chars().count());
    let parts = content.as_array().into_iter().flatten();
    count(content) + parts.map(|part| count(&part["text"])).sum::<usize>()
}

/// One content after another.
fn join(before: Option<Value>, after: Value) -> Value {
    let Some(before) = before else { return after };
    let mut parts = Vec::new();
    for content in [before, after] {
        match content {
            Value::Array(list) => parts.extend(list),
            text => parts.push(json!({ "type": "text", "text": text })),
        }
    }
    parts.into()
}
