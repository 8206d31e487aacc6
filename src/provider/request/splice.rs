//! Puts the few edits into a body: at the places that were found as it was read, and nowhere else.
//!
//! A splice never looks into the body again, and a body that is not the one that was read stays as it is.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::scan::{Member, Object, word};
use super::{Call, CapField, Edits, RequestError, check_model};

/// A cap that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cap {
    pub(super) field: CapField,
    pub(super) value: u64,
    pub(super) at: Range<usize>,
}

/// Where something is put, and what stands around it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) at: Range<usize>,
    pub(super) before: Cow<'static, str>,
    pub(super) after: &'static str,
}

/// Where the model's name stands, or goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ModelSlot {
    pub(super) slot: Slot,
    /// What the name begins with there: `models/` in Gemini's bodies.
    pub(super) prefix: &'static str,
    /// It is a JSON string.
    pub(super) is_json: bool,
}

/// What is there of `stream_options`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Options {
    /// It would go here.
    Absent(usize),
    Null(Range<usize>),
    /// An object without `include_usage`, whose members begin here.
    Without {
        start: usize,
        empty: bool,
    },
    /// The value of `include_usage`.
    With(Range<usize>),
}

impl Slot {
    /// For a value that replaces another.
    pub(super) const fn value(at: Range<usize>) -> Self {
        Self { at, before: Cow::Borrowed(""), after: "" }
    }

    /// For a member that becomes the first of an object; `name` with its quotes and colon.
    pub(super) const fn first(start: usize, name: &'static str, is_empty: bool) -> Self {
        let after = if is_empty { "" } else { "," };
        Self { at: start..start, before: Cow::Borrowed(name), after }
    }
}

impl ModelSlot {
    pub(super) const fn json(slot: Slot) -> Self {
        Self { slot, prefix: "", is_json: true }
    }

    fn splice(&self, model: &str) -> (Range<usize>, String) {
        let name = format!("{}{model}", self.prefix);
        let written = if self.is_json { serde_json::Value::from(name).to_string() } else { name };
        let Slot { at, before, after } = &self.slot;
        (at.clone(), format!("{before}{written}{after}"))
    }
}

/// The model of a body, and where it stands.
pub(super) fn model<M: Member>(
    object: &Object<'_, M>,
    member: M,
) -> Result<Option<(String, ModelSlot)>, RequestError> {
    let param = member.param();
    let Some(raw) = object.raw(member) else { return Ok(None) };
    let model = word(raw).ok_or(RequestError::WrongType { param, expected: "a string" })?;
    check_model(param, &model)?;
    Ok(Some((model, ModelSlot::json(Slot::value(object.place(raw))))))
}

/// A model that must be there.
pub(super) fn required_model<M: Member>(
    object: &Object<'_, M>,
    member: M,
) -> Result<(String, ModelSlot), RequestError> {
    model(object, member)?.ok_or(RequestError::Missing(member.param()))
}

/// The model of a call: the one that its path names, whatever the body says, as Azure reads it; else that
/// of the body; else the one that the provider would choose. Last, whether it must be written there.
pub(super) fn model_of<M: Member>(
    object: &Object<'_, M>,
    member: M,
    named: Option<&str>,
    default: Option<&'static str>,
) -> Result<(String, ModelSlot, bool), RequestError> {
    if named.is_none()
        && let Some((model, slot)) = model(object, member)?
    {
        return Ok((model, slot, false));
    }
    let model = named.or(default).ok_or(RequestError::Missing(member.param()))?;
    let slot = match object.written(member) {
        Some(other) => Slot::value(object.place(other)),
        None => Slot::first(object.start(), r#""model":"#, object.is_empty()),
    };
    Ok((model.to_owned(), ModelSlot::json(slot), true))
}

/// A cap of an object, if it is there.
pub(super) fn cap<M: Member>(
    object: &Object<'_, M>,
    member: M,
    field: CapField,
) -> Result<Option<Cap>, RequestError> {
    let (value, raw) = (object.number(member)?, object.raw(member));
    Ok(value.zip(raw).map(|(value, raw)| Cap { field, value, at: object.place(raw) }))
}

/// Where a cap goes that is not there yet; `name` with its quotes and colon. One that is null is replaced,
/// for a member must not be there twice.
pub(super) fn cap_slot<M: Member>(object: &Object<'_, M>, member: M, name: &'static str) -> Slot {
    match object.written(member) {
        Some(null @ "null") => Slot::value(object.place(null)),
        _ => Slot::first(object.start(), name, object.is_empty()),
    }
}

pub(super) fn rewrite(body: &Bytes, call: &Call, edits: &Edits<'_>) -> Bytes {
    let mut splices = Vec::new();
    let renamed = edits.model.filter(|model| *model != call.model);
    let named = call.must_name_model.then_some(edits.model.unwrap_or(&call.model));
    if let Some(model) = renamed.or(named) {
        splices.extend(call.models.iter().map(|slot| slot.splice(model)));
    }
    if edits.include_usage && call.stream && !call.wants_usage {
        splices.extend(ask_for_usage(call));
    }
    let old_slot = call.old_cap_slot.as_ref().filter(|_| edits.old_cap);
    // What the client wrote where the provider does not look is said once more where it does.
    if let Some(cap) = edits.output_cap.or(call.output_cap.filter(|_| old_slot.is_some())) {
        set_caps(call, cap, old_slot, &mut splices);
    }
    if splices.is_empty() { body.clone() } else { splice(body, splices) }
}

fn ask_for_usage(call: &Call) -> Option<(Range<usize>, String)> {
    use super::Endpoint::{Chat, Completions};

    const ASKED: &str = r#""include_usage":true"#;
    // The other wires tell it unasked.
    matches!(call.endpoint, Chat | Completions).then(|| match &call.options {
        Options::Absent(start) => (*start..*start, format!(r#""stream_options":{{{ASKED}}},"#)),
        Options::Null(at) => (at.clone(), format!("{{{ASKED}}}")),
        Options::Without { start, empty } => {
            (*start..*start, format!("{ASKED}{}", if *empty { "" } else { "," }))
        }
        Options::With(at) => (at.clone(), "true".to_owned()),
    })
}

fn set_caps(
    call: &Call,
    value: u64,
    old_slot: Option<&Slot>,
    splices: &mut Vec<(Range<usize>, String)>,
) {
    let Some(Slot { at, before, after }) = old_slot.or(call.cap_slot.as_ref()) else { return };
    for cap in call.caps.iter().filter(|cap| cap.value != value) {
        splices.push((cap.at.clone(), value.to_string()));
    }
    let binds = |cap: &Cap| match old_slot {
        Some(_) => cap.field == CapField::MaxTokens,
        None => cap.field.binds(call.endpoint),
    };
    if !call.caps.iter().any(binds) {
        splices.push((at.clone(), format!("{before}{value}{after}")));
    }
}

/// Puts texts in the place of ranges that do not overlap.
fn splice(body: &Bytes, mut splices: Vec<(Range<usize>, String)>) -> Bytes {
    splices.sort_by_key(|(range, _)| range.start);
    let more: usize = splices.iter().map(|(_, text)| text.len()).sum();
    let mut out = Vec::with_capacity(body.len() + more);
    let mut from = 0;
    for (range, text) in &splices {
        let Some(kept) = body.get(from..range.start) else { return body.clone() };
        out.extend_from_slice(kept);
        out.extend_from_slice(text.as_bytes());
        from = range.end;
    }
    out.extend_from_slice(body.get(from..).unwrap_or_default());
    Bytes::from(out)
}
