//! A block of a stream of Anthropic's, written piece by piece once its turn has come.

use serde_json::{Value, json};

use super::super::ClientEvent;
use super::sink::put;

pub(super) struct Waiting {
    kind: Kind,
    /// What has come and was not written.
    text: String,
    /// Nothing has come at all.
    pub(super) is_new: bool,
    is_started: bool,
    shape: Shape,
}

pub(super) enum Kind {
    Text,
    Thinking {
        /// Empty until the block was signed, which ends it.
        signature: String,
    },
    Redacted(Value),
    Call(Call),
}

impl Kind {
    pub(super) fn thinking() -> Self {
        Self::Thinking { signature: String::new() }
    }
}

/// A tool call, as far as it is known.
pub(super) struct Call {
    pub(super) index: Option<u64>,
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    /// The id for a call that is given none.
    pub(super) made_id: String,
}

impl Call {
    /// Whether a piece with this index and id belongs to it.
    fn owns(&self, index: Option<u64>, id: Option<&str>) -> bool {
        let differ =
            |pair: (Option<u64>, Option<u64>)| matches!(pair, (Some(a), Some(b)) if a != b);
        match (id, self.id.as_deref()) {
            _ if differ((index, self.index)) => false,
            (Some(id), Some(own)) => id == own,
            (Some(_), None) => index.is_some(),
            (None, _) => true,
        }
    }
}

impl Waiting {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, text: String::new(), is_new: true, is_started: false, shape: Shape::default() }
    }

    /// Whether more of this kind belongs to this block.
    pub(super) fn takes(&self, kind: &Kind) -> bool {
        match (&self.kind, kind) {
            (Kind::Text, Kind::Text) => true,
            (Kind::Thinking { signature }, Kind::Thinking { .. }) => signature.is_empty(),
            _ => false,
        }
    }

    pub(super) fn is_call(&self, index: Option<u64>, id: Option<&str>) -> bool {
        matches!(&self.kind, Kind::Call(call) if call.owns(index, id))
    }

    /// The call that this block is.
    pub(super) fn into_call(self) -> Option<Call> {
        if let Kind::Call(call) = self.kind { Some(call) } else { None }
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    pub(super) fn push(&mut self, text: &str) {
        self.is_new = false;
        self.text.push_str(text);
        if matches!(self.kind, Kind::Call(_)) {
            self.shape.read(text);
        }
    }

    pub(super) fn sign(&mut self, with: &str) {
        if let Kind::Thinking { signature } = &mut self.kind {
            signature.push_str(with);
        }
    }

    /// What is known of a call beside its arguments. What is known already stays.
    pub(super) fn call(&mut self, id: Option<&str>, name: Option<&str>) {
        if let Kind::Call(call) = &mut self.kind {
            call.id = call.id.take().or_else(|| id.map(str::to_owned));
            call.name = call.name.take().or_else(|| name.map(str::to_owned));
        }
    }

    /// Whether nothing more can belong to it now that another block has begun.
    pub(super) fn is_over(&self) -> bool {
        match &self.kind {
            Kind::Call(_) => self.is_started && self.shape.is_whole,
            Kind::Text | Kind::Thinking { .. } | Kind::Redacted(_) => true,
        }
    }

    /// Writes what has come, beginning the block if it can begin.
    pub(super) fn write(&mut self, number: usize, is_end: bool, out: &mut Vec<ClientEvent>) {
        if !self.is_started && (is_end || self.can_start()) {
            self.is_started = true;
            let block = self.block();
            put("content_block_start", json!({ "index": number, "content_block": block }), out);
        }
        if self.is_started && !self.text.is_empty() {
            let text = std::mem::take(&mut self.text);
            let delta = match &self.kind {
                Kind::Text => json!({ "type": "text_delta", "text": text }),
                Kind::Thinking { .. } => json!({ "type": "thinking_delta", "thinking": text }),
                Kind::Call(_) => json!({ "type": "input_json_delta", "partial_json": text }),
                Kind::Redacted(_) => return,
            };
            put("content_block_delta", json!({ "index": number, "delta": delta }), out);
        }
    }

    pub(super) fn end(&self, number: usize, out: &mut Vec<ClientEvent>) {
        if let Kind::Thinking { signature } = &self.kind
            && !signature.is_empty()
        {
            let delta = json!({ "type": "signature_delta", "signature": signature });
            put("content_block_delta", json!({ "index": number, "delta": delta }), out);
        }
        put("content_block_stop", json!({ "index": number }), out);
    }

    fn can_start(&self) -> bool {
        match &self.kind {
            Kind::Call(call) => call.name.is_some() && (call.id.is_some() || !self.text.is_empty()),
            Kind::Text | Kind::Thinking { .. } | Kind::Redacted(_) => true,
        }
    }

    fn block(&self) -> Value {
        match &self.kind {
            Kind::Text => json!({ "type": "text", "text": "" }),
            Kind::Thinking { .. } => json!({ "type": "thinking", "thinking": "", "signature": "" }),
            Kind::Redacted(block) => block.clone(),
            Kind::Call(call) => json!({
                "type": "tool_use",
                "id": call.id.as_ref().unwrap_or(&call.made_id),
                "name": call.name.as_deref().unwrap_or_default(),
                "input": {},
            }),
        }
    }
}

/// Follows the brackets of a call's arguments, to know when they are a whole object.
#[derive(Default)]
struct Shape {
    depth: usize,
    in_text: bool,
    is_escaped: bool,
    is_whole: bool,
}

impl Shape {
    fn read(&mut self, text: &str) {
        for byte in text.bytes() {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' if self.in_text => self.is_escaped = true,
                b'"' => self.in_text = !self.in_text,
                _ if self.in_text => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.is_whole |= self.depth == 0;
                }
                _ => {}
            }
        }
    }
}
