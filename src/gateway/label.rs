//! How a model is called where calls are counted: by a name that the configuration or the price list has,
//! never by one that a client made up, of which there is no end.

use std::sync::Arc;

use crate::config::Config;
use crate::metrics::OTHER;

/// What a client's name for a model that `provider` knows as `upstream_model` is called: the name itself
/// where it is written out in the configuration; where it is not, the name that the price list has for
/// it, or else the wildcard that took it, or `other`.
pub fn label(config: &Config, provider: &str, model: &str, upstream_model: &str) -> Arc<str> {
    if config.routes.is_written_out(model) {
        return Arc::from(model);
    }
    let catalogue = config.provider(provider).and_then(|found| found.kind.preset().catalogue);
    let listed = catalogue.and_then(|catalogue| config.prices.find(catalogue, upstream_model));
    if let Some(listed) = listed {
        return Arc::from(&*listed.model);
    }
    config.routes.route(model).map_or(OTHER, |route| route.pattern.as_str()).into()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Secrets, check};

    #[test]
    fn a_name_that_nobody_wrote_down_is_no_label() {
        let text = "[providers.a]\nkind = \"openai\"\napi_key_env = \"A\"\n\
                    [providers.echo]\nkind = \"echo\"\n\
                    [models.mine]\nprovider = \"a\"\nmodel = \"gpt-4o\"\naliases = [\"yours\"]\n\
                    [models.\"a/*\"]\nprovider = \"a\"\nmodel = \"*\"\n\
                    [routing]\ndefault_provider = \"echo\"\n";
        let config = check(Path::new("conduit.toml"), text, &|_| None, Secrets::Skip).unwrap();
        for (provider, model, upstream, expected) in [
            ("a", "mine", "gpt-4o", "mine"),
            ("a", "yours", "gpt-4o", "yours"),
            ("a", "a/gpt-4o", "gpt-4o", "gpt-4o"),
            (
                "a",
                "a/ft:gpt-4o-2024-08-06:me::x1",
                "ft:gpt-4o-2024-08-06:me::x1",
                "ft:gpt-4o-2024-08-06",
            ),
            ("a", "a/made-up", "made-up", "a/*"),
            ("echo", "made-up", "made-up", "other"),
            ("gone", "made-up", "made-up", "other"),
        ] {
            assert_eq!(&*label(&config, provider, model, upstream), expected, "{model}");
        }
    }
}
