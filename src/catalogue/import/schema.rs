//! What a file of prices looks like, as a JSON schema: for programs that send one over HTTP.
//!
//! A file is taken when at least one model in it has a price that can be used; it may hold anything else
//! beside. A model of which this says so is always taken. `tests/api` makes files up from it, and holds
//! the reader against them.

use serde_json::{Value, json};

use super::REACHED;
use super::models_dev::PROVIDERS;

/// The name of a model that nothing in it leaves out.
const MODEL: &str = "^(?!sample_spec$|fallback_generalizations$|together-ai-|fireworks-ai-)\
    (?!.*(-month-commitment/|-steps/|-x-))[!-\"$-{}~]{1,256}$";

/// The schema of a file in either layout.
pub fn schema() -> Value {
    json!({
        "type": "object",
        "anyOf": [
            {
                "title": "LiteLLM",
                "description": "model_prices_and_context_window.json: models by name, in dollars for one token.",
                "additionalProperties": {"properties": {"models": {"not": {"type": "object"}}}},
                "not": has_none(MODEL, &litellm_model()),
            },
            {
                "title": "models.dev",
                "description": "api.json: providers by id, each with models, in dollars for a million tokens.",
                "additionalProperties": {"properties": {"litellm_provider": false}},
                "not": has_none(&providers(), &models_dev_provider()),
            },
        ],
    })
}

/// Of an object: none of its members whose name matches is of the schema.
fn has_none(name: &str, schema: &Value) -> Value {
    json!({"patternProperties": {name: {"not": schema}}})
}

/// The ids that a route can reach, as a pattern.
fn providers() -> String {
    let ids = PROVIDERS.map(|(theirs, _)| theirs);
    format!("^({})$", ids.join("|"))
}

/// A model of text as `LiteLLM` writes it.
fn litellm_model() -> Value {
    json!({
        "type": "object",
        "required": ["litellm_provider", "mode", "input_cost_per_token", "output_cost_per_token"],
        "properties": {
            "litellm_provider": {"enum": REACHED.as_slice()},
            "mode": {"enum": ["chat", "responses", "completion"]},
            "input_cost_per_token": {"type": "number", "exclusiveMinimum": 0},
            "output_cost_per_token": {"type": "number", "exclusiveMinimum": 0},
            "tiered_pricing": false,
        },
        "patternProperties": {"cost": figure(1)},
    })
}

fn models_dev_provider() -> Value {
    json!({
        "type": "object",
        "required": ["models"],
        "properties": {"models": {
            "type": "object",
            "not": has_none(MODEL, &models_dev_model()),
        }},
    })
}

fn models_dev_model() -> Value {
    json!({
        "type": "object",
        "required": ["cost"],
        "properties": {
            "cost": {
                "type": "object",
                "required": ["input", "output"],
                "properties": {
                    "input": {"type": "number", "exclusiveMinimum": 0},
                    "output": {"type": "number", "exclusiveMinimum": 0},
                    "context_over_200k": {"type": "null"},
                    "tiers": {"type": "null"},
                },
                "patternProperties": {"^(input|output|reasoning|cache)": figure(1_000_000)},
            },
            "modalities": {"properties": {"output": {"items": {"const": "text"}}}},
        },
    })
}

/// A rate, or `null` where there is none.
fn figure(most: u64) -> Value {
    json!({"type": ["number", "null"], "minimum": 0, "maximum": most})
}
