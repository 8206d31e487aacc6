//! `conduit serve`.

use clap::Args;

use super::{ConfigArg, Exit, Failure, output};
use crate::config::live::Source;
use crate::config::{Live, process_environment};
use crate::server::{ServeError, Server};
use crate::{clock, logging};

#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    config: ConfigArg,
}

impl Serve {
    pub(super) fn run(self) -> Result<(), Failure> {
        let path = self.config.path()?;
        let source = Source { path, environment: Box::new(process_environment), clock: clock::now };
        let live = Live::open(source).map_err(|problems| {
            Failure::new(Exit::Config, problems.render(output::is_error_terminal()))
        })?;
        let snapshot = live.snapshot();
        logging::start(&snapshot.config.log.filter, snapshot.config.log.format);
        Server::bind(live)?.run(std::future::pending())?;
        Ok(())
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::Store(error) => error.into(),
            ServeError::Listen { .. } | ServeError::Password(_) | ServeError::Socket { .. } | ServeError::Failed(_) => {
                Self::new(Exit::Failed, error.to_string())
            }
        }
    }
}
