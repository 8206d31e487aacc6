//! A stream on its way from one dialect to another: bytes to events, events to chunks, chunks to the
//! client's events, those to bytes.
//!
//! An event that cannot be read is left out, and one that is too long ends the stream with an error:
//! there are no bytes to pass on when every one of them would have to be written anew.

use bytes::Bytes;
use serde_json::{Value, json};

use super::chat::ChatSink;
use super::{About, ClientEvent, EventData, Sink, Source, Translation};
use crate::provider::sse::{Cutter, EVENT_LIMIT, Event, Step};

/// Translates one stream.
pub struct StreamTranslation {
    cutter: Cutter,
    source: Option<Box<dyn Source>>,
    sink: Box<dyn Sink>,
    chunks: Vec<Value>,
    events: Vec<ClientEvent>,
    is_over: bool,
}

impl StreamTranslation {
    pub fn new(translation: &Translation, about: &About) -> Self {
        Self {
            cutter: Cutter::new(EVENT_LIMIT),
            source: translation.backend.map(|backend| backend.source(about)),
            sink: match translation.frontend {
                Some(frontend) => frontend.sink(about),
                None => Box::new(ChatSink::new(about.wants_usage)),
            },
            chunks: Vec::new(),
            events: Vec::new(),
            is_over: false,
        }
    }

    /// Translates what has come and says what to send for it.
    pub fn push(&mut self, chunk: &[u8]) -> Bytes {
        let mut at = self.cutter.leading(chunk);
        while !self.is_over {
            match self.cutter.next(chunk, at) {
                Step::Event(event) => {
                    at = event.end;
                    read(&event, self.source.as_deref_mut(), &mut self.chunks);
                }
                Step::Wait => break,
                Step::Overflow => {
                    self.fail("The provider sent an event that is too long.");
                }
            }
        }
        self.write()
    }

    /// Ends the stream.
    pub fn finish(&mut self) -> Bytes {
        if !self.is_over {
            if let Some(event) = self.cutter.last() {
                read(&event, self.source.as_deref_mut(), &mut self.chunks);
            }
            if let Some(source) = &mut self.source {
                source.finish(&mut self.chunks);
            }
            self.end();
        }
        self.write()
    }

    /// Ends the stream with an error.
    pub fn fail(&mut self, message: &str) -> Bytes {
        if !self.is_over {
            let error =
                json!({ "message": message, "type": "api_error", "param": null, "code": null });
            self.chunks.push(json!({ "error": error }));
            // The source is not told: it would say once more that its stream was cut.
            self.end();
        }
        self.write()
    }

    fn end(&mut self) {
        self.give();
        self.sink.finish(&mut self.events);
        self.is_over = true;
    }

    fn give(&mut self) {
        for chunk in self.chunks.drain(..) {
            self.sink.chunk(&chunk, &mut self.events);
        }
    }

    fn write(&mut self) -> Bytes {
        self.give();
        let mut out = Vec::new();
        for event in self.events.drain(..) {
            if let Some(name) = event.name {
                out.extend_from_slice(b"event: ");
                out.extend_from_slice(name.as_bytes());
                out.push(b'\n');
            }
            out.extend_from_slice(b"data: ");
            match event.data {
                EventData::Json(value) => out.extend_from_slice(value.to_string().as_bytes()),
                EventData::Done => out.extend_from_slice(b"[DONE]"),
            }
            out.extend_from_slice(b"\n\n");
        }
        Bytes::from(out)
    }
}

fn read(event: &Event<'_>, source: Option<&mut (dyn Source + 'static)>, chunks: &mut Vec<Value>) {
    let Some(data) = event.data() else { return };
    let Ok(value) = serde_json::from_slice::<Value>(&data.text) else { return };
    match source {
        Some(source) => source.event(event.name(), &value, chunks),
        None => chunks.push(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING_BETWEEN: Translation = Translation { frontend: None, backend: None };

    fn about(wants_usage: bool) -> About {
        About { id: "1".into(), model: "m".into(), wants_usage, ..About::default() }
    }

    fn through(wants_usage: bool, stream: &[u8], size: usize) -> String {
        let mut translation = StreamTranslation::new(&NOTHING_BETWEEN, &about(wants_usage));
        let mut out = Vec::new();
        for piece in stream.chunks(size) {
            out.extend_from_slice(&translation.push(piece));
        }
        out.extend_from_slice(&translation.finish());
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn events_come_through_whatever_the_pieces() {
        let stream =
            b"event: x\r\ndata: {\"b\":1,\r\ndata: \"a\":2}\r\n\r\n: no\n\ndata: nonsense\n\n\
            data: {\"choices\":[],\"usage\":{\"n\":1}}\n\ndata: [DONE]\n\ndata: {\"c\":3}";
        for size in 1..stream.len() {
            assert_eq!(
                through(true, stream, size),
                "data: {\"b\":1,\"a\":2}\n\ndata: {\"choices\":[],\"usage\":{\"n\":1}}\n\n\
                 data: {\"c\":3}\n\ndata: [DONE]\n\n"
            );
        }
        assert_eq!(
            through(false, stream, 7),
            "data: {\"b\":1,\"a\":2}\n\ndata: {\"c\":3}\n\ndata: [DONE]\n\n"
        );
    }

    #[test]
    fn lists_come_whole_before_the_end() {
        let chunk = |delta: &str, reason: &str| {
            format!(
                "data: {{\"id\":\"1\",\"choices\":[{{\"index\":0,\"delta\":{delta},\
                 \"finish_reason\":{reason}}}]}}\n\n"
            )
        };
        let stream = [
            chunk(r#"{"thinking_blocks":[{"a":1}]}"#, "null"),
            chunk(r#"{"content":"x","annotations":[3],"thinking_blocks":[{"b":2}]}"#, "null"),
            chunk(r#"{"annotations":[4],"thinking_blocks":7}"#, "null"),
        ]
        .concat();
        let shown =
            [chunk(r#"{"content":"x"}"#, "null"), chunk(r#"{"thinking_blocks":7}"#, "null")]
                .concat();
        let lists = chunk(r#"{"thinking_blocks":[{"a":1},{"b":2}],"annotations":[3,4]}"#, "null")
            .replace("\"finish_reason\"", "\"logprobs\":null,\"finish_reason\"");
        let end = chunk("{}", "\"stop\"");
        let done = "data: [DONE]\n\n";
        assert_eq!(
            through(false, format!("{stream}{end}").as_bytes(), 9),
            format!("{shown}{lists}{end}{done}")
        );
        // A provider that never says why it ends.
        assert_eq!(through(false, stream.as_bytes(), 9), format!("{shown}{lists}{done}"));
        // What fails gives nothing that could be sent back.
        let error = "data: {\"error\":{\"message\":\"No.\"}}\n\n";
        assert_eq!(
            through(false, format!("{stream}{error}").as_bytes(), 9),
            format!("{shown}{error}")
        );
    }

    #[test]
    fn a_failure_is_told_once_and_ends_the_stream() {
        let mut translation = StreamTranslation::new(&NOTHING_BETWEEN, &about(false));
        let told = translation.fail("It broke.");
        assert!(told.starts_with(b"data: {\"error\":{\"message\":\"It broke.\""), "{told:?}");
        assert!(!told.ends_with(b"data: [DONE]\n\n"));
        assert!(translation.push(b"data: {}\n\n").is_empty());
        assert!(translation.finish().is_empty());
    }
}
