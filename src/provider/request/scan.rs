//! Finds the members of a JSON object that somebody reads, and where they stand in the body.
//!
//! A member that is there twice, or under a name that differs in letter case alone, is refused: another
//! reader may take the other one. What nobody reads is passed over and never copied.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;

use super::error::RequestError;
use crate::domain::codec::plain::is_plain;
use crate::provider::json::{Cursor, Reader};
use crate::provider::usage::number::decimal;

/// A member that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: &'static str,
    /// The same member in the other spelling that its reader accepts; else the name again.
    pub(super) other: &'static str,
    /// What an error calls it: its whole path.
    pub(super) param: &'static str,
}

impl Field {
    /// A member that has another spelling, or another name in errors, where one is given.
    pub(super) const fn new(
        name: &'static str,
        other: &[&'static str],
        param: &[&'static str],
    ) -> Self {
        let other = if let [other] = other { *other } else { name };
        let param = if let [param] = param { *param } else { name };
        Self { name, other, param }
    }
}

/// The members of one object that are read: made by [`members!`].
pub(super) trait Member: Copy + 'static {
    const FIELDS: &'static [Field];
    /// The lengths that their names have, a bit for each.
    const LENGTHS: u64 = lengths(Self::FIELDS);

    /// A value for each of them.
    type Values<'a>: Default + AsRef<[Option<&'a str>]> + AsMut<[Option<&'a str>]>;

    fn index(self) -> usize;

    /// The member that has this name, in either spelling.
    fn named(name: &str) -> Option<Self>;

    fn param(self) -> &'static str {
        Self::FIELDS[self.index()].param
    }
}

/// Names the members of an object: `Name = "name"`, with `or "other_name"` for a second spelling and
/// `as "path.name"` for what errors call it.
macro_rules! members {
    ($(#[$doc:meta])* $object:ident {
        $($member:ident = $name:literal $(or $other:literal)? $(as $param:literal)?),+ $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum $object { $($member),+ }

        impl $crate::provider::request::scan::Member for $object {
            const FIELDS: &'static [$crate::provider::request::scan::Field] = &[$(
                $crate::provider::request::scan::Field::new(
                    $name,
                    &[$($other)?],
                    &[$($param)?],
                )
            ),+];

            type Values<'a> = [Option<&'a str>; [$($name),+].len()];

            fn index(self) -> usize {
                self as usize
            }

            fn named(name: &str) -> Option<Self> {
                match name {
                    $($name $(| $other)? => Some(Self::$member),)+
                    _ => None,
                }
            }
        }
    };
}
pub(super) use members;

/// An object whose members have been found.
pub(super) struct Object<'a, M: Member> {
    /// The body that the object is, or is a part of.
    body: &'a str,
    /// The object itself, as written.
    text: &'a str,
    values: M::Values<'a>,
    empty: bool,
}

/// The text of a body.
pub(super) fn text(body: &[u8]) -> Result<&str, RequestError> {
    std::str::from_utf8(body).map_err(|error| not_utf8(body, error.valid_up_to()))
}

impl<'a, M: Member> Object<'a, M> {
    /// Reads a whole body.
    pub(super) fn of_body(body: &'a str) -> Result<Self, RequestError> {
        Self::of_part(body, body)
    }

    /// Reads an object that is a part of `body`.
    pub(super) fn of_part(body: &'a str, text: &'a str) -> Result<Self, RequestError> {
        let mut object = Self { body, text, values: M::Values::default(), empty: true };
        let mut odd = Odd::default();
        Reader::new(text)
            .members(|key, value| object.take(key, value, &mut odd))
            .ok_or_else(|| not_json(text))?;
        if let Some(param) = odd.twice {
            return Err(RequestError::Duplicate(param));
        }
        if let Some((written, param)) = odd.other_case {
            return Err(RequestError::LetterCase { written, param });
        }
        Ok(object)
    }

    /// Takes a member as it is written; `None` where its key stands for no text.
    fn take(&mut self, key: &str, value: &'a str, odd: &mut Odd) -> Option<()> {
        self.empty = false;
        let mut key = Cow::Borrowed(key.get(1..key.len() - 1)?);
        let mut member = M::named(&key);
        if member.is_none() && !is_plain(key.as_bytes()) {
            key = Cow::Owned(word(&format!("\"{key}\""))?);
            member = M::named(&key);
        }
        if let Some(member) = member {
            if self.values.as_mut()[member.index()].replace(value).is_some() {
                odd.twice.get_or_insert(member.param());
            }
        } else if let Some(param) = other_case::<M>(&key) {
            odd.other_case.get_or_insert_with(|| (key.into_owned(), param));
        }
        Some(())
    }

    /// A member's value as written, null too.
    pub(super) fn written(&self, member: M) -> Option<&'a str> {
        self.values.as_ref()[member.index()]
    }

    /// A member's value as written; null is as good as absent.
    pub(super) fn raw(&self, member: M) -> Option<&'a str> {
        self.written(member).filter(|raw| *raw != "null")
    }

    pub(super) fn has(&self, member: M) -> bool {
        self.raw(member).is_some()
    }

    pub(super) fn required(&self, member: M) -> Result<&'a str, RequestError> {
        self.raw(member).ok_or(RequestError::Missing(member.param()))
    }

    /// Bytes of the members that are there.
    pub(super) fn length(&self, members: &[M]) -> u64 {
        members.iter().filter_map(|member| self.raw(*member)).map(|raw| raw.len() as u64).sum()
    }

    /// Where a part of the body stands in it.
    pub(super) fn place(&self, part: &str) -> Range<usize> {
        let start = part.as_ptr().addr().saturating_sub(self.body.as_ptr().addr());
        start..start + part.len()
    }

    /// Just after the opening brace.
    pub(super) fn start(&self) -> usize {
        let brace = self.text.bytes().position(|byte| byte == b'{');
        self.place(self.text).start + brace.map_or(0, |brace| brace + 1)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.empty
    }

    /// An object inside this one; absent too where it is null.
    pub(super) fn object<N: Member>(
        &self,
        member: M,
    ) -> Result<Option<Object<'a, N>>, RequestError> {
        let Some(raw) = self.raw(member) else { return Ok(None) };
        if !raw.starts_with('{') {
            return Err(RequestError::WrongType { param: member.param(), expected: "an object" });
        }
        Object::of_part(self.body, raw).map(Some)
    }

    pub(super) fn flag(&self, member: M) -> Result<bool, RequestError> {
        match self.raw(member) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => {
                Err(RequestError::WrongType { param: member.param(), expected: "a boolean" })
            }
        }
    }

    pub(super) fn number(&self, member: M) -> Result<Option<u64>, RequestError> {
        let read = |raw: &str| {
            let expected = "a non-negative integer";
            whole(raw).ok_or(RequestError::WrongType { param: member.param(), expected })
        };
        self.raw(member).map(read).transpose()
    }

    /// A text, where the member is one.
    pub(super) fn word(&self, member: M) -> Option<String> {
        self.raw(member).and_then(word)
    }
}

/// A whole number, however JSON may write it: some clients write `100.0`, and providers read that.
fn whole(raw: &str) -> Option<u64> {
    if raw.bytes().all(|byte| byte.is_ascii_digit()) {
        return raw.parse().ok();
    }
    if !raw.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    // Both are rounded up, and agree where there was nothing to round.
    let (number, billionths) = (decimal(raw.as_bytes(), 0)?, decimal(raw.as_bytes(), 9)?);
    (number.checked_mul(1_000_000_000)? == billionths).then_some(number)
}

/// The text of a JSON string.
pub(super) fn word(raw: &str) -> Option<String> {
    match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inside) if is_plain(inside.as_bytes()) => Some(inside.to_owned()),
        _ => serde_json::from_str(raw).ok(),
    }
}

/// The elements of a list of objects, as written.
pub(super) fn objects<'a>(raw: &'a str, param: &'static str) -> Result<Vec<&'a str>, RequestError> {
    let mut found = Vec::new();
    let read = Cursor::new(raw.as_bytes()).array(|cursor| {
        let object = std::str::from_utf8(cursor.skip()?).ok()?;
        found.push(object);
        object.starts_with('{').then_some(())
    });
    let is_list = raw.starts_with('[') && read.is_some();
    let expected = "a list of objects";
    if is_list { Ok(found) } else { Err(RequestError::WrongType { param, expected }) }
}

/// What is wrong with an object, as far as anything is.
#[derive(Default)]
struct Odd {
    twice: Option<&'static str>,
    /// A key that differs from a name in letter case alone: some readers take it for that name.
    other_case: Option<(String, &'static str)>,
}

/// What is wrong with a text that is no object of JSON.
fn not_json(text: &str) -> RequestError {
    let mut input = serde_json::Deserializer::from_str(text);
    let read = input.deserialize_map(Members).and_then(|()| input.end());
    let Err(error) = read else { return RequestError::NotAnObject };
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

/// Passes over the members of an object.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// The member whose name a key is but for its letter case.
fn other_case<M: Member>(key: &str) -> Option<&'static str> {
    // Letters of ASCII have one length in either case, and most keys have that of no name.
    if key.is_ascii() && M::LENGTHS & length_bit(key.len()) == 0 {
        return None;
    }
    let differs = |name: &str| differs_in_case(key, name);
    let field = M::FIELDS.iter().find(|field| differs(field.name) || differs(field.other));
    field.map(|field| field.param)
}

const fn lengths(fields: &[Field]) -> u64 {
    let (mut lengths, mut at) = (0, 0);
    while at < fields.len() {
        lengths |= length_bit(fields[at].name.len()) | length_bit(fields[at].other.len());
        at += 1;
    }
    lengths
}

/// The bit of a length; the last is for all that are longer, too.
const fn length_bit(length: usize) -> u64 {
    1 << if length < 63 { length } else { 63 }
}

/// Whether a key is a name but for its letter case, as a reader that ignores it sees them: two letters
/// outside ASCII fold into it.
pub(super) fn differs_in_case(key: &str, name: &str) -> bool {
    const fn fold(letter: char) -> char {
        match letter {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            other => other.to_ascii_lowercase(),
        }
    }
    if key.is_ascii() {
        return key != name && key.eq_ignore_ascii_case(name);
    }
    // A folded letter is at most three bytes long.
    let may_be = (name.len()..=name.len() * 3).contains(&key.len());
    may_be && key != name && key.chars().map(fold).eq(name.chars().map(fold))
}
