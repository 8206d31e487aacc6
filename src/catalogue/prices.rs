//! The prices in force: an update, where there is one, before the edition inside the binary.
//!
//! A value that never changes: who puts other prices in force makes another one, and a call keeps the
//! one that it began with.

use std::sync::Arc;

use super::{Catalogue, Entry, names};
use crate::domain::money::Rate;
use crate::domain::price::{Pricing, Wanted};
use crate::domain::usage::Class;

/// What models cost where the configuration does not say.
#[derive(Clone, Debug, Default)]
pub struct Prices {
    update: Option<Arc<Catalogue>>,
    /// Why the update that is there is not in force.
    trouble: Option<Arc<str>>,
}

impl Prices {
    /// The edition inside the binary alone.
    pub fn embedded() -> Arc<Self> {
        Arc::default()
    }

    pub fn updated(update: Arc<Catalogue>) -> Arc<Self> {
        Arc::new(Self { update: Some(update), trouble: None })
    }

    /// The edition inside the binary, because the update cannot be read.
    pub fn troubled(why: impl Into<Arc<str>>) -> Arc<Self> {
        Arc::new(Self { update: None, trouble: Some(why.into()) })
    }

    pub fn update(&self) -> Option<&Arc<Catalogue>> {
        self.update.as_ref()
    }

    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Finds a model by the rules at the head of [`super`]. By each of its names the update is asked
    /// first: a price that is exactly this model's goes before one of a namesake, however new.
    pub fn find(&self, provider: &str, model: &str) -> Option<&Entry> {
        names(provider, model).find_map(|(provider, model)| self.at(provider, model))
    }

    /// The dearest rate of what is sold by the piece, and the model that has it: among those of a
    /// provider where any has one, else among all. `None` for tokens, which every list prices.
    pub fn dearest(&self, provider: Option<&str>, class: Class) -> Option<(Rate, Arc<str>)> {
        if class.is_token() {
            return None;
        }
        let update = self.update.as_deref().map_or(&[][..], Catalogue::entries);
        let all = || update.iter().chain(Catalogue::embedded().entries());
        let own = all().filter(|entry| Some(&*entry.provider) == provider);
        let entry = dearest(own, class).or_else(|| dearest(all(), class));
        entry.map(|(rate, entry)| (rate, Arc::from(&*entry.model)))
    }

    /// The entry that is listed under exactly this provider and name.
    pub(super) fn at(&self, provider: &str, model: &str) -> Option<&Entry> {
        let update = self.update.as_deref().and_then(|update| update.at(provider, model));
        update.or_else(|| Catalogue::embedded().at(provider, model))
    }
}

fn dearest<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    class: Class,
) -> Option<(Rate, &'a Entry)> {
    let rate = |entry: &'a Entry| match &*entry.pricing {
        Pricing::Priced(price) => {
            let rate = price.dearest_piece(class, u64::MAX, &Wanted::default());
            (rate > Rate::ZERO).then_some((rate, entry))
        }
        Pricing::Free | Pricing::Unknown => None,
    };
    entries.filter_map(rate).max_by_key(|(rate, _)| *rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn updated(lines: &str) -> Arc<Prices> {
        let count = lines.lines().count();
        let text = format!("conduit-prices 2 update 2026-11-23 x\n{lines}end {count}\n");
        Prices::updated(Arc::new(Catalogue::parse(&text).unwrap()))
    }

    #[test]
    fn an_update_goes_before_the_edition_inside_and_only_for_what_it_lists() {
        let prices = updated("openai gpt-4o 1 2 free\nacme rocket - - input=1 output=2\n");
        let found = prices.find("openai", "gpt-4o").unwrap();
        assert_eq!((&*found.pricing, &*found.version), (&Pricing::Free, "update 2026-11-23 x"));
        assert!(prices.find("acme", "rocket").is_some());
        let other = prices.find("openai", "gpt-4o-mini").unwrap();
        assert_eq!(&*other.version, "catalogue 2026-11");
        assert!(Prices::embedded().find("acme", "rocket").is_none());
    }

    #[test]
    fn the_dearest_of_a_provider_goes_before_that_of_all() {
        let lines = "acme dear - - web_search=0.25\nacme rocket - - web_search=0.5 input=1\n";
        let prices = updated(lines);
        let dearest = |provider, class| {
            let (rate, model) = prices.dearest(provider, class)?;
            Some((rate.to_string(), model.to_string()))
        };
        let own = dearest(Some("acme"), Class::WebSearch);
        assert_eq!(own, Some(("500000.00".to_owned(), "rocket".to_owned())));
        assert_eq!(dearest(Some("nobody"), Class::WebSearch), own, "there is no dearer one");
        for class in Class::ALL {
            let known = Prices::embedded().dearest(Some("acme"), class).is_some();
            assert_eq!(known, !class.is_token(), "{class}");
        }
    }

    #[test]
    fn an_exact_name_inside_goes_before_a_namesake_of_the_update() {
        let prices = updated("azure_ai gpt-4o 1 2 free\n");
        let found = prices.find("azure", "gpt-4o").unwrap();
        assert_eq!(&*found.provider, "azure");
    }
}
