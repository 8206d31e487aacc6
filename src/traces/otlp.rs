//! Spans as OpenTelemetry's protocol has them: the messages of `trace.proto` 1.x that are needed, in
//! protobuf's wire format, whose fields are few enough to be written by hand.

use super::{Span, SpanKind, Value};

/// How a field's value is written (protobuf, "Message Structure").
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;

/// A message on its way.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            // Cannot lose anything: seven bits and the mark that more follow.
            self.0.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
            number >>= 7;
        }
        self.0.push(u8::try_from(number).unwrap_or_default());
    }

    fn number(&mut self, field: u64, number: u64) {
        self.varint(field << 3 | VARINT);
        self.varint(number);
    }

    fn fixed(&mut self, field: u64, number: u64) {
        self.varint(field << 3 | FIXED64);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | LENGTH);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn inside(&mut self, field: u64, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }

    fn attribute(&mut self, field: u64, name: &str, value: &Value) {
        self.inside(field, |pair| {
            pair.bytes(1, name.as_bytes());
            pair.inside(2, |any| match value {
                Value::Text(text) => any.bytes(1, text.as_bytes()),
                Value::Flag(flag) => any.number(2, u64::from(*flag)),
                Value::Number(number) => any.number(3, *number),
            });
        });
    }

    fn span(&mut self, field: u64, span: &Span) {
        self.inside(field, |message| {
            message.bytes(1, &span.trace.to_be_bytes());
            message.bytes(2, &span.id.to_be_bytes());
            if let Some(parent) = span.parent {
                message.bytes(4, &parent.to_be_bytes());
            }
            message.bytes(5, span.name.as_bytes());
            message.number(
                6,
                match span.kind {
                    SpanKind::Server => 2,
                    SpanKind::Client => 3,
                },
            );
            message.fixed(7, span.start_ns);
            message.fixed(8, span.end_ns);
            for (name, value) in &span.attributes {
                message.attribute(9, name, value);
            }
            if span.is_error {
                message.inside(15, |status| status.number(3, 2));
            }
        });
    }
}

/// An `ExportTraceServiceRequest` with these spans of one resource.
pub(super) fn request(resource: &[(String, String)], spans: &[Span]) -> Vec<u8> {
    let mut request = Message::default();
    request.inside(1, |of_resource| {
        of_resource.inside(1, |message| {
            for (name, value) in resource {
                message.attribute(1, name, &Value::Text(value.clone()));
            }
        });
        of_resource.inside(2, |of_scope| {
            of_scope.inside(1, |scope| {
                scope.bytes(1, b"conduit");
                scope.bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
            });
            for span in spans {
                of_scope.span(2, span);
            }
        });
    });
    request.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_protobuf_has_them() {
        let mut message = Message::default();
        message.number(1, 150);
        message.bytes(2, b"testing");
        // The examples of protobuf's own description.
        assert_eq!(message.0, b"\x08\x96\x01\x12\x07testing");
    }
}
