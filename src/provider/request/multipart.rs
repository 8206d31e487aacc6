//! Reads forms (`multipart/form-data`, RFC 7578) as they come, in any chunks: the few small fields that are
//! facts of a call, and of all else only how long it is. Files are never kept.
//!
//! A form that two readers could take apart differently is refused: a field twice or in other letter case,
//! line feeds without carriage returns around a boundary, anything before the first boundary or after the
//! last, a field in an encoding of its own.

#[cfg(test)]
mod tests;

use std::ops::Range;

use memchr::memmem::{self, Finder};

use super::RequestError;
use super::scan::differs_in_case;

/// RFC 2046 allows no longer one.
const MAX_BOUNDARY: usize = 70;
/// The most that the headers of a part may be.
const MAX_HEADERS: usize = 8 * 1024;
/// The longest value of a field that is kept.
const MAX_VALUE: usize = 1024;
/// How much of a chunk is joined at a time to what was left of the one before.
const STEP: usize = 4 * 1024;

/// The fields that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FormField {
    Model,
    Stream,
    N,
    Size,
    Quality,
    ResponseFormat,
    PartialImages,
}

impl FormField {
    pub const ALL: [Self; 7] = [
        Self::Model,
        Self::Stream,
        Self::N,
        Self::Size,
        Self::Quality,
        Self::ResponseFormat,
        Self::PartialImages,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Stream => "stream",
            Self::N => "n",
            Self::Size => "size",
            Self::Quality => "quality",
            Self::ResponseFormat => "response_format",
            Self::PartialImages => "partial_images",
        }
    }
}

/// What is known of a form so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    fields: [Option<(String, Range<usize>)>; FormField::ALL.len()],
    /// Bytes of the values that are not files.
    pub text_bytes: u64,
    /// Bytes of `prompt`.
    pub prompt_bytes: u64,
    /// Bytes of the values that are files.
    pub file_bytes: u64,
    pub files: u64,
    /// What is worked on is at an address, in a field named `url`.
    pub has_url: bool,
    /// The last boundary has come.
    pub is_whole: bool,
}

impl Form {
    /// The value of a field, once it has come in full.
    pub fn get(&self, field: FormField) -> Option<&str> {
        self.fields[field as usize].as_ref().map(|(value, _)| value.as_str())
    }

    /// Where the value of a field stands in the form.
    pub fn place(&self, field: FormField) -> Option<Range<usize>> {
        self.fields[field as usize].as_ref().map(|(_, at)| at.clone())
    }
}

/// Whether a content type is that of a form.
pub fn is_form(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("multipart/form-data")
}

/// The boundary that a content type names.
pub fn boundary(content_type: &str) -> Result<String, RequestError> {
    const MISSING: RequestError =
        RequestError::NotAForm("its content type must be multipart/form-data with a boundary");
    if !is_form(content_type) {
        return Err(MISSING);
    }
    let mut found = None;
    for (name, value) in parameters(content_type)? {
        if name.eq_ignore_ascii_case("boundary") && found.replace(value).is_some() {
            return Err(RequestError::NotAForm("its content type names two boundaries"));
        }
    }
    let boundary = found.ok_or(MISSING)?;
    let is_valid = (1..=MAX_BOUNDARY).contains(&boundary.len())
        && boundary.bytes().all(|b| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&b))
        && !boundary.ends_with(' ');
    if is_valid {
        Ok(boundary)
    } else {
        Err(RequestError::NotAForm("its boundary is not a valid one"))
    }
}

/// The parameters after the first word of a header: `name=value` or `name="value"`, each after a semicolon.
fn parameters(header: &str) -> Result<Vec<(&str, String)>, RequestError> {
    const MALFORMED: RequestError = RequestError::NotAForm("a header of it cannot be read");
    let mut found = Vec::new();
    let mut rest = header.split_once(';').map_or("", |(_, rest)| rest).trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or(MALFORMED)?;
        let name = name.trim();
        if name.is_empty() || name.contains([';', '"', ' ']) {
            return Err(MALFORMED);
        }
        let (value, after) = if let Some(quoted) = after.trim_start().strip_prefix('"') {
            quoted_text(quoted).ok_or(MALFORMED)?
        } else {
            let (value, after) = after.split_at(after.find(';').unwrap_or(after.len()));
            (value.trim().to_owned(), after)
        };
        found.push((name, value));
        let after = after.trim_start();
        rest = match after.strip_prefix(';') {
            Some(next) => next.trim_start(),
            None if after.is_empty() => after,
            None => return Err(MALFORMED),
        };
    }
    Ok(found)
}

/// Reads to the closing quote. A quote after a backslash ends the text for some readers and not for
/// others; a backslash before anything else is itself.
fn quoted_text(text: &str) -> Option<(String, &str)> {
    let (value, after) = text.split_once('"')?;
    (!value.ends_with('\\')).then(|| (value.to_owned(), after))
}

/// Where in a form the scanner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first boundary.
    Start,
    /// Just after a boundary.
    Boundary,
    Headers,
    Value(Part),
    /// After the last boundary.
    End,
}

/// What becomes of a part's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Kept(FormField),
    Prompt,
    Text,
    File,
}

/// Takes a form apart while it comes.
pub struct Scanner {
    boundary: String,
    /// Of a line feed, two dashes and the boundary.
    finder: Finder<'static>,
    state: State,
    /// What has come and cannot be told yet: at most one part's headers, or as much as a boundary.
    rest: Vec<u8>,
    /// How many bytes have been dealt with.
    done: usize,
    value: Vec<u8>,
    value_at: usize,
    form: Form,
}

impl Scanner {
    /// For a form whose content type names its boundary.
    pub fn new(content_type: &str) -> Result<Self, RequestError> {
        let boundary = boundary(content_type)?;
        let finder = Finder::new(format!("\n--{boundary}").as_bytes()).into_owned();
        Ok(Self {
            boundary,
            finder,
            state: State::Start,
            rest: Vec::new(),
            done: 0,
            value: Vec::new(),
            value_at: 0,
            form: Form::default(),
        })
    }

    pub fn boundary(&self) -> &str {
        &self.boundary
    }

    /// What is known so far.
    pub const fn form(&self) -> &Form {
        &self.form
    }

    /// Whether the facts of a call that hears audio are known: the model has come and the file begun. All
    /// that may follow changes neither price nor place of the call; a second model is still refused.
    pub fn is_ready(&self) -> bool {
        let form = &self.form;
        form.is_whole || (form.get(FormField::Model).is_some() && form.files > 0)
    }

    /// Takes the next bytes. After an error nothing more must be pushed.
    pub fn push(&mut self, mut chunk: &[u8]) -> Result<(), RequestError> {
        while !chunk.is_empty() {
            if self.rest.is_empty() {
                let used = self.scan(chunk)?;
                self.rest.extend_from_slice(&chunk[used..]);
                break;
            }
            let mut joined = std::mem::take(&mut self.rest);
            let kept = joined.len();
            let (step, after) = chunk.split_at(chunk.len().min(STEP));
            joined.extend_from_slice(step);
            let used = self.scan(&joined)?;
            if used < kept {
                joined.drain(..used);
                (self.rest, chunk) = (joined, after);
            } else {
                // The chunk goes on from where the joined piece was understood to, uncopied.
                chunk = &chunk[used - kept..];
            }
        }
        Ok(())
    }

    /// Says that the form has ended.
    pub fn finish(self) -> Result<Form, RequestError> {
        if self.form.is_whole {
            Ok(self.form)
        } else {
            Err(RequestError::NotAForm("it ends before its last boundary"))
        }
    }

    /// Deals with as much of `bytes` as can be told, and says how much that was.
    fn scan(&mut self, bytes: &[u8]) -> Result<usize, RequestError> {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            let used = match self.state {
                State::Start => self.start(rest)?,
                State::Boundary => self.after_boundary(rest)?,
                State::Headers => self.headers(rest)?,
                State::Value(part) => self.value(part, rest)?,
                State::End => Self::end(rest)?,
            };
            let Some((used, goes_on)) = used else { return Ok(at) };
            at += used;
            self.done += used;
            if !goes_on {
                return Ok(at);
            }
        }
    }

    /// The form begins with its boundary.
    fn start(&mut self, bytes: &[u8]) -> Result<Option<(usize, bool)>, RequestError> {
        let first = format!("--{}", self.boundary);
        let length = first.len();
        if bytes.len() < length {
            let may_be = first.as_bytes().starts_with(bytes);
            return if may_be { Ok(None) } else { Err(not_at_its_boundary()) };
        }
        if !bytes.starts_with(first.as_bytes()) {
            return Err(not_at_its_boundary());
        }
        self.state = State::Boundary;
        Ok(Some((length, true)))
    }

    fn after_boundary(&mut self, bytes: &[u8]) -> Result<Option<(usize, bool)>, RequestError> {
        match bytes {
            [b'-', b'-', ..] => {
                (self.state, self.form.is_whole) = (State::End, true);
                Ok(Some((2, true)))
            }
            [b'\r', b'\n', ..] => {
                self.state = State::Headers;
                Ok(Some((2, true)))
            }
            [] | [b'-' | b'\r'] => Ok(None),
            _ => Err(RequestError::NotAForm("its boundary stands inside a part")),
        }
    }

    fn headers(&mut self, bytes: &[u8]) -> Result<Option<(usize, bool)>, RequestError> {
        let Some(length) = memmem::find(bytes, b"\r\n\r\n") else {
            if bytes.len() > MAX_HEADERS {
                return Err(RequestError::NotAForm("the headers of a part are too long"));
            }
            return Ok(None);
        };
        if length > MAX_HEADERS {
            return Err(RequestError::NotAForm("the headers of a part are too long"));
        }
        let part = self.part(&bytes[..length])?;
        self.state = State::Value(part);
        self.value.clear();
        self.value_at = self.done + length + 4;
        // The last line feed stays: a boundary that stands right after it is found, and refused.
        Ok(Some((length + 3, true)))
    }

    /// What a part is, by its headers.
    fn part(&mut self, headers: &[u8]) -> Result<Part, RequestError> {
        const UNREADABLE: RequestError =
            RequestError::NotAForm("the headers of a part cannot be read");
        const NAMELESS: RequestError = RequestError::NotAForm("a part of it has no name");
        let headers = std::str::from_utf8(headers).map_err(|_| UNREADABLE)?;
        let mut disposition = None;
        let mut is_encoded = false;
        for line in headers.split("\r\n") {
            let (name, value) = line.split_once(':').ok_or(UNREADABLE)?;
            if line.starts_with([' ', '\t']) || line.contains(['\r', '\n']) {
                return Err(UNREADABLE);
            }
            let is = |wanted: &str| name.trim().eq_ignore_ascii_case(wanted);
            if is("content-disposition") && disposition.replace(value).is_some() {
                return Err(UNREADABLE);
            }
            let plain = ["7bit", "8bit", "binary"];
            is_encoded |= is("content-transfer-encoding")
                && !plain.iter().any(|word| value.trim().eq_ignore_ascii_case(word));
        }
        let disposition = disposition.ok_or(NAMELESS)?;
        let essence = disposition.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("form-data") {
            return Err(RequestError::NotAForm("a part of it is not form-data"));
        }
        let (mut name, mut is_file) = (None, false);
        for (parameter, value) in parameters(disposition)? {
            if parameter.eq_ignore_ascii_case("name") && name.replace(value).is_some() {
                return Err(RequestError::NotAForm("a part of it has two names"));
            }
            // Also in its extended form.
            is_file |= parameter.get(..8).is_some_and(|p| p.eq_ignore_ascii_case("filename"));
        }
        self.sort(&name.ok_or(NAMELESS)?, is_file, is_encoded)
    }

    fn sort(&mut self, name: &str, is_file: bool, is_encoded: bool) -> Result<Part, RequestError> {
        for field in FormField::ALL {
            let param = field.name();
            if differs_in_case(name, param) {
                return Err(RequestError::LetterCase { written: name.to_owned(), param });
            }
            if name != param {
                continue;
            }
            if self.form.fields[field as usize].is_some() {
                return Err(RequestError::Duplicate(param));
            }
            if is_file || is_encoded {
                return Err(RequestError::WrongType { param, expected: "a plain field" });
            }
            return Ok(Part::Kept(field));
        }
        self.form.files += u64::from(is_file);
        self.form.has_url |= name == "url";
        Ok(match name {
            _ if is_file => Part::File,
            "prompt" => Part::Prompt,
            _ => Part::Text,
        })
    }

    /// A value goes to the next boundary, which begins with the end of a line.
    fn value(&mut self, part: Part, bytes: &[u8]) -> Result<Option<(usize, bool)>, RequestError> {
        let Some(found) = self.finder.find(bytes) else {
            // What may be the beginning of a boundary waits, with a carriage return before it.
            let told = bytes.len().saturating_sub(self.finder.needle().len());
            if told == 0 {
                return Ok(None);
            }
            self.take_in(part, bytes, told)?;
            return Ok(Some((told, false)));
        };
        let end = found.checked_sub(1).filter(|before| bytes[*before] == b'\r');
        let end = end.filter(|end| self.done + end >= self.value_at);
        let end = end.ok_or(RequestError::NotAForm("a boundary of it does not begin its line"))?;
        self.take_in(part, bytes, end)?;
        if let Part::Kept(field) = part {
            self.keep(field)?;
        }
        self.state = State::Boundary;
        Ok(Some((found + self.finder.needle().len(), true)))
    }

    /// Counts what belongs to a value, and keeps it where somebody reads it.
    fn take_in(&mut self, part: Part, bytes: &[u8], end: usize) -> Result<(), RequestError> {
        let from = self.value_at.saturating_sub(self.done).min(end);
        let more = &bytes[from..end];
        let count = more.len() as u64;
        if part == Part::File {
            self.form.file_bytes += count;
            return Ok(());
        }
        self.form.text_bytes += count;
        match part {
            Part::Prompt => self.form.prompt_bytes += count,
            Part::Kept(field) if self.value.len() + more.len() > MAX_VALUE => {
                return Err(RequestError::TooLong { param: field.name(), limit: MAX_VALUE });
            }
            Part::Kept(_) => self.value.extend_from_slice(more),
            Part::Text | Part::File => {}
        }
        Ok(())
    }

    fn keep(&mut self, field: FormField) -> Result<(), RequestError> {
        let value = String::from_utf8(std::mem::take(&mut self.value));
        let expected = "a text in UTF-8";
        let param = field.name();
        let value = value.map_err(|_| RequestError::WrongType { param, expected })?;
        let at = self.value_at..self.value_at + value.len();
        self.form.fields[field as usize] = Some((value, at));
        Ok(())
    }

    fn end(bytes: &[u8]) -> Result<Option<(usize, bool)>, RequestError> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Some((bytes.len(), false)));
        }
        Err(RequestError::NotAForm("something stands after its last boundary"))
    }
}

const fn not_at_its_boundary() -> RequestError {
    RequestError::NotAForm("it does not begin with its boundary")
}
