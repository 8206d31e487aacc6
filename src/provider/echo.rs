//! The built-in provider: it answers a call with the call's own words, so that a gateway can be tried
//! with no account anywhere.
//!
//! Its answers have the shapes that official clients expect and their usage adds up, but nothing is
//! generated. Time and names are arguments; delays are said, not waited for.

use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::endpoint::Endpoint;
use super::request::{Call, Edits};

/// The longest answer, in tokens: what is repeated so many times must have an end.
pub const MAX_OUTPUT_TOKENS: u64 = 16_384;
/// The most answers, texts to embed or texts to judge in one call, and the longest vector.
const MAX_CHOICES: u64 = 128;
const MAX_INPUTS: usize = 2_048;
const MAX_DIMENSIONS: usize = 1_536;

/// A text is taken to have a token for so many bytes.
const BYTES_PER_TOKEN: usize = 4;
/// People read a word in a few tens of milliseconds.
const SHORTEST_DELAY_MS: u64 = 30;
const DELAY_SPREAD: u64 = 31;

const NOTHING_TO_ECHO: &str = "Hello! This is the echo provider: send a message and it comes back.";

/// The endpoints that are answered.
pub const SPOKEN: [Endpoint; 4] =
    [Endpoint::Chat, Endpoint::Completions, Endpoint::Embeddings, Endpoint::Moderations];

/// The answer to a call.
#[derive(Debug)]
pub enum Answer {
    Json { status: u16, body: Bytes },
    Stream(Stream),
}

/// One event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// How long to wait before it is sent.
    pub delay_ms: u64,
    pub bytes: Bytes,
}

/// Answers a call that was read from `body`, as if `edits` had been made in it. `created` is in
/// seconds since 1970; `id` is what the answer is named after.
pub fn answer(call: &Call, edits: &Edits<'_>, body: &[u8], created: u64, id: &str) -> Answer {
    let asked: Value = serde_json::from_slice(body).unwrap_or_default();
    let model = edits.model.unwrap_or(&call.model).to_owned();
    match call.endpoint {
        Endpoint::Chat | Endpoint::Completions => {
            generate(call, edits, &asked, Head { id: id.to_owned(), created, model })
        }
        Endpoint::Moderations => moderate(&asked, &model, id),
        _ => embed(&asked, &model),
    }
}

/// What every piece of an answer begins with.
#[derive(Clone, Debug)]
struct Head {
    id: String,
    created: u64,
    model: String,
}

/// What is said for one choice.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    text: String,
    /// The function that the call insists on, instead of a text.
    function: Option<String>,
    finish_reason: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct TokenCounts {
    #[serde(rename = "prompt_tokens")]
    prompt: u64,
    #[serde(rename = "completion_tokens")]
    completion: u64,
    #[serde(rename = "total_tokens")]
    total: u64,
}

impl TokenCounts {
    const fn new(prompt: u64, completion: u64) -> Self {
        Self { prompt, completion, total: prompt + completion }
    }
}

/// Tokens of a text: at least one, unless it is empty.
fn tokens(text: &str) -> u64 {
    text.len().div_ceil(BYTES_PER_TOKEN) as u64
}

/// A call was too large: the answer's shape is that of `OpenAI`'s errors.
fn refuse(param: &str, message: &str) -> Answer {
    let error = serde_json::json!({
        "error": {
            "message": message,
            "type": "invalid_request_error",
            "param": param,
            "code": "invalid_value",
        }
    });
    Answer::Json { status: 400, body: Bytes::from(error.to_string()) }
}

fn to_json(value: &impl Serialize) -> Bytes {
    // Nothing serialised here has a key that is not text, so this cannot fail.
    Bytes::from(serde_json::to_vec(value).unwrap_or_default())
}

fn accept(value: &impl Serialize) -> Answer {
    Answer::Json { status: 200, body: to_json(value) }
}

fn generate(call: &Call, edits: &Edits<'_>, asked: &Value, head: Head) -> Answer {
    let each = asked["n"].as_u64().unwrap_or(1).max(1);
    let (prompts, prompt_tokens) = match call.endpoint {
        Endpoint::Chat => chat_prompt(asked),
        _ => texts(&asked["prompt"]),
    };
    if each.saturating_mul(prompts.len() as u64) > MAX_CHOICES {
        return refuse("n", &format!("The echo provider gives at most {MAX_CHOICES} choices."));
    }
    let cap = [call.output_cap, edits.output_cap].into_iter().flatten().min();
    let cap = cap.unwrap_or(MAX_OUTPUT_TOKENS).min(MAX_OUTPUT_TOKENS);
    let function = if call.endpoint == Endpoint::Chat { forced_function(asked) } else { None };
    let said = prompts.iter().flat_map(|prompt| {
        let said = say(prompt, function.as_deref(), cap);
        (0..each).map(move |_| said.clone())
    });
    let said: Vec<Said> = said.collect();
    let completion = said.iter().map(Said::tokens).sum();
    let usage = TokenCounts::new(prompt_tokens, completion);
    let speaker = Speaker { chat: call.endpoint == Endpoint::Chat, head };
    if call.stream {
        let wants_usage = call.wants_usage || edits.include_usage;
        return Answer::Stream(Stream::new(speaker, said, wants_usage.then_some(usage)));
    }
    accept(&speaker.whole(&said, usage))
}

impl Said {
    fn tokens(&self) -> u64 {
        match &self.function {
            Some(name) => tokens(name) + 1,
            None => tokens(&self.text),
        }
    }
}

/// The last words of the user, and the tokens of all that was said before.
fn chat_prompt(asked: &Value) -> (Vec<String>, u64) {
    let messages = asked["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let texts: Vec<String> = messages.iter().map(|message| content(&message["content"])).collect();
    let counted = texts.iter().map(|text| tokens(text).max(1)).sum::<u64>().max(1);
    let mut users = messages.iter().zip(texts).filter(|(message, _)| message["role"] == "user");
    let last = users.next_back().map(|(_, text)| text);
    (vec![last.unwrap_or_default()], counted)
}

/// The text of a message: its string, or the text parts of its list.
fn content(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts: Vec<&str> =
                parts.iter().filter_map(|part| part["text"].as_str().or(part.as_str())).collect();
            texts.join("\n")
        }
        _ => String::new(),
    }
}

/// The texts of a prompt or an input, and their tokens. A list of tokens stands for a text.
fn texts(value: &Value) -> (Vec<String>, u64) {
    let is_token_list = |list: &[Value]| !list.is_empty() && list.iter().all(Value::is_number);
    let one = |value: &Value| match value {
        Value::String(text) => (text.clone(), tokens(text).max(1)),
        Value::Array(list) if is_token_list(list) => (value.to_string(), list.len() as u64),
        other => {
            let text = content(&Value::Array(vec![other.clone()]));
            let counted = tokens(&text).max(1);
            (text, counted)
        }
    };
    let read: Vec<(String, u64)> = match value {
        Value::Array(list) if !list.is_empty() && !is_token_list(list) => {
            list.iter().map(one).collect()
        }
        other => vec![one(other)],
    };
    let counted = read.iter().map(|(_, count)| count).sum();
    (read.into_iter().map(|(text, _)| text).collect(), counted)
}

/// The function that `tool_choice` insists on; the first of the tools where it insists on any.
fn forced_function(asked: &Value) -> Option<String> {
    let choice = &asked["tool_choice"];
    let named = choice["function"]["name"].as_str();
    let any = || {
        let required = choice == "required";
        asked["tools"][0]["function"]["name"].as_str().filter(|_| required)
    };
    named.or_else(any).map(str::to_owned)
}

fn say(prompt: &str, function: Option<&str>, cap: u64) -> Said {
    if let Some(name) = function {
        let function = Some(name.to_owned());
        return Said { text: String::new(), function, finish_reason: "tool_calls" };
    }
    let text = if prompt.trim().is_empty() { NOTHING_TO_ECHO } else { prompt };
    let most = usize::try_from(cap).unwrap_or(usize::MAX).saturating_mul(BYTES_PER_TOKEN);
    let kept = &text[..text.floor_char_boundary(most)];
    let finish_reason = if kept.len() < text.len() { "length" } else { "stop" };
    Said { text: kept.to_owned(), function: None, finish_reason }
}

/// Writes answers in the shape of its endpoint.
#[derive(Clone, Debug)]
struct Speaker {
    chat: bool,
    head: Head,
}

/// A member that may be null or not be there at all.
#[derive(Clone, Copy, Debug, Default)]
enum Member<T> {
    #[default]
    LeftOut,
    Null,
    Is(T),
}

impl<T> Member<T> {
    const fn is_left_out(&self) -> bool {
        matches!(self, Self::LeftOut)
    }

    /// Null where there is no value.
    fn or_null(value: Option<T>) -> Self {
        value.map_or(Self::Null, Self::Is)
    }
}

impl<T: Serialize> Serialize for Member<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::LeftOut | Self::Null => serializer.serialize_none(),
            Self::Is(value) => value.serialize(serializer),
        }
    }
}

/// An answer or a piece of one.
#[derive(Serialize)]
struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: Vec<Choice<'a>>,
    /// Null until the last piece, where a stream's usage was asked for.
    #[serde(skip_serializing_if = "Member::is_left_out")]
    usage: Member<TokenCounts>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

#[derive(Default, Serialize)]
struct Message<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Member::is_left_out")]
    content: Member<&'a str>,
    #[serde(skip_serializing_if = "Member::is_left_out")]
    refusal: Member<()>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[ToolCall<'a>; 1]>,
}

#[derive(Serialize)]
struct ToolCall<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: &'static str,
}

impl Speaker {
    fn completion<'a>(
        &'a self,
        object: &'static str,
        choices: Vec<Choice<'a>>,
        usage: Member<TokenCounts>,
    ) -> Completion<'a> {
        let Head { id, created, model } = &self.head;
        Completion { id, object, created: *created, model, choices, usage }
    }

    fn whole<'a>(&'a self, said: &'a [Said], usage: TokenCounts) -> Completion<'a> {
        let object = if self.chat { "chat.completion" } else { "text_completion" };
        let choices = said.iter().enumerate().map(|(index, said)| {
            let message = self.chat.then(|| Message {
                role: Some("assistant"),
                content: Member::or_null(said.function.is_none().then_some(&*said.text)),
                refusal: Member::Null,
                tool_calls: self.tool_calls(index, said, false),
            });
            let text = if self.chat { None } else { Some(&*said.text) };
            let finish_reason = Some(said.finish_reason);
            Choice { index, message, delta: None, text, logprobs: None, finish_reason }
        });
        self.completion(object, choices.collect(), Member::Is(usage))
    }

    fn tool_calls<'a>(
        &self,
        index: usize,
        said: &'a Said,
        streamed: bool,
    ) -> Option<[ToolCall<'a>; 1]> {
        let name = said.function.as_deref()?;
        Some([ToolCall {
            index: streamed.then_some(0),
            id: format!("call_{}_{index}", self.head.id),
            kind: "function",
            function: Function { name, arguments: "{}" },
        }])
    }

    /// One event with a piece of one choice.
    fn piece(&self, index: usize, piece: &Piece<'_>, usage_asked: bool) -> Bytes {
        let mut finish_reason = None;
        let mut delta = Message::default();
        let mut text = "";
        match piece {
            Piece::Role(said) => {
                delta.role = Some("assistant");
                delta.content = Member::or_null(said.function.is_none().then_some(""));
                delta.refusal = Member::Null;
                delta.tool_calls = self.tool_calls(index, said, true);
            }
            Piece::Word(word) => {
                delta.content = Member::Is(word);
                text = word;
            }
            Piece::End(reason) => finish_reason = Some(*reason),
        }
        let (delta, text) = if self.chat { (Some(delta), None) } else { (None, Some(text)) };
        let choice = Choice { index, message: None, delta, text, logprobs: None, finish_reason };
        self.event(vec![choice], if usage_asked { Member::Null } else { Member::LeftOut })
    }

    fn event(&self, choices: Vec<Choice<'_>>, usage: Member<TokenCounts>) -> Bytes {
        let object = if self.chat { "chat.completion.chunk" } else { "text_completion" };
        let json = to_json(&self.completion(object, choices, usage));
        Bytes::from([b"data: ", &json[..], b"\n\n"].concat())
    }
}

enum Piece<'a> {
    Role(&'a Said),
    Word(&'a str),
    End(&'static str),
}

/// The events of an answer, made one at a time.
#[derive(Debug)]
pub struct Stream {
    speaker: Speaker,
    said: Vec<Said>,
    usage: Option<TokenCounts>,
    step: Step,
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Role { choice: usize },
    Words { choice: usize, from: usize },
    Usage,
    Done,
    Over,
}

impl Stream {
    const fn new(speaker: Speaker, said: Vec<Said>, usage: Option<TokenCounts>) -> Self {
        Self { speaker, said, usage, step: Step::Role { choice: 0 } }
    }

    /// A word, or the end where there is none; the second number tells which word it is.
    fn word(&mut self, choice: usize, from: usize) -> Option<Frame> {
        let said = self.said.get(choice)?;
        let rest = &said.text[from..];
        if rest.is_empty() {
            let bytes =
                self.speaker.piece(choice, &Piece::End(said.finish_reason), self.usage.is_some());
            self.step = Step::Role { choice: choice + 1 };
            return Some(Frame { delay_ms: 0, bytes });
        }
        let word = &rest[..word_len(rest)];
        let bytes = self.speaker.piece(choice, &Piece::Word(word), self.usage.is_some());
        self.step = Step::Words { choice, from: from + word.len() };
        Some(Frame { delay_ms: delay(from, word.len()), bytes })
    }
}

impl Iterator for Stream {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        match self.step {
            Step::Role { choice } => {
                let Some(said) = self.said.get(choice) else {
                    self.step = if self.usage.is_some() { Step::Usage } else { Step::Done };
                    return self.next();
                };
                self.step = Step::Words { choice, from: 0 };
                // The older endpoint has no roles.
                if !self.speaker.chat {
                    return self.next();
                }
                let bytes = self.speaker.piece(choice, &Piece::Role(said), self.usage.is_some());
                Some(Frame { delay_ms: delay(0, choice), bytes })
            }
            Step::Words { choice, from } => self.word(choice, from),
            Step::Usage => {
                self.step = Step::Done;
                let bytes = self.speaker.event(Vec::new(), Member::or_null(self.usage));
                Some(Frame { delay_ms: 0, bytes })
            }
            Step::Done => {
                self.step = Step::Over;
                Some(Frame { delay_ms: 0, bytes: Bytes::from_static(b"data: [DONE]\n\n") })
            }
            Step::Over => None,
        }
    }
}

/// The length of a word with the spaces before it.
fn word_len(text: &str) -> usize {
    let spaces = text.len() - text.trim_start().len();
    let word = text[spaces..].find(char::is_whitespace);
    let length = word.map_or(text.len(), |end| spaces + end);
    // Spaces at the very end go with the last word.
    if text[length..].trim_start().is_empty() { text.len() } else { length }
}

/// Looks irregular and is always the same.
fn delay(place: usize, length: usize) -> u64 {
    SHORTEST_DELAY_MS
        + (place as u64).wrapping_mul(7).wrapping_add(length as u64 * 5) % DELAY_SPREAD
}

#[derive(Serialize)]
struct Embeddings<'a> {
    object: &'static str,
    data: Vec<Embedding>,
    model: &'a str,
    usage: EmbeddingUsage,
}

#[derive(Serialize)]
struct EmbeddingUsage {
    prompt_tokens: u64,
    total_tokens: u64,
}

#[derive(Serialize)]
struct Embedding {
    object: &'static str,
    index: usize,
    #[serde(rename = "embedding")]
    vector: Vector,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector {
    Numbers(Vec<serde_json::Number>),
    Base64(String),
}

fn embed(asked: &Value, model: &str) -> Answer {
    let (inputs, prompt_tokens) = texts(&asked["input"]);
    if inputs.len() > MAX_INPUTS {
        return refuse("input", &format!("The echo provider embeds at most {MAX_INPUTS} texts."));
    }
    let dimensions = asked["dimensions"].as_u64().map(usize::try_from);
    let dimensions = dimensions.map_or(MAX_DIMENSIONS, |n| n.unwrap_or(usize::MAX));
    if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
        let message = format!("The echo provider's vectors have 1 to {MAX_DIMENSIONS} dimensions.");
        return refuse("dimensions", &message);
    }
    let base64 = asked["encoding_format"] == "base64";
    let data = inputs.iter().enumerate().map(|(index, text)| {
        let numbers = vector(text, dimensions);
        let vector = if base64 {
            let bytes: Vec<u8> = numbers.iter().flat_map(|n| single(*n).to_le_bytes()).collect();
            Vector::Base64(base64_of(&bytes))
        } else {
            Vector::Numbers(numbers.into_iter().filter_map(number).collect())
        };
        Embedding { object: "embedding", index, vector }
    });
    accept(&Embeddings {
        object: "list",
        data: data.collect(),
        model,
        usage: EmbeddingUsage { prompt_tokens, total_tokens: prompt_tokens },
    })
}

/// A vector of about unit length that is always the same for a text, in thousand-millionths.
fn vector(text: &str, dimensions: usize) -> Vec<i64> {
    const UNIT: i64 = 1_000_000_000;
    let mut bytes = vec![0; dimensions * 2];
    blake3::Hasher::new().update(text.as_bytes()).finalize_xof().fill(&mut bytes);
    let parts = bytes.as_chunks::<2>().0.iter().map(|pair| i64::from(i16::from_le_bytes(*pair)));
    let parts: Vec<i64> = parts.collect();
    let length = parts.iter().map(|part| part * part).sum::<i64>().isqrt().max(1);
    parts.into_iter().map(|part| part * UNIT / length).collect()
}

/// Thousand-millionths as decimal text, which is how a number becomes a float without arithmetic.
fn decimal(billionths: i64) -> String {
    let sign = if billionths < 0 { "-" } else { "" };
    let size = billionths.unsigned_abs();
    format!("{sign}{}.{:09}", size / 1_000_000_000, size % 1_000_000_000)
}

fn single(billionths: i64) -> f32 {
    decimal(billionths).parse().unwrap_or_default()
}

fn number(billionths: i64) -> Option<serde_json::Number> {
    decimal(billionths).parse().ok().and_then(serde_json::Number::from_f64)
}

fn base64_of(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let at = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4usize {
            let digit = (bits >> (18 - 6 * place)) & 63;
            let missing = place > group.len();
            out.push(if missing { '=' } else { char::from(DIGITS[digit as usize]) });
        }
    }
    out
}

const CATEGORIES: [&str; 13] = [
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/intent",
    "self-harm/instructions",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
];

fn moderate(asked: &Value, model: &str, id: &str) -> Answer {
    let (inputs, _) = texts(&asked["input"]);
    if inputs.len() > MAX_INPUTS {
        return refuse("input", &format!("The echo provider judges at most {MAX_INPUTS} texts."));
    }
    let all = |value: Value| CATEGORIES.map(|name| (name.to_owned(), value.clone()));
    let result = serde_json::json!({
        "flagged": false,
        "categories": serde_json::Map::from_iter(all(Value::Bool(false))),
        "category_scores": serde_json::Map::from_iter(all(Value::from(0.0))),
        "category_applied_input_types":
            serde_json::Map::from_iter(all(serde_json::json!(["text"]))),
    });
    accept(&serde_json::json!({
        "id": id,
        "model": model,
        "results": vec![result; inputs.len()],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::usage::Class;
    use crate::provider::kind::Kind;
    use crate::provider::meter::StreamMeter;
    use crate::provider::request::{Head, read};
    use crate::provider::usage::read_answer;
    use proptest::prelude::*;
    use serde_json::json;

    fn ask_with(endpoint: Endpoint, body: &Value, edits: &Edits<'_>) -> Answer {
        let body = body.to_string();
        let call = read(endpoint, &Head::default(), body.as_bytes()).expect("a call");
        answer(&call, edits, body.as_bytes(), 1_700_000_000, "id-1")
    }

    fn ask(endpoint: Endpoint, body: &Value) -> (u16, Value) {
        match ask_with(endpoint, body, &Edits::default()) {
            Answer::Json { status, body } => (status, serde_json::from_slice(&body).expect("JSON")),
            Answer::Stream(_) => panic!("a stream"),
        }
    }

    fn frames(endpoint: Endpoint, body: &Value, edits: &Edits<'_>) -> Vec<Frame> {
        match ask_with(endpoint, body, edits) {
            Answer::Stream(stream) => stream.collect(),
            Answer::Json { .. } => panic!("not a stream"),
        }
    }

    /// The JSON of each event but the last, which must be the end marker.
    fn events(frames: &[Frame]) -> Vec<Value> {
        let (last, events) = frames.split_last().expect("events");
        assert_eq!(last.bytes, "data: [DONE]\n\n");
        let json = |frame: &Frame| {
            let data = frame.bytes.strip_prefix(b"data: ").and_then(|d| d.strip_suffix(b"\n\n"));
            serde_json::from_slice(data.expect("one event")).expect("JSON")
        };
        events.iter().map(json).collect()
    }

    fn chat(text: &str, more: &Value) -> Value {
        let mut body = json!({
            "model": "echo",
            "messages": [
                {"role": "system", "content": "12345"},
                {"role": "user", "content": [{"type": "text", "text": text}]},
                {"role": "assistant", "content": null},
            ],
        });
        for (name, value) in more.as_object().expect("an object") {
            body[name] = value.clone();
        }
        body
    }

    #[test]
    fn a_chat_gives_back_the_last_words_of_the_user() {
        let (status, body) = ask(Endpoint::Chat, &chat("one two three", &json!({"n": 2})));
        assert_eq!(status, 200);
        let choice = |index| {
            json!({
                "index": index,
                "message": {"role": "assistant", "content": "one two three", "refusal": null},
                "logprobs": null,
                "finish_reason": "stop",
            })
        };
        assert_eq!(
            body,
            json!({
                "id": "id-1",
                "object": "chat.completion",
                "created": 1_700_000_000,
                "model": "echo",
                "choices": [choice(0), choice(1)],
                "usage": {"prompt_tokens": 2 + 4 + 1, "completion_tokens": 8, "total_tokens": 15},
            })
        );
        let (_, body) = ask(Endpoint::Chat, &chat("  ", &json!({})));
        assert_eq!(body["choices"][0]["message"]["content"], NOTHING_TO_ECHO);
    }

    #[test]
    fn a_cap_is_kept_and_said() {
        for (cap, text, reason) in [
            (1, "one ", "length"),
            (2, "one two", "length"),
            (3, "one twoö", "stop"),
            (0, "", "length"),
        ] {
            let (_, body) = ask(Endpoint::Chat, &chat("one twoö", &json!({"max_tokens": cap})));
            assert_eq!(body["choices"][0]["message"]["content"], text);
            assert_eq!(body["choices"][0]["finish_reason"], reason);
            assert!(body["usage"]["completion_tokens"].as_u64() <= Some(cap));
        }
        let lowered = Edits { output_cap: Some(1), ..Edits::default() };
        let body = chat("one two", &json!({"max_tokens": 9, "stream": true}));
        let events = events(&frames(Endpoint::Chat, &body, &lowered));
        assert_eq!(events[1]["choices"][0]["delta"]["content"], "one ");
        let long = "x".repeat(100_000);
        let (_, body) = ask(Endpoint::Chat, &chat(&long, &json!({})));
        assert_eq!(body["usage"]["completion_tokens"], MAX_OUTPUT_TOKENS);
    }

    #[test]
    fn a_stream_comes_a_word_at_a_time_at_the_pace_of_a_reader() {
        let body = chat("one  two\nthree ", &json!({"stream": true}));
        let all = frames(Endpoint::Chat, &body, &Edits::default());
        let deltas: Vec<Value> =
            events(&all).iter().map(|event| event["choices"][0]["delta"].clone()).collect();
        assert_eq!(
            deltas,
            [
                json!({"role": "assistant", "content": "", "refusal": null}),
                json!({"content": "one"}),
                json!({"content": "  two"}),
                json!({"content": "\nthree "}),
                json!({}),
            ]
        );
        assert!(all[..4].iter().all(|frame| (30..=60).contains(&frame.delay_ms)), "{all:?}");
        for event in events(&all) {
            assert_eq!(event["object"], "chat.completion.chunk");
            assert!(event.get("usage").is_none(), "not asked for");
        }
        assert_eq!(events(&all)[4]["choices"][0]["finish_reason"], "stop");
    }

    #[test]
    fn a_stream_tells_its_usage_when_the_client_or_the_meter_asks() {
        let options = json!({"stream": true, "stream_options": {"include_usage": true}});
        let asked = frames(Endpoint::Chat, &chat("one two", &options), &Edits::default());
        let edits = Edits { include_usage: true, ..Edits::default() };
        let plain = chat("one two", &json!({"stream": true}));
        assert_eq!(frames(Endpoint::Chat, &plain, &edits), asked);
        let events = events(&asked);
        let (last, earlier) = events.split_last().expect("events");
        assert_eq!(last["choices"], json!([]));
        assert_eq!(last["usage"]["total_tokens"], 2 + 2 + 1 + 2);
        assert!(earlier.iter().all(|event| event["usage"].is_null()));
    }

    #[test]
    fn a_function_that_must_be_called_is_called() {
        let tools = json!([{"type": "function", "function": {"name": "f"}}]);
        let named = json!({"type": "function", "function": {"name": "f"}});
        for choice in [json!("required"), named] {
            let more = json!({"tools": tools, "tool_choice": choice});
            let (_, body) = ask(Endpoint::Chat, &chat("x", &more));
            let choice = &body["choices"][0];
            assert_eq!(choice["message"]["content"], Value::Null);
            let call = &choice["message"]["tool_calls"][0];
            assert_eq!(call["function"], json!({"name": "f", "arguments": "{}"}));
            assert_eq!(choice["finish_reason"], "tool_calls");
        }
        let more = json!({"tools": tools, "tool_choice": "required", "stream": true});
        let events = events(&frames(Endpoint::Chat, &chat("x", &more), &Edits::default()));
        assert_eq!(events[0]["choices"][0]["delta"]["tool_calls"][0]["index"], 0);
        assert_eq!(events[1]["choices"][0]["finish_reason"], "tool_calls");
        let (_, body) = ask(Endpoint::Chat, &chat("x", &json!({"tools": tools})));
        assert_eq!(body["choices"][0]["message"]["content"], "x");
    }

    #[test]
    fn older_completions_answer_each_prompt() {
        let body = json!({"model": "echo", "prompt": ["ab", "cd ef"], "n": 2});
        let (_, body) = ask(Endpoint::Completions, &body);
        let texts: Vec<&Value> =
            body["choices"].as_array().expect("choices").iter().map(|c| &c["text"]).collect();
        assert_eq!(texts, ["ab", "ab", "cd ef", "cd ef"]);
        assert_eq!(body["object"], "text_completion");
        let body = json!({"model": "echo", "prompt": "ab cd", "stream": true});
        let events = events(&frames(Endpoint::Completions, &body, &Edits::default()));
        let texts: Vec<&Value> = events.iter().map(|event| &event["choices"][0]["text"]).collect();
        assert_eq!(texts, ["ab", " cd", ""]);
    }

    #[test]
    fn an_embedding_is_a_unit_vector_that_stays_the_same() {
        let embed = |more: Value| {
            let mut body = json!({"model": "echo", "input": ["a", "b", "a"]});
            for (name, value) in more.as_object().expect("an object") {
                body[name] = value.clone();
            }
            ask(Endpoint::Embeddings, &body)
        };
        let (_, body) = embed(json!({}));
        let vectors: Vec<&Value> =
            body["data"].as_array().expect("data").iter().map(|d| &d["embedding"]).collect();
        assert_eq!(vectors[0], vectors[2]);
        assert_ne!(vectors[0], vectors[1]);
        let numbers = vectors[0].as_array().expect("numbers");
        assert_eq!(numbers.len(), 1536);
        let squares =
            vector("a", 1536).iter().map(|n| i128::from(*n) * i128::from(*n)).sum::<i128>();
        let unit = 1_000_000_000_000_000_000i128;
        assert!((squares - unit).abs() < unit / 1000, "{squares}");
        assert_eq!(body["usage"], json!({"prompt_tokens": 3, "total_tokens": 3}));

        let (_, body) = embed(json!({"encoding_format": "base64", "dimensions": 2}));
        let text = body["data"][0]["embedding"].as_str().expect("base64");
        assert_eq!(text.len(), 12);
        assert!(text.ends_with('='));
        for dimensions in [0u64, 1537, u64::MAX] {
            let (status, body) = embed(json!({"dimensions": dimensions}));
            assert_eq!((status, &body["error"]["param"]), (400, &json!("dimensions")));
        }
        for (input, count, tokens) in
            [(json!("abcde"), 1, 2), (json!([5, 6, 7]), 1, 3), (json!([[5], [6, 7]]), 2, 3)]
        {
            let (_, body) = ask(Endpoint::Embeddings, &json!({"model": "echo", "input": input}));
            assert_eq!(body["data"].as_array().map(Vec::len), Some(count), "{input}");
            assert_eq!(body["usage"]["prompt_tokens"], tokens, "{input}");
        }
    }

    #[test]
    fn nothing_is_flagged() {
        let body = json!({"model": "echo", "input": ["a", "b"]});
        let (_, body) = ask(Endpoint::Moderations, &body);
        let results = body["results"].as_array().expect("results");
        assert_eq!(results.len(), 2);
        assert_eq!(results[0]["flagged"], false);
        assert_eq!(results[0]["categories"].as_object().map(serde_json::Map::len), Some(13));
        assert_eq!(results[0]["category_scores"]["hate"], 0.0);
    }

    #[test]
    fn a_call_that_asks_too_much_is_refused() {
        for (endpoint, body, param) in [
            (Endpoint::Chat, chat("x", &json!({"n": 129})), "n"),
            (Endpoint::Embeddings, json!({"model": "m", "input": vec!["a"; 2049]}), "input"),
            (Endpoint::Moderations, json!({"model": "m", "input": vec!["a"; 2049]}), "input"),
        ] {
            let (status, body) = ask(endpoint, &body);
            assert_eq!((status, body["error"]["param"].as_str()), (400, Some(param)));
        }
    }

    #[test]
    fn base64_is_as_the_standard_has_it() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"\x00", "AA=="),
            (b"\xff\xfe", "//4="),
            (b"abc", "YWJj"),
            (b"\xfb\xef\xbe\x01", "++++AQ=="),
        ] {
            assert_eq!(base64_of(bytes), text);
        }
    }

    proptest! {
        #[test]
        fn a_stream_says_what_the_answer_says_and_is_metered_alike(
            text: String, n in 1u64..4, cap in proptest::option::of(0u64..20), chat_wire: bool,
        ) {
            let mut body = json!({"model": "echo", "n": n, "max_tokens": cap});
            let endpoint = if chat_wire {
                body["messages"] = json!([{"role": "user", "content": text}]);
                Endpoint::Chat
            } else {
                body["prompt"] = json!(text);
                Endpoint::Completions
            };
            let Answer::Json { body: whole, .. } = ask_with(endpoint, &body, &Edits::default()) else {
                panic!("a stream");
            };
            let report = read_answer(Kind::Echo, endpoint, &whole);
            body["stream"] = json!(true);
            let edits = Edits { include_usage: true, ..Edits::default() };
            let mut meter = StreamMeter::new(Kind::Echo, endpoint, true);
            for frame in frames(endpoint, &body, &edits) {
                let _ = meter.push(frame.bytes);
            }
            let streamed = meter.report();
            prop_assert!(streamed.done && streamed.finished);
            prop_assert_eq!(streamed.usage, report.usage);
            prop_assert_eq!(streamed.content_bytes, report.content_bytes);
            let usage = report.usage.expect("usage");
            prop_assert!(cap.is_none_or(|cap| usage.get(Class::Output) <= cap * n));
        }

        #[test]
        fn any_call_is_answered_without_panic(body in "\\{(\"(messages|prompt|input|n|tool_choice|dimensions)\":[\\[\\]{}\",a1]{0,6},?){0,4}\\}") {
            let body = format!(r#"{{"model":"m","messages":[],"prompt":"","input":"",{}"#, &body[1..]);
            for endpoint in SPOKEN {
                if let Ok(call) = read(endpoint, &Head::default(), body.as_bytes()) {
                    let _ = answer(&call, &Edits::default(), body.as_bytes(), 0, "");
                }
            }
        }
    }
}
