//! From LiteLLM: its `config.yaml`, and its keys as `/key/list` or a table of them says.
//!
//! What each option means is as LiteLLM documents it (docs.litellm.ai, "Config.yaml", "All settings",
//! "Virtual Keys"). Its keys' secrets are kept as hashes, so each key gets a new one.

mod entry;

use serde_json::{Map, Value};

use super::keys::{Head, PlannedKey, Reading};
use super::layout::{Layout, quoted};
use super::number::dollars;
use super::taken::{NO_COUNTERPART, Record, lose, texts};
use super::{ImportError, Lost, Plan};
use crate::domain::window::Timestamp;

/// The environment, for addresses that are kept in it.
type Environment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Reads `config.yaml`.
///
/// # Errors
/// When it is not YAML, or has no list of models.
pub fn config(file: &str, text: &str, environment: &Environment<'_>) -> Result<Plan, ImportError> {
    let yaml = |reason: String| ImportError::Yaml { file: file.to_owned(), reason };
    let root: Value = serde_saphyr::from_str(text).map_err(|error| yaml(error.to_string()))?;
    let Value::Object(root) = root else {
        let reason = "it has no table such as `model_list:`".to_owned();
        return Err(ImportError::Shape { file: file.to_owned(), reason });
    };
    let mut root = Record::new(format!("{file}: "), root);
    let Some(Value::Array(models)) = root.take("model_list") else {
        let reason = "it has no `model_list`".to_owned();
        return Err(ImportError::Shape { file: file.to_owned(), reason });
    };
    let (mut plan, mut layout) = (Plan::default(), Layout::default());
    for (index, model) in models.into_iter().enumerate() {
        let place = format!("{file}: model_list[{index}]");
        match model {
            Value::Object(fields) => {
                entry::read(Record::new(place, fields), environment, &mut layout, &mut plan.lost);
            }
            _ => lose(&mut plan.lost, place, "is not a table"),
        }
    }
    settings(&mut root, &mut layout, &mut plan.lost);
    root.rest(NO_COUNTERPART, &mut plan.lost);
    layout.write("LiteLLM", &mut plan);
    Ok(plan)
}

fn settings(root: &mut Record, layout: &mut Layout, lost: &mut Vec<Lost>) {
    if let Some(mut router) = root.record("router_settings") {
        routing(&mut router, layout, lost);
        router.rest(NO_COUNTERPART, lost);
    }
    if let Some(mut litellm) = root.record("litellm_settings") {
        if let Some(timeout) = seconds(&mut litellm, "request_timeout") {
            set(&mut layout.defaults, "total_timeout", quoted(&timeout));
        }
        routing(&mut litellm, layout, lost);
        // Unknown members of a request travel on; streams and errors are told of in the log.
        litellm.forget(&["set_verbose", "json_logs"]);
        litellm.rest(NO_COUNTERPART, lost);
    }
    if let Some(mut general) = root.record("general_settings") {
        if general.take("master_key").is_some() {
            let why = "administrators sign in with a password, `conduit admin password`, or with \
                       tokens, `conduit admin tokens create`";
            lose(lost, general.at("master_key"), why);
        }
        for name in ["database_url", "database_connection_pool_limit", "store_model_in_db"] {
            if general.take(name).is_some() {
                lose(lost, general.at(name), "no database is needed: the store is a file");
            }
        }
        general.rest(NO_COUNTERPART, lost);
    }
    if let Some(variables) = root.record("environment_variables") {
        variables
            .rest("set it in the environment of the service: no secret stands in the file", lost);
    }
}

/// What both sections may say.
fn routing(section: &mut Record, layout: &mut Layout, lost: &mut Vec<Lost>) {
    if let Some(retries) = section.count("num_retries") {
        set(&mut layout.routing, "retries", retries.min(10).to_string());
    }
    if let Some(fails) = section.count("allowed_fails") {
        set(&mut layout.routing, "failures", (fails + 1).min(1000).to_string());
    }
    if let Some(cooldown) = seconds(section, "cooldown_time") {
        set(&mut layout.routing, "cooldown", quoted(&cooldown));
    }
    if let Some(timeout) = seconds(section, "timeout") {
        set(&mut layout.defaults, "total_timeout", quoted(&timeout));
    }
    if let Some(strategy) = section.text("routing_strategy")
        && strategy != "simple-shuffle"
    {
        let why = format!("`{strategy}` has no counterpart: targets share calls by weight");
        lose(lost, section.at("routing_strategy"), why);
    }
    fallbacks(section, layout, lost);
    aliases(section, layout, lost);
}

/// `fallbacks: [{a: [b, c]}]`
fn fallbacks(section: &mut Record, layout: &mut Layout, lost: &mut Vec<Lost>) {
    let Some(Value::Array(list)) = section.take("fallbacks") else { return };
    for (index, rule) in list.iter().enumerate() {
        let place = format!("{}[{index}]", section.at("fallbacks"));
        for (name, others) in rule.as_object().into_iter().flatten() {
            let known = |other: &String| layout.models.iter().any(|model| model.name == *other);
            let (there, not_there): (Vec<_>, Vec<_>) = texts(others).into_iter().partition(known);
            for other in not_there {
                lose(lost, &place, format!("there is no model `{other}` to fall back to"));
            }
            match layout.find(name) {
                Some(model) => model.fallbacks.extend(there),
                None => lose(lost, &place, format!("there is no model `{name}`")),
            }
        }
    }
}

/// `model_group_alias: {alias: model}`, or with a table that has `model`.
fn aliases(section: &mut Record, layout: &mut Layout, lost: &mut Vec<Lost>) {
    let Some(Value::Object(list)) = section.take("model_group_alias") else { return };
    for (alias, target) in list {
        let place = format!("{}.{alias}", section.at("model_group_alias"));
        let target = target.as_str().or_else(|| target["model"].as_str());
        match target.and_then(|name| layout.find(name)) {
            Some(model) => model.aliases.push(alias),
            None => lose(lost, place, "leads to a model that is not there"),
        }
    }
}

/// What is said first counts: both sections may say the same.
fn set(options: &mut Vec<(&'static str, String)>, name: &'static str, value: String) {
    if !options.iter().any(|(known, _)| *known == name) {
        options.push((name, value));
    }
}

/// A number of seconds, as a length of time.
fn seconds(record: &mut Record, name: &str) -> Option<String> {
    let text = record.text(name)?;
    let millis = super::number::shifted(&text, 3)?;
    let millis: u64 = millis.split('.').next()?.parse().ok()?;
    Some(match millis {
        0 => return None,
        whole if whole.is_multiple_of(1000) => format!("{}s", whole / 1000),
        millis => format!("{millis}ms"),
    })
}

/// Reads keys: what `/key/list?return_full_object=true` answers, a list of such keys, or a CSV table of
/// them with a line of names.
///
/// # Errors
/// When it is none of these.
pub fn keys(
    file: &str,
    text: &str,
    now: Timestamp,
) -> Result<(Vec<PlannedKey>, Vec<Lost>), ImportError> {
    let rows = if text.trim_start().starts_with(['{', '[']) {
        from_json(file, text)?
    } else {
        from_csv(file, text)?
    };
    let mut lost = Vec::new();
    let records = rows.into_iter().map(|(place, fields)| Record::new(place, fields));
    let planned = KEYS.plan(records, now, &mut lost);
    Ok((planned, lost))
}

const KEYS: Reading = Reading { head, fill, facts: &FACTS };

type Rows = Vec<(String, Map<String, Value>)>;

fn from_json(file: &str, text: &str) -> Result<Rows, ImportError> {
    let root: Value = serde_json::from_str(text)
        .map_err(|error| ImportError::Json { file: file.to_owned(), reason: error.to_string() })?;
    let shape =
        |reason: &str| ImportError::Shape { file: file.to_owned(), reason: reason.to_owned() };
    let list = match root {
        Value::Array(list) => list,
        Value::Object(mut root) => match root.remove("keys") {
            Some(Value::Array(list)) => list,
            _ => return Err(shape("it has no list of `keys`")),
        },
        _ => return Err(shape("it has no list of `keys`")),
    };
    let mut rows = Rows::new();
    for (index, item) in list.into_iter().enumerate() {
        match item {
            Value::Object(mut fields) => {
                // As `/key/info` has it.
                if let Some(Value::Object(info)) = fields.remove("info") {
                    fields = info;
                }
                rows.push((format!("{file}: keys[{index}]"), fields));
            }
            _ => {
                return Err(shape(
                    "its keys are only hashes: ask for /key/list?return_full_object=true",
                ));
            }
        }
    }
    Ok(rows)
}

fn from_csv(file: &str, text: &str) -> Result<Rows, ImportError> {
    let wrong = |reason: String| ImportError::Csv { file: file.to_owned(), reason };
    let mut lines = csv(text).map_err(wrong)?.into_iter();
    let names = lines.next().map(|(_, names)| names).unwrap_or_default();
    if !names.iter().any(|name| matches!(name.as_str(), "token" | "key_alias" | "key_name")) {
        let reason = "its first line must name columns, `key_alias` among them".to_owned();
        return Err(wrong(reason));
    }
    let mut rows = Rows::new();
    for (line, cells) in lines {
        if cells.len() != names.len() {
            return Err(wrong(format!(
                "line {line} has {} cells, and the first line names {}",
                cells.len(),
                names.len()
            )));
        }
        let fields = names.iter().cloned().zip(cells.into_iter().map(Value::String)).collect();
        rows.push((format!("{file}: line {line}"), fields));
    }
    Ok(rows)
}

/// The rows of a table and the line each begins in: cells with commas or line ends are in quotes, and
/// quotes in them are doubled.
fn csv(text: &str) -> Result<Vec<(usize, Vec<String>)>, String> {
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    let (mut line, mut began, mut quoted) = (1, 1, false);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        line += usize::from(c == '\n');
        match c {
            '"' if quoted && rest.peek() == Some(&'"') => cell.extend(rest.next()),
            '"' if quoted => quoted = false,
            c if quoted => cell.push(c),
            '"' if cell.is_empty() => quoted = true,
            ',' => row.push(std::mem::take(&mut cell)),
            '\r' if rest.peek() == Some(&'\n') => {}
            '\n' => {
                row.push(std::mem::take(&mut cell));
                if row.iter().any(|cell| !cell.is_empty()) {
                    rows.push((began, std::mem::take(&mut row)));
                }
                row.clear();
                began = line;
            }
            c => cell.push(c),
        }
    }
    if quoted {
        return Err(format!("the quotes that open in line {began} are never closed"));
    }
    if !cell.is_empty() || !row.is_empty() {
        row.push(cell);
        rows.push((began, row));
    }
    Ok(rows)
}

fn head(record: &mut Record, lost: &mut Vec<Lost>) -> Head {
    let expires_at = record.text("expires").and_then(|text| {
        let read = instant(&text);
        if read.is_none() {
            lose(lost, record.at("expires"), format!("`{text}` is not an instant"));
        }
        read
    });
    let token = record.text("token");
    let wanted = record.text("key_alias").or_else(|| record.text("key_name"));
    record.forget(&["key_name", "key_alias"]);
    let wanted = wanted.or_else(|| Some(format!("litellm-{}", token?.get(..8)?)));
    Head { called: String::new(), name: wanted.unwrap_or_default(), expires_at }
}

fn fill(record: &mut Record, planned: &mut PlannedKey, lost: &mut Vec<Lost>) {
    planned.rpm = record.count("rpm_limit");
    planned.tpm = record.count("tpm_limit");
    planned.parallel = record.count("max_parallel_requests");
    planned.disabled = record.flag("blocked");
    let models = record.list("models");
    // These words mean all models, or those of the team.
    let models: Vec<_> = models.into_iter().filter(|name| name != "all-proxy-models").collect();
    if models.iter().any(|name| name == "all-team-models") {
        lose(
            lost,
            record.at("models"),
            "it may use all models: what its team may use is not known",
        );
    } else {
        planned.models(&models, &record.at("models"), lost);
    }
    budget(record, planned, lost);
    for (name, tag) in
        [("user_id", "user"), ("team_id", "team"), ("organization_id", "organization")]
    {
        if let Some(id) = record.text(name) {
            planned.tag(tag, id);
        }
    }
    if let Some(mut metadata) = record.record("metadata") {
        for name in ["team", "environment", "project", "owner"] {
            if let Some(value) = metadata.text(name) {
                planned.tag(name, value);
            }
        }
        metadata.rest("is not kept", lost);
    }
}

/// What a key of LiteLLM's says of itself and not of what it may do.
const FACTS: [&str; 18] = [
    "token",
    "created_at",
    "created_by",
    "updated_at",
    "updated_by",
    "last_active",
    "budget_reset_at",
    "soft_budget_cooldown",
    "spend",
    "model_spend",
    "rotation_count",
    "auto_rotate",
    "last_rotation_at",
    "key_rotation_at",
    "user",
    "user_email",
    "team_alias",
    "rotation_interval",
];

fn budget(record: &mut Record, planned: &mut PlannedKey, lost: &mut Vec<Lost>) {
    let period = record.text("budget_duration");
    let place = record.at("max_budget");
    if let Some(text) = record.text("max_budget") {
        match dollars(&text) {
            Some(amount) => planned.limit(amount, period.as_deref(), &place, lost),
            None => lose(lost, place, format!("`{text}` is not an amount; the key has NO limit")),
        }
    }
    let spent = record.text("spend").and_then(|text| dollars(&text));
    if spent.is_some_and(|spent| spent.nano() > 0) {
        lose(lost, record.at("spend"), "is not carried over: the new key has spent nothing yet");
    }
}

/// `2026-12-31T00:00:00Z`, with a zone or, as PostgreSQL writes it, with a space and without one.
fn instant(text: &str) -> Option<Timestamp> {
    let text = text.trim().replacen(' ', "T", 1);
    text.parse().ok().or_else(|| format!("{text}Z").parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_as_spreadsheets_write_them() {
        let text = "a,b\r\n\"x, \"\"y\"\"\",\"two\nlines\"\n\nlast,\n";
        let rows = csv(text).unwrap();
        let expected = vec![
            (1, vec!["a".to_owned(), "b".to_owned()]),
            (2, vec!["x, \"y\"".to_owned(), "two\nlines".to_owned()]),
            (5, vec!["last".to_owned(), String::new()]),
        ];
        assert_eq!(rows, expected);
        assert!(csv("a\n\"open").is_err());
    }

    #[test]
    fn instants_are_read_as_they_are_written() {
        for text in [
            "2026-12-31T00:00:00Z",
            "2026-12-31T00:00:00+00:00",
            "2026-12-31 00:00:00",
            "2026-12-31T00:00:00.000Z",
        ] {
            assert_eq!(instant(text).map(Timestamp::millis), Some(1_798_675_200_000), "{text}");
        }
        assert_eq!(instant("soon"), None);
    }
}
