//! Tools that a model may call, and which of them it must.
//!
//! A function's parameters go as they are: `parametersJsonSchema` takes JSON Schema, where
//! `parameters` takes but a part of it (ai.google.dev, `FunctionDeclaration`).

use serde_json::{Map, Value, json};

use super::super::Untranslatable;
use super::request::{cannot, present};

pub(super) fn has_tools(chat: &Map<String, Value>) -> bool {
    chat.get("tools").and_then(Value::as_array).is_some_and(|tools| !tools.is_empty())
}

/// Puts `tools` and `toolConfig` into a call.
pub(super) fn put(
    chat: &Map<String, Value>,
    call: &mut Map<String, Value>,
) -> Result<(), Untranslatable> {
    let tools = match present(chat, "tools") {
        None => &Vec::new(),
        Some(tools) => tools.as_array().ok_or_else(|| cannot("tools"))?,
    };
    let mut declarations = Vec::new();
    let mut is_strict = false;
    for (index, tool) in tools.iter().enumerate() {
        let function = function_of(tool, &format!("tools[{index}]"))?;
        is_strict |= function.get("strict") == Some(&Value::Bool(true));
        declarations.push(declaration(function));
    }
    let choice = choice(chat, is_strict)?;
    if declarations.is_empty() {
        return Ok(());
    }
    call.insert("tools".to_owned(), json!([{ "functionDeclarations": declarations }]));
    if let Some(choice) = choice {
        call.insert("toolConfig".to_owned(), json!({ "functionCallingConfig": choice }));
    }
    Ok(())
}

/// The function in a tool or a choice of one; there are no tools of another type.
fn function_of<'a>(tool: &'a Value, param: &str) -> Result<&'a Map<String, Value>, Untranslatable> {
    if tool.get("type").and_then(Value::as_str).is_some_and(|kind| kind != "function") {
        return Err(cannot(format!("{param}.type")));
    }
    let function = tool.get("function").and_then(Value::as_object);
    let function = function.filter(|function| function.get("name").is_some_and(Value::is_string));
    function.ok_or_else(|| {
        Untranslatable::new(format!("{param}.function"), "A function with a name is missing here.")
    })
}

fn declaration(function: &Map<String, Value>) -> Value {
    let mut declaration = Map::new();
    for (name, theirs) in
        [("name", "name"), ("description", "description"), ("parameters", "parametersJsonSchema")]
    {
        if let Some(value) = present(function, name) {
            declaration.insert(theirs.to_owned(), value.clone());
        }
    }
    declaration.into()
}

/// `VALIDATED` lets the model choose as `AUTO` does but holds its calls to their schemas: what chat
/// calls strict. It and `ANY` are the modes that take a list of functions.
fn choice(chat: &Map<String, Value>, is_strict: bool) -> Result<Option<Value>, Untranslatable> {
    let Some(choice) = present(chat, "tool_choice") else {
        return Ok(is_strict.then(|| json!({ "mode": "VALIDATED" })));
    };
    let mode = match choice {
        Value::String(word) => match word.as_str() {
            "none" => "NONE",
            "required" => "ANY",
            "auto" if is_strict => "VALIDATED",
            "auto" => "AUTO",
            _ => return Err(cannot("tool_choice")),
        },
        _ => return named(choice).map(Some),
    };
    Ok(Some(json!({ "mode": mode })))
}

/// A choice that names functions.
fn named(choice: &Value) -> Result<Value, Untranslatable> {
    const PARAM: &str = "tool_choice.allowed_tools";
    if choice.get("type").and_then(Value::as_str) != Some("allowed_tools") {
        let function = function_of(choice, "tool_choice")?;
        return Ok(json!({ "mode": "ANY", "allowedFunctionNames": [function.get("name")] }));
    }
    let allowed = choice.get("allowed_tools").unwrap_or(choice);
    let mode = match allowed.get("mode").and_then(Value::as_str) {
        Some("auto") => "VALIDATED",
        Some("required") => "ANY",
        _ => return Err(cannot(format!("{PARAM}.mode"))),
    };
    let tools = allowed.get("tools").and_then(Value::as_array);
    let tools = tools.ok_or_else(|| cannot(format!("{PARAM}.tools")))?;
    let mut names = Vec::new();
    for (index, tool) in tools.iter().enumerate() {
        let function = function_of(tool, &format!("{PARAM}.tools[{index}]"))?;
        names.push(function.get("name"));
    }
    Ok(json!({ "mode": mode, "allowedFunctionNames": names }))
}
