//! `conduit admin password`: sets the password of the admin API and the dashboard.
//!
//! It is read from the terminal, twice and unseen, or from standard input; never from the command line,
//! which others on the machine can see.

use std::io::{self, BufRead, IsTerminal, Read};

use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::admin::password::{SHORTEST, SetPassword, generate};
use crate::cli::{ConfigArg, Exit, Failure, output, session};

/// More than this is not a password.
const LONGEST_INPUT: u64 = 4096;

#[derive(Debug, Args)]
pub(in crate::cli) struct Password {
    /// Make one up and print it, this once, on standard output
    #[arg(long)]
    generate: bool,
    #[command(flatten)]
    config: ConfigArg,
}

impl Password {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let password = if self.generate {
            generate().map_err(|error| Failure::new(Exit::Failed, error.to_string()))?
        } else if io::stdin().is_terminal() {
            asked_twice()?
        } else {
            read(io::stdin())?
        };
        let verb = SetPassword { password: password.clone() };
        let set = session::run(&self.config, verb)?;
        let ended = match set.sessions_ended {
            0 => String::new(),
            1 => "; one session was ended".to_owned(),
            count => format!("; {count} sessions were ended"),
        };
        output::note(&format!("the admin password is set{ended}"));
        if self.generate {
            output::note("copy it, it is shown only now");
            output::answer(&format!("{password}\n"))?;
        }
        Ok(())
    }
}

/// Reads a password to the end of what is there, without the end of its line.
pub(in crate::cli) fn read(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(LONGEST_INPUT).read_to_string(&mut text)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn asked_twice() -> Result<String, Failure> {
    let hidden = Hidden::begin()?;
    output::note(&format!("New admin password, at least {SHORTEST} characters (not shown):"));
    let password = line()?;
    output::note("Once more:");
    let again = line()?;
    drop(hidden);
    if password == again {
        return Ok(password);
    }
    Err(Failure::new(Exit::Usage, "the two are not the same: nothing was changed"))
}

fn line() -> io::Result<String> {
    let mut line = String::new();
    io::stdin().lock().take(LONGEST_INPUT).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// The terminal does not show what is typed, until this is dropped.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        // Ctrl-C must not leave a terminal that shows nothing: it ends the line, and the two differ.
        hidden.local_modes.remove(LocalModes::ISIG);
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}
