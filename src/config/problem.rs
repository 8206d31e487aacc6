//! What is wrong with a configuration file, and how it is shown: with the place underlined for a
//! person, in one line for a log or for JSON.
//!
//! A text that may be a secret must never be shown: its place is masked before anything is rendered.

use std::error::Error;
use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// One thing that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// Where, in bytes of the file; absent for what is not in it, such as a variable.
    pub span: Option<Range<usize>>,
    /// What is wrong, in words that are enough without the place.
    pub message: String,
    /// A word or two for the place itself; may be empty.
    pub label: String,
    /// Another place that belongs to it, with its words.
    pub other: Option<(Range<usize>, String)>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Problem {
    pub fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span: Some(span), message: message.into(), ..Self::default() }
    }

    /// A problem that no place in the file has.
    pub fn nowhere(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    #[must_use]
    pub fn other(mut self, span: Range<usize>, label: impl Into<String>) -> Self {
        self.other = Some((span, label.into()));
        self
    }
}

/// Everything that is wrong with a file, in the order of the file. Never empty.
#[derive(Clone, PartialEq, Eq)]
pub struct Problems {
    file: String,
    /// The file as it was read, with what may be secret masked.
    text: String,
    list: Vec<Problem>,
}

impl Problems {
    /// `masks` are the places of texts that must not be shown.
    pub(super) fn new(
        file: String,
        text: &str,
        masks: &[Range<usize>],
        list: Vec<Problem>,
    ) -> Self {
        let mut problems = Self { file, text: masked(text, masks), list };
        problems.list.sort_by_key(|problem| {
            let start = problem.span.as_ref().map(|span| span.start);
            (start.is_none(), start)
        });
        problems
    }

    /// The file, as it was named.
    pub fn file(&self) -> &str {
        &self.file
    }

    pub fn list(&self) -> &[Problem] {
        &self.list
    }

    /// One line for each: `conduit.toml:6:1: unknown key …`.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.list.iter().map(|problem| {
            let place = match &problem.span {
                Some(span) => {
                    let (line, column) = self.position(span.start);
                    format!("{}:{line}:{column}", self.file)
                }
                None => self.file.clone(),
            };
            let label = match problem.label.as_str() {
                "" => String::new(),
                label => format!(" ({label})"),
            };
            one_line(&format!("{place}: {}{label}", problem.message))
        })
    }

    /// Line and column of a byte, both from 1; the column counts characters.
    pub fn position(&self, byte: usize) -> (usize, usize) {
        let before = self.text.get(..byte).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (line, column)
    }

    /// All problems as a person reads them; with colours for a terminal that shows them.
    pub fn render(&self, colours: bool) -> String {
        let renderer = if colours { Renderer::styled() } else { Renderer::plain() };
        let each = self.list.iter().map(|problem| renderer.render(&[self.group(problem)]));
        each.collect::<Vec<_>>().join("\n\n")
    }

    fn group<'a>(&'a self, problem: &'a Problem) -> Group<'a> {
        let title = Level::ERROR.primary_title(one_line(&problem.message));
        let group = match &problem.span {
            Some(span) => {
                let primary = AnnotationKind::Primary.span(self.within(span));
                let mut snippet = Snippet::source(self.text.as_str()).path(self.file.as_str());
                snippet = snippet.annotation(primary.label(problem.label.as_str()));
                if let Some((other, label)) = &problem.other {
                    let context = AnnotationKind::Context.span(self.within(other));
                    snippet = snippet.annotation(context.label(label.as_str()));
                }
                title.element(snippet)
            }
            None => title.element(Origin::path(self.file.as_str())),
        };
        match &problem.help {
            Some(help) => group.element(Level::HELP.message(one_line(help))),
            None => group,
        }
    }

    /// A span may end at the end of the file but not beyond it.
    fn within(&self, span: &Range<usize>) -> Range<usize> {
        let end = span.end.min(self.text.len());
        span.start.min(end)..end
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Debug for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lines()).finish()
    }
}

impl Error for Problems {}

/// A text that came from the file must not break a line of the log.
fn one_line(text: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    text.chars().map(shown).collect()
}

/// Byte for byte as long as before, so that every place stays where it is.
fn masked(text: &str, masks: &[Range<usize>]) -> String {
    let mut shown = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let hidden = masks.iter().any(|mask| mask.contains(&at));
        if hidden && !matches!(c, '\n' | '\r') {
            shown.extend(std::iter::repeat_n('*', c.len_utf8()));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Masks for a file that could not be parsed: whatever follows a name that sounds like a secret's, to
/// the end of its line.
pub(super) fn guessed_masks(text: &str) -> Vec<Range<usize>> {
    let mut masks = Vec::new();
    let mut line_start = 0;
    for line in text.split_inclusive('\n') {
        let equals = line.match_indices('=').map(|(at, _)| at);
        let secret = equals.into_iter().find(|at| {
            let name = line[..*at].trim_end().rsplit([' ', '\t', ',', '{']).next();
            name.is_some_and(sounds_secret)
        });
        if let Some(at) = secret {
            masks.push(line_start + at + 1..line_start + line.len());
        }
        line_start += line.len();
    }
    masks
}

/// Whether a key's name says that its value is a secret. The names of ours that only say where a
/// secret is are none.
pub(super) fn sounds_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let name = name.trim_matches(['"', '\'']);
    let elsewhere = ["_env", "_file", "_credential"].iter().any(|end| name.ends_with(end));
    let words = ["key", "kye", "secret", "token", "password", "auth", "cookie"];
    !elsewhere && !name.ends_with("_tokens") && words.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_lines_and_characters() {
        let problems = Problems::new("x".to_owned(), "a\nüb\n", &[], vec![]);
        assert_eq!(problems.position(0), (1, 1));
        assert_eq!(problems.position(2), (2, 1));
        assert_eq!(problems.position(4), (2, 2));
        assert_eq!(problems.position(99), (3, 1));
    }

    #[test]
    fn a_masked_text_is_as_long_as_before() {
        for (text, mask, expected) in
            [("a = \"sü\"\nb", 5..10, "a = \"****\nb"), ("ab", 0..9, "**"), ("ab", 1..1, "ab")]
        {
            assert_eq!(masked(text, std::slice::from_ref(&mask)), expected);
        }
    }

    #[test]
    fn secrets_in_a_broken_file_are_guessed_by_name() {
        let text = "api_key = \"sk-1\n[a]\nx = { \"Authorization\" = 'sk-2' }\nmax_output_tokens = 5\napi_key_env = \"A\"\n";
        let shown = masked(text, &guessed_masks(text));
        assert!(!shown.contains("sk-1") && !shown.contains("sk-2"), "{shown}");
        assert!(shown.contains("max_output_tokens = 5\napi_key_env = \"A\""), "{shown}");
    }

    #[test]
    fn a_line_stays_one_line() {
        let list = vec![Problem::nowhere("a\nb\u{1b}[31m")];
        let problems = Problems::new("f".to_owned(), "", &[], list);
        assert_eq!(problems.lines().collect::<Vec<_>>(), ["f: a\\nb\\u{1b}[31m"]);
    }
}
