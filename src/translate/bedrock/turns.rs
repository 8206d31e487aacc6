//! The messages of a chat call as a system prompt and turns.
//!
//! Turns alternate: what follows on from the same side is one turn. In a turn of the user the results of
//! tools come first, in a turn of the assistant its thinking, but for what says that it stood elsewhere.
//! A turn with a document must have text too (AWS's reference of `Message`).

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::super::anthropic::{input, missing};
use super::super::{Untranslatable, thought, tool_id};
use super::files::Files;
use super::parts::{Block, Place, blocks, cache_point, text_block};

/// The longest id of a tool call that Converse takes.
const ID_LIMIT: usize = 64;

/// What stands for the result of a tool that gave nothing: Bedrock refuses an empty text.
const NOTHING: &str = "(no output)";

#[derive(Default)]
pub(super) struct Turns {
    system: Vec<Block>,
    all: Vec<Turn>,
    files: Files,
}

struct Turn {
    is_user: bool,
    blocks: Vec<Block>,
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
        let mut content =
            |place| blocks(&message["content"], place, &format!("{path}.content"), &mut self.files);
        match message["role"].as_str() {
            Some("system" | "developer") => {
                let blocks = marked(message, content(Place::System)?);
                self.system.extend(blocks);
            }
            Some("user") => {
                let blocks = marked(message, content(Place::User)?);
                self.add(true, blocks);
            }
            Some("assistant") => {
                let content = content(Place::Assistant)?;
                self.add(false, marked(message, assistant(message, path, content)?));
            }
            Some("tool") => {
                let content = content(Place::Result)?;
                self.add(true, marked(message, vec![result(message, path, content)?]));
            }
            Some("function") => {
                return Err(Untranslatable::new(
                    format!("{path}.role"),
                    "Messages of the role 'function' are not carried to Bedrock: use 'tool'.",
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

    fn add(&mut self, is_user: bool, blocks: Vec<Block>) {
        match self.all.last_mut() {
            Some(turn) if turn.is_user == is_user => turn.blocks.extend(blocks),
            _ if blocks.is_empty() => {}
            _ => self.all.push(Turn { is_user, blocks }),
        }
    }

    fn arrange(&mut self) {
        for turn in self.all.iter_mut().filter(|turn| turn.is_user) {
            turn.blocks.sort_by_key(|block| !block.has("toolResult"));
            give_text(&mut turn.blocks);
        }
        // That an assistant's turn ends the call is a prefill; its text must not end in white space.
        if let Some(Turn { is_user: false, blocks }) = self.all.last_mut()
            && let Some(Value::String(text)) =
                blocks.last_mut().and_then(|last| last.value.get_mut("text"))
        {
            text.truncate(text.trim_end().len());
        }
    }

    /// Tells the calls and the results of tools as text, where no tool may be called any more.
    pub(super) fn tell_tools(&mut self) {
        for turn in &mut self.all {
            turn.blocks = std::mem::take(&mut turn.blocks).into_iter().flat_map(told).collect();
        }
    }

    /// Puts a cache point at the end of the conversation, as Anthropic's mark on a whole call does.
    pub(super) fn mark_last(&mut self, mark: &Value) {
        let marked = json!({ "cache_control": mark });
        let last = self.all.last_mut().and_then(|turn| turn.blocks.last_mut());
        if let Some(last) = last.filter(|last| last.point.is_none()) {
            last.point = cache_point(&marked);
        }
    }

    pub(super) fn write(self) -> Map<String, Value> {
        let mut call = Map::new();
        if !self.system.is_empty() {
            call.insert("system".to_owned(), spread(self.system));
        }
        let turns = self.all.into_iter().map(|turn| {
            let role = if turn.is_user { "user" } else { "assistant" };
            json!({ "role": role, "content": spread(turn.blocks) })
        });
        call.insert("messages".to_owned(), turns.collect());
        call
    }
}

fn spread(blocks: Vec<Block>) -> Value {
    blocks.into_iter().flat_map(Block::spread).collect()
}

/// A mark for the cache on a whole message stands behind its last block.
fn marked(message: &Value, mut blocks: Vec<Block>) -> Vec<Block> {
    if let Some(last) = blocks.last_mut().filter(|last| last.point.is_none()) {
        last.point = cache_point(message);
    }
    blocks
}

/// Text for a turn that has documents and none: their names, which are all that the call says of them.
fn give_text(blocks: &mut Vec<Block>) {
    if blocks.iter().any(|block| block.has("text")) {
        return;
    }
    let documents = blocks.iter().filter_map(|block| block.value["document"]["name"].as_str());
    let names = documents.collect::<Vec<_>>().join(", ");
    blocks.extend(text_block(&names).map(Block::plain));
}

fn assistant(
    message: &Value,
    path: &str,
    mut content: Vec<Block>,
) -> Result<Vec<Block>, Untranslatable> {
    for name in ["audio", "function_call"] {
        if message.get(name).is_some_and(|value| !value.is_null()) {
            let text = format!("'{name}' of a message is not carried to Bedrock.");
            return Err(Untranslatable::new(format!("{path}.{name}"), text));
        }
    }
    content.extend(message["refusal"].as_str().and_then(text_block).map(Block::plain));
    let mut calls = Vec::new();
    for (index, call) in message["tool_calls"].as_array().into_iter().flatten().enumerate() {
        let value = tool_use(call, &format!("{path}.tool_calls[{index}]"))?;
        calls.push(Block { value, point: cache_point(call) });
    }
    let thought = message["thinking_blocks"].as_array().into_iter().flatten();
    let thought = thought
        .filter_map(|block| Some((thought::Place::of(block), Block::plain(reasoning(block)?))));
    let mut blocks = thought::weave(thought, content, calls);
    blocks.retain(|block| !block.is_blank());
    Ok(blocks)
}

/// A thinking block as Bedrock gave it out. One without its signature cannot be sent back, and need not
/// be.
fn reasoning(block: &Value) -> Option<Value> {
    let filled = |name: &str| block[name].as_str().filter(|text| !text.is_empty());
    let content = match block["type"].as_str()? {
        "thinking" => json!({ "reasoningText": {
            "text": block["thinking"].as_str().unwrap_or_default(),
            "signature": filled("signature")?,
        } }),
        "redacted_thinking" => json!({ "redactedContent": filled("data")? }),
        _ => return None,
    };
    Some(json!({ "reasoningContent": content }))
}

/// An id that Converse takes: of few characters, and of few kinds of them.
fn id(id: &str) -> Cow<'_, str> {
    let plain = tool_id::plain(id);
    if plain.len() <= ID_LIMIT {
        return plain;
    }
    let hash = blake3::hash(id.as_bytes()).to_hex();
    Cow::Owned(format!("x-h-{}", hash.get(..48).unwrap_or_default()))
}

fn tool_use(call: &Value, path: &str) -> Result<Value, Untranslatable> {
    let kind = call["type"].as_str().unwrap_or("function");
    if kind != "function" {
        let message = format!("Tool calls of the type '{kind}' cannot be carried to Bedrock.");
        return Err(Untranslatable::new(format!("{path}.type"), message));
    }
    let own = call["id"].as_str().ok_or_else(|| missing(&format!("{path}.id")))?;
    let name = call["function"]["name"].as_str();
    let name = name.ok_or_else(|| missing(&format!("{path}.function.name")))?;
    Ok(json!({ "toolUse": {
        "toolUseId": id(own),
        "name": name,
        "input": input(&call["function"]["arguments"]),
    } }))
}

/// The result of a tool. Its status is said where the client says one: not all models take it.
fn result(message: &Value, path: &str, content: Vec<Block>) -> Result<Block, Untranslatable> {
    let own = message["tool_call_id"].as_str();
    let own = own.ok_or_else(|| missing(&format!("{path}.tool_call_id")))?;
    // A cache point has no place inside a result: it stands behind it.
    let point = content.iter().rev().find_map(|block| block.point.clone());
    let mut content: Vec<Value> = content.into_iter().map(|block| block.value).collect();
    if content.is_empty() {
        content.push(json!({ "text": NOTHING }));
    }
    let mut result = json!({ "toolUseId": id(own), "content": content });
    if let Some(is_error) = message["is_error"].as_bool() {
        result["status"] = json!(if is_error { "error" } else { "success" });
    }
    Ok(Block { value: json!({ "toolResult": result }), point })
}

/// A block, or the blocks that tell of a tool's call or result what the block said.
fn told(block: Block) -> Vec<Block> {
    let Block { value, point } = block;
    let mut told = if let Some(call) = value.get("toolUse") {
        let text = |name: &str| call[name].as_str().unwrap_or_default();
        let (name, id) = (text("name"), text("toolUseId"));
        let text = format!("The tool {name} was called, in the call {id}, with {}.", call["input"]);
        vec![json!({ "text": text })]
    } else if let Some(result) = value.get("toolResult") {
        let id = result["toolUseId"].as_str().unwrap_or_default();
        let word = if result["status"] == "error" { "failed with" } else { "gave" };
        let mut told = vec![json!({ "text": format!("The call {id} {word}:") })];
        told.extend(result["content"].as_array().into_iter().flatten().cloned());
        told
    } else {
        vec![value]
    };
    let last = told.pop().map(|value| Block { value, point });
    told.into_iter().map(Block::plain).chain(last).collect()
}
