//! The fields of heads, of requests as of answers (RFC 9112, section 5): as they are read, kept in order
//! and written.

use std::fmt::{self, Display};
use std::io::Write as _;
use std::ops::Range;

use bytes::{BufMut, BytesMut};

/// Room that is made for fields of ours beside those that came.
const MORE_TEXT: usize = 256;
const MORE_FIELDS: usize = 6;
/// The longest name: no crate that knows names takes a longer one.
const LONGEST_NAME: usize = 65_535;

/// The fields of a head, in the order in which they came. Names are in small letters.
///
/// All of their text stands in one place: most of them are only passed on, and a name and a value of its own
/// for each would cost more than all else that is done with them.
#[derive(Clone, Default)]
pub struct Headers {
    text: Vec<u8>,
    fields: Vec<Field>,
}

/// Where a field stands in the text.
#[derive(Clone)]
struct Field {
    name: Range<usize>,
    value: Range<usize>,
}

/// Values can be secrets.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| String::from_utf8_lossy(name))).finish()
    }
}

impl Headers {
    /// The fields of `head`, of which they were parsed.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn of_head(parsed: &[httparse::Header<'_>], head: &[u8]) -> Result<Self, &'static str> {
        let mut text = Vec::with_capacity(head.len() + MORE_TEXT);
        text.extend_from_slice(head);
        let mut fields = Vec::with_capacity(parsed.len() + MORE_FIELDS);
        for header in parsed {
            let name = place(header.name.as_bytes(), head);
            if name.len() > LONGEST_NAME {
                return Err("the name of a header is too long");
            }
            text[name.clone()].make_ascii_lowercase();
            fields.push(Field { name, value: place(header.value, head) });
        }
        Ok(Self { text, fields })
    }

    /// The first of a name.
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<&[u8]> {
        let field = self.fields.iter().find(|field| self.is(field, name.as_ref()))?;
        Some(self.value(field))
    }

    /// The first of a name, if it has nothing but characters of ASCII.
    pub fn text(&self, name: impl AsRef<[u8]>) -> Option<&str> {
        ascii(self.get(name)?)
    }

    /// All of a name.
    pub fn all(&self, name: &'static str) -> impl Iterator<Item = &[u8]> {
        let found = self.fields.iter().filter(move |field| self.is(field, name.as_bytes()));
        found.map(|field| self.value(field))
    }

    pub fn contains(&self, name: impl AsRef<[u8]>) -> bool {
        self.get(name).is_some()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|field| (&self.text[field.name.clone()], self.value(field)))
    }

    /// Adds a field behind the others, unless its value cannot stand in a head.
    pub fn add(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.write(name.as_ref(), |text| text.extend_from_slice(value.as_ref()));
    }

    /// Adds a field in place of all of its name.
    pub fn set(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.remove(name.as_ref());
        self.add(name, value);
    }

    /// As [`Headers::add`], with what something shows.
    pub fn show(&mut self, name: &'static str, what: impl Display) {
        self.write(name.as_bytes(), |text| {
            // Writing to memory does not fail.
            let _ = write!(text, "{what}");
        });
    }

    pub fn remove(&mut self, name: impl AsRef<[u8]>) {
        self.retain(|known| known != name.as_ref());
    }

    /// Keeps the fields whose name is to be kept.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8]) -> bool) {
        let text = &self.text;
        self.fields.retain(|field| keep(&text[field.name.clone()]));
    }

    fn write(&mut self, name: &[u8], value: impl FnOnce(&mut Vec<u8>)) {
        let at = self.text.len();
        self.text.extend_from_slice(name);
        let middle = self.text.len();
        self.text[at..].make_ascii_lowercase();
        value(&mut self.text);
        if is_value(&self.text[middle..]) {
            let (name, value) = (at..middle, middle..self.text.len());
            self.fields.push(Field { name, value });
        } else {
            self.text.truncate(at);
        }
    }

    fn is(&self, field: &Field, name: &[u8]) -> bool {
        self.text[field.name.clone()] == *name
    }

    fn value(&self, field: &Field) -> &[u8] {
        &self.text[field.value.clone()]
    }
}

/// Whether something can be the value of a field (RFC 9110, section 5.5).
pub fn is_value(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..))
}

/// A value as text, if it has nothing but characters of ASCII.
pub fn ascii(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    text.is_ascii().then_some(text)
}

/// What a head and a small body mostly take.
const USUAL: usize = 2 << 10;
/// Room above this is not kept.
const MUCH: usize = 8 << 10;

/// Room in which heads are written, one after the other.
#[derive(Debug, Default)]
pub struct Room(BytesMut);

impl Room {
    /// Gives the room away; it is empty.
    pub fn take(&mut self) -> BytesMut {
        let mut room = std::mem::take(&mut self.0);
        room.reserve(USUAL);
        room
    }

    /// Takes it back once what was written in it is out, unless it is none, or much.
    pub fn keep(&mut self, mut room: BytesMut) {
        if (1..=MUCH).contains(&room.capacity()) {
            room.clear();
            self.0 = room;
        }
    }
}

/// Where a part of `buffer` stands in it.
fn place(part: &[u8], buffer: &[u8]) -> Range<usize> {
    let at = part.as_ptr().addr() - buffer.as_ptr().addr();
    at..at + part.len()
}

/// Writes a field.
pub fn put(out: &mut BytesMut, name: impl AsRef<[u8]>, value: &[u8]) {
    let name = name.as_ref();
    out.reserve(name.len() + value.len() + 4);
    out.put_slice(name);
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// Writes how long a body is.
pub fn put_length(out: &mut BytesMut, length: u64) {
    out.put_slice(b"content-length: ");
    put_number(out, length);
    out.put_slice(b"\r\n");
}

fn put_number(out: &mut BytesMut, number: u64) {
    if number >= 10 {
        put_number(out, number / 10);
    }
    out.put_u8(b'0' + u8::try_from(number % 10).unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_small_name_and_keep_their_order() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Two: 1\r\nx-two:  2\r\nEmpty:\r\n\r\n";
        let mut places = [httparse::EMPTY_HEADER; 8];
        let mut parsed = httparse::Request::new(&mut places);
        assert!(parsed.parse(head).unwrap().is_complete());
        let mut headers = Headers::of_head(parsed.headers, head).unwrap();
        assert_eq!(headers.get("host"), Some(&b"a"[..]));
        assert_eq!(headers.all("x-two").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(headers.get("empty"), Some(&b""[..]));
        assert_eq!(headers.get("X-Two"), None);
        headers.add("X-Two", "3");
        headers.set("host", "b");
        headers.show("x-number", 7);
        headers.add("x-bad", "a\r\nx: y");
        headers.show("x-bad", "\0");
        headers.remove("empty");
        let all: Vec<_> =
            headers.iter().map(|(n, v)| [n, v].map(String::from_utf8_lossy)).collect();
        let expected =
            [["x-two", "1"], ["x-two", "2"], ["x-two", "3"], ["host", "b"], ["x-number", "7"]];
        assert_eq!(all, expected);
        assert_eq!(format!("{headers:?}"), r#"["x-two", "x-two", "x-two", "host", "x-number"]"#);
    }

    #[test]
    fn a_value_has_no_control_characters() {
        for (value, is_one) in [
            ("", true),
            ("a b\tc", true),
            ("é", true),
            ("\n", false),
            ("a\0", false),
            ("\x7f", false),
        ] {
            assert_eq!(is_value(value.as_bytes()), is_one, "{value:?}");
        }
        assert_eq!((ascii(b"a"), ascii("é".as_bytes()), ascii(b"\xff")), (Some("a"), None, None));
    }
}
