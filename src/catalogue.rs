//! What known models cost, and their limits: the edition inside the binary, as of a month, and updates
//! that an administrator reads from the files in which others keep prices.
//!
//! Both are defaults. They are made from second-hand facts, so the configuration goes before them, and
//! a receipt says which edition priced it. It must never guess: a model it does not list by name has
//! no price, and a price that is not known is [`Pricing::Unknown`], never zero.
//!
//! The text is `catalogue/prices.txt`, one model per line, made by `packaging/catalogue/make.py`,
//! where its format and the rules of price are written down; `format` reads it. `import` makes an
//! update in the same format by the same rules, `saved` keeps it in a file, and [`Prices`] is what is
//! in force of both.
//!
//! # How a model is found
//!
//! By the provider's id in the catalogue and the exact name that the provider's own API uses, case
//! and all. In this order:
//!
//! 1. The name as it is. The source writes many names with the provider in front
//!    (`groq/whisper-large-v3`, `azure/gpt-4o`); that is not part of the name.
//! 2. The name without the provider in front, for who writes it as the source does.
//! 3. Either, under the other ids that the source files the same provider under: `vertex_ai` goes on
//!    to its language and Anthropic models, `azure` to `azure_ai`, `openai` to its old completions,
//!    `cohere` to its chat, `bedrock` to its converse.
//! 4. All of that for the provider's other spelling of the name, where the provider itself defines
//!    the two as one: Gemini's `models/…`, Ollama's `…:latest`, and `openai`'s
//!    `ft:<model>:<whose>`, which costs what `ft:<model>` costs.
//!
//! No date or `-latest` is ever dropped, and `azure` never falls back to `openai`: a snapshot may
//! cost more than its namesake, and Azure charges a tenth more for some models, so either could bill
//! too little. The risk taken instead is that a new snapshot has no price until the configuration
//! gives it one, and a limited key is refused it.

mod format;
pub mod import;
mod prices;
mod render;
pub mod saved;

use std::iter;
use std::sync::{Arc, OnceLock};

use crate::domain::price::Pricing;
use crate::map::Map;

pub use format::{FormatError, LineError};
pub use prices::Prices;

/// A model as the catalogue lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The provider's id at the source, which may be more exact than the one asked for.
    pub provider: Box<str>,
    /// The model's id at the source.
    pub model: Box<str>,
    pub max_input_tokens: Option<u64>,
    pub max_output_tokens: Option<u64>,
    pub pricing: Arc<Pricing>,
    /// The edition, as receipts name it: `catalogue 2026-11`.
    pub version: Arc<str>,
}

/// One edition of the price list.
#[derive(Debug, Default)]
pub struct Catalogue {
    version: Arc<str>,
    /// In the order of the text.
    entries: Vec<Entry>,
    /// Provider id, then the API's own name of the model, to a place in `entries`.
    places: Map<Box<str>, Map<Box<str>, usize>>,
}

impl Catalogue {
    /// The edition inside the binary, read once.
    ///
    /// A text that could not be read would give an empty catalogue, in which every price is unknown;
    /// a test reads it, so a release can't carry one.
    pub fn embedded() -> &'static Self {
        static EMBEDDED: OnceLock<Catalogue> = OnceLock::new();
        EMBEDDED
            .get_or_init(|| Self::parse(include_str!("catalogue/prices.txt")).unwrap_or_default())
    }

    /// Reads an edition.
    ///
    /// # Errors
    /// [`FormatError`] names the first line that is not of the format.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let (version, lines) = format::open(text)?;
        let mut catalogue = Self { version, ..Self::default() };
        for (number, line) in lines {
            let entry = format::entry(line, &catalogue.version);
            entry
                .and_then(|entry| catalogue.add(entry))
                .map_err(|reason| FormatError::Line { number, reason })?;
        }
        if !format::is_whole(text, catalogue.entries.len()) {
            return Err(FormatError::CutOff(catalogue.entries.len()));
        }
        Ok(catalogue)
    }

    fn add(&mut self, entry: Entry) -> Result<(), LineError> {
        let name = bare_name(&entry.provider, &entry.model).unwrap_or(&entry.model);
        let models = self.places.entry(entry.provider.clone()).or_default();
        if models.insert(name.into(), self.entries.len()).is_some() {
            return Err(LineError::ModelTwice(entry.model.into()));
        }
        self.entries.push(entry);
        Ok(())
    }

    /// The edition, as receipts name it: `catalogue 2026-11`.
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// Every model, by provider and name.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Finds a model by the rules at the head of this module.
    pub fn find(&self, provider: &str, model: &str) -> Option<&Entry> {
        names(provider, model).find_map(|(provider, model)| self.at(provider, model))
    }

    fn at(&self, provider: &str, model: &str) -> Option<&Entry> {
        let models = self.places.get(provider)?;
        let place = models.get(model).or_else(|| models.get(bare_name(provider, model)?))?;
        self.entries.get(*place)
    }
}

/// The names that a model can be listed under, the most exact first.
fn names<'a>(provider: &'a str, model: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let spellings = [Some(model), other_spelling(provider, model)].into_iter().flatten();
    spellings.flat_map(move |model| {
        let ids = iter::once(provider).chain(other_ids(provider).iter().copied());
        ids.map(move |id| (id, model))
    })
}

/// The ids that the source files more of a provider's models under.
fn other_ids(provider: &str) -> &'static [&'static str] {
    match provider {
        "openai" => &["text-completion-openai"],
        "azure" => &["azure_ai"],
        "cohere" => &["cohere_chat"],
        "bedrock" => &["bedrock_converse"],
        "vertex_ai" => &["vertex_ai-language-models", "vertex_ai-anthropic_models"],
        _ => &[],
    }
}

/// The name without the provider in front, if it has it there.
fn bare_name<'a>(provider: &str, model: &'a str) -> Option<&'a str> {
    let prefix = if provider.starts_with("vertex_ai-") { "vertex_ai" } else { provider };
    model.strip_prefix(prefix)?.strip_prefix('/')
}

/// The spelling that the catalogue uses for a name that the provider defines as the same.
fn other_spelling<'a>(provider: &str, model: &'a str) -> Option<&'a str> {
    match provider {
        "gemini" => model.strip_prefix("models/"),
        "ollama" => model.strip_suffix(":latest"),
        "openai" => {
            let base = model.strip_prefix("ft:")?.split(':').next()?;
            model.get(..base.len().saturating_add("ft:".len()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod facts_tests;
#[cfg(test)]
mod tests;
