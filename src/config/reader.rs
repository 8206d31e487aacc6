//! A small reader over a parsed TOML file that reports what it finds instead of stopping: unknown
//! keys, wrong types, values out of range, each with its place.
//!
//! Deserialising would end at the first mistake. Numbers are read from their text, so that a price
//! never passes through a float. Nothing here knows what any key means.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::rc::Rc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, sounds_secret};
use super::shape::{Outline, Shape};
use crate::domain::window::parse_duration_ms;

/// A value and its place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

impl<T> At<T> {
    pub(super) const fn new(value: T, span: Range<usize>) -> Self {
        Self { value, span }
    }
}

/// What has been found so far. Shared by all readers of a file.
#[derive(Debug, Default)]
pub(super) struct Findings {
    problems: RefCell<Vec<Problem>>,
    masks: RefCell<Vec<Range<usize>>>,
}

impl Findings {
    pub(super) fn report(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    pub(super) fn count(&self) -> usize {
        self.problems.borrow().len()
    }

    /// Never show what is written here.
    pub(super) fn mask(&self, span: Range<usize>) {
        self.masks.borrow_mut().push(span);
    }

    pub(super) fn into_parts(self) -> (Vec<Problem>, Vec<Range<usize>>) {
        (self.problems.into_inner(), self.masks.into_inner())
    }
}

/// A table of the file, of which each key is asked for by name.
pub(super) struct Section<'t> {
    /// How people write the way to it: `providers.openai`; empty for the file itself.
    path: String,
    /// Its name in the file.
    pub(super) span: Range<usize>,
    entries: &'t DeTable<'t>,
    /// Keys that may be written here.
    known: Vec<Cow<'static, str>>,
    /// Keys that have been dealt with although they are not to be suggested.
    handled: Vec<&'static str>,
    findings: &'t Findings,
    /// Where it is noted what may be written here, in place of reading it.
    outline: Option<Rc<Outline>>,
}

type Value<'t> = Spanned<DeValue<'t>>;

impl<'t> Section<'t> {
    pub(super) fn root(entries: &'t DeTable<'t>, findings: &'t Findings) -> Self {
        let (known, handled) = (Vec::new(), Vec::new());
        Self { path: String::new(), span: 0..0, entries, known, handled, findings, outline: None }
    }

    /// One that notes what is asked for: every table is there, and nothing in any.
    pub(super) fn outlined(
        nothing: &'t DeTable<'t>,
        findings: &'t Findings,
        outline: Rc<Outline>,
    ) -> Self {
        Self { outline: Some(outline), ..Self::root(nothing, findings) }
    }

    /// The table inside this one that is noted in place of being read, if that is what is done.
    fn outlined_inner(&self, key: &str, shape: impl FnOnce(Rc<Outline>) -> Shape) -> Option<Self> {
        let outline = self.outline.as_ref()?;
        let inner = Rc::new(Outline::default());
        outline.note(key, shape(Rc::clone(&inner)));
        let path = self.path_of(key);
        Some(Self { path, ..Self::outlined(self.entries, self.findings, inner) })
    }

    /// The same for one with a name of the user's, which begins with `prefix`.
    fn outlined_named(&self, prefix: &'static str) -> Option<Self> {
        let outline = self.outline.as_ref()?;
        let inner = Rc::new(Outline::default());
        outline.note_named(prefix, Shape::Table(Rc::clone(&inner)));
        let path = self.path_of(prefix);
        Some(Self { path, ..Self::outlined(self.entries, self.findings, inner) })
    }

    fn inner(
        &self,
        path: String,
        span: Range<usize>,
        value: &'t Value<'t>,
        expected: &str,
    ) -> Option<Self> {
        let Some(entries) = value.get_ref().as_table() else {
            self.wrong_type(&path, value, expected);
            return None;
        };
        let (known, handled) = (Vec::new(), Vec::new());
        let findings = self.findings;
        Some(Self { path, span, entries, known, handled, findings, outline: None })
    }

    pub(super) const fn findings(&self) -> &'t Findings {
        self.findings
    }

    /// The way to this table, as people write it.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The way to a key, as people write it.
    pub(super) fn path_of(&self, key: &str) -> String {
        let name = written_key(key);
        if self.path.is_empty() { name.into_owned() } else { format!("{}.{name}", self.path) }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    fn value(&mut self, key: &'static str, shape: impl FnOnce() -> Shape) -> Option<&'t Value<'t>> {
        if let Some(outline) = &self.outline {
            outline.note(key, shape());
        }
        self.known.push(Cow::Borrowed(key));
        self.entries.get(key)
    }

    /// The place of a value that is read elsewhere.
    pub(super) fn place_of(&self, key: &str) -> Option<Range<usize>> {
        self.entries.get(key).map(Spanned::span)
    }

    /// A value for a reader that knows its types itself.
    pub(super) fn any(&mut self, key: &'static str, shape: Shape) -> Option<&'t Value<'t>> {
        self.value(key, || shape)
    }

    /// Says that the entries of this table, whose names are the user's, have this shape.
    pub(super) fn named_are(&self, shape: Shape) {
        if let Some(outline) = &self.outline {
            outline.note_named("", shape);
        }
    }

    /// Reports a key that people write but that must not be here; its value is never shown.
    pub(super) fn refuse(&mut self, key: &'static str, message: &str, help: &str) {
        self.handled.push(key);
        if let Some((name, value)) = self.entries.get_key_value(key) {
            self.findings.mask(value.span());
            self.findings.report(Problem::at(name.span(), message).help(help));
        }
    }

    /// Reports a key that has to be here.
    pub(super) fn missing(&self, key: &str, help: &str) {
        let message = format!("`{}` is missing", self.path_of(key));
        self.findings.report(Problem::at(self.span.clone(), message).help(help));
    }

    fn wrong_type(&self, path: &str, value: &Value<'_>, expected: &str) {
        let message = format!("`{path}` must be {expected}");
        self.findings.report(Problem::at(value.span(), message).label(found(value.get_ref())));
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<At<String>> {
        let value = self.value(key, || Shape::Text)?;
        self.read_text(&self.path_of(key), value, "a text in quotes")
    }

    fn read_text(&self, path: &str, value: &Value<'_>, expected: &str) -> Option<At<String>> {
        if let DeValue::String(text) = value.get_ref() {
            return Some(At::new(text.clone().into_owned(), value.span()));
        }
        self.wrong_type(path, value, expected);
        None
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<At<String>>> {
        let value = self.value(key, || Shape::Texts)?;
        self.read_texts(key, value, "a list of texts")
    }

    /// A text, or a list of texts.
    pub(super) fn text_or_texts(&mut self, key: &'static str) -> Option<Vec<At<String>>> {
        let value = self.value(key, || Shape::TextOrTexts)?;
        if let DeValue::String(text) = value.get_ref() {
            return Some(vec![At::new(text.clone().into_owned(), value.span())]);
        }
        self.read_texts(key, value, "a text in quotes, or a list of them")
    }

    fn read_texts(&self, key: &str, value: &Value<'_>, expected: &str) -> Option<Vec<At<String>>> {
        let path = self.path_of(key);
        let Some(list) = value.get_ref().as_array() else {
            self.wrong_type(&path, value, expected);
            return None;
        };
        let each = list.iter().filter_map(|item| self.read_text(&path, item, expected));
        Some(each.collect())
    }

    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.flag_at(key).map(|flag| flag.value)
    }

    pub(super) fn flag_at(&mut self, key: &'static str) -> Option<At<bool>> {
        let value = self.value(key, || Shape::Flag)?;
        if let DeValue::Boolean(flag) = value.get_ref() {
            return Some(At::new(*flag, value.span()));
        }
        self.wrong_type(&self.path_of(key), value, "true or false");
        None
    }

    pub(super) fn integer(
        &mut self,
        key: &'static str,
        range: &RangeInclusive<u64>,
    ) -> Option<u64> {
        let value = self.value(key, || Shape::Integer(range.clone()))?;
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.read_integer(key, value, range, &expected)
    }

    /// A list of whole numbers.
    pub(super) fn integers(
        &mut self,
        key: &'static str,
        range: &RangeInclusive<u64>,
    ) -> Option<Vec<u64>> {
        let value = self.value(key, || Shape::Integers(range.clone()))?;
        let (from, to) = (range.start(), range.end());
        let expected = format!("a list of whole numbers from {from} to {to}");
        let Some(list) = value.get_ref().as_array() else {
            self.wrong_type(&self.path_of(key), value, &expected);
            return None;
        };
        let each = list.iter().filter_map(|item| self.read_integer(key, item, range, &expected));
        Some(each.collect())
    }

    fn read_integer(
        &self,
        key: &'static str,
        value: &Value<'_>,
        range: &RangeInclusive<u64>,
        expected: &str,
    ) -> Option<u64> {
        let DeValue::Integer(number) = value.get_ref() else {
            self.wrong_type(&self.path_of(key), value, expected);
            return None;
        };
        let number = u64::from_str_radix(number.as_str(), number.radix()).ok();
        self.in_range(key, value.span(), number, range, expected)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
    ) -> Option<At<T>> {
        let value =
            self.value(key, || Shape::Choice(words.iter().map(|(name, _)| *name).collect()))?;
        let names = words.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>();
        let expected = either(&names);
        let text = self.read_text(&self.path_of(key), value, &expected)?;
        if let Some((_, found)) = words.iter().find(|(name, _)| *name == text.value) {
            return Some(At::new(*found, text.span));
        }
        let label = suggestion(&text.value, words.iter().map(|(name, _)| *name));
        let message = format!("`{}` must be {expected}", self.path_of(key));
        self.findings.report(Problem::at(text.span, message).label(label.unwrap_or_default()));
        None
    }

    /// A length of time such as `"30s"`, in milliseconds.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        range: &RangeInclusive<&'static str>,
    ) -> Option<u64> {
        let value = self.value(key, || Shape::Duration(range.clone()))?;
        let expected =
            format!("a length of time from \"{}\" to \"{}\"", range.start(), range.end());
        let text = self.read_text(&self.path_of(key), value, &expected)?;
        let bound = |text| parse_duration_ms(text).unwrap_or_default();
        let bounds = bound(range.start())..=bound(range.end());
        if let Ok(millis) = parse_duration_ms(&text.value) {
            return self.in_range(key, text.span, Some(millis), &bounds, &expected);
        }
        let message = format!("`{}` must be {expected}", self.path_of(key));
        let label = "write it like \"500ms\", \"30s\", \"5m\", \"12h\", \"90d\" or \"2w\"";
        self.findings.report(Problem::at(text.span, message).label(label));
        None
    }

    /// A size such as `"32MiB"`, or a number of bytes.
    pub(super) fn size(
        &mut self,
        key: &'static str,
        range: &RangeInclusive<&'static str>,
    ) -> Option<u64> {
        let value = self.value(key, || Shape::Size(range.clone()))?;
        let expected = format!("a size from \"{}\" to \"{}\"", range.start(), range.end());
        let bound = |text| parse_size(text).unwrap_or_default();
        let bounds = bound(range.start())..=bound(range.end());
        if let DeValue::Integer(number) = value.get_ref() {
            let bytes = u64::from_str_radix(number.as_str(), number.radix()).ok();
            return self.in_range(key, value.span(), bytes, &bounds, &expected);
        }
        let text = self.read_text(&self.path_of(key), value, &expected)?;
        if let Some(bytes) = parse_size(&text.value) {
            return self.in_range(key, text.span, Some(bytes), &bounds, &expected);
        }
        let message = format!("`{}` must be {expected}", self.path_of(key));
        let label = "write it like \"512KiB\", \"32MiB\" or \"10MB\"";
        self.findings.report(Problem::at(text.span, message).label(label));
        None
    }

    fn in_range(
        &self,
        key: &str,
        span: Range<usize>,
        number: Option<u64>,
        range: &RangeInclusive<u64>,
        expected: &str,
    ) -> Option<u64> {
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let message = format!("`{}` must be {expected}", self.path_of(key));
            self.findings.report(Problem::at(span, message).label("out of range"));
        }
        number
    }

    /// A table inside this one.
    pub(super) fn section(&mut self, key: &'static str) -> Option<Self> {
        if let Some(inner) = self.outlined_inner(key, Shape::Table) {
            return Some(inner);
        }
        self.known.push(Cow::Borrowed(key));
        let (name, value) = self.entries.get_key_value(key)?;
        self.inner(self.path_of(key), name.span(), value, "a table")
    }

    /// All entries of this table, each a table with a name of the user's, in the order of the file.
    pub(super) fn named_sections(&self, expected: &str) -> Vec<(At<String>, Self)> {
        if let Some(inner) = self.outlined_named("") {
            return vec![(At::new(String::new(), 0..0), inner)];
        }
        let mut sections = Vec::new();
        for (name, value) in self.entries {
            let path = self.path_of(name.get_ref());
            if let Some(section) = self.inner(path, name.span(), value, expected) {
                sections.push((At::new(name.get_ref().to_string(), name.span()), section));
            }
        }
        sections.sort_by_key(|(name, _)| name.span.start);
        sections
    }

    /// A list of tables inside this one.
    pub(super) fn sections_in(
        &mut self,
        key: &'static str,
        expected: &str,
    ) -> Option<At<Vec<Self>>> {
        if let Some(inner) = self.outlined_inner(key, Shape::Tables) {
            return Some(At::new(vec![inner], 0..0));
        }
        let value = self.value(key, || Shape::Tables(Rc::default()))?;
        let path = self.path_of(key);
        let Some(list) = value.get_ref().as_array() else {
            self.wrong_type(&path, value, expected);
            return None;
        };
        let each = list.iter().enumerate().filter_map(|(index, item)| {
            self.inner(format!("{path}[{index}]"), item.span(), item, "a table")
        });
        let sections: Vec<Self> = each.collect();
        let is_wrong = sections.len() < list.len();
        (!is_wrong).then(|| At::new(sections, value.span()))
    }

    /// All entries of this table, each with a name of the user's, in the order of the file.
    pub(super) fn entries(&self) -> Vec<(At<String>, &'t Value<'t>)> {
        let entry = |(name, value): (&Spanned<Cow<'t, str>>, &'t Value<'t>)| {
            (At::new(name.get_ref().to_string(), name.span()), value)
        };
        let mut entries: Vec<_> = self.entries.iter().map(entry).collect();
        entries.sort_by_key(|(name, _)| name.span.start);
        entries
    }

    /// All entries of this table as texts, in the order of the file. The texts are never shown.
    pub(super) fn secret_texts(&self) -> Vec<(At<String>, At<String>)> {
        self.named_are(Shape::Text);
        let mut texts = Vec::new();
        for (name, value) in self.entries {
            self.findings.mask(value.span());
            let path = self.path_of(name.get_ref());
            if let Some(text) = self.read_text(&path, value, "a text in quotes") {
                texts.push((At::new(name.get_ref().to_string(), name.span()), text));
            }
        }
        texts.sort_by_key(|(name, _)| name.span.start);
        texts
    }

    /// Tables inside this one whose names begin with `prefix`, which then are known names.
    pub(super) fn sections_named_like(&mut self, prefix: &'static str) -> Vec<(At<String>, Self)> {
        if let Some(inner) = self.outlined_named(prefix) {
            return vec![(At::new(prefix.to_owned(), 0..0), inner)];
        }
        let mut sections = Vec::new();
        for (name, value) in self.entries {
            if !name.get_ref().starts_with(prefix) {
                continue;
            }
            self.known.push(Cow::Owned(name.get_ref().to_string()));
            let path = self.path_of(name.get_ref());
            if let Some(section) = self.inner(path, name.span(), value, "a table") {
                sections.push((At::new(name.get_ref().to_string(), name.span()), section));
            }
        }
        sections
    }

    /// The table at `key` where what is asked for is noted and where it may also be a word.
    pub(super) fn outlined_word_or_table(&self, key: &str, word: &'static str) -> Option<Self> {
        self.outlined_inner(key, |inner| Shape::WordOrTable(word, inner))
    }

    /// This table's value at `key` read as a table, where it may also be something else.
    pub(super) fn section_of(
        &self,
        key: &str,
        value: &'t Value<'t>,
        expected: &str,
    ) -> Option<Self> {
        self.inner(self.path_of(key), value.span(), value, expected)
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self) {
        for (name, value) in self.entries {
            let key = name.get_ref().as_ref();
            if self.known.iter().any(|known| known == key) || self.handled.contains(&key) {
                continue;
            }
            if sounds_secret(key) || value.get_ref().as_str().is_some_and(looks_secret) {
                self.findings.mask(value.span());
            }
            let place = match self.path.as_str() {
                "" => String::new(),
                path => format!(" in `{path}`"),
            };
            let message = format!("unknown key `{}`{place}", key.escape_debug());
            let label = suggestion(key, self.known.iter().map(AsRef::as_ref));
            let mut known = self.known.iter().map(|known| format!("`{known}`")).collect::<Vec<_>>();
            known.sort();
            self.findings.report(
                Problem::at(name.span(), message)
                    .label(label.unwrap_or_default())
                    .help(format!("known here: {}", known.join(", "))),
            );
        }
    }
}

/// A key as it is written in a file: in quotes where it has to be.
pub(super) fn written_key(key: &str) -> Cow<'_, str> {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !key.is_empty() && key.chars().all(bare) {
        return Cow::Borrowed(key);
    }
    Cow::Owned(format!("\"{}\"", key.escape_debug()))
}

/// What a value is, in words.
pub(super) const fn found(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "this is a text",
        DeValue::Integer(_) => "this is a whole number",
        DeValue::Float(_) => "this is a number with a point or an exponent",
        DeValue::Boolean(_) => "this is true or false",
        DeValue::Datetime(_) => "this is a date or a time",
        DeValue::Array(_) => "this is a list",
        DeValue::Table(_) => "this is a table",
    }
}

/// `a`, `a or b`, `a, b or c`.
pub(super) fn either(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// Reads a size; `None` if the text is none.
fn parse_size(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let count: u64 = text[..digits].parse().ok()?;
    let unit = match &text[digits..] {
        "B" => 1,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    count.checked_mul(unit)
}

/// Whether a text looks like a key that was pasted where a name belongs.
pub(super) fn looks_secret(text: &str) -> bool {
    let plain = text.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '/' | ':'));
    let mixed = text.contains(|c: char| c.is_ascii_digit())
        && text.contains(|c: char| c.is_ascii_lowercase());
    text.starts_with("sk-") || (text.len() >= 20 && plain && mixed)
}

/// "did you mean …?", if one of the names is near enough to what was written.
pub(super) fn suggestion<'n>(
    written: &str,
    names: impl Iterator<Item = &'n str>,
) -> Option<String> {
    let near = names.map(|name| (distance(written, name), name)).min()?;
    let (distance, name) = near;
    let enough = (written.chars().count().max(3) / 3).min(4);
    (distance <= enough).then(|| format!("did you mean `{name}`?"))
}

/// How many letters must be changed, added, taken out or swapped with their neighbour.
fn distance(left: &str, right: &str) -> usize {
    let left = left.to_lowercase().chars().take(64).collect::<Vec<_>>();
    let right = right.to_lowercase().chars().take(64).collect::<Vec<_>>();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let mut best = (last[j] + usize::from(a != b)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_differ_are_counted() {
        for (left, right, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("base_ulr", "base_url", 1),
            ("kind", "kidn", 1),
            ("listen", "listn", 1),
            ("Price", "price", 0),
            ("abc", "xyz", 3),
        ] {
            assert_eq!(distance(left, right), expected, "{left} {right}");
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("32MiB", Some(32 << 20)),
            ("10MB", Some(10_000_000)),
            ("0B", Some(0)),
            ("5", None),
            ("5 MB", None),
            ("MB", None),
            ("5mb", None),
            ("99999999999GiB", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
    }

    #[test]
    fn pasted_keys_are_known_from_names() {
        for text in ["sk-proj-1", "gsk_0a1b2c3d4e5f6g7h8i9j", "0123456789abcdef0123456789abcdef"] {
            assert!(looks_secret(text), "{text}");
        }
        for text in ["OPENAI_API_KEY", "openai", "/etc/conduit/keys/openai-2026", "gpt-4o"] {
            assert!(!looks_secret(text), "{text}");
        }
    }
}
