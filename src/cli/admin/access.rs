//! `conduit admin tokens` and `conduit admin sessions`: who may use the admin API.

use clap::{Args, Subcommand};

use super::keys::{Common, expiry};
use crate::admin::access::{
    CreateToken, EndSessions, ListSessions, ListTokens, RevokeToken, SessionView, TokenView,
};
use crate::cli::{Failure, output, session};
use crate::domain::access::{Role, SessionId};
use crate::domain::window::Timestamp;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Tokens {
    /// Make a token for a program; it is shown this once, on standard output
    Create(Create),
    /// List the tokens
    List(Common),
    /// End a token for good
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Create {
    /// What to call it: "Grafana"
    name: String,
    /// What it may do: `viewer` sees and changes nothing, `admin` may do all
    #[arg(long, value_parser = role)]
    role: Role,
    /// When it ends: 90d, 12h, or a date [default: never]
    #[arg(long, value_name = "WHEN", value_parser = expiry)]
    expires: Option<Timestamp>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Revoke {
    /// Its id or name
    token: String,
    #[command(flatten)]
    common: Common,
}

fn role(text: &str) -> Result<Role, String> {
    let found = [Role::Viewer, Role::Admin].into_iter().find(|role| role.name() == text);
    found.ok_or_else(|| format!("`{text}` is neither `viewer` nor `admin`"))
}

impl Tokens {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run(),
            Self::List(common) => {
                let tokens = session::run(&common.config, ListTokens {})?;
                if common.json {
                    return output::json(&tokens);
                }
                let heading = ["ID", "Name", "Role", "Ends in", "Created", "Expires", "Last used"];
                output::table(&heading, &tokens.iter().map(token_row).collect::<Vec<_>>(), &[])
            }
            Self::Revoke(revoke) => {
                let verb = RevokeToken { token: revoke.token };
                let token = session::run(&revoke.common.config, verb)?;
                if revoke.common.json {
                    return output::json(&token);
                }
                output::note(&format!("token {} `{}` is revoked", token.id, token.name));
                Ok(())
            }
        }
    }
}

impl Create {
    fn run(self) -> Result<(), Failure> {
        let verb = CreateToken { name: self.name, role: self.role, expires_at: self.expires };
        let made = session::run(&self.common.config, verb)?;
        if self.common.json {
            return output::json(&made);
        }
        let (id, name) = (made.view.id, &made.view.name);
        output::note(&format!("token {id} `{name}`: copy it, it is shown only now"));
        output::answer(&format!("{}\n", made.token))
    }
}

fn token_row(token: &TokenView) -> Vec<String> {
    let or_never = |at: Option<Timestamp>| at.map_or("never".to_owned(), |at| at.to_string());
    vec![
        token.id.to_string(),
        token.name.clone(),
        token.role.name().to_owned(),
        token.token_ends_in.clone(),
        token.created_at.to_string(),
        or_never(token.expires_at),
        or_never(token.last_used_at),
    ]
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Sessions {
    /// List who is signed in to the dashboard
    List(Common),
    /// Sign out one session, or all
    End(End),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct End {
    /// The session's id
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    session: Option<SessionId>,
    /// Sign everybody out
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    common: Common,
}

impl Sessions {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        match self {
            Self::List(common) => {
                let sessions = session::run(&common.config, ListSessions {})?;
                if common.json {
                    return output::json(&sessions);
                }
                let heading = ["ID", "Signed in", "Last seen", "Ends", "Address", "Browser"];
                output::table(&heading, &sessions.iter().map(session_row).collect::<Vec<_>>(), &[])
            }
            Self::End(end) => {
                let verb = EndSessions { session: end.session };
                let ended = session::run(&end.common.config, verb)?;
                if end.common.json {
                    return output::json(&ended);
                }
                output::note(&format!("sessions that were ended: {}", ended.ended.len()));
                Ok(())
            }
        }
    }
}

fn session_row(session: &SessionView) -> Vec<String> {
    vec![
        session.id.to_string(),
        session.created_at.to_string(),
        session.last_seen_at.to_string(),
        session.ends_at.to_string(),
        session.address.clone(),
        session.user_agent.clone(),
    ]
}
