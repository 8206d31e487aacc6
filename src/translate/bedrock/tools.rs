//! The tools of a call, which of them must be called, and the shape that its answer must have.
//!
//! A JSON schema for the answer is `outputConfig.textFormat`, for the models that can be held to one. For
//! the others, and for JSON without a schema, the model is made to call a tool of ours, whose input comes
//! back as the answer's text; that leaves no room for the client's own tools or for thinking.

use serde_json::{Map, Value, json};

use super::super::anthropic::{JSON_TOOL, close, input_schema, missing};
use super::super::{Brief, Untranslatable};
use super::family::{self, Family};
use super::parts::cache_point;

#[derive(Default)]
pub(super) struct Tools {
    /// Absent where no tool may be called.
    pub(super) config: Option<Value>,
    pub(super) output: Option<Value>,
}

/// Reads what a call says of tools and of the answer's shape. `fields` are those that are handed on to
/// the model.
pub(super) fn read(
    chat: &Map<String, Value>,
    brief: &Brief<'_>,
    fields: &mut Map<String, Value>,
) -> Result<Tools, Untranslatable> {
    let mut list = Vec::new();
    let given = chat.get("tools").and_then(Value::as_array).into_iter().flatten();
    for (index, given) in given.enumerate() {
        tool(given, &format!("tools[{index}]"), &mut list)?;
    }
    let choice = chat.get("tool_choice").unwrap_or(&Value::Null);
    let mut tools = Tools::default();
    if choice == "none" {
        list.clear();
    } else if list.is_empty() {
        if !choice.is_null() && choice != "auto" {
            return Err(Untranslatable::new("tool_choice", "'tool_choice' needs 'tools'."));
        }
    } else {
        let choice = Choice::read(choice)?;
        let mut config = Map::new();
        if chat.get("parallel_tool_calls") == Some(&json!(false)) {
            fields.insert("tool_choice".to_owned(), choice.alone(brief.model)?);
        } else if let Some(choice) = choice.converse() {
            config.insert("toolChoice".to_owned(), choice);
        }
        config.insert("tools".to_owned(), Value::Array(list.clone()));
        tools.config = Some(Value::Object(config));
    }
    tools.format(chat, brief, fields)?;
    Ok(tools)
}

fn tool(given: &Value, path: &str, list: &mut Vec<Value>) -> Result<(), Untranslatable> {
    match given["type"].as_str() {
        Some("function") => {}
        Some(other) => {
            let message = format!("Tools of the type '{other}' cannot be carried to Bedrock.");
            return Err(Untranslatable::new(format!("{path}.type"), message));
        }
        None => return Err(missing(&format!("{path}.type"))),
    }
    let function = &given["function"];
    let name = function["name"].as_str();
    let name = name.ok_or_else(|| missing(&format!("{path}.function.name")))?;
    let mut spec = Map::new();
    spec.insert("name".to_owned(), json!(name));
    if let Some(description) = function["description"].as_str().filter(|text| !text.is_empty()) {
        spec.insert("description".to_owned(), json!(description));
    }
    let schema = input_schema(&function["parameters"]);
    spec.insert("inputSchema".to_owned(), json!({ "json": schema }));
    if function["strict"] == json!(true) {
        spec.insert("strict".to_owned(), json!(true));
    }
    list.push(json!({ "toolSpec": spec }));
    list.extend(cache_point(given).or_else(|| cache_point(function)));
    Ok(())
}

/// What must be called.
enum Choice<'a> {
    Unsaid,
    Auto,
    Any,
    Tool(&'a str),
}

impl<'a> Choice<'a> {
    fn read(given: &'a Value) -> Result<Self, Untranslatable> {
        match (given.as_str(), given["type"].as_str()) {
            (None, None) if given.is_null() => Ok(Self::Unsaid),
            (Some("auto"), _) => Ok(Self::Auto),
            (Some("required"), _) => Ok(Self::Any),
            (None, Some("function")) => {
                let name = given["function"]["name"].as_str();
                name.map(Self::Tool).ok_or_else(|| missing("tool_choice.function.name"))
            }
            (word, kind) => {
                let said = word.or(kind).unwrap_or_default();
                let message = format!("'tool_choice' cannot be '{said}' for Bedrock.");
                Err(Untranslatable::new("tool_choice", message))
            }
        }
    }

    fn converse(&self) -> Option<Value> {
        match self {
            Self::Unsaid => None,
            Self::Auto => Some(json!({ "auto": {} })),
            Self::Any => Some(json!({ "any": {} })),
            Self::Tool(name) => Some(json!({ "tool": { "name": name } })),
        }
    }

    /// One call at a time, which Converse has no member for. Claude takes it with its own `tool_choice`,
    /// which must then stand alone ("The additional field `tool_choice/type` conflicts with the existing
    /// field toolConfig.toolChoice.auto", an answer of Bedrock's).
    fn alone(&self, model: &str) -> Result<Value, Untranslatable> {
        if Family::of(model) != Family::Claude {
            return Err(Untranslatable::new(
                "parallel_tool_calls",
                "At Bedrock only Anthropic's models can be kept from calling tools in parallel.",
            ));
        }
        let mut choice = match self {
            Self::Unsaid | Self::Auto => json!({ "type": "auto" }),
            Self::Any => json!({ "type": "any" }),
            Self::Tool(name) => json!({ "type": "tool", "name": name }),
        };
        choice["disable_parallel_tool_use"] = json!(true);
        Ok(choice)
    }
}

impl Tools {
    fn format(
        &mut self,
        chat: &Map<String, Value>,
        brief: &Brief<'_>,
        fields: &Map<String, Value>,
    ) -> Result<(), Untranslatable> {
        let given = chat.get("response_format").unwrap_or(&Value::Null);
        match given["type"].as_str() {
            Some("text") => Ok(()),
            None if given.is_null() => Ok(()),
            Some("json_object") => self.force(&json!({ "type": "object" }), "", fields),
            Some("json_schema") => {
                let named = &given["json_schema"];
                let mut schema = named["schema"].clone();
                if !schema.is_object() {
                    return Err(missing("response_format.json_schema.schema"));
                }
                let description = named["description"].as_str().unwrap_or_default();
                if !family::answers_by_schema(brief.model) {
                    return self.force(&schema, description, fields);
                }
                close(&mut schema);
                self.output = Some(text_format(&schema, named["name"].as_str(), description));
                Ok(())
            }
            _ => Err(Untranslatable::new(
                "response_format.type",
                "'response_format' must be 'text', 'json_object' or 'json_schema'.",
            )),
        }
    }

    /// Makes the model call our tool: `any` of one, which more models take than a tool by its name.
    fn force(
        &mut self,
        schema: &Value,
        description: &str,
        fields: &Map<String, Value>,
    ) -> Result<(), Untranslatable> {
        let thinking = fields.get("thinking").or_else(|| fields.get("reasoningConfig"));
        let thinks = thinking.is_some_and(|how| how["type"] != "disabled");
        if thinks || self.config.is_some() {
            return Err(Untranslatable::new(
                "response_format.type",
                "This model cannot be held to JSON where there are tools or reasoning; \
                 some models at Bedrock can, to a 'json_schema'.",
            ));
        }
        let description = if description.is_empty() {
            "Takes the answer, as one JSON object."
        } else {
            description
        };
        let spec = json!({
            "name": JSON_TOOL,
            "description": description,
            "inputSchema": { "json": schema },
        });
        self.config = Some(json!({ "tools": [{ "toolSpec": spec }], "toolChoice": { "any": {} } }));
        Ok(())
    }
}

/// The schema itself is written as text there.
fn text_format(schema: &Value, name: Option<&str>, description: &str) -> Value {
    let mut definition = Map::new();
    definition.insert("schema".to_owned(), json!(schema.to_string()));
    if let Some(name) = name.filter(|name| !name.is_empty()) {
        definition.insert("name".to_owned(), json!(name));
    }
    if !description.is_empty() {
        definition.insert("description".to_owned(), json!(description));
    }
    json!({ "textFormat": {
        "type": "json_schema",
        "structure": { "jsonSchema": definition },
    } })
}
