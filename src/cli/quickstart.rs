//! `conduit quickstart`: everything that is needed to try the gateway, in one command.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Exit, Failure, output};
use crate::admin::audit::perform;
use crate::admin::keys::{CreateKey, ListKeys};
use crate::admin::{Desk, Verb, password};
use crate::config::live::Source;
use crate::config::{Live, process_environment};
use crate::domain::audit::Actor;
use crate::provider::kind::{Kind, PRESETS, Preset};
use crate::server::Server;
use crate::{clock, logging};

#[derive(Debug, Args)]
pub(super) struct Quickstart {
    /// The folder for the configuration and the data
    #[arg(long, default_value = "conduit-data", value_name = "FOLDER")]
    dir: PathBuf,
    /// Where to serve, instead of what the configuration says
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

impl Quickstart {
    pub(super) fn run(self) -> Result<(), Failure> {
        let path = self.dir.join("conduit.toml");
        let is_new = !path.exists();
        if is_new {
            write_config(&self.dir, &path)?;
        }
        let listen = self.listen.map(|address| address.to_string());
        let environment = Box::new(move |name: &str| match (name, &listen) {
            ("CONDUIT_LISTEN", Some(address)) => Some(address.clone()),
            _ => process_environment(name),
        });
        let source = Source { path: path.clone(), environment, clock: clock::now };
        let live = Live::open(source).map_err(|problems| {
            Failure::new(Exit::Config, problems.render(output::is_error_terminal()))
        })?;
        let snapshot = live.snapshot();
        logging::start(&snapshot.config.log.filter, snapshot.config.log.format);
        let server = Server::bind(live).map_err(|error| hint(error.into()))?;
        let address = server.addresses().first().map(ToString::to_string).unwrap_or_default();
        if is_new {
            output::answer(&format!(
                "Made {}: change it while the gateway runs.\n",
                path.display()
            ))?;
        }
        let names = snapshot.config.providers.iter().map(|provider| provider.name.to_string());
        let names: Vec<_> = names.collect();
        output::answer(&format!("Providers: {}.\n", names.join(", ")))?;
        if let Some(admin) = server.admin_addresses().first() {
            introduce_admin(&server.desk(), &admin.to_string(), &path)?;
        }
        introduce(&server.desk(), &address, &path)?;
        server.run(std::future::pending())?;
        Ok(())
    }
}

/// The port is what most often is in the way of a first try.
fn hint(mut failure: Failure) -> Failure {
    if failure.message.starts_with("cannot listen") {
        failure.message.push_str("; choose another address with --listen 127.0.0.1:8090");
    }
    failure
}

/// This program as it was called, so that what is shown can be pasted: it may not be in the PATH.
fn program() -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    let called = std::env::args().next().filter(|name| name.chars().all(is_plain));
    called.filter(|name| !name.is_empty()).unwrap_or_else(|| "conduit".to_owned())
}

/// Makes the first key and shows how to use it, or says that there are keys already.
fn introduce(desk: &Desk, address: &str, config: &Path) -> Result<(), Failure> {
    let keys = ListKeys::default().run(desk)?;
    let (program, config) = (program(), config.display());
    if !keys.is_empty() {
        let count = keys.len();
        let noun = if count == 1 { "key" } else { "keys" };
        return output::answer(&format!(
            "The store of an earlier start is kept, with {count} {noun}.\n\
             Secrets are shown only once; make another key with\n\n    \
             {program} keys create NAME --config {config}\n\n\
             Serving on http://{address}/v1 until Ctrl-C.\n"
        ));
    }
    let verb = CreateKey { name: "quickstart".to_owned(), ..CreateKey::default() };
    let made = perform(desk, &Actor::at_the_command_line(), verb)?;
    output::answer(&format!(
        "\nYour API key, shown only this once:\n\n    {secret}\n\n\
         Try it:\n\n    \
         curl http://{address}/v1/chat/completions -H 'Authorization: Bearer {secret}' \
         -H 'Content-Type: application/json' \
         -d '{{\"model\": \"echo\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello!\"}}]}}'\n\n\
         Give it a limit:    {program} keys limits quickstart --daily 5 --config {config}\n\
         See what it spent:  {program} admin usage --by key --config {config}\n\n\
         Serving on http://{address}/v1 until Ctrl-C.\n",
        secret = made.secret
    ))
}

/// Says where the admin API is, with a first password where there is none.
fn introduce_admin(desk: &Desk, address: &str, config: &Path) -> Result<(), Failure> {
    let (program, config) = (program(), config.display());
    match password::make_first(desk)? {
        Some(password) => output::answer(&format!(
            "\nThe admin password for http://{address}, shown only this once:\n\n    {password}\n\n"
        )),
        None => output::answer(&format!(
            "The admin API is at http://{address}; set another password with\n\n    \
             {program} admin password --config {config}\n\n"
        )),
    }
}

fn write_config(folder: &Path, path: &Path) -> Result<(), Failure> {
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
    builder.create(folder).map_err(failed)?;
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
        "# Conduit's configuration, made by `conduit quickstart`. Save a change and it is in force; a\n\
         # mistake leaves the last good version in force and is shown in the log.\n\
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
            let environment = |_: &str| Some("secret".to_owned());
            let none = |name: &str| {
                (!name.starts_with("CONDUIT") && name != "RUST_LOG")
                    .then(|| environment(name))
                    .flatten()
            };
            let text = config_text(found);
            let checked = check(Path::new("conduit.toml"), &text, &none, Secrets::Read);
            assert!(checked.is_ok(), "{text}\n{}", checked.unwrap_err());
        }
    }
}
