//! The tools of a call, which of them must be called, and the shape that its answer must have.

use serde_json::{Map, Value, json};

use super::super::Untranslatable;
use super::turns::{copy_cache_control, missing};

pub(super) fn write(
    call: &Map<String, Value>,
    chat: &mut Map<String, Value>,
) -> Result<(), Untranslatable> {
    let given = call.get("tools").and_then(Value::as_array).into_iter().flatten();
    let mut tools = Vec::new();
    for (index, given) in given.enumerate() {
        tools.push(tool(given, &format!("tools[{index}]"))?);
    }
    if !tools.is_empty() {
        chat.insert("tools".to_owned(), Value::Array(tools));
        tool_choice(call, chat)?;
    }
    response_format(call, chat)
}

/// A tool that the client runs. Those that run at Anthropic, and those whose description only its
/// models know, have a type of their own.
fn tool(given: &Value, path: &str) -> Result<Value, Untranslatable> {
    let kind = given["type"].as_str().unwrap_or("custom");
    if kind != "custom" {
        let message = format!("The tool '{kind}' is Anthropic's own: this model has no such tool.");
        return Err(Untranslatable::new(format!("{path}.type"), message));
    }
    let name = given["name"].as_str().ok_or_else(|| missing(&format!("{path}.name")))?;
    let mut function = Map::new();
    function.insert("name".to_owned(), json!(name));
    if let Some(description) = given["description"].as_str() {
        function.insert("description".to_owned(), json!(description));
    }
    function.insert("parameters".to_owned(), given["input_schema"].clone());
    if given["strict"] == json!(true) {
        function.insert("strict".to_owned(), json!(true));
    }
    let mut tool = json!({ "type": "function", "function": function });
    copy_cache_control(given, &mut tool);
    Ok(tool)
}

fn tool_choice(
    call: &Map<String, Value>,
    chat: &mut Map<String, Value>,
) -> Result<(), Untranslatable> {
    let given = call.get("tool_choice").unwrap_or(&Value::Null);
    let choice = match given["type"].as_str() {
        None if given.is_null() => return Ok(()),
        Some("auto") => json!("auto"),
        Some("any") => json!("required"),
        Some("none") => json!("none"),
        Some("tool") => {
            let name = given["name"].as_str().ok_or_else(|| missing("tool_choice.name"))?;
            json!({ "type": "function", "function": { "name": name } })
        }
        _ => {
            return Err(Untranslatable::new(
                "tool_choice.type",
                "'tool_choice.type' must be 'auto', 'any', 'tool' or 'none'.",
            ));
        }
    };
    chat.insert("tool_choice".to_owned(), choice);
    if given["disable_parallel_tool_use"] == json!(true) {
        chat.insert("parallel_tool_calls".to_owned(), json!(false));
    }
    Ok(())
}

/// `output_config.format`, or `output_format` as it was called before.
fn response_format(
    call: &Map<String, Value>,
    chat: &mut Map<String, Value>,
) -> Result<(), Untranslatable> {
    let config =
        call.get("output_config").map(|config| ("output_config.format", &config["format"]));
    let before = call.get("output_format").map(|format| ("output_format", format));
    let Some((path, format)) = config.into_iter().chain(before).find(|(_, found)| !found.is_null())
    else {
        return Ok(());
    };
    let schema = &format["schema"];
    if format["type"] != "json_schema" || !schema.is_object() {
        let message = format!("'{path}' must be a 'json_schema' with its 'schema'.");
        return Err(Untranslatable::new(path, message));
    }
    let format = json!({
        "type": "json_schema",
        "json_schema": { "name": "answer", "schema": schema, "strict": is_strict(schema) },
    });
    chat.insert("response_format".to_owned(), format);
    Ok(())
}

/// Whether a schema is one that chat's strict mode takes: each object closed, each property required.
/// Anthropic holds a model to its schema always; chat only in that mode.
fn is_strict(schema: &Value) -> bool {
    let Some(members) = schema.as_object() else { return true };
    if let Some(properties) = schema["properties"].as_object() {
        let required = schema["required"].as_array();
        let is_required = |name: &String| {
            required.is_some_and(|all| all.iter().any(|one| one.as_str() == Some(name)))
        };
        if schema["additionalProperties"] != json!(false) || !properties.keys().all(is_required) {
            return false;
        }
    }
    members.iter().all(|(name, member)| match (name.as_str(), member) {
        ("properties" | "$defs" | "definitions", Value::Object(named)) => {
            named.values().all(is_strict)
        }
        ("anyOf", Value::Array(schemas)) => schemas.iter().all(is_strict),
        ("allOf" | "oneOf" | "prefixItems", _) => false,
        ("items", member) => is_strict(member),
        _ => true,
    })
}
