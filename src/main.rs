//! The program. Everything is in the library beside it, so that tests can run the server in process.

use std::process::ExitCode;

fn main() -> ExitCode {
    conduit::cli::run()
}
