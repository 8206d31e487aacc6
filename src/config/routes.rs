//! How a model name finds the places that serve it: exact names and aliases first, then wildcards,
//! then the default provider; a route's own targets first, then those of the models it falls back on.
//!
//! Pure: a function of the names in the configuration and the name that was asked for. Which of the
//! places takes a call is not decided here.

use std::borrow::Cow;
use std::sync::Arc;

use super::model::{Provider, Timeouts};
use crate::domain::pattern::Pattern;
use crate::domain::price::Pricing;
use crate::map::Map;

/// A name that clients may ask for, and where calls for it go.
#[derive(Clone, Debug)]
pub struct Route {
    pub pattern: Pattern,
    /// Other names for it; none where the pattern has a `*`.
    pub aliases: Vec<Arc<str>>,
    /// Never empty; by their `order`.
    pub targets: Vec<Target>,
    /// Names of models whose targets come after all of these.
    pub fallbacks: Vec<Arc<str>>,
    /// The most tokens that the model can answer with.
    pub max_output_tokens: Option<u64>,
    /// `None`: the price catalogue decides.
    pub price: Option<Arc<Pricing>>,
}

/// One place a route leads to.
#[derive(Clone, Debug)]
pub struct Target {
    pub provider: Arc<Provider>,
    /// The name the provider is asked for, in which a `*` is what the route's `*` stood for.
    pub model: Option<String>,
    /// Those with a lower one are tried first.
    pub order: u64,
    /// Its share of the calls among those of the same order; never zero.
    pub weight: u64,
    /// Those of the provider, unless the target has its own.
    pub timeouts: Timeouts,
    /// In place of the route's.
    pub max_output_tokens: Option<u64>,
    /// In place of the route's.
    pub price: Option<Arc<Pricing>>,
}

/// What was found for a name: the place that comes first.
#[derive(Clone, Debug)]
pub struct RouteMatch<'a> {
    pub provider: &'a Arc<Provider>,
    pub upstream_model: Cow<'a, str>,
    /// Absent where the default provider takes a name that no route has.
    pub route: Option<&'a Route>,
}

/// A place that a call for a name can go to.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    pub provider: &'a Arc<Provider>,
    pub upstream_model: Cow<'a, str>,
    /// Those of a lower rank are tried first.
    pub rank: (usize, u64),
    pub weight: u64,
    pub timeouts: Timeouts,
    pub max_output_tokens: Option<u64>,
    pub price: Option<&'a Arc<Pricing>>,
}

/// All routes, ready to be looked up.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// In the order of the file.
    list: Vec<Route>,
    by_name: Map<Arc<str>, usize>,
    /// Those with a `*`, the most exact first.
    wildcards: Vec<usize>,
    default_provider: Option<Arc<Provider>>,
}

impl Routes {
    pub fn new(list: Vec<Route>, default_provider: Option<Arc<Provider>>) -> Self {
        let mut by_name = Map::default();
        let mut wildcards = Vec::new();
        for (index, route) in list.iter().enumerate() {
            if route.pattern.is_exact() {
                by_name.insert(Arc::from(route.pattern.as_str()), index);
            } else {
                wildcards.push(index);
            }
            by_name.extend(route.aliases.iter().map(|alias| (Arc::clone(alias), index)));
        }
        // A stable sort: of two that are as exact as each other, the first in the file is meant.
        wildcards.sort_by_key(|index| std::cmp::Reverse(list[*index].pattern.weight()));
        Self { list, by_name, wildcards, default_provider }
    }

    pub fn find<'a>(&'a self, model: &'a str) -> Option<RouteMatch<'a>> {
        let Some(route) = self.route(model) else {
            let provider = self.default_provider.as_ref()?;
            return Some(RouteMatch {
                provider,
                upstream_model: Cow::Borrowed(model),
                route: None,
            });
        };
        let target = route.targets.first()?;
        let upstream_model = route.upstream_model(target, model);
        Some(RouteMatch { provider: &target.provider, upstream_model, route: Some(route) })
    }

    /// Visits every place that a call for `model` can go to, those of the lowest rank first; none for
    /// a name that leads nowhere.
    pub fn visit<'a>(&'a self, model: &'a str, mut each: impl FnMut(Candidate<'a>)) {
        let Some(route) = self.route(model) else {
            if let Some(provider) = &self.default_provider {
                each(Candidate::plain(provider, model));
            }
            return;
        };
        route.visit(0, model, &mut each);
        for (index, name) in route.fallbacks.iter().enumerate() {
            if let Some(fallback) = self.route(name) {
                fallback.visit(index + 1, name, &mut each);
            }
        }
    }

    /// The route that takes a name.
    pub fn route(&self, model: &str) -> Option<&Route> {
        let named = self.by_name.get(model).copied();
        let found = named.or_else(|| {
            self.wildcards.iter().copied().find(|index| self.list[*index].pattern.matches(model))
        });
        found.map(|index| &self.list[index])
    }

    /// Whether a name is one that the configuration writes out, as a model or as an alias of one.
    pub fn is_written_out(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    pub fn list(&self) -> &[Route] {
        &self.list
    }

    pub const fn default_provider(&self) -> Option<&Arc<Provider>> {
        self.default_provider.as_ref()
    }

    /// Every name without a `*` that clients may ask for, aliases too; in no order.
    pub fn names(&self) -> impl Iterator<Item = (&str, &Route)> {
        self.by_name.iter().map(|(name, index)| (&**name, &self.list[*index]))
    }
}

impl<'a> Candidate<'a> {
    /// A provider that takes a name as it came.
    fn plain(provider: &'a Arc<Provider>, model: &'a str) -> Self {
        Self {
            provider,
            upstream_model: Cow::Borrowed(model),
            rank: (0, 0),
            weight: 1,
            timeouts: provider.timeouts,
            max_output_tokens: None,
            price: None,
        }
    }
}

impl Route {
    fn visit<'a>(&'a self, rank: usize, asked: &'a str, each: &mut impl FnMut(Candidate<'a>)) {
        for target in &self.targets {
            each(Candidate {
                provider: &target.provider,
                upstream_model: self.upstream_model(target, asked),
                rank: (rank, target.order),
                weight: target.weight,
                timeouts: target.timeouts,
                max_output_tokens: target.max_output_tokens.or(self.max_output_tokens),
                price: target.price.as_ref().or(self.price.as_ref()),
            });
        }
    }

    /// The name that `target` is asked for when a client asks for `asked`.
    pub fn upstream_model<'a>(&'a self, target: &'a Target, asked: &'a str) -> Cow<'a, str> {
        let pattern = self.pattern.as_str();
        if self.pattern.is_exact() {
            return Cow::Borrowed(target.model.as_deref().unwrap_or(pattern));
        }
        let matched = self.pattern.capture(asked).unwrap_or(asked);
        match &target.model {
            Some(template) if template.contains('*') => Cow::Owned(template.replace('*', matched)),
            Some(model) => Cow::Borrowed(model),
            // `openai/*` names a provider and then its model; `gpt-*` is the model's own name.
            None if is_prefix(pattern) => Cow::Borrowed(matched),
            None => Cow::Borrowed(asked),
        }
    }
}

/// Whether a pattern is a prefix of names, ending in `/*`, with no other star.
fn is_prefix(pattern: &str) -> bool {
    pattern.strip_suffix("/*").is_some_and(|prefix| !prefix.contains('*'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::ClientGone;
    use crate::provider::address::Layout;
    use crate::provider::kind::{KeyHeader, Kind, StreamUsage};

    fn provider(name: &str) -> Arc<Provider> {
        Arc::new(Provider {
            name: Arc::from(name),
            kind: Kind::Echo,
            base_url: None,
            keys: vec![],
            key_header: KeyHeader::Bearer,
            layout: Layout::Plain,
            aws: None,
            stream_usage: StreamUsage::Ask,
            headers: vec![],
            api_version: None,
            timeouts: Timeouts { connect_ms: 1, first_byte_ms: 1, idle_ms: 1, total_ms: 1 },
            max_connections: 1,
            on_client_gone: ClientGone::Cancel,
            prefer_provider_cost: false,
            responses: true,
        })
    }

    fn target(to: &str, model: Option<&str>, order: u64) -> Target {
        let provider = provider(to);
        Target {
            model: model.map(str::to_owned),
            order,
            weight: 1,
            timeouts: provider.timeouts,
            max_output_tokens: None,
            price: None,
            provider,
        }
    }

    fn route(pattern: &str, aliases: &[&str], to: &str, model: Option<&str>) -> Route {
        Route {
            pattern: Pattern::new(pattern).unwrap(),
            aliases: aliases.iter().map(|alias| Arc::from(*alias)).collect(),
            targets: vec![target(to, model, 1)],
            fallbacks: vec![],
            max_output_tokens: None,
            price: None,
        }
    }

    fn routes(default: Option<&str>) -> Routes {
        let list = vec![
            route("*", &[], "any", None),
            route("openai/*", &[], "openai", None),
            route("openai/gpt-*", &[], "azure", Some("dep-*")),
            route("gpt-4o", &["gpt4", "openai/best"], "openai", Some("gpt-4o-2024-08-06")),
            route("gpt-*", &[], "openai", None),
            route("*-mini", &[], "small", Some("one")),
            route("plain", &["simple"], "echo", None),
        ];
        Routes::new(list, default.map(provider))
    }

    #[test]
    fn a_name_finds_the_most_exact_route() {
        let routes = routes(Some("default"));
        for (asked, to, upstream) in [
            ("gpt-4o", "openai", "gpt-4o-2024-08-06"),
            ("gpt4", "openai", "gpt-4o-2024-08-06"),
            ("openai/best", "openai", "gpt-4o-2024-08-06"),
            ("openai/o3", "openai", "o3"),
            ("openai/a/b", "openai", "a/b"),
            ("openai/gpt-5", "azure", "dep-5"),
            ("gpt-5", "openai", "gpt-5"),
            ("gpt-5-mini", "small", "one"),
            ("plain", "echo", "plain"),
            ("simple", "echo", "plain"),
            ("whatever", "any", "whatever"),
        ] {
            let found = routes.find(asked).unwrap();
            assert_eq!((&*found.provider.name, &*found.upstream_model), (to, upstream), "{asked}");
            assert!(found.route.is_some());
        }
    }

    #[test]
    fn the_default_provider_takes_what_no_route_has() {
        let only = || vec![route("a", &[], "echo", None)];
        let routes = Routes::new(only(), Some(provider("default")));
        let found = routes.find("b").unwrap();
        assert_eq!((&*found.provider.name, &*found.upstream_model), ("default", "b"));
        assert!(found.route.is_none());
        assert!(Routes::new(only(), None).find("b").is_none());
    }

    #[test]
    fn of_two_as_exact_the_first_is_meant() {
        let list = vec![route("a*", &[], "first", None), route("*a", &[], "second", None)];
        let routes = Routes::new(list, None);
        assert_eq!(&*routes.find("aa").unwrap().provider.name, "first");
    }

    #[test]
    fn a_models_own_targets_come_first_and_then_those_it_falls_back_on() {
        let mut first = route("a", &[], "one", None);
        first.targets.push(target("two", Some("x"), 2));
        first.fallbacks = vec!["b/c".into(), "none".into(), "d".into()];
        first.max_output_tokens = Some(5);
        first.targets[1].max_output_tokens = Some(7);
        let mut last = route("d", &[], "four", None);
        last.fallbacks = vec!["a".into()];
        let list = vec![first, route("b/*", &[], "three", None), last];
        let routes = Routes::new(list, Some(provider("default")));
        let visited = |model| {
            let mut seen = Vec::new();
            routes.visit(model, |found| {
                let name = format!("{}:{}", found.provider.name, found.upstream_model);
                seen.push((name, found.rank, found.max_output_tokens));
            });
            seen
        };
        assert_eq!(
            visited("a"),
            [
                ("one:a".to_owned(), (0, 1), Some(5)),
                ("two:x".to_owned(), (0, 2), Some(7)),
                ("three:c".to_owned(), (1, 1), None),
                ("four:d".to_owned(), (3, 1), None),
            ],
            "what `d` falls back on is its own affair"
        );
        assert_eq!(visited("zzz"), [("default:zzz".to_owned(), (0, 0), None)]);
    }

    #[test]
    fn names_are_those_without_a_star() {
        let routes = routes(None);
        let mut names = routes.names().map(|(name, _)| name).collect::<Vec<_>>();
        names.sort_unstable();
        assert_eq!(names, ["gpt-4o", "gpt4", "openai/best", "plain", "simple"]);
    }
}
