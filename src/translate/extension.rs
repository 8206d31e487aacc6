//! What our translations add to chat, and which providers take it.
//!
//! Chat has no place for thinking that goes back to the model, for marks of a cache, or for a result
//! that is an error. Our frontends write these into members of their own; most providers of chat refuse
//! a message with a member that they do not know. Before a call goes to one of them this takes out what
//! it would refuse, and says in another way what would be lost.

use serde_json::{Map, Value, json};

use crate::provider::kind::Kind;

/// Takes out of a translated chat call what a kind of provider would refuse.
pub fn remove(chat: &mut Map<String, Value>, kind: Kind) {
    let keeps = Keeps::of(kind);
    if !keeps.cache_control {
        chat.shift_remove("cache_control");
        each(chat.get_mut("tools"), |tool| {
            tool.shift_remove("cache_control");
        });
    }
    each(chat.get_mut("messages"), |message| {
        message.shift_remove("thinking_blocks");
        if !keeps.extra_content {
            message.shift_remove("extra_content");
            each(message.get_mut("tool_calls"), |call| {
                call.shift_remove("extra_content");
            });
        }
        if !keeps.reasoning {
            message.shift_remove("reasoning_content");
        }
        if message.shift_remove("is_error") == Some(json!(true)) {
            say_error(message);
        }
        if !keeps.cache_control {
            message.shift_remove("cache_control");
            for list in ["content", "tool_calls"] {
                each(message.get_mut(list), |part| {
                    part.shift_remove("cache_control");
                });
            }
        }
    });
}

/// What a kind of provider takes beyond chat.
struct Keeps {
    /// `reasoning_content` of earlier messages. `DeepSeek` and Moonshot demand it in a loop of tool calls.
    reasoning: bool,
    /// Anthropic's marks for the cache, as `OpenRouter` and Alibaba document them.
    cache_control: bool,
    /// Google's signatures of thought, which its own chat endpoint demands back.
    extra_content: bool,
}

impl Keeps {
    fn of(kind: Kind) -> Self {
        Self {
            reasoning: matches!(
                kind,
                Kind::DeepSeek
                    | Kind::Moonshot
                    | Kind::OpenRouter
                    | Kind::Alibaba
                    | Kind::Fireworks
                    | Kind::Vllm
                    | Kind::LlamaCpp
            ),
            cache_control: matches!(kind, Kind::OpenRouter | Kind::Alibaba),
            extra_content: kind == Kind::GeminiOpenAi,
        }
    }
}

fn each(list: Option<&mut Value>, mut change: impl FnMut(&mut Map<String, Value>)) {
    let items = list.and_then(Value::as_array_mut).into_iter().flatten();
    items.filter_map(Value::as_object_mut).for_each(&mut change);
}

/// Says in a tool's result that it is an error, unless it begins so.
fn say_error(message: &mut Map<String, Value>) {
    match message.get_mut("content") {
        Some(Value::String(text)) if !begins_so(text) => text.insert_str(0, "Error: "),
        Some(Value::Array(parts)) => {
            let begins_so =
                parts.first().and_then(|part| part["text"].as_str()).is_some_and(begins_so);
            if !begins_so {
                parts.insert(0, json!({ "type": "text", "text": "Error:" }));
            }
        }
        _ => {}
    }
}

fn begins_so(text: &str) -> bool {
    text.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("error"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removed(kind: Kind) -> Value {
        let mark = json!({ "type": "ephemeral" });
        let mut chat = json!({
            "cache_control": mark,
            "tools": [{ "type": "function", "cache_control": mark }],
            "messages": [
                { "role": "user", "content": [{ "type": "text", "text": "a", "cache_control": mark }] },
                { "role": "assistant", "content": "b", "reasoning_content": "r", "thinking_blocks": [{}],
                  "extra_content": {}, "tool_calls": [{ "id": "1", "extra_content": {} }] },
                { "role": "tool", "tool_call_id": "1", "content": "no", "is_error": true },
                { "role": "tool", "tool_call_id": "2", "content": "ERROR no", "is_error": true },
            ],
        });
        remove(chat.as_object_mut().unwrap(), kind);
        chat
    }

    #[test]
    fn a_strict_provider_gets_plain_chat() {
        assert_eq!(
            removed(Kind::OpenAi),
            json!({
                "tools": [{ "type": "function" }],
                "messages": [
                    { "role": "user", "content": [{ "type": "text", "text": "a" }] },
                    { "role": "assistant", "content": "b", "tool_calls": [{ "id": "1" }] },
                    { "role": "tool", "tool_call_id": "1", "content": "Error: no" },
                    { "role": "tool", "tool_call_id": "2", "content": "ERROR no" },
                ],
            })
        );
    }

    #[test]
    fn what_a_provider_takes_stays() {
        let chat = removed(Kind::OpenRouter);
        assert_eq!(chat["messages"][1]["reasoning_content"], "r");
        assert_eq!(chat["messages"][0]["content"][0]["cache_control"]["type"], "ephemeral");
        assert_eq!(removed(Kind::DeepSeek)["messages"][1]["reasoning_content"], "r");
        let signed = &removed(Kind::GeminiOpenAi)["messages"][1];
        assert_eq!(signed["tool_calls"][0]["extra_content"], json!({}));
    }
}
