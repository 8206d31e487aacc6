//! Providers and models that were found, and the text of a configuration that has them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::Plan;

/// A provider that targets share. Two that differ in anything are two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Provider {
    pub(super) kind: &'static str,
    pub(super) base_url: Option<String>,
    pub(super) api_version: Option<String>,
    pub(super) region: Option<String>,
    pub(super) keys: Vec<Key>,
    /// Amazon's, in the order id, secret, session.
    pub(super) aws: Vec<(&'static str, Key)>,
    pub(super) headers: Vec<(String, String)>,
}

/// Where a provider's key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Variable(String),
    /// It stood in the file.
    Plain(String),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Target {
    pub(super) provider: Provider,
    /// What providers of no name of their own are called after.
    pub(super) wish: String,
    pub(super) model: Option<String>,
    pub(super) weight: Option<u64>,
    pub(super) order: Option<u64>,
    pub(super) total_timeout: Option<String>,
    pub(super) first_byte_timeout: Option<String>,
    pub(super) max_output_tokens: Option<u64>,
    /// Dollars per million, by the name of the class.
    pub(super) price: Vec<(&'static str, String)>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) name: String,
    pub(super) targets: Vec<Target>,
    pub(super) aliases: Vec<String>,
    pub(super) fallbacks: Vec<String>,
}

/// A configuration in the making.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) models: Vec<Model>,
    /// Options of `[routing]` and `[defaults]`, as they are written.
    pub(super) routing: Vec<(&'static str, String)>,
    pub(super) defaults: Vec<(&'static str, String)>,
    providers: Vec<(String, Provider)>,
}

impl Layout {
    /// The model of a name, which is made where it is not there.
    pub(super) fn model(&mut self, name: &str) -> &mut Model {
        let place = self.models.iter().position(|model| model.name == name);
        let place = place.unwrap_or_else(|| {
            self.models.push(Model { name: name.to_owned(), ..Model::default() });
            self.models.len() - 1
        });
        &mut self.models[place]
    }

    pub(super) fn find(&mut self, name: &str) -> Option<&mut Model> {
        self.models.iter_mut().find(|model| model.name == name)
    }

    /// The name under which a provider stands, old or new.
    fn name_of(&mut self, target: &Target) -> String {
        if let Some((name, _)) = self.providers.iter().find(|(_, p)| *p == target.provider) {
            return name.clone();
        }
        let slug = slug(&target.wish);
        let is_taken = |name: &String| self.providers.iter().any(|(other, _)| other == name);
        let mut names = (1..).map(|n| if n == 1 { slug.clone() } else { format!("{slug}-{n}") });
        let name = names.find(|name| !is_taken(name)).unwrap_or(slug);
        self.providers.push((name.clone(), target.provider.clone()));
        name
    }

    /// The text, with what comes beside it, in `plan`.
    pub(super) fn write(mut self, from: &str, plan: &mut Plan) {
        let models = std::mem::take(&mut self.models);
        let mut body = String::new();
        for model in models.iter().filter(|model| !model.targets.is_empty()) {
            self.write_model(model, &mut body);
            plan.models += 1;
        }
        let mut text = format!("# Imported from {from}.\n");
        for (section, options) in [("defaults", &self.defaults), ("routing", &self.routing)] {
            if !options.is_empty() {
                let _ = write!(text, "\n[{section}]\n");
                for (name, value) in options {
                    let _ = writeln!(text, "{name} = {value}");
                }
            }
        }
        let mut variables = BTreeSet::new();
        for (name, provider) in &self.providers {
            write_provider(name, provider, &mut text, &mut variables, &mut plan.secrets);
        }
        if self.providers.is_empty() {
            // A configuration needs one, and this one needs nothing.
            text.push_str("\n[providers.echo]\nkind = \"echo\"\n");
        }
        plan.providers = self.providers.len();
        plan.variables = variables.into_iter().collect();
        plan.config = text + &body;
    }

    fn write_model(&mut self, model: &Model, text: &mut String) {
        let _ = write!(text, "\n[models.{}]\n", quoted(&model.name));
        if let [only] = model.targets.as_slice()
            && only.order.is_none()
            && only.total_timeout.is_none()
            && only.first_byte_timeout.is_none()
        {
            let _ = writeln!(text, "provider = {}", quoted(&self.name_of(only)));
            if let Some(upstream) = only.model.as_ref().filter(|name| **name != model.name) {
                let _ = writeln!(text, "model = {}", quoted(upstream));
            }
            write_facts(only, "\n", text);
        } else {
            text.push_str("targets = [\n");
            for target in &model.targets {
                let mut row = format!("    {{ provider = {}", quoted(&self.name_of(target)));
                if let Some(upstream) = target.model.as_ref().filter(|name| **name != model.name) {
                    let _ = write!(row, ", model = {}", quoted(upstream));
                }
                let numbers = [("weight", target.weight), ("order", target.order)];
                for (name, number) in numbers {
                    if let Some(number) = number {
                        let _ = write!(row, ", {name} = {number}");
                    }
                }
                let lengths = [
                    ("total_timeout", &target.total_timeout),
                    ("first_byte_timeout", &target.first_byte_timeout),
                ];
                for (name, length) in lengths {
                    if let Some(length) = length {
                        let _ = write!(row, ", {name} = {}", quoted(length));
                    }
                }
                write_facts(target, ", ", &mut row);
                let _ = writeln!(text, "{row} }},");
            }
            text.push_str("]\n");
        }
        for (name, list) in [("aliases", &model.aliases), ("fallbacks", &model.fallbacks)] {
            if !list.is_empty() {
                let _ = writeln!(text, "{name} = {}", quoted_list(list));
            }
        }
    }
}

fn write_facts(target: &Target, between: &str, text: &mut String) {
    let mut facts = Vec::new();
    facts.extend(target.max_output_tokens.map(|most| format!("max_output_tokens = {most}")));
    if !target.price.is_empty() {
        let rates: Vec<_> =
            target.price.iter().map(|(name, rate)| format!("{name} = {}", quoted(rate))).collect();
        facts.push(format!("price = {{ {} }}", rates.join(", ")));
    }
    for fact in facts {
        if between == "\n" {
            text.push_str(&fact);
            text.push('\n');
        } else {
            text.push_str(between);
            text.push_str(&fact);
        }
    }
}

fn write_provider(
    name: &str,
    provider: &Provider,
    text: &mut String,
    variables: &mut BTreeSet<String>,
    secrets: &mut Vec<(String, String)>,
) {
    let _ = write!(text, "\n[providers.{}]\nkind = {}\n", quoted(name), quoted(provider.kind));
    let options = [
        ("base_url", &provider.base_url),
        ("api_version", &provider.api_version),
        ("region", &provider.region),
    ];
    for (option, value) in options {
        if let Some(value) = value {
            let _ = writeln!(text, "{option} = {}", quoted(value));
        }
    }
    let mut place = |option: &str, keys: &[&Key], file: &str, text: &mut String| {
        let mut named = Vec::new();
        let mut is_file = false;
        for (index, key) in keys.iter().enumerate() {
            match key {
                Key::Variable(variable) => {
                    variables.insert(variable.clone());
                    named.push(variable.clone());
                }
                Key::Plain(secret) => {
                    let number =
                        if keys.len() > 1 { format!("-{}", index + 1) } else { String::new() };
                    let file = format!("{file}{number}");
                    named.push(format!("credentials/{file}"));
                    secrets.push((file, secret.clone()));
                    is_file = true;
                }
            }
        }
        let which = if is_file { "file" } else { "env" };
        let value = match named.as_slice() {
            [] => return,
            [only] => quoted(only),
            several => quoted_list(several),
        };
        let _ = writeln!(text, "{option}_{which} = {value}");
    };
    let keys: Vec<&Key> = provider.keys.iter().collect();
    place("api_key", &keys, name, text);
    for (option, key) in &provider.aws {
        place(option, &[key], &format!("{name}-{}", option.replace('_', "-")), text);
    }
    if !provider.headers.is_empty() {
        let each = provider.headers.iter();
        let each: Vec<_> =
            each.map(|(name, value)| format!("{} = {}", quoted(name), quoted(value))).collect();
        let _ = writeln!(text, "headers = {{ {} }}", each.join(", "));
    }
}

/// A text in TOML: what JSON writes is one, but for one character that neither needs.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text.replace('\u{7f}', "")).to_string()
}

fn quoted_list(list: &[String]) -> String {
    let each: Vec<_> = list.iter().map(|text| quoted(text)).collect();
    format!("[{}]", each.join(", "))
}

/// A name that needs no quotes.
pub(super) fn slug(text: &str) -> String {
    let mut slug = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug: String = slug.trim_end_matches('-').chars().take(40).collect();
    if slug.is_empty() { "provider".to_owned() } else { slug }
}
