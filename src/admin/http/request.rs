//! What is asked, from the path, the query and the body, as the one value that a verb is made of.
//!
//! A member that the verb does not know is refused, whichever of the three it stands in, and so is one
//! that stands in two of them.

use std::cell::RefCell;

use serde::de::DeserializeOwned;
use serde::de::value::MapDeserializer;
use serde_json::{Map, Value, json};

use super::super::audit::perform;
use super::super::usage::{self, UsageReport};
use super::super::{Desk, Verb};
use super::Answer;
use super::incoming::Incoming;
use super::operations::{Listed, Operation};
use super::path::decode;
use super::refusal::Refusal;
use crate::domain::audit::Actor;

/// The most items on a page.
const LONGEST_PAGE: u64 = 500;
const USUAL_PAGE: u64 = 50;
/// No place has a longer name.
const LONGEST_CURSOR: usize = 512;

/// What came of an operation.
pub(super) struct Done {
    pub(super) body: Value,
    /// The id of what was made or changed.
    pub(super) target: Option<String>,
}

/// Brings together what was asked, by its names.
pub(super) fn members(
    operation: &Operation,
    segments: &[(&'static str, String)],
    incoming: &Incoming,
) -> Result<Map<String, Value>, Refusal> {
    let known = &operation.request["properties"];
    let sent = if operation.method.has_body() {
        if let Some((name, _)) = query(incoming)?.first() {
            return Err(unknown(name));
        }
        let numbers = |(name, value): (String, Value)| {
            let value = whole(value, known.get(&name));
            (name, value)
        };
        body(incoming)?.into_iter().map(numbers).collect()
    } else {
        if !incoming.body()?.is_empty() {
            return Err(Refusal::malformed("this request must not have a body"));
        }
        from_query(query(incoming)?, known)?
    };
    for name in sent.keys() {
        if segments.iter().any(|(segment, _)| segment == name) {
            return Err(Refusal::wrong(name, format!("`{name}` is said by the path")));
        }
        let is_fixed = operation.fixed.is_some_and(|(fixed, _)| fixed == name);
        if known.get(name).is_none() || is_fixed {
            return Err(unknown(name));
        }
    }
    let mut members = sent;
    for (name, value) in segments {
        members.insert((*name).to_owned(), Value::from(value.as_str()));
    }
    if let Some((name, value)) = operation.fixed {
        members.insert(name.to_owned(), Value::from(value));
    }
    let required = operation.request["required"].as_array();
    let required = required.into_iter().flatten().filter_map(Value::as_str);
    if let Some(name) = required.into_iter().find(|name| !members.contains_key(*name)) {
        return Err(Refusal::wrong(name, format!("`{name}` is missing")));
    }
    Ok(members)
}

fn unknown(name: &str) -> Refusal {
    let message = format!("there is no member `{}` here", name.escape_debug());
    Refusal::new(422, "unknown_member", message).member(name)
}

fn body(incoming: &Incoming) -> Result<Map<String, Value>, Refusal> {
    let body = incoming.body()?;
    if body.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(Refusal::malformed("the body must be a JSON object")),
        Err(error) => Err(Refusal::malformed(format!("the body is not JSON: {error}"))),
    }
}

/// A whole number may be written with a point: JSON Schema knows no difference.
fn whole(value: Value, schema: Option<&Value>) -> Value {
    let is_whole = schema.is_some_and(|schema| types(schema).contains(&"integer"));
    let number = value.as_number().filter(|number| is_whole && number.is_f64());
    let text = number.map(ToString::to_string).unwrap_or_default();
    let digits = text.strip_suffix(".0").and_then(|digits| digits.parse::<u64>().ok());
    digits.map_or(value, Value::from)
}

/// The names and values of the query, in their order.
fn query(incoming: &Incoming) -> Result<Vec<(String, String)>, Refusal> {
    let pairs = incoming.query.split('&').filter(|pair| !pair.is_empty());
    let read = |text: &str| {
        let decoded = decode(&text.replace('+', " "));
        decoded.ok_or_else(|| Refusal::malformed("the query is not text in UTF-8"))
    };
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((read(name)?, read(value)?))
        })
        .collect()
}

/// Values of a query are texts: each becomes what its member's schema says.
fn from_query(pairs: Vec<(String, String)>, known: &Value) -> Result<Map<String, Value>, Refusal> {
    let mut members = Map::new();
    for (name, text) in pairs {
        let types = known.get(&name).map(types).unwrap_or_default();
        let has = |wanted: &str| types.contains(&wanted);
        if has("array") {
            let list = members.entry(name).or_insert_with(|| json!([]));
            if let Some(list) = list.as_array_mut() {
                list.push(Value::from(text));
            }
            continue;
        }
        let number = text.parse::<u64>().ok().filter(|_| has("integer"));
        let value = match (number, text.as_str()) {
            (Some(number), _) => Value::from(number),
            (None, "true") if has("boolean") => Value::Bool(true),
            (None, "false") if has("boolean") => Value::Bool(false),
            _ => Value::from(text),
        };
        if members.contains_key(&name) {
            return Err(Refusal::wrong(&name, format!("`{name}` is said twice")));
        }
        members.insert(name, value);
    }
    Ok(members)
}

/// The JSON types that a schema allows.
fn types(schema: &Value) -> Vec<&str> {
    let own = &schema["type"];
    let listed = own.as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut types: Vec<_> = own.as_str().into_iter().chain(listed).collect();
    for choice in ["anyOf", "oneOf", "allOf"] {
        types.extend(schema[choice].as_array().into_iter().flatten().flat_map(self::types));
    }
    types
}

/// Makes a value of its members, or says which one is wrong.
pub(super) fn typed<T: DeserializeOwned>(members: Map<String, Value>) -> Result<T, Refusal> {
    let latest = RefCell::new(None);
    let watched = members.into_iter().inspect(|(name, _)| {
        *latest.borrow_mut() = Some(name.clone());
    });
    let read = T::deserialize(MapDeserializer::<_, serde_json::Error>::new(watched));
    read.map_err(|error| {
        let message = error.to_string();
        match latest.into_inner() {
            Some(name) => Refusal::wrong(&name, format!("`{name}`: {message}")),
            None => Refusal::new(422, "invalid", message),
        }
    })
}

/// Runs a verb.
pub(super) fn run<V: Verb>(
    desk: &Desk,
    by: &Actor,
    members: Map<String, Value>,
) -> Result<Done, Refusal> {
    let answer = perform(desk, by, typed::<V>(members)?)?;
    let target = V::target(&answer);
    Ok(Done { body: value(&answer)?, target })
}

/// Runs a verb that answers with a short list.
pub(super) fn run_list<V: Verb>(
    desk: &Desk,
    by: &Actor,
    members: Map<String, Value>,
) -> Result<Done, Refusal> {
    let Done { body, target } = run::<V>(desk, by, members)?;
    Ok(Done { body: json!({"data": body, "next": null}), target })
}

/// Runs a verb that answers with a list of any length.
pub(super) fn run_page<V: Listed>(
    desk: &Desk,
    by: &Actor,
    mut members: Map<String, Value>,
) -> Result<Done, Refusal> {
    let limit = limit(members.get("limit"))?;
    // One more tells whether there is another page.
    members.insert("limit".to_owned(), Value::from(limit + 1));
    if let Some(cursor) = members.remove("after") {
        let place = cursor.as_str().and_then(place_of).ok_or_else(no_such_page)?;
        members.insert("after".to_owned(), place);
    }
    let verb = typed::<V>(members);
    let verb =
        verb.map_err(|refusal| if refusal.is_of("after") { no_such_page() } else { refusal });
    let mut items = perform(desk, by, verb?)?;
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = items.len() > most;
    items.truncate(most);
    let next = items.last().filter(|_| has_more).map(|item| cursor_of(&V::place(item)));
    Ok(Done { body: json!({"data": value(&items)?, "next": next}), target: None })
}

fn no_such_page() -> Refusal {
    let message = "there is no such page: `after` must be the `next` of the one before";
    Refusal::new(404, "not_found", message).member("after")
}

fn limit(sent: Option<&Value>) -> Result<u64, Refusal> {
    let Some(sent) = sent else { return Ok(USUAL_PAGE) };
    sent.as_u64().filter(|limit| (1..=LONGEST_PAGE).contains(limit)).ok_or_else(|| {
        Refusal::wrong("limit", format!("`limit` must be a number from 1 to {LONGEST_PAGE}"))
    })
}

/// What a list's operation knows beside its verb's own members.
pub(super) fn paging_members() -> Map<String, Value> {
    let mut members = Map::new();
    members.insert(
        "limit".to_owned(),
        json!({
            "description": "How many at most.",
            "type": "integer",
            "minimum": 1,
            "maximum": LONGEST_PAGE,
            "default": USUAL_PAGE,
        }),
    );
    members.insert(
        "after".to_owned(),
        json!({
            "description": "The `next` of the page before.",
            "type": "string",
            "pattern": "^([0-9a-f]{2})+$",
            "maxLength": LONGEST_CURSOR,
        }),
    );
    members
}

/// A place as a text that nobody is tempted to make up.
fn cursor_of(place: &Value) -> String {
    use std::fmt::Write as _;
    let mut cursor = String::new();
    for byte in place.to_string().bytes() {
        // Writing to a string does not fail.
        let _ = write!(cursor, "{byte:02x}");
    }
    cursor
}

fn place_of(cursor: &str) -> Option<Value> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if cursor.len() > LONGEST_CURSOR
        || !cursor.len().is_multiple_of(2)
        || !cursor.bytes().all(is_hex)
    {
        return None;
    }
    let pairs = (0..cursor.len()).step_by(2).map(|at| cursor.get(at..at + 2));
    let bytes: Option<Vec<u8>> = pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect();
    serde_json::from_slice(&bytes?).ok().filter(|place: &Value| !place.is_null())
}

fn value(answer: &impl serde::Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(answer).map_err(|error| Refusal::failed(error.to_string()))
}

/// A usage report for spreadsheets.
pub(super) fn as_csv(report: Value) -> Result<Answer, Refusal> {
    let report: UsageReport =
        serde_json::from_value(report).map_err(|error| Refusal::failed(error.to_string()))?;
    let name = "attachment; filename=\"usage.csv\"";
    let mut answer = Answer::json(200, usage::csv(&report)).with("content-disposition", name);
    answer.content_type = "text/csv; charset=utf-8";
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_cursor_is_read_back_and_nothing_else_is() {
        for place in [json!("key_00000000001"), json!({"at": "2027-01-31T00:00:00.000Z"})] {
            assert_eq!(place_of(&cursor_of(&place)), Some(place));
        }
        for odd in ["", "0", "zz", "6e756c6c", "7B7D"] {
            assert_eq!(place_of(odd), None, "{odd}");
        }
    }

    #[test]
    fn texts_of_a_query_become_what_their_member_is() {
        let known = json!({
            "n": {"type": ["integer", "null"]},
            "b": {"type": "boolean"},
            "l": {"anyOf": [{"type": "array"}, {"type": "null"}]},
            "s": {"type": "string"},
        });
        let read = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
            from_query(pairs.collect(), &known).map(Value::from)
        };
        let read_all = read(&[("n", "5"), ("b", "true"), ("l", "x"), ("l", "y"), ("s", "5")]);
        let expected = json!({"n": 5, "b": true, "l": ["x", "y"], "s": "5"});
        assert_eq!(read_all.unwrap(), expected);
        assert_eq!(read(&[("n", "-5"), ("b", "yes")]).unwrap(), json!({"n": "-5", "b": "yes"}));
        assert!(read(&[("s", "1"), ("s", "2")]).is_err());
    }

    #[test]
    fn a_whole_number_is_read_with_a_point_where_one_is_wanted() {
        let integer = json!({"type": ["integer", "null"]});
        for (sent, read) in [
            (json!(5.0), json!(5)),
            (json!(5), json!(5)),
            (json!(5.5), json!(5.5)),
            (json!(-5.0), json!(-5.0)),
            (json!(1e300), json!(1e300)),
            (json!("5.0"), json!("5.0")),
            (json!(null), json!(null)),
        ] {
            assert_eq!(whole(sent.clone(), Some(&integer)), read, "{sent}");
        }
        assert_eq!(whole(json!(5.0), Some(&json!({"type": "string"}))), json!(5.0));
        assert_eq!(whole(json!(5.0), None), json!(5.0));
    }

    proptest! {
        #[test]
        fn any_cursor_is_read_without_panic(text: String) {
            let _ = place_of(&text);
        }
    }
}
