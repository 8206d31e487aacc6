//! What models cost, as far as it is known.

use super::Check;
use crate::cli::check::unpriced;
use crate::config::Config;

pub(super) fn checks(config: &Config) -> Vec<Check> {
    let warnings = unpriced(config);
    if warnings.is_empty() {
        return vec![Check::good("prices", "every model has one")];
    }
    let advice = "set `price` where keys with a limit are to use it; \
                  `conduit admin prices update` brings a newer catalogue";
    warnings.into_iter().map(|warning| Check::warning("prices", warning, advice)).collect()
}
