//! The table of all operations: from it come the router, the `OpenAPI` document and the tests, so that none
//! of the three can know an operation that the others do not.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value};

use super::super::access::{
    CreateToken, EndSessions, ListSessions, ListTokens, RevokeToken, SessionView, TokenView,
};
use super::super::adjust::{Adjust, AdjustmentView, ListAdjustments};
use super::super::audit::{AuditView, ListAudit};
use super::super::backup::BackUpBeside;
use super::super::config::ShowConfig;
use super::super::explain::Explain;
use super::super::holds::{HoldView, ListHolds};
use super::super::keys::{
    CreateKey, KeyView, ListKeys, RevokeKey, RotateKey, SetDisabled, SetKey, SetLimits, ShowKey,
};
use super::super::models::{ListModels, ListProviders, ModelView, ProviderView};
use super::super::password::PasswordSet;
use super::super::prices::{self, ResetPrices, ShowPrices, UpdatePrices};
use super::super::receipts::{ListReceipts, ReceiptView};
use super::super::status::ReportStatus;
use super::super::teams::{CreateTeam, DeleteTeam, ListTeams, SetTeamLimits, ShowTeam, TeamView};
use super::super::usage::ReportUsage;
use super::super::verify::VerifyBooks;
use super::super::{Desk, Verb};
use super::incoming::LONGEST_BODY;
use super::refusal::Refusal;
use super::request::{self, Done};
use super::sign_in::{ChangePassword, SignIn, SignedIn, SignedOut};
use crate::domain::access::Role;
use crate::domain::audit::Actor;

/// How an operation is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// Whether what is asked stands in a body, and not in the query.
    pub const fn has_body(self) -> bool {
        matches!(self, Self::Post | Self::Put | Self::Patch)
    }
}

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Whoever knows the password.
    Nobody,
    Viewer,
    Admin,
}

impl Needs {
    pub const fn met_by(self, role: Role) -> bool {
        match self {
            Self::Nobody | Self::Viewer => true,
            Self::Admin => matches!(role, Role::Admin),
        }
    }
}

/// What becomes of an `Idempotency-Key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeats {
    NotHeeded,
    /// The first answer comes again.
    Answered,
    /// The first answer held a secret: a second is only told what was made.
    Told,
}

pub(super) type Run = fn(&Desk, &Actor, Map<String, Value>) -> Result<Done, Refusal>;

/// What carries an operation out.
pub(super) enum Does {
    Run(Run),
    SignIn,
    ShowSession,
    SignOut,
    ChangePassword,
    /// Answers with the description of all this.
    Describe,
}

/// One operation of the API.
pub struct Operation {
    pub method: Method,
    /// Below the API's prefix.
    pub path: &'static str,
    /// Its name for programs.
    pub id: &'static str,
    pub summary: &'static str,
    pub needs: Needs,
    /// The status of a success.
    pub status: u16,
    /// Whether each request has an entry in the audit log.
    pub changes: bool,
    pub repeats: Repeats,
    /// Whether the answer is to be had as CSV, too.
    pub(super) csv: bool,
    /// Whether the answer comes in pages.
    pub paged: bool,
    /// The most bytes of what is asked.
    pub(super) longest_body: usize,
    /// A member that the path settles.
    pub(super) fixed: Option<(&'static str, bool)>,
    /// The schema of what is asked, with nothing outside itself.
    pub(super) request: Value,
    pub(super) answer: fn(&mut SchemaGenerator) -> Schema,
    pub(super) does: Does,
}

impl Operation {
    /// What its first path segment names: the group it belongs to.
    pub fn group(&self) -> &'static str {
        self.path.split('/').nth(1).unwrap_or_default()
    }

    /// The names in its path.
    pub fn segments(&self) -> impl Iterator<Item = &'static str> {
        let parts = self.path.split('/');
        parts.filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }

    const fn admin(mut self) -> Self {
        self.needs = Needs::Admin;
        self
    }

    const fn created(mut self, repeats: Repeats) -> Self {
        self.status = 201;
        self.repeats = repeats;
        self
    }

    /// A member that the verb has a default for and that must be said all the same.
    fn required(mut self, member: &str) -> Self {
        let known = self.request["required"].take();
        let mut required = known.as_array().cloned().unwrap_or_default();
        required.push(Value::from(member));
        self.request["required"] = Value::from(required);
        if let Some(member) = self.request["properties"][member].as_object_mut() {
            member.remove("default");
        }
        self
    }

    /// A member that another operation with the same verb is for.
    fn without(mut self, member: &str) -> Self {
        if let Some(members) = self.request["properties"].as_object_mut() {
            members.shift_remove(member);
        }
        self
    }

    const fn fixed(mut self, member: &'static str, value: bool) -> Self {
        self.fixed = Some((member, value));
        self
    }
}

/// A list, as much of it as one answer holds.
#[derive(JsonSchema)]
#[schemars(rename = "PageOf{T}")]
pub(super) struct Page<T> {
    #[expect(dead_code, reason = "only its schema is wanted")]
    data: Vec<T>,
    /// Send it as `after` for the next page; `null` at the end.
    #[expect(dead_code, reason = "only its schema is wanted")]
    next: Option<String>,
}

/// A verb whose answer comes in pages: it has the members `limit` and `after`.
pub(super) trait Listed: Verb<Answer = Vec<Self::Item>> {
    type Item: serde::Serialize + JsonSchema;

    /// What `after` is for the page that follows this item.
    fn place(item: &Self::Item) -> Value;
}

fn to_value(value: impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

impl Listed for ListKeys {
    type Item = KeyView;

    fn place(item: &KeyView) -> Value {
        to_value(item.id)
    }
}

impl Listed for ListReceipts {
    type Item = ReceiptView;

    fn place(item: &ReceiptView) -> Value {
        to_value(item.place())
    }
}

impl Listed for ListAdjustments {
    type Item = AdjustmentView;

    fn place(item: &AdjustmentView) -> Value {
        to_value(item.id)
    }
}

impl Listed for ListAudit {
    type Item = AuditView;

    fn place(item: &AuditView) -> Value {
        to_value(item.id)
    }
}

/// Asks for nothing.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Nothing {}

/// The document itself.
#[derive(JsonSchema)]
#[schemars(rename = "Document")]
struct Document(#[expect(dead_code, reason = "only its schema is wanted")] Map<String, Value>);

fn schema_of_request<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().for_deserialize();
    let settings = settings.with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

fn schema_of_answer<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn special<Q: JsonSchema, A: JsonSchema>(
    method: Method,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    does: Does,
) -> Operation {
    Operation {
        method,
        path,
        id,
        summary,
        needs: Needs::Viewer,
        status: 200,
        changes: method != Method::Get,
        repeats: Repeats::NotHeeded,
        csv: false,
        paged: false,
        longest_body: LONGEST_BODY,
        fixed: None,
        request: schema_of_request::<Q>(),
        answer: schema_of_answer::<A>,
        does,
    }
}

/// An operation that runs a verb.
fn verb<V: Verb>(
    method: Method,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
) -> Operation {
    let does = Does::Run(request::run::<V>);
    let operation = special::<V, V::Answer>(method, path, id, summary, does);
    let needs = if V::CHANGES { Needs::Admin } else { Needs::Viewer };
    Operation { needs, changes: V::CHANGES, ..operation }
}

/// A verb that answers with a short list.
fn list<V: Verb<Answer = Vec<T>>, T: serde::Serialize + JsonSchema>(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
) -> Operation {
    let operation = verb::<V>(Method::Get, path, id, summary);
    let does = Does::Run(request::run_list::<V>);
    Operation { answer: schema_of_answer::<Page<T>>, does, ..operation }
}

/// A verb that answers with a list of any length.
fn page<V: Listed>(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    let mut operation = verb::<V>(Method::Get, path, id, summary);
    let members = request::paging_members();
    if let Some(properties) = operation.request["properties"].as_object_mut() {
        properties.extend(members);
    }
    let does = Does::Run(request::run_page::<V>);
    Operation { answer: schema_of_answer::<Page<V::Item>>, does, paged: true, ..operation }
}

/// All operations.
pub static OPERATIONS: LazyLock<Vec<Operation>> = LazyLock::new(|| {
    let mut all = sign_in();
    all.extend(keys());
    all.extend(teams());
    all.extend(bill());
    all.extend(server());
    all.extend(access());
    all
});

fn sign_in() -> Vec<Operation> {
    use Method::{Delete, Get, Post, Put};
    let enter = special::<SignIn, SignedIn>(
        Post,
        "/session",
        "signIn",
        "Signs in with the admin password and sets a cookie",
        Does::SignIn,
    );
    vec![
        Operation { needs: Needs::Nobody, ..enter },
        special::<Nothing, SignedIn>(
            Get,
            "/session",
            "showSession",
            "Says who asks, and the token that changes by a session need",
            Does::ShowSession,
        ),
        special::<Nothing, SignedOut>(
            Delete,
            "/session",
            "signOut",
            "Ends the session that asks",
            Does::SignOut,
        ),
        special::<ChangePassword, PasswordSet>(
            Put,
            "/password",
            "changePassword",
            "Changes the admin password and ends all other sessions",
            Does::ChangePassword,
        )
        .admin(),
    ]
}

fn keys() -> Vec<Operation> {
    use Method::{Get, Patch, Post};
    vec![
        page::<ListKeys>("/keys", "listKeys", "Lists keys, oldest first"),
        verb::<CreateKey>(Post, "/keys", "createKey", "Makes a key; its secret is shown this once")
            .required("name")
            .created(Repeats::Told),
        verb::<ShowKey>(Get, "/keys/{key}", "showKey", "Shows a key, by its id or name"),
        verb::<SetKey>(
            Patch,
            "/keys/{key}",
            "changeKey",
            "Changes a key: a member that is absent is kept, `null` clears it",
        ),
        verb::<SetLimits>(
            Patch,
            "/keys/{key}/limits",
            "changeKeyLimits",
            "Changes a key's limits: one that is absent is kept, `null` clears it",
        ),
        verb::<RotateKey>(
            Post,
            "/keys/{key}/rotate",
            "rotateKey",
            "Gives a key a new secret, shown this once; the old one stays good for a while",
        )
        .created(Repeats::Told),
        verb::<SetDisabled>(Post, "/keys/{key}/disable", "disableKey", "Closes a key for a while")
            .fixed("disabled", true),
        verb::<SetDisabled>(Post, "/keys/{key}/enable", "enableKey", "Opens a disabled key again")
            .fixed("disabled", false),
        verb::<RevokeKey>(Post, "/keys/{key}/revoke", "revokeKey", "Closes a key for good"),
    ]
}

fn teams() -> Vec<Operation> {
    use Method::{Delete, Get, Patch, Post};
    vec![
        list::<ListTeams, TeamView>("/teams", "listTeams", "Lists teams, oldest first"),
        verb::<CreateTeam>(Post, "/teams", "createTeam", "Makes a team")
            .required("name")
            .created(Repeats::Answered),
        verb::<ShowTeam>(Get, "/teams/{team}", "showTeam", "Shows a team, by its id or name"),
        verb::<SetTeamLimits>(
            Patch,
            "/teams/{team}/limits",
            "changeTeamLimits",
            "Changes a team's limits: one that is absent is kept, `null` clears it",
        ),
        verb::<DeleteTeam>(
            Delete,
            "/teams/{team}",
            "deleteTeam",
            "Deletes a team that no key is in",
        ),
    ]
}

fn bill() -> Vec<Operation> {
    use Method::{Get, Post};
    let usage = verb::<ReportUsage>(
        Get,
        "/usage",
        "reportUsage",
        "Adds up what was used and what it cost: a table or a series; as CSV where that is accepted",
    );
    vec![
        Operation { csv: true, ..usage },
        page::<ListReceipts>("/receipts", "listReceipts", "Lists receipts, newest first"),
        verb::<Explain>(
            Get,
            "/receipts/{id}",
            "explainReceipt",
            "Shows a receipt and how its cost came about",
        ),
        list::<ListHolds, HoldView>("/holds", "listHolds", "Lists what is set aside for calls"),
        page::<ListAdjustments>(
            "/adjustments",
            "listAdjustments",
            "Lists adjustments, newest first",
        ),
        verb::<Adjust>(
            Post,
            "/adjustments",
            "createAdjustment",
            "Charges a key or gives it money back",
        )
        .created(Repeats::Answered),
        verb::<VerifyBooks>(Post, "/verify", "verifyBooks", "Checks that the books add up").admin(),
        verb::<BackUpBeside>(
            Post,
            "/backup",
            "backUp",
            "Copies the store into a file in the folder `backups` beside it",
        )
        .created(Repeats::Answered),
    ]
}

fn server() -> Vec<Operation> {
    use Method::Get;
    vec![
        verb::<ReportStatus>(Get, "/status", "reportStatus", "Says how the server is doing"),
        verb::<ShowConfig>(
            Get,
            "/config",
            "showConfig",
            "Says which configuration is in force, and what is wrong with the file as it is now",
        ),
        list::<ListProviders, ProviderView>("/providers", "listProviders", "Lists the providers"),
        list::<ListModels, ModelView>("/models", "listModels", "Lists the models and their prices"),
        verb::<ShowPrices>(
            Get,
            "/prices",
            "showPrices",
            "Shows what applies to a model, at each place its calls could go, or to all",
        ),
        Operation {
            longest_body: prices::LONGEST,
            ..verb::<UpdatePrices>(
                Method::Post,
                "/prices/update",
                "updatePrices",
                "Takes newer prices from the text of LiteLLM's or models.dev's list",
            )
        },
        verb::<ResetPrices>(
            Method::Post,
            "/prices/reset",
            "resetPrices",
            "Goes back to the prices that the program came with",
        ),
        page::<ListAudit>("/audit", "listAudit", "Lists who changed what, newest first"),
        special::<Nothing, Document>(
            Get,
            "/openapi.json",
            "describe",
            "Describes this API, as OpenAPI 3.1",
            Does::Describe,
        ),
    ]
}

fn access() -> Vec<Operation> {
    use Method::{Delete, Post};
    vec![
        list::<ListSessions, SessionView>("/sessions", "listSessions", "Lists who is signed in")
            .admin(),
        verb::<EndSessions>(Delete, "/sessions", "endSessions", "Signs everybody out")
            .without("session"),
        verb::<EndSessions>(Delete, "/sessions/{session}", "endSession", "Signs a session out"),
        list::<ListTokens, TokenView>("/tokens", "listTokens", "Lists admin tokens").admin(),
        verb::<CreateToken>(
            Post,
            "/tokens",
            "createToken",
            "Makes a token for a program, shown this once",
        )
        .created(Repeats::Told),
        verb::<RevokeToken>(
            Delete,
            "/tokens/{token}",
            "revokeToken",
            "Ends a token for good, by its id or name",
        ),
    ]
}
