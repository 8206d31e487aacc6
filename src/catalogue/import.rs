//! Makes an update of the prices from a file in which others keep them: `LiteLLM`'s price map, or
//! models.dev's `api.json`. The rules of price are those of `packaging/catalogue/make.py`.
//!
//! A model is taken whole or not at all: where one of its figures cannot be read it is named with the
//! reason, and costs what it did. Zero is not believed to be a price, figures never pass through a
//! float, and no file, whatever is in it, makes the reader panic.

mod compare;
mod figure;
mod litellm;
mod models_dev;
mod rules;
mod schema;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::value::RawValue;

pub use compare::{Comparison, Difference, ListLine, compare, lines};
pub use schema::schema;

use super::{Catalogue, Entry, bare_name, render};

/// The ids of providers that a route can reach. Of all others nothing is kept.
const REACHED: [&str; 33] = [
    "anthropic",
    "azure",
    "azure_ai",
    "bedrock",
    "bedrock_converse",
    "cerebras",
    "codestral",
    "cohere",
    "cohere_chat",
    "dashscope",
    "deepinfra",
    "deepseek",
    "fireworks_ai",
    "gemini",
    "groq",
    "hyperbolic",
    "minimax",
    "mistral",
    "moonshot",
    "nvidia_nim",
    "ollama",
    "openai",
    "openrouter",
    "perplexity",
    "sambanova",
    "text-completion-openai",
    "together_ai",
    "vertex_ai",
    "vertex_ai-anthropic_models",
    "vertex_ai-language-models",
    "voyage",
    "xai",
    "zai",
];
/// The longest name of a model.
const LONGEST_NAME: usize = 256;

/// An object of a file: its members as the text they are written in.
type Members<'a> = BTreeMap<String, &'a RawValue>;

/// How a file is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    LiteLlm,
    ModelsDev,
}

impl Layout {
    pub const fn name(self) -> &'static str {
        match self {
            Self::LiteLlm => "litellm",
            Self::ModelsDev => "models.dev",
        }
    }
}

/// Why a file is no source of prices.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("the file is not a JSON object: {0}")]
    NotJson(serde_json::Error),
    #[error(
        "the file is neither LiteLLM's price map, whose models have a `litellm_provider`, nor \
         models.dev's api.json, whose providers have `models`"
    )]
    Layout,
    #[error("no model in the file has a price that can be used")]
    Nothing,
}

/// A model that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// As the file names it.
    pub name: String,
    pub reason: String,
}

/// What became of one model of a file.
enum Outcome {
    Taken(Entry),
    /// It has something in it that cannot be read.
    Unreadable(String),
    /// It is nothing that the gateway could sell.
    LeftOut(String),
}

/// What a file came to.
#[derive(Debug)]
pub struct Import {
    pub layout: Layout,
    pub catalogue: Catalogue,
    /// The update in the catalogue's format, which is what is kept.
    pub text: String,
    pub unreadable: Vec<Refused>,
    /// Why others were left out, and how many.
    pub left_out: BTreeMap<String, usize>,
}

/// What is gathered while a file is read.
#[derive(Default)]
struct Gathered {
    entries: Vec<Entry>,
    unreadable: Vec<Refused>,
    left_out: BTreeMap<String, usize>,
}

impl Gathered {
    fn add(&mut self, name: &str, outcome: Outcome) {
        match outcome {
            Outcome::Taken(entry) if !is_name(&entry.model) => {
                self.refuse(name, "its name cannot be that of a model");
            }
            Outcome::Taken(entry) => self.entries.push(entry),
            Outcome::Unreadable(reason) => self.refuse(name, reason),
            Outcome::LeftOut(reason) => self.leave_out(reason),
        }
    }

    fn refuse(&mut self, name: &str, reason: impl Into<String>) {
        let name = name.chars().take(LONGEST_NAME).collect();
        self.unreadable.push(Refused { name, reason: reason.into() });
    }

    fn leave_out(&mut self, reason: impl Into<String>) {
        *self.left_out.entry(reason.into()).or_default() += 1;
    }

    /// The models by provider and name, each once: of two spellings of a name the plain one stays.
    fn into_entries(mut self) -> (Vec<Entry>, Vec<Refused>, BTreeMap<String, usize>) {
        let is_bare = |entry: &Entry| bare_name(&entry.provider, &entry.model).is_none();
        self.entries.sort_by_key(|entry| !is_bare(entry));
        let mut seen = HashSet::new();
        self.entries.retain(|entry| {
            let bare = bare_name(&entry.provider, &entry.model).unwrap_or(&entry.model);
            seen.insert((entry.provider.clone(), Box::<str>::from(bare)))
        });
        let key = |entry: &Entry| (entry.provider.clone(), entry.model.clone());
        self.entries.sort_by_cached_key(key);
        (self.entries, self.unreadable, self.left_out)
    }
}

/// Reads a file. `date` is when: it names the update, together with what is in the file.
pub fn read(text: &str, date: &str) -> Result<Import, ImportError> {
    let root: Members<'_> = serde_json::from_str(text).map_err(ImportError::NotJson)?;
    let layout = layout(&root).ok_or(ImportError::Layout)?;
    let digest = blake3::hash(text.as_bytes()).to_hex();
    let digest = digest.get(..8).unwrap_or_default();
    let edition: Arc<str> = format!("update {date} {} {digest}", layout.name()).into();
    let mut gathered = Gathered::default();
    match layout {
        Layout::LiteLlm => litellm::read(&root, &edition, &mut gathered),
        Layout::ModelsDev => models_dev::read(&root, &edition, &mut gathered),
    }
    let (entries, unreadable, left_out) = gathered.into_entries();
    let text = render::text(&edition, &entries);
    // What is kept is what will be read: nothing else is ever put in force.
    let catalogue = Catalogue::parse(&text).map_err(|_| ImportError::Nothing)?;
    if catalogue.entries().is_empty() {
        return Err(ImportError::Nothing);
    }
    Ok(Import { layout, catalogue, text, unreadable, left_out })
}

fn layout(root: &Members<'_>) -> Option<Layout> {
    root.values().filter_map(|value| members(value)).find_map(|entry| {
        if entry.contains_key("litellm_provider") {
            Some(Layout::LiteLlm)
        } else if entry.get("models").is_some_and(|models| members(models).is_some()) {
            Some(Layout::ModelsDev)
        } else {
            None
        }
    })
}

fn members(value: &RawValue) -> Option<Members<'_>> {
    serde_json::from_str(value.get()).ok()
}

fn text_of(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// Whether a word can stand in a line of the catalogue.
fn is_name(text: &str) -> bool {
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '|' && c != '#';
    (1..=LONGEST_NAME).contains(&text.len()) && text.chars().all(is_plain)
}
