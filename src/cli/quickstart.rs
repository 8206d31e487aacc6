//! `conduit quickstart`: everything that is needed to try the gateway, in one command.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use super::starter::{self, program};
use super::{Exit, Failure, output};
use crate::admin::audit::perform;
use crate::admin::keys::{CreateKey, ListKeys};
use crate::admin::{Desk, Verb, password};
use crate::config::live::Source;
use crate::config::{Live, process_environment};
use crate::domain::audit::Actor;
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
            starter::write_config(&path)?;
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
        logging::start(&snapshot.config.log);
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
