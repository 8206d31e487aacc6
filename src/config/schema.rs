//! A JSON Schema of the configuration file, for editors: made of what the reader asks for and of what
//! the example says about it, so that it can differ from neither.
//!
//! A schema cannot say what needs more than one option, another file or the environment. It must never
//! refuse what `conduit check` takes.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::shape::{Outline, Shape};
use super::{EXAMPLE, file};
use crate::provider::kind::PRESETS;

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";
/// What [`crate::domain::window::parse_duration_ms`] takes.
const DURATION: &str = "^[0-9]+(ms|s|m|h|d|w)$";
const SIZE: &str = "^[0-9]+(B|KB|MB|GB|KiB|MiB|GiB)$";
const AMOUNT: &str = "^\\s*\\$?[0-9_]*(\\.[0-9_]+)?\\s*$";

/// The schema.
pub fn schema() -> Value {
    let told = Told::read(EXAMPLE);
    let mut schema = table(&file::outline(), "", &told);
    let head = json!({
        "$schema": DRAFT,
        "$id": "urn:conduit:configuration",
        "title": "Configuration of conduit",
    });
    if let (Some(schema), Value::Object(mut head)) = (schema.as_object_mut(), head) {
        head.append(schema);
        *schema = head;
    }
    schema
}

fn table(outline: &Rc<Outline>, path: &str, told: &Told) -> Value {
    let mut properties = Map::new();
    for (key, shape) in outline.options() {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        properties.insert(key, option(&shape, &path, told));
    }
    let mut table = json!({ "type": "object", "properties": properties });
    match outline.named() {
        None => table["additionalProperties"] = json!(false),
        Some(("", shape)) => {
            table["additionalProperties"] = option(&shape, &format!("{path}.*"), told);
        }
        Some((prefix, shape)) => {
            let each = option(&shape, &format!("{path}.{prefix}*"), told);
            table["patternProperties"] = json!({ format!("^{prefix}"): each });
            table["additionalProperties"] = json!(false);
        }
    }
    for (name, value) in beside(path) {
        table[name] = value;
    }
    table
}

/// What holds for a table besides what each of its options is.
fn beside(path: &str) -> Vec<(&'static str, Value)> {
    match path {
        "" => vec![("required", json!(["providers"]))],
        "providers" => vec![("minProperties", json!(1))],
        "providers.*" => vec![("required", json!(["kind"]))],
        "models.*" => {
            vec![("oneOf", json!([{ "required": ["provider"] }, { "required": ["targets"] }]))]
        }
        "acme" => vec![("required", json!(["names", "agree_to_terms"]))],
        "models.*.targets" => vec![("required", json!(["provider"]))],
        _ => Vec::new(),
    }
}

fn option(shape: &Shape, path: &str, told: &Told) -> Value {
    let mut option = shape_of(shape, path, told);
    if path == "providers.*.kind" {
        option["enum"] = PRESETS.iter().map(|preset| preset.name).collect();
    }
    if let Some(about) = told.about.get(path) {
        let said = [Some(about.text.as_str()), option["description"].as_str()];
        let said: Vec<&str> = said.into_iter().flatten().filter(|text| !text.is_empty()).collect();
        if !said.is_empty() {
            option["description"] = json!(said.join(" "));
        }
        if let Some((name, value)) = &about.value {
            option[*name] = value.clone();
        }
    }
    option
}

fn shape_of(shape: &Shape, path: &str, told: &Told) -> Value {
    let text = json!({ "type": "string" });
    match shape {
        Shape::Text => text,
        Shape::Texts => json!({ "type": "array", "items": text }),
        Shape::TextOrTexts => json!({ "type": ["string", "array"], "items": text }),
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::Integer(range) => integer(range),
        Shape::Integers(range) => json!({ "type": "array", "items": integer(range) }),
        Shape::Choice(words) => json!({ "enum": words }),
        Shape::Duration(range) => json!({
            "type": "string",
            "pattern": DURATION,
            "description": format!("From {} to {}.", range.start(), range.end()),
        }),
        Shape::Size(range) => json!({
            "type": ["string", "integer"],
            "pattern": SIZE,
            "minimum": 0,
            "description": format!("From {} to {}.", range.start(), range.end()),
        }),
        Shape::Amount => {
            json!({ "type": ["number", "string"], "minimum": 0, "pattern": AMOUNT })
        }
        Shape::Table(inner) => table(inner, path, told),
        Shape::Tables(inner) => {
            json!({ "type": "array", "items": table(inner, path, told) })
        }
        Shape::WordOrTable(word, inner) => {
            json!({ "anyOf": [{ "const": word }, table(inner, path, told)] })
        }
    }
}

fn integer(range: &std::ops::RangeInclusive<u64>) -> Value {
    json!({ "type": "integer", "minimum": range.start(), "maximum": range.end() })
}

/// What the example says of an option.
#[derive(Default)]
struct About {
    text: String,
    /// Its default, or an example of what it may be.
    value: Option<(&'static str, Value)>,
}

/// What the example tells, by the path of each option; names of the user's are `*`.
struct Told {
    about: BTreeMap<String, About>,
}

impl Told {
    /// Comments stand above what they are about, as whole sentences; an option that is not set stands
    /// behind a `#` without a space, at its default unless the comment ends in "Example:".
    fn read(example: &str) -> Self {
        let mut told = Self { about: BTreeMap::new() };
        let mut section = String::new();
        let mut comment = String::new();
        for line in example.lines() {
            if line.is_empty() {
                comment.clear();
            } else if let Some(text) = line.strip_prefix("# ") {
                if !comment.is_empty() {
                    comment.push(' ');
                }
                comment.push_str(text);
            } else {
                told.take(line.trim_start_matches('#'), &mut section, &comment);
                comment.clear();
            }
        }
        told
    }

    fn take(&mut self, line: &str, section: &mut String, comment: &str) {
        if let Some(path) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            *section = generic(path);
            self.enter(section.clone(), comment, None);
        } else if let Some((key, value)) = line.split_once(" = ") {
            let path = format!("{section}.{key}");
            self.enter(path, comment, parse(key, value));
        }
    }

    /// The first that is said of an option counts: what comes later are more examples.
    fn enter(&mut self, path: String, comment: &str, value: Option<Value>) {
        let (text, name) = match comment.strip_suffix("Example:") {
            Some(text) => (text.trim_end(), "examples"),
            None => (comment, "default"),
        };
        let is_own = path.starts_with("providers.") || path.starts_with("models.");
        // What stands in the tables of providers and models are mostly examples, not defaults.
        let name = if is_own { "examples" } else { name };
        let value = value.map(|value| match name {
            "examples" => (name, json!([value])),
            _ => (name, value),
        });
        let about = self.about.entry(path).or_default();
        if about.text.is_empty() {
            text.clone_into(&mut about.text);
        }
        if about.value.is_none() {
            about.value = value;
        }
    }
}

/// `providers.openai` is `providers.*`, and so is what is below it.
fn generic(section: &str) -> String {
    let Ok(document) = format!("[{section}]").parse::<toml::Table>() else { return String::new() };
    let mut path: Vec<String> = Vec::new();
    let mut inside = &document;
    while let Some((name, value)) = inside.iter().next() {
        let is_name = matches!(path.as_slice(), [only] if only == "providers" || only == "models");
        path.push(if is_name { "*".to_owned() } else { name.clone() });
        let Some(table) = value.as_table() else { break };
        inside = table;
    }
    path.join(".")
}

fn parse(key: &str, value: &str) -> Option<Value> {
    let document: toml::Table = format!("{key} = {value}").parse().ok()?;
    serde_json::to_value(document.get(key)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_the_reader_and_the_example_say() {
        let schema = schema();
        assert_eq!(schema["$schema"], DRAFT);
        assert_eq!(schema["additionalProperties"], false);
        let workers = &schema["properties"]["server"]["properties"]["workers"];
        assert_eq!((&workers["minimum"], &workers["maximum"]), (&json!(1), &json!(1024)));
        assert!(workers["description"].as_str().unwrap().starts_with("Threads that serve calls"));
        let listen = &schema["properties"]["server"]["properties"]["listen"];
        assert_eq!(listen["default"], "127.0.0.1:8080");
        let provider = &schema["properties"]["providers"]["additionalProperties"]["properties"];
        assert!(provider["kind"]["enum"].as_array().unwrap().contains(&json!("anthropic")));
        assert_eq!(provider["headers"]["additionalProperties"]["type"], "string");
        assert_eq!(provider.get("api_key"), None, "a key must not be written");
        let model = &schema["properties"]["models"]["additionalProperties"];
        let price = &model["properties"]["price"]["anyOf"][1];
        assert!(price["patternProperties"]["^above_"]["properties"]["input"].is_object());
        assert!(price["properties"]["batch"]["patternProperties"]["^above_"].is_object());
        let target = &model["properties"]["targets"]["items"]["properties"];
        assert_eq!(target["order"]["maximum"], 1000);
    }

    #[test]
    fn names_of_the_users_are_one() {
        assert_eq!(generic("server"), "server");
        assert_eq!(generic("models.\"gpt-4o\".price"), "models.*.price");
        assert_eq!(generic("providers.local"), "providers.*");
    }
}
