//! The prices in force: an update, where there is one, before the edition inside the binary.
//!
//! A value that never changes: who puts other prices in force makes another one, and a call keeps the
//! one that it began with.

use std::sync::Arc;

use super::{Catalogue, Entry, names};

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

    /// The entry that is listed under exactly this provider and name.
    pub(super) fn at(&self, provider: &str, model: &str) -> Option<&Entry> {
        let update = self.update.as_deref().and_then(|update| update.at(provider, model));
        update.or_else(|| Catalogue::embedded().at(provider, model))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::price::Pricing;

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
    fn an_exact_name_inside_goes_before_a_namesake_of_the_update() {
        let prices = updated("azure_ai gpt-4o 1 2 free\n");
        let found = prices.find("azure", "gpt-4o").unwrap();
        assert_eq!(&*found.provider, "azure");
    }
}
