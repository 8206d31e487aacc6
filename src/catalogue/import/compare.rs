//! What an update changes: by the models that it lists, before and after.

use std::collections::BTreeMap;

use crate::catalogue::render::dollars;
use crate::catalogue::{Catalogue, Entry, Prices, bare_name};
use crate::domain::money::Rate;
use crate::domain::price::{Overlay, Price, Pricing, Rates};
use crate::domain::usage::{Class, ServiceTier};

/// A rate of a list, as people read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListLine {
    pub class: Class,
    /// Under which condition; empty for the ordinary rate.
    pub when: String,
    pub rate: Rate,
}

impl ListLine {
    /// Dollars for one of its unit.
    pub fn dollars(&self) -> String {
        dollars(self.class, self.rate)
    }
}

/// Every rate of a list: the ordinary ones, those of variants, those of overlays.
pub fn lines(price: &Price) -> Vec<ListLine> {
    let named = |rates: &Rates, when: &str| {
        let line = |(class, rate)| ListLine { class, when: when.to_owned(), rate };
        rates.named().map(line).collect::<Vec<_>>()
    };
    let mut lines = named(&price.base, "");
    lines.extend(price.variants.iter().map(|variant| ListLine {
        class: variant.class,
        when: variant.to_string(),
        rate: variant.rate,
    }));
    for overlay in &price.overlays {
        lines.extend(named(&overlay.rates, &condition(overlay)));
    }
    lines
}

fn condition(overlay: &Overlay) -> String {
    let size = format!("above {} tokens", overlay.above_input_tokens);
    match (overlay.service, overlay.above_input_tokens) {
        (tier, 0) => tier.name().to_owned(),
        (ServiceTier::Standard, _) => size,
        (tier, _) => format!("{} {size}", tier.name()),
    }
}

/// A model whose price is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub provider: String,
    pub model: String,
    /// One for each rate or limit: `input 2.5 -> 3`.
    pub what: Vec<String>,
}

/// What would be different.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    pub added: Vec<Difference>,
    pub changed: Vec<Difference>,
    /// The update before had a price for it, this one has not.
    pub removed: Vec<Difference>,
    pub unchanged: usize,
}

/// Compares what is in force with what would be if `update` took the place of the present one, or if
/// there were none.
pub fn compare(before: &Prices, update: Option<&Catalogue>) -> Comparison {
    let mut comparison = Comparison::default();
    for entry in update.map(Catalogue::entries).unwrap_or_default() {
        let known = before.at(&entry.provider, name(entry));
        let what = differences(known, Some(entry));
        match known {
            None => comparison.added.push(difference(entry, what)),
            Some(_) if what.is_empty() => comparison.unchanged += 1,
            Some(_) => comparison.changed.push(difference(entry, what)),
        }
    }
    for entry in before.update().map(|before| before.entries()).unwrap_or_default() {
        if update.is_some_and(|update| update.at(&entry.provider, name(entry)).is_some()) {
            continue;
        }
        let left = Catalogue::embedded().at(&entry.provider, name(entry));
        let mut what = differences(Some(entry), left);
        what.insert(
            0,
            match left {
                Some(left) => format!("costs what {} says", left.version),
                None => "has no price any more".to_owned(),
            },
        );
        comparison.removed.push(difference(entry, what));
    }
    comparison
}

fn name(entry: &Entry) -> &str {
    bare_name(&entry.provider, &entry.model).unwrap_or(&entry.model)
}

fn difference(entry: &Entry, what: Vec<String>) -> Difference {
    Difference { provider: entry.provider.to_string(), model: entry.model.to_string(), what }
}

fn differences(before: Option<&Entry>, after: Option<&Entry>) -> Vec<String> {
    let (old, new) = (facts(before), facts(after));
    let keys = old.keys().chain(new.keys().filter(|key| !old.contains_key(*key)));
    let none = "none".to_owned();
    let change = |key: &String| {
        let (old, new) = (old.get(key).unwrap_or(&none), new.get(key).unwrap_or(&none));
        (old != new).then(|| format!("{key} {old} -> {new}"))
    };
    keys.filter_map(change).collect()
}

/// All that an entry says, by name.
fn facts(entry: Option<&Entry>) -> BTreeMap<String, String> {
    let Some(entry) = entry else { return BTreeMap::new() };
    let mut facts = BTreeMap::new();
    let mut tell = |name: &str, value: Option<String>| {
        facts.extend(value.map(|value| (name.to_owned(), value)));
    };
    tell("max_input_tokens", entry.max_input_tokens.map(|tokens| tokens.to_string()));
    tell("max_output_tokens", entry.max_output_tokens.map(|tokens| tokens.to_string()));
    match &*entry.pricing {
        Pricing::Priced(price) => {
            for line in lines(price) {
                let name = format!("{} {}", line.class, line.when);
                tell(name.trim_end(), Some(line.dollars()));
            }
        }
        Pricing::Free | Pricing::Unknown => tell("price", Some(entry.pricing.state().to_owned())),
    }
    facts
}
