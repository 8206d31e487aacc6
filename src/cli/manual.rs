//! Completions for shells and pages of the manual, made of the same definitions that the command line
//! is read by. Packaging calls them; nobody else needs to.

use std::fs;
use std::io;
use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use serde_json::{Map, Value};

use super::{Cli, Failure, output};
use crate::config::schema;
use crate::version::VERSION;

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// For which shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "conduit", &mut script);
        output::answer(&String::from_utf8_lossy(&script))
    }
}

#[derive(Debug, Args)]
pub(super) struct Man {
    /// Where the pages go: `man1` and `man5` in this folder
    #[arg(long, value_name = "FOLDER")]
    dir: PathBuf,
}

impl Man {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let (commands, files) = (self.dir.join("man1"), self.dir.join("man5"));
        fs::create_dir_all(&commands)?;
        fs::create_dir_all(&files)?;
        let command = Cli::command().version(VERSION).disable_help_subcommand(true);
        clap_mangen::generate_to(command, &commands)?;
        fs::write(files.join("conduit.toml.5"), configuration())?;
        Ok(())
    }
}

impl From<std::fmt::Error> for Failure {
    fn from(error: std::fmt::Error) -> Self {
        io::Error::other(error).into()
    }
}

/// conduit.toml(5): each table with its options, as the schema tells them.
fn configuration() -> String {
    let schema = schema::schema();
    let mut page = Page::default();
    page.line(&format!(".TH conduit.toml 5 \"\" \"conduit {VERSION}\" \"File formats\""));
    page.line(".SH NAME");
    page.text("conduit.toml - the configuration of the gateway conduit");
    page.line(".SH DESCRIPTION");
    page.text(
        "One file in TOML. It is read again whenever it is saved, and as a whole: a file with a \
         mistake changes nothing, and the log says what is wrong and where. `conduit check` says it \
         beforehand, and `conduit config example` prints a file in which every option is explained.",
    );
    tables(&schema, "", &mut page);
    page.line(".SH FILES");
    page.text("/etc/conduit/conduit.toml, ./conduit.toml, ./conduit-data/conduit.toml");
    page.line(".SH SEE ALSO");
    page.line(".BR conduit (1)");
    page.0
}

/// A section for each table, those inside it after it.
fn tables(table: &Value, path: &str, page: &mut Page) {
    let none = Map::new();
    let properties = table["properties"].as_object().unwrap_or(&none);
    let (options, inner): (Vec<_>, Vec<_>) =
        properties.iter().partition(|(_, option)| table_in(option).is_none());
    if !path.is_empty() {
        page.line(&format!(".SH \"[{}]\"", escaped(path)));
        if let Some(text) = table["description"].as_str() {
            page.text(text);
        }
        for (name, option) in options {
            page.option(name, option);
        }
    }
    for (name, option) in inner {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        if let Some(inner) = table_in(option) {
            tables(inner, &path, page);
        }
    }
    let named = [("additionalProperties", "NAME"), ("patternProperties", "above_200k")];
    for (which, name) in named {
        let entry = match which {
            "patternProperties" => table[which].as_object().and_then(|each| each.values().next()),
            _ => Some(&table[which]),
        };
        if let Some(inner) = entry.and_then(table_in) {
            tables(inner, &format!("{path}.{name}"), page);
        }
    }
}

/// The table that an option is, or may be, or is a list of.
fn table_in(option: &Value) -> Option<&Value> {
    let is_table = |value: &&Value| value["type"] == "object";
    let candidates = [Some(option), option.get("items"), option["anyOf"].get(1)];
    candidates.into_iter().flatten().find(is_table)
}

/// A page in the language of man.
#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn text(&mut self, text: &str) {
        self.line(&escaped(text));
    }

    fn option(&mut self, name: &str, option: &Value) {
        self.line(".TP");
        self.line(&format!(".B {}", escaped(name)));
        let mut said: Vec<String> = Vec::new();
        said.extend(option["description"].as_str().map(str::to_owned));
        if let Some(words) = option["enum"].as_array() {
            let words: Vec<_> = words.iter().filter_map(Value::as_str).collect();
            said.push(format!("One of {}.", words.join(", ")));
        }
        if let (Some(least), Some(most)) = (option["minimum"].as_u64(), option["maximum"].as_u64())
        {
            said.push(format!("From {least} to {most}."));
        }
        if let Some(value) = option.get("default") {
            said.push(format!("Default: {value}"));
        } else if let Some(value) = option["examples"].get(0) {
            said.push(format!("Example: {value}"));
        }
        self.text(&said.join(" "));
    }
}

/// Text that means nothing else to man.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_the_file_has_every_table_and_option() {
        let page = configuration();
        for words in [
            ".SH \"[server]\"",
            ".SH \"[providers.NAME]\"",
            ".SH \"[models.NAME.price]\"",
            ".SH \"[models.NAME.price.above_200k]\"",
            ".SH \"[models.NAME.targets]\"",
            ".B shutdown_deadline",
            "Default: \"127.0.0.1:8080\"",
            "One of ask, always, never.",
        ] {
            assert!(page.contains(words), "{words}\n{page}");
        }
    }

    #[test]
    fn what_begins_like_a_request_is_text() {
        assert_eq!(escaped(".a -b \\c"), "\\&.a \\-b \\ec");
    }
}
