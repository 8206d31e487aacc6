//! Why a request is not answered as it asked, in one form: a status, a code for programs, a sentence for
//! people, and the member at fault where there is one.

use schemars::JsonSchema;
use serde::Serialize;

use super::super::AdminError;
use super::Answer;
use super::incoming::Incoming;
use crate::store::StoreError;

/// A refusal.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    status: u16,
    code: &'static str,
    message: String,
    member: Option<String>,
    /// What was made by an earlier request.
    made: Option<String>,
    headers: Vec<(&'static str, String)>,
}

/// The body of every refusal.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Error")]
pub(super) struct Body {
    error: Why,
}

/// Why the request was refused.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ErrorObject")]
pub(super) struct Why {
    /// For programs.
    code: &'static str,
    /// For people.
    message: String,
    /// The member of the request, or the parameter, that is at fault.
    member: Option<String>,
    /// With `already_done`: the id of what the first request made.
    #[serde(skip_serializing_if = "Option::is_none")]
    made: Option<String>,
}

impl Refusal {
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, code, message, member: None, made: None, headers: Vec::new() }
    }

    pub(super) fn member(mut self, member: impl Into<String>) -> Self {
        self.member = Some(member.into());
        self
    }

    pub(super) fn made(mut self, made: impl Into<String>) -> Self {
        self.made = Some(made.into());
        self
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// A member that is not right.
    pub(super) fn wrong(member: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(422, "invalid", message).member(member)
    }

    /// Whether it says that this member is not right.
    pub(super) fn is_of(&self, member: &str) -> bool {
        self.status == 422 && self.member.as_deref() == Some(member)
    }

    /// What is wrong with a name in the path, as a path says it: there is no such thing.
    pub(super) fn of_path(mut self) -> Self {
        self.status = 404;
        self.code = "not_found";
        self
    }

    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self::new(400, "malformed", message)
    }

    pub(super) fn unauthenticated() -> Self {
        let message = "sign in, or send an admin token as `Authorization: Bearer …`";
        Self::new(401, "unauthenticated", message).with("www-authenticate", "Bearer")
    }

    pub(super) fn wrong_password() -> Self {
        Self::new(401, "wrong_password", "this is not the password").member("password")
    }

    pub(super) fn forbidden() -> Self {
        Self::new(403, "forbidden", "this takes the role `admin`")
    }

    pub(super) fn method(allowed: &[&str]) -> Self {
        let allowed = allowed.join(", ");
        let message = format!("this path knows only {allowed}");
        Self::new(405, "method_not_allowed", message).with("allow", allowed)
    }

    pub(super) fn no_such_path(incoming: &Incoming) -> Self {
        let message = format!("there is no path {}", incoming.path.escape_debug());
        Self::new(404, "no_such_path", message)
    }

    /// On the listener, outside of this API.
    pub(super) fn nothing_there() -> Self {
        let message = "there is nothing at this path: the dashboard is at /, the API below \
                       /admin/api/v1/";
        Self::new(404, "no_such_path", message)
    }

    pub(super) fn other_host() -> Self {
        let message = "this server does not go by the name in the Host header: name it in \
                       `admin.hosts` of the configuration";
        Self::new(421, "other_host", message)
    }

    pub(super) fn too_many_attempts(wait_ms: u64) -> Self {
        let seconds = wait_ms.div_ceil(1_000);
        let message = format!("too many wrong passwords: try again in {seconds} seconds");
        Self::new(429, "too_many_attempts", message).with("retry-after", seconds.to_string())
    }

    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::new(500, "failed", message)
    }

    pub(super) fn answer(self) -> Answer {
        let Self { status, code, message, member, made, headers } = self;
        let body = Body { error: Why { code, message, member, made } };
        // Texts always have a JSON form.
        let mut answer = Answer::json(status, serde_json::to_string(&body).unwrap_or_default());
        answer.headers = headers;
        answer
    }
}

impl From<AdminError> for Refusal {
    fn from(error: AdminError) -> Self {
        let status = error.status();
        let message = error.to_string();
        match error {
            AdminError::NotFound(_) => Self::new(status, "not_found", message),
            AdminError::Conflict(_) => Self::new(status, "conflict", message),
            AdminError::Invalid(_) => Self::new(status, "invalid", message),
            AdminError::Wrong { member, .. } => Self::wrong(member, message),
            AdminError::Failed(_) => Self::failed(message),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        AdminError::from(error).into()
    }
}
