//! The JSON Schema of the configuration against the reader of the file: what the one takes the other must
//! take, and what can be said in a schema must be refused by both.
//!
//! A small validator of the words that the schema uses stands here; it fails for any other word, so that
//! nothing in the schema goes unread. tests/run tries the schema with one of others, too.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails where it unwraps")]

use conduit::config::{EXAMPLE, schema::schema};
use serde_json::Value;

/// Words that say nothing of what is valid.
const NOTES: [&str; 6] = ["$schema", "$id", "title", "description", "default", "examples"];

fn is_valid(schema: &Value, value: &Value) -> Result<(), String> {
    let Value::Object(words) = schema else { panic!("{schema}") };
    for (word, rule) in words {
        let is_fine = match word.as_str() {
            word if NOTES.contains(&word) => true,
            "type" => match rule {
                Value::Array(kinds) => kinds.iter().any(|kind| is_of(kind, value)),
                kind => is_of(kind, value),
            },
            "enum" => rule.as_array().unwrap().contains(value),
            "const" => rule == value,
            "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()),
            "pattern" => value.as_str().is_none_or(|text| fits(rule.as_str().unwrap(), text)),
            "minProperties" => {
                value.as_object().is_none_or(|table| table.len() as u64 >= rule.as_u64().unwrap())
            }
            "required" => value.as_object().is_none_or(|table| {
                rule.as_array().unwrap().iter().all(|key| table.contains_key(key.as_str().unwrap()))
            }),
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    is_valid(rule, item)?;
                }
                true
            }
            "oneOf" | "anyOf" => {
                let all = rule.as_array().unwrap();
                let count = all.iter().filter(|each| is_valid(each, value).is_ok()).count();
                if word == "oneOf" { count == 1 } else { count > 0 }
            }
            "properties" | "patternProperties" | "additionalProperties" => {
                members(words, value)?;
                true
            }
            other => panic!("the word {other} is not known here"),
        };
        if !is_fine {
            return Err(format!("{word} {rule}: {value}"));
        }
    }
    Ok(())
}

fn members(words: &serde_json::Map<String, Value>, value: &Value) -> Result<(), String> {
    for (key, member) in value.as_object().into_iter().flatten() {
        let own = words.get("properties").and_then(|known| known.get(key));
        let like = words.get("patternProperties").and_then(|patterns| {
            let patterns = patterns.as_object().unwrap();
            let begins = |pattern: &String| key.starts_with(pattern.trim_start_matches('^'));
            patterns.iter().find(|(pattern, _)| begins(pattern)).map(|(_, schema)| schema)
        });
        match own.or(like).or_else(|| words.get("additionalProperties")) {
            Some(Value::Bool(false)) => return Err(format!("no such key: {key}")),
            Some(schema) => is_valid(schema, member).map_err(|why| format!("{key}: {why}"))?,
            None => {}
        }
    }
    Ok(())
}

fn is_of(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other}"),
    }
}

/// The three patterns that there are, read by hand.
fn fits(pattern: &str, text: &str) -> bool {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    if pattern.contains("ms|s") {
        return !number.is_empty() && ["ms", "s", "m", "h", "d", "w"].contains(&unit);
    }
    if pattern.contains("KiB") {
        let units = ["B", "KB", "MB", "GB", "KiB", "MiB", "GiB"];
        return !number.is_empty() && units.contains(&unit);
    }
    assert!(pattern.contains("\\.["), "{pattern}");
    let plain = text.trim().trim_start_matches('$').replace('_', "");
    !plain.is_empty() && plain.chars().all(|c| c.is_ascii_digit() || c == '.')
}

fn judge(text: &str) -> Result<(), String> {
    let document: toml::Table = text.parse().map_err(|error| format!("{error}"))?;
    is_valid(&schema(), &serde_json::to_value(document).unwrap())
}

/// The example with every option set.
fn whole_example() -> String {
    let uncommented = |line: &'static str| match line.strip_prefix('#') {
        Some(option) if !option.is_empty() && !option.starts_with(' ') => option,
        _ => line,
    };
    EXAMPLE.lines().map(uncommented).collect::<Vec<_>>().join("\n")
}

#[test]
fn it_takes_the_example_with_and_without_its_options() {
    judge(EXAMPLE).unwrap();
    judge(&whole_example()).unwrap();
}

#[test]
fn it_takes_every_configuration_in_the_readme() {
    let mut count = 0;
    for block in include_str!("../README.md").split("```toml\n").skip(1) {
        let mut text = block.split("```").next().unwrap().to_owned();
        if !text.contains("[providers.") {
            text.push_str("[providers.echo]\nkind = \"echo\"\n");
        }
        judge(&text).unwrap_or_else(|why| panic!("{why}\n{text}"));
        count += 1;
    }
    assert!(count > 5, "{count}");
}

#[test]
fn it_refuses_what_a_schema_can_refuse() {
    const ECHO: &str = "\n[providers.echo]\nkind = \"echo\"\n";
    for text in [
        "[server]\nlistne = \"127.0.0.1:1\"",
        "[sever]",
        "unrelated = 1",
        "server = 5",
        "[server]\nworkers = \"two\"",
        "[server]\nworkers = 0",
        "[server]\nworkers = 5000",
        "[server]\nkeep_alive = \"1 hour\"",
        "[server]\nmax_body = \"32 MiB\"",
        "[limits]\nenforcement = \"harsh\"",
        "[alerts]\nat = [\"half\"]",
        "[defaults]\non_client_gone = \"wait\"",
        "[providers.a]\nkind = \"nobody\"",
        "[providers.a]\nbase_url = \"https://example.com\"",
        "[providers.a]\nkind = \"openai\"\napi_key = \"sk-1\"",
        "[providers.a]\nkind = \"openai\"\nheaders = { a = 1 }",
        "[models.a]\nmodel = \"b\"",
        "[models.a]\nprovider = \"echo\"\nprice = \"cheap\"",
        "[models.a]\nprovider = \"echo\"\nprice = { inptu = 1 }",
        "[models.a]\nprovider = \"echo\"\nprice = { input = -1, output = 1 }",
        "[models.a]\nprovider = \"echo\"\naliases = \"b\"",
        "[models.a]\ntargets = [{ model = \"b\" }]",
        "[models.a]\ntargets = [{ provider = \"echo\", order = 0 }]",
        "[routing]\nsticky = \"maybe\"",
        "[routing]\nretries = 11",
    ] {
        assert!(judge(&format!("{text}{ECHO}")).is_err(), "{text}");
    }
    assert!(judge("[server]\nworkers = 2").is_err(), "a provider is needed");
    judge(ECHO).unwrap();
}
