//! `conduit init`: makes what is missing of a configuration, a store and an admin password, and serves
//! nothing. The password is shown this once, alone on standard output; or it comes from a file, or from
//! where the configuration says. What is there already stays as it is.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::admin::password::read;
use super::session::{self, Session};
use super::starter::{program, write_config};
use super::{ConfigArg, Exit, Failure, environment, output};
use crate::admin::password::{self, SetPassword};
use crate::config::{Config, Secrets, load};

#[derive(Debug, Args)]
pub(super) struct Init {
    /// The folder for the configuration and the data, unless --config names a file
    #[arg(long, default_value = "conduit-data", value_name = "FOLDER")]
    dir: PathBuf,
    /// Take the admin password from this file, `-` for standard input, instead of making one up
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArg,
}

impl Init {
    pub(super) fn run(self) -> Result<(), Failure> {
        let path = self.config.config.unwrap_or_else(|| self.dir.join("conduit.toml"));
        let is_new = !path.exists();
        if is_new {
            write_config(&path)?;
            output::note(&format!("Made {}.", path.display()));
        } else {
            output::note(&format!("{} stays as it is.", path.display()));
        }
        let argument = ConfigArg { config: Some(path.clone()) };
        let (_, paths) = session::places(&argument)?;
        if session::connect(&paths.socket)?.is_some() {
            let message = "a server runs with this configuration, so all this is done already; \
                           `conduit admin password` sets another password";
            return Err(Failure::new(Exit::Conflict, message));
        }
        let config = load(&path, environment(), Secrets::Read).map_err(|problems| {
            Failure::new(Exit::Config, problems.render(output::is_error_terminal()))
        })?;
        let made = set_password(Session::open(&argument)?, &config, self.password_file.as_deref())?;
        if let Some(password) = made {
            output::note("\nThe admin password, shown only this once:\n");
            output::answer(&format!("{password}\n"))?;
        }
        output::note(&next_steps(&config, &path));
        Ok(())
    }
}

/// Sees to it that there is an admin password, and returns it if it was made up.
fn set_password(
    mut session: Session,
    config: &Config,
    file: Option<&Path>,
) -> Result<Option<String>, Failure> {
    let Some(desk) = session.own() else {
        return Err(Failure::new(Exit::Unavailable, "a server has just started on this store"));
    };
    if config.admin.password.is_some() {
        if file.is_some() {
            let message = "the configuration names where the admin password is: leave out \
                           --password-file, or take it out there";
            return Err(Failure::new(Exit::Conflict, message));
        }
        password::follow(desk, config)?;
        output::note("The admin password is the one that the configuration names.");
        return Ok(None);
    }
    if password::is_set(desk)? {
        if file.is_some() {
            let message =
                "there is an admin password already: `conduit admin password` sets another";
            return Err(Failure::new(Exit::Conflict, message));
        }
        output::note("The admin password stays what it was.");
        return Ok(None);
    }
    let password = match file {
        Some(file) => read_file(file)?,
        None => {
            password::generate().map_err(|error| Failure::new(Exit::Failed, error.to_string()))?
        }
    };
    session.run(SetPassword { password: password.clone() })?;
    Ok(file.is_none().then_some(password))
}

fn read_file(file: &Path) -> Result<String, Failure> {
    let text =
        if file == Path::new("-") { read(io::stdin()) } else { File::open(file).and_then(read) };
    text.map_err(|error| {
        let message = format!("the password cannot be read from {}: {error}", file.display());
        Failure::new(Exit::Usage, message)
    })
}

fn next_steps(config: &Config, path: &Path) -> String {
    let (program, path) = (program(), path.display());
    let dashboard = config.admin.listen.first();
    let dashboard = dashboard
        .map(|address| format!("\nThe dashboard is at http://{address}/ then."))
        .unwrap_or_default();
    format!(
        "\nMake a key:   {program} keys create NAME --config {path}\n\
         Serve:        {program} serve --config {path}{dashboard}"
    )
}
