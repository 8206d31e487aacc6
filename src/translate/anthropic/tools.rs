//! The tools of a call, which of them must be called, and the shape that its answer must have.
//!
//! A JSON schema for the answer is Anthropic's `output_config.format` (platform.claude.com, "Structured
//! outputs"): the answer comes as text. For JSON without a schema there is nothing of the kind; there
//! the model is made to call a tool of ours, which leaves no room for the client's own tools or for
//! thinking.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::super::Untranslatable;
use super::parts::{copy_cache_control, missing};
use super::{JSON_TOOL, thinking};

/// Writes `tools`, `tool_choice` and `output_config.format`. `called` names the tools that the messages
/// have calls of.
pub(super) fn write(
    chat: &Map<String, Value>,
    called: &BTreeSet<String>,
    call: &mut Map<String, Value>,
) -> Result<(), Untranslatable> {
    let mut tools = Vec::new();
    let given = chat.get("tools").and_then(Value::as_array).into_iter().flatten();
    for (index, given) in given.enumerate() {
        tools.push(tool(given, &format!("tools[{index}]"))?);
    }
    let mut choice = None;
    if !tools.is_empty() {
        choice = tool_choice(chat)?;
    } else if !called.is_empty() {
        // Anthropic wants the tools of a conversation named to its end, chat only while they can be
        // called: they are named so that none can.
        let schema = json!({ "type": "object" });
        tools.extend(called.iter().map(|name| json!({ "name": name, "input_schema": schema })));
        choice = Some(json!({ "type": "none" }));
    }
    format(chat, &mut tools, &mut choice, call)?;
    if !tools.is_empty() {
        call.insert("tools".to_owned(), Value::Array(tools));
    }
    if let Some(choice) = choice {
        call.insert("tool_choice".to_owned(), choice);
    }
    Ok(())
}

fn tool(given: &Value, path: &str) -> Result<Value, Untranslatable> {
    match given["type"].as_str() {
        Some("function") => {}
        Some(other) => {
            let message = format!("Tools of the type '{other}' cannot be carried to Anthropic.");
            return Err(Untranslatable::new(format!("{path}.type"), message));
        }
        None => return Err(missing(&format!("{path}.type"))),
    }
    let function = &given["function"];
    let name = function["name"].as_str();
    let mut tool = Map::new();
    let name = name.ok_or_else(|| missing(&format!("{path}.function.name")))?;
    tool.insert("name".to_owned(), json!(name));
    if let Some(description) = function["description"].as_str() {
        tool.insert("description".to_owned(), json!(description));
    }
    tool.insert("input_schema".to_owned(), input_schema(&function["parameters"]));
    if function["strict"] == json!(true) {
        tool.insert("strict".to_owned(), json!(true));
    }
    let mut tool = Value::Object(tool);
    copy_cache_control(function, &mut tool);
    copy_cache_control(given, &mut tool);
    Ok(tool)
}

/// A function's parameters. Without any it takes none; Anthropic wants the type said.
pub(in crate::translate) fn input_schema(parameters: &Value) -> Value {
    match parameters {
        Value::Object(schema) if schema.contains_key("type") => parameters.clone(),
        Value::Object(schema) => {
            let mut typed = Map::new();
            typed.insert("type".to_owned(), json!("object"));
            typed.extend(schema.clone());
            Value::Object(typed)
        }
        _ => json!({ "type": "object", "properties": {} }),
    }
}

fn tool_choice(chat: &Map<String, Value>) -> Result<Option<Value>, Untranslatable> {
    let alone = chat.get("parallel_tool_calls") == Some(&json!(false));
    let given = chat.get("tool_choice").unwrap_or(&Value::Null);
    let mut choice = match (given.as_str(), given["type"].as_str()) {
        (Some("none"), _) => return Ok(Some(json!({ "type": "none" }))),
        (Some("auto"), _) => json!({ "type": "auto" }),
        (Some("required"), _) => json!({ "type": "any" }),
        (None, Some("function")) => {
            let name = given["function"]["name"].as_str();
            let name = name.ok_or_else(|| missing("tool_choice.function.name"))?;
            json!({ "type": "tool", "name": name })
        }
        (None, None) if given.is_null() && alone => json!({ "type": "auto" }),
        (None, None) if given.is_null() => return Ok(None),
        (word, kind) => {
            let said = word.or(kind).unwrap_or_default();
            let message = format!("'tool_choice' cannot be '{said}' for Anthropic.");
            return Err(Untranslatable::new("tool_choice", message));
        }
    };
    if let (true, Some(choice)) = (alone, choice.as_object_mut()) {
        choice.insert("disable_parallel_tool_use".to_owned(), json!(true));
    }
    Ok(Some(choice))
}

fn format(
    chat: &Map<String, Value>,
    tools: &mut Vec<Value>,
    choice: &mut Option<Value>,
    call: &mut Map<String, Value>,
) -> Result<(), Untranslatable> {
    let given = chat.get("response_format").unwrap_or(&Value::Null);
    match given["type"].as_str() {
        Some("text") => Ok(()),
        None if given.is_null() => Ok(()),
        Some("json_schema") => {
            let mut schema = given["json_schema"]["schema"].clone();
            if !schema.is_object() {
                return Err(missing("response_format.json_schema.schema"));
            }
            close(&mut schema);
            let format = json!({ "type": "json_schema", "schema": schema });
            thinking::set_in_config(call, "format", format);
            Ok(())
        }
        Some("json_object") => {
            let thinks = call.get("thinking").is_some_and(|how| how["type"] != "disabled");
            if thinks || !tools.is_empty() {
                return Err(Untranslatable::new(
                    "response_format.type",
                    "Anthropic cannot answer with 'json_object' where there are tools or reasoning: \
                     use 'json_schema'.",
                ));
            }
            tools.push(json!({
                "name": JSON_TOOL,
                "description": "Takes the answer, as one JSON object.",
                "input_schema": { "type": "object" },
            }));
            *choice = Some(json!({
                "type": "tool",
                "name": JSON_TOOL,
                "disable_parallel_tool_use": true,
            }));
            Ok(())
        }
        _ => Err(Untranslatable::new(
            "response_format.type",
            "'response_format' must be 'text', 'json_object' or 'json_schema'.",
        )),
    }
}

/// Closes the objects of a schema that name their properties and leave others open: Anthropic takes
/// only closed ones, and what fits the closed schema fits the client's.
pub(in crate::translate) fn close(schema: &mut Value) {
    let Some(members) = schema.as_object_mut() else { return };
    if members.contains_key("properties") && !members.contains_key("additionalProperties") {
        members.insert("additionalProperties".to_owned(), json!(false));
    }
    for (name, member) in members {
        match (name.as_str(), member) {
            ("properties" | "$defs" | "definitions", Value::Object(named)) => {
                named.values_mut().for_each(close);
            }
            ("anyOf" | "allOf" | "oneOf" | "prefixItems", Value::Array(schemas)) => {
                schemas.iter_mut().for_each(close);
            }
            ("items" | "additionalProperties", member) => close(member),
            _ => {}
        }
    }
}
