//! The messages of a chat call as a system prompt and turns.
//!
//! Turns alternate: what follows on from the same side is one turn. In a turn of the user the results of
//! tools come first, in a turn of the assistant its thinking, but for what says that it stood elsewhere:
//! Anthropic refuses any other order. That an assistant's turn ends the call is a prefill; its text must
//! not end in white space there.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::super::thought::{Place, weave};
use super::super::{Untranslatable, tool_id};
use super::parts::{blocks, copy_cache_control, missing, text_block};

#[derive(Default)]
pub(super) struct Turns {
    system: Vec<Value>,
    all: Vec<Turn>,
    /// The names of the tools that were called.
    pub(super) called: BTreeSet<String>,
}

struct Turn {
    is_user: bool,
    blocks: Vec<Value>,
}

pub(super) fn read(chat: &Map<String, Value>) -> Result<Turns, Untranslatable> {
    let messages = chat.get("messages").and_then(Value::as_array);
    let messages = messages.ok_or_else(|| missing("messages"))?;
    let mut turns = Turns::default();
    for (index, message) in messages.iter().enumerate() {
        turns.read(message, &format!("messages[{index}]"))?;
    }
    turns.arrange();
    Ok(turns)
}

impl Turns {
    fn read(&mut self, message: &Value, path: &str) -> Result<(), Untranslatable> {
        let content = || blocks(&message["content"], &format!("{path}.content"));
        match message["role"].as_str() {
            Some("system" | "developer") => self.system.extend(marked(message, content()?)),
            Some("user") => self.add(true, marked(message, content()?)),
            Some("assistant") => {
                let blocks = self.assistant(message, path, content()?)?;
                self.add(false, marked(message, blocks));
            }
            Some("tool") => self.add(true, vec![result(message, path, content()?)?]),
            Some("function") => {
                return Err(Untranslatable::new(
                    format!("{path}.role"),
                    "Messages of the role 'function' are not carried to Anthropic: use 'tool'.",
                ));
            }
            Some(role) => {
                let message = format!("'{role}' is not a role of chat.");
                return Err(Untranslatable::new(format!("{path}.role"), message));
            }
            None => return Err(missing(&format!("{path}.role"))),
        }
        Ok(())
    }

    fn add(&mut self, is_user: bool, blocks: Vec<Value>) {
        match self.all.last_mut() {
            Some(turn) if turn.is_user == is_user => turn.blocks.extend(blocks),
            _ if blocks.is_empty() => {}
            _ => self.all.push(Turn { is_user, blocks }),
        }
    }

    fn assistant(
        &mut self,
        message: &Value,
        path: &str,
        mut content: Vec<Value>,
    ) -> Result<Vec<Value>, Untranslatable> {
        for name in ["audio", "function_call"] {
            if message.get(name).is_some_and(|value| !value.is_null()) {
                let text = format!("'{name}' of a message is not carried to Anthropic.");
                return Err(Untranslatable::new(format!("{path}.{name}"), text));
            }
        }
        content.extend(message["refusal"].as_str().and_then(text_block));
        let mut calls = Vec::new();
        for (index, call) in message["tool_calls"].as_array().into_iter().flatten().enumerate() {
            let path = format!("{path}.tool_calls[{index}]");
            let block = tool_use(call, &path)?;
            self.called.extend(block["name"].as_str().map(str::to_owned));
            calls.push(block);
        }
        let thought = message["thinking_blocks"].as_array().into_iter().flatten();
        let thought = thought.filter_map(|block| Some((Place::of(block), thinking_block(block)?)));
        let mut blocks = weave(thought, content, calls);
        blocks.retain(|block| !is_blank(block));
        Ok(blocks)
    }

    fn arrange(&mut self) {
        for turn in self.all.iter_mut().filter(|turn| turn.is_user) {
            turn.blocks.sort_by_key(|block| block["type"] != "tool_result");
        }
        if let Some(Turn { is_user: false, blocks }) = self.all.last_mut()
            && let Some(Value::String(text)) =
                blocks.last_mut().and_then(|last| last.get_mut("text"))
        {
            text.truncate(text.trim_end().len());
        }
    }

    pub(super) fn write(self, call: &mut Map<String, Value>) {
        if !self.system.is_empty() {
            call.insert("system".to_owned(), content(self.system));
        }
        let turns = self.all.into_iter().map(|turn| {
            let role = if turn.is_user { "user" } else { "assistant" };
            json!({ "role": role, "content": content(turn.blocks) })
        });
        call.insert("messages".to_owned(), turns.collect());
    }
}

/// Blocks as content: text alone is written as text.
fn content(mut blocks: Vec<Value>) -> Value {
    match blocks.as_mut_slice() {
        [Value::Object(block)] if block.len() == 2 && block.contains_key("text") => {
            block.remove("text").unwrap_or_default()
        }
        _ => Value::Array(blocks),
    }
}

/// A mark for the cache on a whole message marks its last block.
fn marked(message: &Value, mut blocks: Vec<Value>) -> Vec<Value> {
    let can_be_marked = |block: &&mut Value| {
        !matches!(block["type"].as_str(), Some("thinking" | "redacted_thinking"))
    };
    if let Some(last) = blocks.last_mut().filter(can_be_marked) {
        copy_cache_control(message, last);
    }
    blocks
}

/// Text that Anthropic would refuse: of a text that is cut at a thought, a piece can be blank.
fn is_blank(block: &Value) -> bool {
    block["type"] == "text" && block["text"].as_str().is_none_or(|text| text.trim().is_empty())
}

/// A thinking block as the provider gave it, without what was added on its way to the client. One
/// without its signature cannot be sent back, and need not be.
fn thinking_block(block: &Value) -> Option<Value> {
    let filled = |name: &str| block[name].as_str().filter(|text| !text.is_empty());
    match block["type"].as_str()? {
        "thinking" => Some(json!({
            "type": "thinking",
            "thinking": block["thinking"].as_str().unwrap_or_default(),
            "signature": filled("signature")?,
        })),
        "redacted_thinking" => {
            Some(json!({ "type": "redacted_thinking", "data": filled("data")? }))
        }
        _ => None,
    }
}

fn tool_use(call: &Value, path: &str) -> Result<Value, Untranslatable> {
    let kind = call["type"].as_str().unwrap_or("function");
    if kind != "function" {
        let message = format!("Tool calls of the type '{kind}' cannot be carried to Anthropic.");
        return Err(Untranslatable::new(format!("{path}.type"), message));
    }
    let id = call["id"].as_str().ok_or_else(|| missing(&format!("{path}.id")))?;
    let name = call["function"]["name"].as_str();
    let name = name.ok_or_else(|| missing(&format!("{path}.function.name")))?;
    let mut block = json!({
        "type": "tool_use",
        "id": tool_id::plain(id),
        "name": name,
        "input": input(&call["function"]["arguments"]),
    });
    copy_cache_control(call, &mut block);
    Ok(block)
}

/// The arguments of a call as an object. Models do write some that are none: those are kept whole in a
/// member of their own, for the conversation to go on with what the model wrote.
pub(in crate::translate) fn input(arguments: &Value) -> Value {
    let text = match arguments {
        Value::String(text) => text.as_str(),
        Value::Object(_) => return arguments.clone(),
        _ => "",
    };
    if text.trim().is_empty() {
        return json!({});
    }
    match serde_json::from_str::<Value>(text) {
        Ok(input @ Value::Object(_)) => input,
        _ => json!({ "arguments": text }),
    }
}

fn result(message: &Value, path: &str, blocks: Vec<Value>) -> Result<Value, Untranslatable> {
    let id = message["tool_call_id"].as_str();
    let id = id.ok_or_else(|| missing(&format!("{path}.tool_call_id")))?;
    let mut result = json!({ "type": "tool_result", "tool_use_id": tool_id::plain(id) });
    if let Some(result) = result.as_object_mut() {
        if !blocks.is_empty() {
            result.insert("content".to_owned(), content(blocks));
        }
        if message["is_error"] == json!(true) {
            result.insert("is_error".to_owned(), json!(true));
        }
    }
    copy_cache_control(message, &mut result);
    Ok(result)
}
