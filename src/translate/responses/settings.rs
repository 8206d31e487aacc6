//! What a response repeats of its call, and what it says where the call said nothing: clients' types
//! have these members always.

use serde_json::{Map, Value, json};

use super::present;

/// Members that are repeated as they came.
const REPEATED: [&str; 10] = [
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "user",
    "metadata",
    "tool_choice",
];

/// What is so where nobody says otherwise.
fn defaults() -> Value {
    json!({
        "background": false,
        "instructions": null,
        "max_output_tokens": null,
        "max_tool_calls": null,
        "metadata": {},
        "parallel_tool_calls": true,
        "previous_response_id": null,
        "prompt_cache_key": null,
        "prompt_cache_retention": null,
        "reasoning": { "effort": null, "summary": null },
        "safety_identifier": null,
        "service_tier": null,
        "store": false,
        "temperature": 1.0,
        "text": { "format": { "type": "text" } },
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "user": null,
    })
}

pub(super) fn settings(call: &Map<String, Value>) -> Map<String, Value> {
    let mut settings = defaults();
    let numbers = ["temperature", "top_p", "top_logprobs", "parallel_tool_calls"];
    for name in REPEATED.into_iter().chain(numbers) {
        if let Some(value) = present(call, name) {
            settings[name] = value.clone();
        }
    }
    for name in ["reasoning", "text"] {
        for (member, value) in call.get(name).and_then(Value::as_object).into_iter().flatten() {
            if !value.is_null() {
                settings[name][member] = value.clone();
            }
        }
    }
    if let Some(tools) = call.get("tools").and_then(Value::as_array) {
        settings["tools"] = tools.iter().map(tool).collect();
    }
    match settings {
        Value::Object(settings) => settings,
        _ => Map::new(),
    }
}

/// A tool as a response shows it: a function has its parameters and its strictness in any case.
fn tool(tool: &Value) -> Value {
    let mut tool = tool.clone();
    if tool["type"] == "function"
        && let Some(members) = tool.as_object_mut()
    {
        for name in ["parameters", "strict"] {
            members.entry(name).or_insert(Value::Null);
        }
    }
    tool
}
