//! A record of somebody else's, from which what is understood is taken; what is left is lost, and named.

use serde_json::{Map, Value};

use super::Lost;

/// Why most of what is lost is lost.
pub(super) const NO_COUNTERPART: &str = "has no counterpart here";

/// A table of another's file and its place.
pub(super) struct Record {
    pub(super) place: String,
    fields: Map<String, Value>,
}

impl Record {
    pub(super) fn new(place: impl Into<String>, fields: Map<String, Value>) -> Self {
        Self { place: place.into(), fields }
    }

    /// The place of a field.
    pub(super) fn at(&self, name: &str) -> String {
        if self.place.ends_with(": ") || self.place.is_empty() {
            format!("{}{name}", self.place)
        } else {
            format!("{}.{name}", self.place)
        }
    }

    /// Takes a field that is there and says something.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.fields.shift_remove(name).filter(says_something)
    }

    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text).filter(|text| !text.trim().is_empty()),
            Value::Number(number) => Some(number.to_string()),
            other => {
                self.fields.insert(name.to_owned(), other);
                None
            }
        }
    }

    pub(super) fn flag(&mut self, name: &str) -> bool {
        match self.take(name) {
            Some(Value::Bool(flag)) => flag,
            Some(Value::Number(number)) => number.as_f64().is_some_and(|number| number != 0.0),
            Some(Value::String(text)) => matches!(text.to_lowercase().as_str(), "true" | "t" | "1"),
            _ => false,
        }
    }

    /// A whole number that is more than nothing.
    pub(super) fn count(&mut self, name: &str) -> Option<u64> {
        let value = self.take(name)?;
        let count = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
        if count.is_none() {
            self.fields.insert(name.to_owned(), value);
        }
        count.filter(|count| *count > 0)
    }

    /// A list of texts, however it is written: as a list, as one in a text, or with commas.
    pub(super) fn list(&mut self, name: &str) -> Vec<String> {
        let Some(value) = self.take(name) else { return Vec::new() };
        texts(&value)
    }

    pub(super) fn record(&mut self, name: &str) -> Option<Self> {
        let place = self.at(name);
        match self.take(name)? {
            Value::Object(fields) => Some(Self::new(place, fields)),
            other => {
                self.fields.insert(name.to_owned(), other);
                None
            }
        }
    }

    /// Forgets fields that say nothing that would have to be carried over.
    pub(super) fn forget(&mut self, names: &[&str]) {
        for name in names {
            self.fields.shift_remove(*name);
        }
    }

    /// Names everything that is left.
    pub(super) fn rest(self, why: &str, lost: &mut Vec<Lost>) {
        let left: Vec<String> = self
            .fields
            .iter()
            .filter(|(_, value)| says_something(value))
            .map(|(name, _)| self.at(name))
            .collect();
        lost.extend(left.into_iter().map(|place| Lost { place, why: why.to_owned() }));
    }
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

/// `["a", "b"]`, `"[\"a\"]"`, `"{a,b}"` as PostgreSQL writes it, or `"a,b"`.
pub(super) fn texts(value: &Value) -> Vec<String> {
    let owned = |text: &str| text.trim().trim_matches('"').to_owned();
    match value {
        Value::Array(list) => list.iter().filter_map(Value::as_str).map(owned).collect(),
        Value::String(text) => {
            if let Ok(list @ Value::Array(_)) = serde_json::from_str::<Value>(text) {
                return texts(&list);
            }
            let inner = text.trim().trim_start_matches('{').trim_end_matches('}');
            let each = inner.split([',', '\n', ';']).map(owned);
            each.filter(|text| !text.is_empty()).collect()
        }
        _ => Vec::new(),
    }
}

/// Something that was not carried over.
pub(super) fn lose(lost: &mut Vec<Lost>, place: impl Into<String>, why: impl Into<String>) {
    lost.push(Lost { place: place.into(), why: why.into() });
}
