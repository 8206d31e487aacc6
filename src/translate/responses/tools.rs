//! Tools that a model may call, and which of them it must.
//!
//! Chat has functions and custom tools, and writes what they are one level deeper. Tools that `OpenAI`
//! runs itself have no place in it.

use serde_json::{Map, Value, json};

use super::super::Untranslatable;
use super::{cannot, present};

/// Puts `tools`, `tool_choice` and `parallel_tool_calls` into a chat call.
pub(super) fn put(
    call: &Map<String, Value>,
    chat: &mut Map<String, Value>,
) -> Result<(), Untranslatable> {
    let Some(tools) = present(call, "tools") else { return no_tools(call, chat) };
    let tools = tools.as_array().ok_or_else(|| cannot("tools"))?;
    if tools.is_empty() {
        return no_tools(call, chat);
    }
    let mut theirs = Vec::new();
    for (index, tool) in tools.iter().enumerate() {
        theirs.push(self::tool(tool, &format!("tools[{index}]"))?);
    }
    chat.insert("tools".to_owned(), theirs.into());
    if let Some(choice) = present(call, "tool_choice") {
        chat.insert("tool_choice".to_owned(), self::choice(choice)?);
    }
    if let Some(parallel) = present(call, "parallel_tool_calls") {
        chat.insert("parallel_tool_calls".to_owned(), parallel.clone());
    }
    Ok(())
}

/// Chat refuses to hear of tools where there are none; that none is to be called goes without saying.
fn no_tools(
    call: &Map<String, Value>,
    chat: &mut Map<String, Value>,
) -> Result<(), Untranslatable> {
    match present(call, "tool_choice") {
        Some(choice) if choice != "auto" && choice != "none" => {
            chat.insert("tool_choice".to_owned(), self::choice(choice)?);
        }
        _ => {}
    }
    Ok(())
}

fn tool(tool: &Value, param: &str) -> Result<Value, Untranslatable> {
    let members = tool.as_object().ok_or_else(|| cannot(param))?;
    let (kind, known) = match members.get("type").and_then(Value::as_str) {
        Some("function") => ("function", &["name", "description", "parameters", "strict"][..]),
        Some("custom") => ("custom", &["name", "description", "format"][..]),
        _ => return Err(cannot(format!("{param}.type"))),
    };
    let mut theirs = Map::new();
    for (name, value) in members {
        match name.as_str() {
            "type" => {}
            _ if value.is_null() => {}
            "format" if kind == "custom" => {
                theirs.insert(name.clone(), format(value));
            }
            name if known.contains(&name) => {
                theirs.insert(name.to_owned(), value.clone());
            }
            "defer_loading" | "async" if value == &Value::Bool(false) => {}
            "allowed_callers" if value == &json!(["direct"]) => {}
            // Only programs that OpenAI runs would read it.
            "output_schema" => {}
            _ => return Err(cannot(format!("{param}.{name}"))),
        }
    }
    Ok(json!({ "type": kind, kind: theirs }))
}

/// A custom tool's grammar, one level deeper.
fn format(format: &Value) -> Value {
    let mut grammar = format.as_object().cloned().unwrap_or_default();
    match grammar.shift_remove("type") {
        Some(kind) if kind == "grammar" => json!({ "type": "grammar", "grammar": grammar }),
        _ => format.clone(),
    }
}

fn choice(choice: &Value) -> Result<Value, Untranslatable> {
    let Some(members) = choice.as_object() else { return Ok(choice.clone()) };
    let mode = members.get("mode");
    match members.get("type").and_then(Value::as_str) {
        Some("allowed_tools") => {
            let tools = members.get("tools").and_then(Value::as_array);
            let tools = tools.ok_or_else(|| cannot("tool_choice.tools"))?.iter().enumerate();
            let tools =
                tools.map(|(index, tool)| named(tool, &format!("tool_choice.tools[{index}]")));
            let tools = tools.collect::<Result<Vec<_>, _>>()?;
            let allowed = json!({ "mode": mode, "tools": tools });
            Ok(json!({ "type": "allowed_tools", "allowed_tools": allowed }))
        }
        _ => named(choice, "tool_choice"),
    }
}

/// A tool that is named, as a choice or among those allowed.
fn named(tool: &Value, param: &str) -> Result<Value, Untranslatable> {
    let kind = tool.get("type").and_then(Value::as_str).unwrap_or_default();
    if !["function", "custom"].contains(&kind) {
        return Err(cannot(format!("{param}.type")));
    }
    Ok(json!({ "type": kind, kind: { "name": tool.get("name") } }))
}
