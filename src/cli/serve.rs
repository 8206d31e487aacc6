//! `conduit serve`.

use clap::Args;

use super::{ConfigArg, Exit, Failure, output};
use crate::admin::password;
use crate::config::live::Source;
use crate::config::{Live, process_environment};
use crate::server::{Passed, ServeError, Server};
use crate::{clock, logging};

#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    config: ConfigArg,
}

impl Serve {
    pub(super) fn run(self) -> Result<(), Failure> {
        let passed = Passed::take().map_err(ServeError::from)?;
        let path = self.config.path()?;
        let source = Source { path, environment: Box::new(process_environment), clock: clock::now };
        let live = Live::open(source).map_err(|problems| {
            Failure::new(Exit::Config, problems.render(output::is_error_terminal()))
        })?;
        let snapshot = live.snapshot();
        logging::start(&snapshot.config.log);
        let server = Server::bind_beside(live, passed)?;
        first_password(&server)?;
        server.run(std::future::pending())?;
        Ok(())
    }
}

/// Shows a first admin password where somebody reads along; in a journal it would stay for all to read,
/// so there nobody can sign in until one was set.
fn first_password(server: &Server) -> Result<(), Failure> {
    let Some(address) = server.admin_addresses().first().copied() else { return Ok(()) };
    let desk = server.desk();
    if password::is_set(&desk)? {
        return Ok(());
    }
    if !output::is_read_along() {
        tracing::warn!(
            admin = %address,
            "no admin password is set, so nobody can sign in: set one with `conduit admin password`"
        );
        return Ok(());
    }
    if let Some(password) = password::make_first(&desk)? {
        output::note(&format!(
            "\nThe admin password for http://{address}, shown only this once:\n\n    {password}\n\n\
             Change it with `conduit admin password`.\n"
        ));
    }
    Ok(())
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::Store(error) => error.into(),
            // As with the configuration, another start does not make it better.
            ServeError::Passed(error) => Self::new(Exit::Config, error.to_string()),
            ServeError::Listen { .. }
            | ServeError::Password(_)
            | ServeError::Socket { .. }
            | ServeError::Failed(_) => Self::new(Exit::Failed, error.to_string()),
        }
    }
}
