//! What the first commands have in common: a small configuration to begin with, and how the program is
//! called in what they print.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use super::{Exit, Failure};
use crate::config::process_environment;
use crate::provider::kind::{Kind, PRESETS, Preset};

/// This program as it was called, so that what is shown can be pasted: it may not be in the PATH.
pub(super) fn program() -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    let called = std::env::args().next().filter(|name| name.chars().all(is_plain));
    called.filter(|name| !name.is_empty()).unwrap_or_else(|| "conduit".to_owned())
}

/// Writes a small configuration where there is none, in a folder that is its owner's if it is new.
pub(super) fn write_config(path: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        let exit = if error.kind() == std::io::ErrorKind::PermissionDenied {
            Exit::NotPermitted
        } else {
            Exit::Failed
        };
        Failure::new(exit, format!("{} cannot be made: {error}", path.display()))
    };
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        builder.create(folder).map_err(failed)?;
    }
    let mut file = fs::File::create_new(path).map_err(failed)?;
    let has = |preset: &&Preset| {
        preset.key_variable.and_then(process_environment).is_some_and(|key| !key.trim().is_empty())
            && preset.base_url.is_some()
    };
    let found: Vec<_> = PRESETS.iter().filter(has).collect();
    file.write_all(config_text(&found).as_bytes()).map_err(failed)
}

/// A small configuration with the built-in provider and those whose key is at hand.
fn config_text(found: &[&Preset]) -> String {
    let mut text = String::from(
        "# Conduit's configuration. Save a change and it is in force; a mistake leaves the last good\n\
         # version in force and is shown in the log and in the dashboard.\n\
         # Every option is explained by `conduit check --example`.\n\
         \n\
         [server]\n\
         listen = \"127.0.0.1:8080\"\n\
         \n\
         [store]\n\
         path = \"conduit.redb\"\n\
         \n\
         [admin]\n\
         socket = \"admin.sock\"\n\
         \n\
         # Answers by itself, so that everything can be tried with no account anywhere. Its price is\n\
         # made up, so that spending can be seen to move.\n\
         [providers.echo]\n\
         kind = \"echo\"\n\
         \n\
         [models.echo]\n\
         provider = \"echo\"\n\
         price = { input = 1.00, output = 2.00 }\n",
    );
    for preset in found.iter().filter(|preset| preset.kind != Kind::Echo) {
        let (name, variable) = (preset.name, preset.key_variable.unwrap_or_default());
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "\n# Found because {variable} is set. Ask for its models as {name}/…\n\
             [providers.{name}]\n\
             kind = \"{name}\"\n\
             api_key_env = \"{variable}\"\n\
             \n\
             [models.\"{name}/*\"]\n\
             provider = \"{name}\"\n"
        );
    }
    if let Some(first) = found.first() {
        let _ = write!(
            text,
            "\n# A model that no name above matches goes to this provider as it is.\n\
             [routing]\n\
             default_provider = \"{}\"\n",
            first.name
        );
    } else {
        text.push_str(
            "\n# With a provider of your own it looks like this:\n\
             #\n\
             #[providers.openai]\n\
             #kind = \"openai\"\n\
             #api_key_env = \"OPENAI_API_KEY\"\n\
             #\n\
             #[models.\"openai/*\"]\n\
             #provider = \"openai\"\n",
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Secrets, check};

    #[test]
    fn what_is_written_is_a_good_configuration() {
        let keyed: Vec<_> = PRESETS
            .iter()
            .filter(|preset| preset.key_variable.is_some() && preset.base_url.is_some())
            .collect();
        for found in [&[][..], &keyed] {
            // Every key is set, and nothing that would take the place of an option.
            let keys = |name: &str| {
                let is_option =
                    ["CONDUIT", "RUST_LOG", "OTEL_"].iter().any(|o| name.starts_with(o));
                (!is_option).then(|| "secret".to_owned())
            };
            let text = config_text(found);
            let checked = check(Path::new("conduit.toml"), &text, &keys, Secrets::Read);
            assert!(checked.is_ok(), "{text}\n{}", checked.unwrap_err());
        }
    }
}
