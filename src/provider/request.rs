//! Reads a call's body for the few facts the gateway needs, and splices in the few it must change.
//!
//! The body stays as it came: members nobody here knows travel on byte for byte. What would let a
//! provider read another call than the one that was metered (a member twice, or in other letter
//! case) is refused.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::endpoint::Endpoint;
use super::json::Cursor;
use crate::domain::usage::ServiceTier;

/// The longest model name, in bytes.
pub const MAX_MODEL_NAME: usize = 256;

/// What a call asks for, and where in its body it says so.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, in any combination")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub endpoint: Endpoint,
    pub model: String,
    /// `stream: true` was written, even where the endpoint cannot stream.
    pub stream: bool,
    /// The client itself asked for a stream's usage.
    pub wants_usage: bool,
    /// The most tokens of one choice: the largest cap among the members that the endpoint has, since
    /// a provider may obey any of them.
    pub output_cap: Option<u64>,
    /// How many answers are generated: `n` or `best_of`, for each prompt; at least 1.
    pub choices: u64,
    pub service: Option<ServiceTier>,
    /// Length of the body: a bound of its text tokens.
    pub body_bytes: u64,
    /// Length of the members that become the prompt.
    pub prompt_bytes: u64,
    /// Length of `prediction`: what is rejected of it is billed as output.
    pub predicted_bytes: u64,
    /// Something other than text may be in the prompt.
    pub media: bool,
    /// The provider is asked to search, which costs what no cap bounds.
    pub searches: bool,
    /// Other models are named for the provider to fall back on.
    pub other_models: bool,
    caps: [Option<Cap>; CapField::ALL.len()],
    /// Just after the body's opening brace.
    start: usize,
    model_at: Range<usize>,
    options: Options,
}

/// A member that caps the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapField {
    MaxCompletionTokens,
    MaxTokens,
    MaxOutputTokens,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Cap {
    field: CapField,
    value: u64,
    at: Range<usize>,
}

/// What is there of `stream_options`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Options {
    Absent,
    Null(Range<usize>),
    /// An object without `include_usage`, whose members begin here.
    Without {
        start: usize,
        empty: bool,
    },
    /// The value of `include_usage`.
    With(Range<usize>),
}

/// What to change in a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edits<'a> {
    pub model: Option<&'a str>,
    /// Ask for a stream's usage.
    pub include_usage: bool,
    /// The most tokens of one choice.
    pub output_cap: Option<u64>,
}

/// Why a body is not a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("The request body is not valid JSON: {reason} at line {line}, column {column}.")]
    NotJson { reason: String, line: usize, column: usize },
    #[error("The request body must be a JSON object.")]
    NotAnObject,
    #[error("Duplicate parameter: '{0}' may be given only once.")]
    Duplicate(&'static str),
    #[error("Unknown parameter: '{written}'. Did you mean '{param}'?")]
    LetterCase { written: String, param: &'static str },
    #[error("Missing required parameter: '{0}'.")]
    Missing(&'static str),
    #[error("Invalid type for '{param}': expected {expected}.")]
    WrongType { param: &'static str, expected: &'static str },
    #[error("Invalid '{0}': it must not be empty.")]
    Empty(&'static str),
    #[error("Invalid '{param}': it must not be longer than {limit} bytes.")]
    TooLong { param: &'static str, limit: usize },
    #[error("Invalid '{0}': it must not hold control characters.")]
    ControlCharacter(&'static str),
}

impl RequestError {
    /// The member that is wrong.
    pub const fn param(&self) -> Option<&'static str> {
        match self {
            Self::NotJson { .. } | Self::NotAnObject => None,
            Self::Duplicate(param)
            | Self::LetterCase { param, .. }
            | Self::Missing(param)
            | Self::WrongType { param, .. }
            | Self::Empty(param)
            | Self::TooLong { param, .. }
            | Self::ControlCharacter(param) => Some(param),
        }
    }

    /// The word for programs, as `OpenAI` uses it.
    pub const fn code(&self) -> Option<&'static str> {
        match self {
            Self::NotJson { .. } | Self::NotAnObject => None,
            Self::Duplicate(_) => Some("duplicate_parameter"),
            Self::LetterCase { .. } => Some("unknown_parameter"),
            Self::Missing(_) => Some("missing_required_parameter"),
            Self::WrongType { .. } => Some("invalid_type"),
            Self::Empty(_) | Self::TooLong { .. } | Self::ControlCharacter(_) => {
                Some("invalid_value")
            }
        }
    }
}

impl CapField {
    const ALL: [Self; 3] = [Self::MaxCompletionTokens, Self::MaxTokens, Self::MaxOutputTokens];

    pub const fn name(self) -> &'static str {
        self.field().name()
    }

    const fn field(self) -> Field {
        match self {
            Self::MaxCompletionTokens => Field::MaxCompletionTokens,
            Self::MaxTokens => Field::MaxTokens,
            Self::MaxOutputTokens => Field::MaxOutputTokens,
        }
    }

    /// Whether a provider that speaks the endpoint's wire may be trusted to obey it there.
    const fn binds(self, endpoint: Endpoint) -> bool {
        match self {
            Self::MaxCompletionTokens => matches!(endpoint, Endpoint::Chat),
            Self::MaxTokens => endpoint.generates(),
            Self::MaxOutputTokens => false,
        }
    }
}

/// Reads a call.
pub fn read(endpoint: Endpoint, body: &[u8]) -> Result<Call, RequestError> {
    let text = std::str::from_utf8(body).map_err(|error| not_utf8(body, error.valid_up_to()))?;
    let reader = Reader { text, members: members(text, &NAMES, &NAMES)?.values };

    let (model, model_at) = reader.model()?;
    let options = reader.stream_options()?;
    reader.check_prompt(endpoint)?;
    let caps = reader.caps(endpoint)?;
    let bound = caps.iter().flatten().filter(|cap| cap.field.binds(endpoint));
    Ok(Call {
        endpoint,
        model,
        stream: reader.flag(Field::Stream)?,
        wants_usage: matches!(&options, Options::With(at) if &text[at.clone()] == "true"),
        output_cap: bound.map(|cap| cap.value).max(),
        choices: reader.choices(endpoint)?,
        service: reader.raw(Field::ServiceTier).and_then(word).map(|w| ServiceTier::from_word(&w)),
        body_bytes: body.len() as u64,
        prompt_bytes: Field::PROMPT.into_iter().map(|field| reader.length(field)).sum(),
        predicted_bytes: reader.length(Field::Prediction),
        media: reader.has_media(endpoint),
        searches: Field::SEARCH.into_iter().any(|field| reader.raw(field).is_some()),
        other_models: reader.raw(Field::Models).is_some(),
        caps,
        start: text.find('{').map_or(0, |brace| brace + 1),
        model_at,
        options,
    })
}

impl Call {
    /// Each cap that was given, whether or not the endpoint has it.
    pub fn caps(&self) -> impl Iterator<Item = (CapField, u64)> + '_ {
        self.caps.iter().flatten().map(|cap| (cap.field, cap.value))
    }

    /// The member that a new cap goes into where none is given.
    const fn cap_field(&self) -> Option<CapField> {
        match self.endpoint {
            Endpoint::Chat => Some(CapField::MaxCompletionTokens),
            Endpoint::Completions => Some(CapField::MaxTokens),
            _ => None,
        }
    }
}

/// The body with the edits in it and every other byte as it was; the same bytes, not copied, where
/// nothing changes. `call` must have been read from `body`.
pub fn rewrite(body: &Bytes, call: &Call, edits: &Edits<'_>) -> Bytes {
    let mut splices = Vec::new();
    if let Some(model) = edits.model.filter(|model| *model != call.model) {
        splices.push((call.model_at.clone(), quoted(model)));
    }
    if edits.include_usage && call.stream && !call.wants_usage && call.endpoint.generates() {
        splices.push(ask_for_usage(call));
    }
    if let Some(cap) = edits.output_cap {
        set_caps(call, cap, &mut splices);
    }
    if splices.is_empty() { body.clone() } else { splice(body, splices) }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn ask_for_usage(call: &Call) -> (Range<usize>, String) {
    const ASKED: &str = r#""include_usage":true"#;
    match &call.options {
        Options::Absent => (call.start..call.start, format!(r#""stream_options":{{{ASKED}}},"#)),
        Options::Null(at) => (at.clone(), format!("{{{ASKED}}}")),
        Options::Without { start, empty } => {
            (*start..*start, format!("{ASKED}{}", if *empty { "" } else { "," }))
        }
        Options::With(at) => (at.clone(), "true".to_owned()),
    }
}

fn set_caps(call: &Call, value: u64, splices: &mut Vec<(Range<usize>, String)>) {
    let Some(own) = call.cap_field() else { return };
    for cap in call.caps.iter().flatten().filter(|cap| cap.value != value) {
        splices.push((cap.at.clone(), value.to_string()));
    }
    if !call.caps.iter().flatten().any(|cap| cap.field.binds(call.endpoint)) {
        splices.push((call.start..call.start, format!(r#""{}":{value},"#, own.name())));
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

/// The members that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Model,
    Messages,
    Input,
    Prompt,
    Stream,
    StreamOptions,
    MaxCompletionTokens,
    MaxTokens,
    MaxOutputTokens,
    N,
    BestOf,
    ServiceTier,
    Suffix,
    Tools,
    Functions,
    ResponseFormat,
    Prediction,
    WebSearchOptions,
    SearchParameters,
    Plugins,
    Models,
}

const FIELDS: usize = 21;

/// The name of each [`Field`], by its number.
const NAMES: [&str; FIELDS] = {
    let mut names = [""; FIELDS];
    let mut at = 0;
    while at < FIELDS {
        names[at] = Field::ALL[at].name();
        at += 1;
    }
    names
};

impl Field {
    const ALL: [Self; FIELDS] = [
        Self::Model,
        Self::Messages,
        Self::Input,
        Self::Prompt,
        Self::Stream,
        Self::StreamOptions,
        Self::MaxCompletionTokens,
        Self::MaxTokens,
        Self::MaxOutputTokens,
        Self::N,
        Self::BestOf,
        Self::ServiceTier,
        Self::Suffix,
        Self::Tools,
        Self::Functions,
        Self::ResponseFormat,
        Self::Prediction,
        Self::WebSearchOptions,
        Self::SearchParameters,
        Self::Plugins,
        Self::Models,
    ];

    /// What becomes part of the prompt.
    const PROMPT: [Self; 7] = [
        Self::Messages,
        Self::Input,
        Self::Prompt,
        Self::Suffix,
        Self::Tools,
        Self::Functions,
        Self::ResponseFormat,
    ];

    const SEARCH: [Self; 3] = [Self::WebSearchOptions, Self::SearchParameters, Self::Plugins];

    const fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Messages => "messages",
            Self::Input => "input",
            Self::Prompt => "prompt",
            Self::Stream => "stream",
            Self::StreamOptions => "stream_options",
            Self::MaxCompletionTokens => "max_completion_tokens",
            Self::MaxTokens => "max_tokens",
            Self::MaxOutputTokens => "max_output_tokens",
            Self::N => "n",
            Self::BestOf => "best_of",
            Self::ServiceTier => "service_tier",
            Self::Suffix => "suffix",
            Self::Tools => "tools",
            Self::Functions => "functions",
            Self::ResponseFormat => "response_format",
            Self::Prediction => "prediction",
            Self::WebSearchOptions => "web_search_options",
            Self::SearchParameters => "search_parameters",
            Self::Plugins => "plugins",
            Self::Models => "models",
        }
    }
}

/// The values of an object's members that have a name in a list, as they are written.
struct Members<'a> {
    values: [Option<&'a RawValue>; FIELDS],
    empty: bool,
    twice: Option<usize>,
    /// A key that differs from a name in letter case alone: some providers take it for that name.
    other_case: Option<(String, usize)>,
}

/// Reads the members of an object that are in `names`; `params` is what an error calls each.
fn members<'a>(
    text: &'a str,
    names: &'static [&'static str],
    params: &'static [&'static str],
) -> Result<Members<'a>, RequestError> {
    let mut input = serde_json::Deserializer::from_str(text);
    let read = Names(names).deserialize(&mut input);
    let found = read.and_then(|found| input.end().map(|()| found)).map_err(|e| not_json(&e))?;
    if let Some(index) = found.twice {
        return Err(RequestError::Duplicate(params[index]));
    }
    if let Some((written, index)) = found.other_case {
        return Err(RequestError::LetterCase { written, param: params[index] });
    }
    Ok(found)
}

fn not_json(error: &serde_json::Error) -> RequestError {
    let text = error.to_string();
    let reason = match error.classify() {
        Category::Data => return RequestError::NotAnObject,
        Category::Eof => "it ends too early",
        Category::Io | Category::Syntax => text.split(" at line ").next().unwrap_or(&text),
    };
    let reason = reason.to_owned();
    RequestError::NotJson { reason, line: error.line(), column: error.column() }
}

fn not_utf8(body: &[u8], at: usize) -> RequestError {
    let before = &body[..at];
    let line_start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
    RequestError::NotJson {
        reason: "it is not UTF-8".to_owned(),
        line: 1 + memchr::memchr_iter(b'\n', before).count(),
        column: 1 + at - line_start,
    }
}

/// Reads an object for members with these names.
struct Names(&'static [&'static str]);

/// Reads a key.
struct Key(&'static [&'static str]);

enum Found {
    Name(usize),
    OtherCase(String, usize),
    Other,
}

impl<'de> DeserializeSeed<'de> for Names {
    type Value = Members<'de>;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Self::Value, D::Error> {
        input.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Names {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found =
            Members { values: [None; FIELDS], empty: true, twice: None, other_case: None };
        while let Some(key) = map.next_key_seed(Key(self.0))? {
            found.empty = false;
            match key {
                Found::Name(index) => {
                    if found.values[index].replace(map.next_value()?).is_some() {
                        found.twice.get_or_insert(index);
                    }
                }
                Found::OtherCase(written, index) => {
                    found.other_case.get_or_insert((written, index));
                    map.next_value::<IgnoredAny>()?;
                }
                Found::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Found, D::Error> {
        input.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Found, E> {
        if let Some(index) = self.0.iter().position(|name| *name == key) {
            return Ok(Found::Name(index));
        }
        if key.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
            return Ok(Found::Other);
        }
        let folded = |name: &&str| key.chars().map(fold).eq(name.chars());
        let index = self.0.iter().position(folded);
        Ok(index.map_or(Found::Other, |index| Found::OtherCase(key.to_owned(), index)))
    }
}

/// Letter case as a reader that ignores it sees it: two letters outside ASCII fold into it.
const fn fold(letter: char) -> char {
    match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    }
}

/// A body whose members have been found.
struct Reader<'a> {
    text: &'a str,
    members: [Option<&'a RawValue>; FIELDS],
}

impl<'a> Reader<'a> {
    /// A member's value as written; null is as good as absent.
    fn raw(&self, field: Field) -> Option<&'a str> {
        self.members[field as usize].map(RawValue::get).filter(|raw| *raw != "null")
    }

    fn length(&self, field: Field) -> u64 {
        self.raw(field).map_or(0, |raw| raw.len() as u64)
    }

    /// Where a part of the body stands in it.
    fn place(&self, part: &str) -> Range<usize> {
        let start = part.as_ptr().addr() - self.text.as_ptr().addr();
        start..start + part.len()
    }

    fn model(&self) -> Result<(String, Range<usize>), RequestError> {
        let param = Field::Model.name();
        let raw = self.raw(Field::Model).ok_or(RequestError::Missing(param))?;
        let model = word(raw).ok_or(RequestError::WrongType { param, expected: "a string" })?;
        if model.is_empty() {
            return Err(RequestError::Empty(param));
        }
        if model.len() > MAX_MODEL_NAME {
            return Err(RequestError::TooLong { param, limit: MAX_MODEL_NAME });
        }
        if model.chars().any(char::is_control) {
            return Err(RequestError::ControlCharacter(param));
        }
        Ok((model, self.place(raw)))
    }

    fn flag(&self, field: Field) -> Result<bool, RequestError> {
        match self.raw(field) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(RequestError::WrongType { param: field.name(), expected: "a boolean" }),
        }
    }

    fn number(&self, field: Field) -> Result<Option<u64>, RequestError> {
        let expected = "a non-negative integer";
        let read = |raw: &str| {
            let digits = raw.bytes().all(|byte| byte.is_ascii_digit());
            let number = raw.parse().ok().filter(|_| digits);
            number.ok_or(RequestError::WrongType { param: field.name(), expected })
        };
        self.raw(field).map(read).transpose()
    }

    fn stream_options(&self) -> Result<Options, RequestError> {
        const PARAM: &str = "stream_options.include_usage";
        let Some(raw) = self.members[Field::StreamOptions as usize].map(RawValue::get) else {
            return Ok(Options::Absent);
        };
        let place = self.place(raw);
        if raw == "null" {
            return Ok(Options::Null(place));
        }
        if !raw.starts_with('{') {
            let param = Field::StreamOptions.name();
            return Err(RequestError::WrongType { param, expected: "an object" });
        }
        let found = members(raw, &["include_usage"], &[PARAM])?;
        Ok(match found.values[0] {
            Some(value) => Options::With(self.place(value.get())),
            None => Options::Without { start: place.start + 1, empty: found.empty },
        })
    }

    /// What is asked must be there; what is in it is for the provider to judge.
    fn check_prompt(&self, endpoint: Endpoint) -> Result<(), RequestError> {
        let field = match endpoint {
            Endpoint::Chat => Field::Messages,
            Endpoint::Completions => Field::Prompt,
            _ => Field::Input,
        };
        let param = field.name();
        let raw = self.raw(field).ok_or(RequestError::Missing(param))?;
        if field == Field::Messages && !raw.starts_with('[') {
            return Err(RequestError::WrongType { param, expected: "a list of messages" });
        }
        Ok(())
    }

    fn caps(&self, endpoint: Endpoint) -> Result<[Option<Cap>; CapField::ALL.len()], RequestError> {
        let mut caps = [const { None }; CapField::ALL.len()];
        if !endpoint.generates() {
            return Ok(caps);
        }
        for (slot, field) in caps.iter_mut().zip(CapField::ALL) {
            let (number, raw) = (self.number(field.field())?, self.raw(field.field()));
            *slot = number.zip(raw).map(|(value, raw)| Cap { field, value, at: self.place(raw) });
        }
        Ok(caps)
    }

    fn choices(&self, endpoint: Endpoint) -> Result<u64, RequestError> {
        if !endpoint.generates() {
            return Ok(1);
        }
        let each = self.number(Field::N)?.max(self.number(Field::BestOf)?).unwrap_or(1).max(1);
        let prompts = match self.raw(Field::Prompt) {
            Some(raw) if endpoint == Endpoint::Completions => count_prompts(raw),
            _ => 1,
        };
        Ok(each.saturating_mul(prompts))
    }

    fn has_media(&self, endpoint: Endpoint) -> bool {
        match endpoint {
            Endpoint::Chat => self.raw(Field::Messages).is_some_and(messages_have_media),
            Endpoint::Embeddings | Endpoint::Moderations => {
                self.raw(Field::Input).is_some_and(|raw| {
                    let mut media = false;
                    let read = read_parts(&mut Cursor::new(raw.as_bytes()), &mut media);
                    media || read.is_none()
                })
            }
            _ => false,
        }
    }
}

/// The text of a JSON string.
fn word(raw: &str) -> Option<String> {
    serde_json::from_str(raw).ok()
}

/// A list of texts or of token lists is a prompt each; a list of tokens is one.
fn count_prompts(raw: &str) -> u64 {
    let mut prompts = 0u64;
    let mut tokens = 0;
    Cursor::new(raw.as_bytes()).array(|cursor| {
        match cursor.peek()? {
            b'"' | b'[' => prompts += 1,
            _ => tokens = 1,
        }
        cursor.skip().map(drop)
    });
    (prompts + tokens).max(1)
}

/// Whether messages may hold more than text. A key written with escapes is not looked into: it counts
/// as if it did.
fn messages_have_media(raw: &str) -> bool {
    if !has_nested_member(raw.as_bytes()) {
        return false;
    }
    let mut media = false;
    let read = Cursor::new(raw.as_bytes()).array(|cursor| {
        cursor.object(|cursor, key, _| match key {
            b"content" => read_parts(cursor, &mut media),
            b"audio" | b"image" | b"images" | b"video" | b"videos" | b"file" | b"files"
            | b"document" | b"documents" | b"attachments" => {
                media |= matches!(cursor.skip()?, [b'[' | b'{', ..]);
                Some(())
            }
            key => {
                media |= key.contains(&b'\\');
                cursor.skip().map(drop)
            }
        })
    });
    media || read.is_none()
}

/// Whether a list or an object may be the value of a member: in most calls every content is a text,
/// and then there is nothing to look into.
fn has_nested_member(raw: &[u8]) -> bool {
    memchr::memchr2_iter(b'[', b'{', raw).any(|at| raw[..at].trim_ascii_end().last() == Some(&b':'))
}

/// Reads a content: a text, a part, or a list of them. A part that does not say it is text is media.
fn read_parts(cursor: &mut Cursor<'_>, media: &mut bool) -> Option<()> {
    if cursor.peek()? == b'{' {
        return read_part(cursor, media);
    }
    cursor.array(|cursor| read_part(cursor, media))
}

fn read_part(cursor: &mut Cursor<'_>, media: &mut bool) -> Option<()> {
    if cursor.peek()? != b'{' {
        return cursor.skip().map(drop);
    }
    let mut text = false;
    cursor.object(|cursor, key, _| {
        let value = cursor.skip()?;
        if key == b"type" {
            text = matches!(
                value,
                br#""text""# | br#""input_text""# | br#""output_text""# | br#""refusal""#
            );
            *media |= !text;
        }
        *media |= key.contains(&b'\\');
        Some(())
    })?;
    *media |= !text;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    fn chat(body: &str) -> Result<Call, RequestError> {
        read(Endpoint::Chat, body.as_bytes())
    }

    /// A chat call with further members in it.
    fn with(members: &str) -> String {
        format!(r#"{{"model":"m","messages":[]{members}}}"#)
    }

    fn edited(body: &str, edits: Edits<'_>) -> String {
        let bytes = Bytes::copy_from_slice(body.as_bytes());
        let call = chat(body).expect("a call");
        String::from_utf8(rewrite(&bytes, &call, &edits).to_vec()).expect("UTF-8")
    }

    #[test]
    fn the_facts_of_a_call_are_read() {
        let body = r#" {"messages" : [{"role":"user","content":"hi"}], "st\u0072eam":true,
            "mod\u0065l":"a\/b","max_tokens":50,"max_completion_tokens":70,"max_output_tokens":900,
            "n":3,"best_of":null,"service_tier":"flex","stream_options":{"x":1,"include_usage":true},
            "tools":[],"other":{"model":5},"seed":null} "#;
        let call = chat(body).expect("a call");
        assert_eq!(call.model, "a/b");
        assert!(call.stream && call.wants_usage && !call.media && !call.searches);
        assert_eq!(call.output_cap, Some(70));
        let caps: Vec<_> = call.caps().map(|(field, value)| (field.name(), value)).collect();
        assert_eq!(
            caps,
            [("max_completion_tokens", 70), ("max_tokens", 50), ("max_output_tokens", 900)]
        );
        assert_eq!(call.choices, 3);
        assert_eq!(call.service, Some(ServiceTier::Flex));
        assert_eq!(call.body_bytes, body.len() as u64);
        assert_eq!(call.prompt_bytes, r#"[{"role":"user","content":"hi"}][]"#.len() as u64);
    }

    #[test]
    fn what_is_absent_or_null_has_its_default() {
        for body in [
            with(""),
            with(
                r#","stream":null,"n":null,"max_tokens":null,"stream_options":null,"plugins":null"#,
            ),
        ] {
            let call = chat(&body).expect("a call");
            assert!(!call.stream && !call.wants_usage && !call.searches && !call.other_models);
            assert_eq!((call.output_cap, call.choices, call.service), (None, 1, None));
        }
        let call = chat(&with(r#","n":0,"max_output_tokens":5"#)).expect("a call");
        assert_eq!((call.output_cap, call.choices), (None, 1), "not a cap of this endpoint");
        let call = chat(&with(r#","plugins":[],"models":["z"],"prediction":{}"#)).expect("a call");
        assert!(call.searches && call.other_models);
        assert_eq!(call.predicted_bytes, 2);
    }

    #[test]
    fn what_is_not_a_call_is_refused_with_its_reason() {
        use RequestError as E;
        let integer = "a non-negative integer";
        let long = format!(r#"{{"model":"{}","messages":[]}}"#, "m".repeat(MAX_MODEL_NAME + 1));
        let deep = format!(r#"{{"model":"m","messages":{}"#, "[".repeat(200_000));
        for (body, expected) in [
            ("[]", E::NotAnObject),
            ("7", E::NotAnObject),
            ("{}", E::Missing("model")),
            (r#"{"model":null}"#, E::Missing("model")),
            (r#"{"model":7}"#, E::WrongType { param: "model", expected: "a string" }),
            (r#"{"model":"\ud800"}"#, E::WrongType { param: "model", expected: "a string" }),
            (r#"{"model":""}"#, E::Empty("model")),
            (r#"{"model":"a\u0000"}"#, E::ControlCharacter("model")),
            (&long, E::TooLong { param: "model", limit: MAX_MODEL_NAME }),
            (r#"{"model":"m"}"#, E::Missing("messages")),
            (r#"{"model":"m","messages":null}"#, E::Missing("messages")),
            (
                r#"{"model":"m","messages":"hi"}"#,
                E::WrongType { param: "messages", expected: "a list of messages" },
            ),
            (&with(r#","stream":1"#), E::WrongType { param: "stream", expected: "a boolean" }),
            (&with(r#","n":-1"#), E::WrongType { param: "n", expected: integer }),
            (&with(r#","n":1.0"#), E::WrongType { param: "n", expected: integer }),
            (
                &with(r#","max_tokens":"5""#),
                E::WrongType { param: "max_tokens", expected: integer },
            ),
            (
                &with(r#","max_completion_tokens":99999999999999999999"#),
                E::WrongType { param: "max_completion_tokens", expected: integer },
            ),
            (
                &with(r#","stream_options":true"#),
                E::WrongType { param: "stream_options", expected: "an object" },
            ),
            (&with(r#","stream":true,"stream":false"#), E::Duplicate("stream")),
            (&with(r#","\u006dodel":"x""#), E::Duplicate("model")),
            (&with(r#","n":null,"n":9"#), E::Duplicate("n")),
            (
                &with(r#","stream_options":{"include_usage":true,"include_usage":false}"#),
                E::Duplicate("stream_options.include_usage"),
            ),
            (
                &with(r#","Max_Tokens":9"#),
                E::LetterCase { written: "Max_Tokens".to_owned(), param: "max_tokens" },
            ),
            (
                &with(",\"\u{17f}tream\":true"),
                E::LetterCase { written: "\u{17f}tream".to_owned(), param: "stream" },
            ),
        ] {
            assert_eq!(chat(body), Err(expected), "{body}");
        }
        for (body, line, column) in [
            ("", 1, 0),
            ("{\n\"model\" 5}", 2, 9),
            (r#"{"model":"m"} x"#, 1, 15),
            ("\u{feff}{}", 1, 1),
            (&deep, 1, deep.len()),
        ] {
            let error = chat(body).expect_err("not JSON");
            let E::NotJson { line: l, column: c, .. } = &error else { panic!("{error}") };
            assert_eq!((*l, *c), (line, column), "{error}");
        }
        let error = read(Endpoint::Chat, b"{\n \xff}").expect_err("not UTF-8");
        assert_eq!(
            error.to_string(),
            "The request body is not valid JSON: it is not UTF-8 at line 2, column 2."
        );
        assert_eq!((error.param(), error.code()), (None, None));
        let error = E::Missing("model");
        assert_eq!(
            (error.param(), error.code()),
            (Some("model"), Some("missing_required_parameter"))
        );
    }

    #[test]
    fn each_endpoint_asks_for_its_own_members() {
        for (endpoint, missing, body) in [
            (Endpoint::Chat, "messages", r#"{"model":"m","messages":[]}"#),
            (Endpoint::Completions, "prompt", r#"{"model":"m","prompt":""}"#),
            (Endpoint::Embeddings, "input", r#"{"model":"m","input":"a","max_tokens":"x","n":-1}"#),
            (Endpoint::Moderations, "input", r#"{"model":"m","input":["a"],"stream":true}"#),
        ] {
            let error = read(endpoint, br#"{"model":"m"}"#).expect_err("missing");
            assert_eq!(error, RequestError::Missing(missing));
            assert!(read(endpoint, body.as_bytes()).is_ok(), "{body}");
        }
    }

    #[test]
    fn each_prompt_is_answered_so_many_times() {
        for (prompt, n, choices) in [
            (r#""a""#, 2, 2),
            (r#"["a","b","c"]"#, 2, 6),
            ("[1,2,3]", 2, 2),
            ("[[1,2],[3]]", 1, 2),
            ("[]", 1, 1),
        ] {
            let body = format!(r#"{{"model":"m","prompt":{prompt},"n":1,"best_of":{n}}}"#);
            let call = read(Endpoint::Completions, body.as_bytes()).expect("a call");
            assert_eq!(call.choices, choices, "{prompt}");
        }
    }

    #[test]
    fn what_is_not_text_is_noticed_however_it_is_written() {
        for (messages, media) in [
            (r#"[{"content":"image_url"},{"content":null}]"#, false),
            (
                r#"[{"content":[{"type":"text","text":"a"},"b"],"tool_calls":[{"type":"function"}]}]"#,
                false,
            ),
            (r#"[{"content":[{"type":"image_url","image_url":{"url":"u"}}]}]"#, true),
            (r#"[{"content" : [ {"\u0074ype":"text"}]}]"#, true),
            (r#"[{"content":[{"type":"\u0066ile"}]}]"#, true),
            (r#"[{"content":[{"type":"text","type":"input_audio"}]}]"#, true),
            (r#"[{"content":[{"image_url":"u"}]}]"#, true),
            (r#"[{"content":{"type":"video"}}]"#, true),
            (r#"[{"c\u006fntent":[{"type":"image_url"}]}]"#, true),
            (r#"[{"role":"assistant","audio":{"id":"a"}}]"#, true),
            (r#"[{"role":"assistant","audio":null}]"#, false),
            (r#"[{"content":"a: [b]","audio":null}]"#, false),
        ] {
            let body = format!(r#"{{"model":"m","messages":{messages}}}"#);
            assert_eq!(chat(&body).map(|call| call.media), Ok(media), "{messages}");
        }
        for (input, media) in [
            (r#""a""#, false),
            (r#"["a","b"]"#, false),
            ("[[1],[2]]", false),
            (r#"[{"type":"text","text":"a"}]"#, false),
            (r#"[{"type":"image_url"}]"#, true),
        ] {
            let body = format!(r#"{{"model":"m","input":{input}}}"#);
            let call = read(Endpoint::Moderations, body.as_bytes());
            assert_eq!(call.map(|call| call.media), Ok(media), "{input}");
        }
    }

    #[test]
    fn usage_is_asked_for_beside_what_the_client_asked() {
        let ask = Edits { include_usage: true, ..Edits::default() };
        for (options, expected) in [
            ("", r#"{"stream_options":{"include_usage":true},"model":"m","messages":[],"stream":true}"#.to_owned()),
            (r#","stream_options":null"#, with(r#","stream":true,"stream_options":{"include_usage":true}"#)),
            (r#","stream_options":{ }"#, with(r#","stream":true,"stream_options":{"include_usage":true }"#)),
            (
                r#","stream_options":{"include_obfuscation": false}"#,
                with(r#","stream":true,"stream_options":{"include_usage":true,"include_obfuscation": false}"#),
            ),
            (
                r#","stream_options":{"include_usage" : false,"b":1}"#,
                with(r#","stream":true,"stream_options":{"include_usage" : true,"b":1}"#),
            ),
            (
                r#","stream_options":{"include_usage":null}"#,
                with(r#","stream":true,"stream_options":{"include_usage":true}"#),
            ),
        ] {
            assert_eq!(edited(&with(&format!(r#","stream":true{options}"#)), ask), expected);
        }
        for unchanged in
            [r#","stream":true,"stream_options":{"include_usage":true}"#, "", r#","stream":false"#]
        {
            let body = Bytes::from(with(unchanged));
            let call = read(Endpoint::Chat, &body).expect("a call");
            let out = rewrite(&body, &call, &ask);
            assert_eq!((out.as_ptr(), &out), (body.as_ptr(), &body), "not copied");
        }
    }

    #[test]
    fn a_cap_is_set_wherever_a_provider_may_look() {
        let cap = Edits { output_cap: Some(9), ..Edits::default() };
        let no_cap = r#"{"max_completion_tokens":9,"model":"m","messages":[]}"#;
        let other =
            r#"{"max_completion_tokens":9,"model":"m","messages":[],"max_output_tokens":9}"#;
        for (members, expected) in [
            ("", no_cap.to_owned()),
            (r#","max_tokens":50"#, with(r#","max_tokens":9"#)),
            (
                r#","max_tokens":50,"max_completion_tokens":9"#,
                with(r#","max_tokens":9,"max_completion_tokens":9"#),
            ),
            (r#","max_output_tokens":50"#, other.to_owned()),
        ] {
            assert_eq!(edited(&with(members), cap), expected);
        }
        let body = Bytes::from(r#"{"prompt":"a","model":"m"}"#);
        let call = read(Endpoint::Completions, &body).expect("a call");
        assert_eq!(rewrite(&body, &call, &cap), r#"{"max_tokens":9,"prompt":"a","model":"m"}"#);
        let body = Bytes::from(r#"{"input":"a","model":"m"}"#);
        let call = read(Endpoint::Embeddings, &body).expect("a call");
        assert_eq!(rewrite(&body, &call, &cap), body);
    }

    #[test]
    fn another_body_than_the_one_read_is_no_panic() {
        let call = chat(&with(r#","stream":true"#)).expect("a call");
        let edits = Edits { model: Some("x"), include_usage: true, output_cap: Some(1) };
        let _ = rewrite(&Bytes::from("{"), &call, &edits);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-z_\"]{0,6}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn any_options() -> impl Strategy<Value = Option<Value>> {
        prop_oneof![
            Just(None),
            Just(Some(Value::Null)),
            Just(Some(json!({}))),
            any_value().prop_map(|value| Some(json!({"include_usage": value, "other": 1}))),
            any_value().prop_map(|value| Some(json!({"zz": value}))),
        ]
    }

    proptest! {
        #[test]
        fn the_edits_are_made_and_all_else_stays(
            others in proptest::collection::btree_map("x[a-z_]{0,6}", any_value(), 0..5),
            messages in proptest::collection::vec(any_value(), 0..3),
            options in any_options(),
            caps in any::<(Option<u32>, Option<u32>)>(),
            stream: bool, pretty: bool, model in "[^\\p{Cc}]{1,20}",
            new_model in proptest::option::of("[^\\p{Cc}]{1,20}"), include_usage: bool,
            output_cap in proptest::option::of(0u64..1000),
        ) {
            let mut map: Map<String, Value> = others.into_iter().collect();
            map.insert("model".into(), json!(model));
            map.insert("messages".into(), json!(messages));
            map.insert("stream".into(), json!(stream));
            if let Some(options) = options {
                map.insert("stream_options".into(), options);
            }
            for (name, cap) in [("max_tokens", caps.0), ("max_completion_tokens", caps.1)] {
                if let Some(cap) = cap {
                    map.insert(name.into(), json!(cap));
                }
            }
            let text = if pretty {
                serde_json::to_string_pretty(&map)
            } else {
                serde_json::to_string(&map)
            }.expect("JSON");
            let body = Bytes::from(text);
            let call = read(Endpoint::Chat, &body).expect("a call");
            prop_assert_eq!(&call.model, &model);
            prop_assert_eq!(call.output_cap, caps.0.max(caps.1).map(u64::from));

            let edits = Edits { model: new_model.as_deref(), include_usage, output_cap };
            let out = rewrite(&body, &call, &edits);
            let mut expected = map.clone();
            if let Some(model) = &new_model {
                expected.insert("model".into(), json!(model));
            }
            if include_usage && stream {
                let options = expected.entry("stream_options").or_insert(Value::Null);
                if options.is_null() {
                    *options = json!({});
                }
                options["include_usage"] = json!(true);
            }
            if let Some(cap) = output_cap {
                let given: Vec<&str> = ["max_tokens", "max_completion_tokens"]
                    .into_iter().filter(|name| map.contains_key(*name)).collect();
                let names = if given.is_empty() { vec!["max_completion_tokens"] } else { given };
                for name in names {
                    expected.insert(name.into(), json!(cap));
                }
            }
            let read_back: Map<String, Value> = serde_json::from_slice(&out).expect("JSON");
            prop_assert_eq!(&read_back, &expected);
            // Byte for byte: the raw text of every member that was not edited.
            let raw_before: std::collections::BTreeMap<String, &RawValue> =
                serde_json::from_slice(&body).expect("JSON");
            let raw_after: std::collections::BTreeMap<String, &RawValue> =
                serde_json::from_slice(&out).expect("JSON");
            for (name, before) in raw_before {
                if map[&name] == expected[&name] {
                    prop_assert_eq!(before.get(), raw_after[&name].get());
                }
            }
            let again = read(Endpoint::Chat, &out).expect("a call");
            prop_assert_eq!(rewrite(&out, &again, &edits), out);
        }

        #[test]
        fn any_bytes_are_read_without_panic(
            bytes: Vec<u8>,
            text in r#"\{("model":"m",|"messages":\[|"stream":|true|"n":|1|null|[\[\]{},:"]){0,12}\}"#,
        ) {
            for input in [Bytes::from(bytes), Bytes::from(text)] {
                for endpoint in Endpoint::ALL {
                    if let Ok(call) = read(endpoint, &input) {
                        let edits = Edits { model: Some("\""), include_usage: true, output_cap: Some(1) };
                        let out = rewrite(&input, &call, &edits);
                        prop_assert!(read(endpoint, &out).is_ok());
                    }
                }
            }
        }
    }
}
