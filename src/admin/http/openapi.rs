//! The description of the API, as `OpenAPI` 3.1, made from the table of operations and the schemas of the
//! values themselves: it cannot say what is not so.

use std::sync::LazyLock;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::PREFIX;
use super::operations::{Needs, OPERATIONS, Operation, Repeats};
use super::refusal::Body;

/// The document as it is served.
pub fn document() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| build().to_string());
    &TEXT
}

fn build() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut generator = settings
        .with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
        .into_generator();
    let refusal = generator.subschema_for::<Body>();
    let mut paths: Map<String, Value> = Map::new();
    for operation in OPERATIONS.iter() {
        let described = describe(operation, &mut generator);
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.name().to_ascii_lowercase()] = described;
    }
    let refused = |what: &str| json!({"description": what, "content": {"application/json": {"schema": refusal}}});
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Conduit's admin API",
            "description": DESCRIPTION,
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": PREFIX}],
        // The document is for programs; the session of the dashboard's pages is described beside it.
        "security": [{"token": []}],
        "tags": tags(),
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "responses": {
                "Malformed": refused("The request is not well formed."),
                "Unauthenticated": refused("Nobody is signed in, or the token is not good."),
                "Forbidden": refused(
                    "The role is not enough, the token of the session is missing, or a page from \
                     elsewhere asks."
                ),
                "NotFound": refused("There is no such thing."),
                "Conflict": refused("It cannot be done as things are."),
                "TooLarge": refused("The body is too large."),
                "UnsupportedMediaType": refused("The body is not of the type application/json."),
                "Invalid": refused("A member is unknown, missing or not right."),
                "TooManyAttempts": refused("Too many wrong passwords: see the header Retry-After."),
                "Failed": refused("Something is in the way on the server."),
            },
            "securitySchemes": {
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "conduit_session",
                    "description": "Set by signing in; over TLS its name is __Host-conduit_session. \
                        A change needs the header X-Csrf-Token as well.",
                },
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An admin token: cdt-admin-…",
                },
            },
        },
    })
}

const DESCRIPTION: &str = "Everything that the command line can do, for programs.\n\n\
    A refusal is always of one form: a code for programs, a sentence for people, and the member at \
    fault. A member that is not known is refused. In a PATCH a member that is absent is kept, and \
    `null` clears it. A list comes in pages: `next` of one is `after` of the next.\n\n\
    With the header `Idempotency-Key` a request that makes something is done once, however often it is \
    sent, for a day: the same request again has the first answer again, another with the same key is \
    refused. A secret is never kept, so where the answer held one the repetition is refused with \
    `already_done`, which names what was made.";

fn tags() -> Value {
    let mut groups: Vec<_> = OPERATIONS.iter().map(Operation::group).collect();
    groups.dedup();
    let mut seen = Vec::new();
    groups.retain(|group| {
        let is_new = !seen.contains(group);
        seen.push(*group);
        is_new
    });
    groups.into_iter().map(|group| json!({"name": tag(group)})).collect()
}

fn tag(group: &str) -> &str {
    group.strip_suffix(".json").unwrap_or(group)
}

fn describe(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [tag(operation.group())],
        "parameters": parameters(operation),
        "responses": responses(operation, generator),
    });
    if operation.method.has_body() {
        let body = body(operation);
        let is_required = body["required"].as_array().is_some_and(|required| !required.is_empty());
        described["requestBody"] = json!({
            "required": is_required,
            "content": {"application/json": {"schema": body}},
        });
    }
    match operation.needs {
        Needs::Nobody => described["security"] = json!([]),
        Needs::Viewer => described["x-role"] = json!("viewer"),
        Needs::Admin => described["x-role"] = json!("admin"),
    }
    described
}

/// The schema of the body: what is asked, without what the path says.
fn body(operation: &Operation) -> Value {
    let mut schema = operation.request.clone();
    let is_in_path = |name: &str| {
        operation.segments().any(|segment| segment == name)
            || operation.fixed.is_some_and(|(fixed, _)| fixed == name)
    };
    if let Some(properties) = schema["properties"].as_object_mut() {
        properties.retain(|name, _| !is_in_path(name));
    }
    if let Some(required) = schema["required"].as_array_mut() {
        required.retain(|name| !name.as_str().is_some_and(is_in_path));
    }
    if let Some(object) = schema.as_object_mut() {
        if object.get("properties").is_none_or(Value::is_null) {
            object.remove("properties");
        }
        if object.get("required").is_none_or(Value::is_null) {
            object.remove("required");
        }
        object.insert("additionalProperties".to_owned(), json!(false));
    }
    schema
}

fn parameters(operation: &Operation) -> Value {
    let mut parameters = Vec::new();
    let known = operation.request["properties"].as_object();
    for name in operation.segments() {
        let mut schema = known.and_then(|known| known.get(name)).cloned().unwrap_or_default();
        schema = without_null(schema);
        schema["minLength"] = json!(1);
        if let Some(object) = schema.as_object_mut() {
            object.remove("default");
        }
        parameters.push(json!({"name": name, "in": "path", "required": true, "schema": schema}));
    }
    if !operation.method.has_body() {
        for (name, schema) in known.into_iter().flatten() {
            if operation.segments().any(|segment| segment == name) {
                continue;
            }
            let schema = without_null(schema.clone());
            let mut parameter = json!({"name": name, "in": "query", "schema": schema});
            if let Some(words) = schema.get("description") {
                parameter["description"] = words.clone();
            }
            parameters.push(parameter);
        }
    }
    if operation.method.name() != "GET" && operation.needs != Needs::Nobody {
        parameters.push(json!({
            "name": "X-Csrf-Token",
            "in": "header",
            "description": "For a session: its token, from GET /session. Not for tokens.",
            "schema": {"type": "string"},
        }));
    }
    if operation.repeats != Repeats::NotHeeded {
        parameters.push(json!({
            "name": "Idempotency-Key",
            "in": "header",
            "description": "Chosen by whoever asks: the request is done once, however often it is sent.",
            "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
        }));
    }
    Value::from(parameters)
}

/// A parameter is there or not, and never `null`.
fn without_null(mut schema: Value) -> Value {
    if let Some(types) = schema["type"].as_array_mut() {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            schema["type"] = only.clone();
        }
    }
    for choice in ["anyOf", "enum"] {
        if let Some(choices) = schema[choice].as_array_mut() {
            choices.retain(|choice| choice != &json!({"type": "null"}) && !choice.is_null());
        }
    }
    if let Some(object) = schema.as_object_mut() {
        object.retain(|_, value| !value.is_null());
    }
    schema
}

fn responses(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let schema = (operation.answer)(generator);
    let mut content = json!({"application/json": {"schema": schema}});
    if operation.csv {
        content["text/csv"] = json!({"schema": {"type": "string"}});
    }
    let mut responses = json!({
        operation.status.to_string(): {"description": "Done.", "content": content},
    });
    let mut refused = |status: &str, name: &str| {
        responses[status] = json!({"$ref": format!("#/components/responses/{name}")});
    };
    refused("400", "Malformed");
    refused("401", "Unauthenticated");
    refused("403", "Forbidden");
    refused("409", "Conflict");
    refused("422", "Invalid");
    refused("500", "Failed");
    let names_another = operation.request["properties"].as_object().is_some_and(|known| {
        known.contains_key("key") || known.contains_key("team") || operation.id == "showPrices"
    });
    if operation.segments().next().is_some() || names_another || operation.paged {
        refused("404", "NotFound");
    }
    if operation.method.has_body() {
        refused("413", "TooLarge");
        refused("415", "UnsupportedMediaType");
    }
    if operation.needs == Needs::Nobody || operation.id == "changePassword" {
        refused("429", "TooManyAttempts");
    }
    responses
}
