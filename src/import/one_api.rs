//! From One API, and New API, which grew out of it: channels and tokens, from the SQLite database or from
//! what the APIs of both list, `/api/channel/` and `/api/token/`.
//!
//! The columns and what they mean are as in both programs' models. A token's quota is counted in units of
//! which 500,000 are a dollar. Tokens get new secrets here.

use serde_json::{Map, Value};

use super::keys::{Head, PlannedKey, Reading};
use super::layout::{Key, Layout, Provider, Target};
use super::sqlite::Database;
use super::taken::{NO_COUNTERPART, Record, lose};
use super::{ImportError, Lost, Plan};
use crate::domain::money::Money;
use crate::domain::window::Timestamp;

const NANO_PER_UNIT: u64 = 2_000;
const ENABLED: u64 = 1;

/// What a channel's number means: our kind, and the address that it has by itself. Both programs agree up
/// to 26, and on few after that.
const SHARED: [(u64, &str, Option<&str>); 19] = [
    (1, "openai", None),
    (3, "azure", None),
    (4, "openai", Some("https://api.closeai-proxy.xyz/v1")),
    (5, "openai", Some("https://api.openai-sb.com/v1")),
    (6, "openai", Some("https://api.openaimax.com/v1")),
    (7, "openai", Some("https://api.ohmygpt.com/v1")),
    (8, "openai", None),
    (9, "openai", Some("https://api.caipacity.com/v1")),
    (10, "openai", Some("https://api.aiproxy.io/v1")),
    (12, "openai", Some("https://api.api2gpt.com/v1")),
    (13, "openai", Some("https://api.aigc2d.com/v1")),
    (14, "anthropic", None),
    (16, "openai", Some("https://open.bigmodel.cn/api/paas/v4")),
    (17, "alibaba", Some("https://dashscope.aliyuncs.com/compatible-mode/v1")),
    (19, "openai", Some("https://ai.360.cn/v1")),
    (20, "openrouter", None),
    (24, "gemini", None),
    (25, "moonshot", Some("https://api.moonshot.cn/v1")),
    (31, "openai", Some("https://api.lingyiwanwu.com/v1")),
];
const ONE_API: [(u64, &str, Option<&str>); 15] = [
    (2, "openai", Some("https://oa.api2d.net/v1")),
    (26, "openai", Some("https://api.baichuan-ai.com/v1")),
    (27, "openai", Some("https://api.minimax.chat/v1")),
    (28, "mistral", None),
    (29, "groq", None),
    (30, "ollama", None),
    (32, "openai", Some("https://api.stepfun.com/v1")),
    (33, "bedrock", None),
    (36, "deepseek", None),
    (39, "together", None),
    (40, "openai", Some("https://ark.cn-beijing.volces.com/api/v3")),
    (41, "openai", Some("https://api.novita.ai/v3/openai")),
    (44, "openai", Some("https://api.siliconflow.cn/v1")),
    (45, "xai", None),
    (50, "openai", None),
];
const NEW_API: [(u64, &str, Option<&str>); 9] = [
    (4, "ollama", None),
    (27, "perplexity", None),
    (33, "bedrock", None),
    (35, "openai", Some("https://api.minimax.chat/v1")),
    (40, "openai", Some("https://api.siliconflow.cn/v1")),
    (42, "mistral", None),
    (43, "deepseek", None),
    (45, "openai", Some("https://ark.cn-beijing.volces.com/api/v3")),
    (48, "xai", None),
];

/// Reads a database, or JSON with lists of `channels` and `tokens`, or what one of the APIs answered.
///
/// # Errors
/// When it is none of these.
pub fn import(file: &str, bytes: &[u8], now: Timestamp) -> Result<Plan, ImportError> {
    let (channels, tokens) = if bytes.starts_with(b"SQLite format 3\0") {
        from_database(file, bytes)?
    } else {
        from_json(file, bytes)?
    };
    let is_new_api = channels.iter().any(|row| row.contains_key("auto_ban"))
        || tokens.iter().any(|row| row.contains_key("model_limits_enabled"));
    let (mut plan, mut layout) = (Plan::default(), Layout::default());
    let mut ranked = Vec::new();
    for (index, fields) in channels.into_iter().enumerate() {
        let record = Record::new(place(file, "channels", index, &fields), fields);
        ranked.extend(channel(record, is_new_api, &mut plan.lost));
    }
    // The highest priority comes first.
    ranked.sort_by_key(|channel| std::cmp::Reverse(channel.priority));
    for channel in ranked {
        enter(channel, &mut layout);
    }
    for model in &mut layout.models {
        rank(&mut model.targets);
    }
    let tokens = tokens.into_iter().enumerate();
    let records =
        tokens.map(|(index, fields)| Record::new(place(file, "tokens", index, &fields), fields));
    plan.keys = TOKENS.plan(records, now, &mut plan.lost);
    layout.write(if is_new_api { "New API" } else { "One API" }, &mut plan);
    Ok(plan)
}

type Fields = Map<String, Value>;

fn place(file: &str, table: &str, index: usize, fields: &Fields) -> String {
    match fields.get("id") {
        Some(id) => format!("{file}: {table} with id {id}"),
        None => format!("{file}: {table}[{index}]"),
    }
}

fn from_database(file: &str, bytes: &[u8]) -> Result<(Vec<Fields>, Vec<Fields>), ImportError> {
    let failed = |reason| ImportError::Sqlite { file: file.to_owned(), reason };
    let database = Database::open(bytes).map_err(failed)?;
    let table = |name: &str| -> Result<Vec<Fields>, ImportError> {
        let rows = database.table(name).map_err(failed)?.ok_or_else(|| ImportError::Shape {
            file: file.to_owned(),
            reason: format!("it has no table `{name}`"),
        })?;
        Ok(rows.into_iter().map(|row| row.into_iter().collect()).collect())
    };
    let is_there = |row: &Fields| row.get("deleted_at").is_none_or(Value::is_null);
    let tokens = table("tokens")?.into_iter().filter(is_there).collect();
    Ok((table("channels")?, tokens))
}

fn from_json(file: &str, bytes: &[u8]) -> Result<(Vec<Fields>, Vec<Fields>), ImportError> {
    let mut root: Value = serde_json::from_slice(bytes)
        .map_err(|error| ImportError::Json { file: file.to_owned(), reason: error.to_string() })?;
    let rows = |value: Option<Value>| -> Vec<Fields> {
        let value = match value {
            // An answer of the API, or a page in one.
            Some(Value::Object(mut page)) => page.remove("data").or_else(|| page.remove("items")),
            value => value,
        };
        let value = match value {
            Some(Value::Object(mut page)) => page.remove("items"),
            value => value,
        };
        let Some(Value::Array(list)) = value else { return Vec::new() };
        let each = list.into_iter().filter_map(|row| match row {
            Value::Object(fields) => Some(fields),
            _ => None,
        });
        each.collect()
    };
    let fields = root.as_object_mut();
    let (channels, tokens) = match fields {
        Some(fields) if fields.contains_key("channels") || fields.contains_key("tokens") => {
            (rows(fields.remove("channels")), rows(fields.remove("tokens")))
        }
        _ => {
            // One list: of what, its rows tell.
            let all = rows(Some(root));
            all.into_iter().partition(|row| row.contains_key("base_url"))
        }
    };
    if channels.is_empty() && tokens.is_empty() {
        let reason = "it has neither channels nor tokens".to_owned();
        return Err(ImportError::Shape { file: file.to_owned(), reason });
    }
    Ok((channels, tokens))
}

struct Channel {
    priority: i64,
    weight: Option<u64>,
    name: String,
    provider: Provider,
    /// What clients ask for, and what the provider is asked for.
    models: Vec<(String, String)>,
}

fn channel(mut record: Record, is_new_api: bool, lost: &mut Vec<Lost>) -> Option<Channel> {
    let place = record.place.clone();
    let name = record.text("name").unwrap_or_else(|| "channel".to_owned());
    let number = record.count("type").unwrap_or_default();
    if record.count("status") != Some(ENABLED) {
        lose(lost, place, format!("`{name}` is disabled, and is not carried over"));
        return None;
    }
    let own = if is_new_api { NEW_API.as_slice() } else { ONE_API.as_slice() };
    let known = own.iter().chain(&SHARED).find(|(theirs, ..)| *theirs == number);
    let Some((_, kind, usual)) = known else {
        lose(lost, place, format!("`{name}` is of type {number}, which has no counterpart here"));
        return None;
    };
    let mut provider = Provider { kind, ..Provider::default() };
    provider.base_url = record
        .text("base_url")
        .map(|base| address(kind, base.trim_end_matches('/'), *usual))
        .or(usual.map(str::to_owned));
    if matches!((number, *kind), (8 | 50, _) | (_, "azure")) && provider.base_url.is_none() {
        lose(lost, place, format!("`{name}` has no address"));
        return None;
    }
    if *kind == "azure" {
        provider.api_version = record.text("other");
    }
    let key = record.text("key").unwrap_or_default();
    if key.is_empty() {
        lose(
            lost,
            record.at("key"),
            "is not in the file: the API does not tell it, the database does",
        );
    } else if *kind == "bedrock" {
        amazon(&key, &mut provider);
    } else {
        // New API keeps several, a line each.
        let each = key.lines().map(str::trim).filter(|key| !key.is_empty());
        provider.keys = each.map(|key| Key::Plain(key.to_owned())).collect();
    }
    let mapping = mapping(&mut record, lost);
    let models = record.list("models").into_iter().map(|model| {
        let there = mapping.get(&model).and_then(Value::as_str).unwrap_or(&model).to_owned();
        (model, there)
    });
    let models = models.collect();
    let groups = record.list("group");
    if groups.iter().any(|group| group != "default") {
        let why = "groups have no counterpart: say with `--models` what a key may use";
        lose(lost, record.at("group"), why);
    }
    let priority = record.take("priority").and_then(|value| value.as_i64()).unwrap_or_default();
    let weight = record.count("weight").map(|weight| weight.min(1_000_000));
    record.forget(&CHANNEL_FACTS);
    record.rest(NO_COUNTERPART, lost);
    Some(Channel { priority, weight, name, provider, models })
}

/// What a channel says of itself and not of where calls go.
const CHANNEL_FACTS: [&str; 16] = [
    "id",
    "created_time",
    "test_time",
    "response_time",
    "balance",
    "balance_updated_time",
    "used_quota",
    "test_model",
    "auto_ban",
    "tag",
    "remark",
    "other_info",
    "channel_info",
    "other",
    "weight",
    "setting",
];

fn mapping(record: &mut Record, lost: &mut Vec<Lost>) -> Fields {
    let place = record.at("model_mapping");
    match record.take("model_mapping") {
        Some(Value::Object(mapping)) => mapping,
        Some(Value::String(text)) => serde_json::from_str(&text).unwrap_or_else(|_| {
            lose(lost, place, "is not a table in JSON");
            Fields::new()
        }),
        _ => Fields::new(),
    }
}

/// Both add `/v1` and the like by themselves; our addresses have it.
fn address(kind: &str, base: &str, usual: Option<&str>) -> String {
    let origin = |url: &str| url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    match (kind, usual) {
        ("azure" | "bedrock", _) => base.to_owned(),
        // The provider's own, written out.
        (_, Some(usual)) if origin(usual) == base => usual.to_owned(),
        ("gemini", _) if !base.contains("/v1") => format!("{base}/v1beta"),
        ("openrouter", _) if !base.ends_with("/v1") => {
            format!("{}/api/v1", base.trim_end_matches("/api"))
        }
        ("groq", _) if !base.ends_with("/v1") => {
            format!("{}/openai/v1", base.trim_end_matches("/openai"))
        }
        _ if base.rsplit('/').next().is_some_and(is_version) => base.to_owned(),
        _ => format!("{base}/v1"),
    }
}

fn is_version(part: &str) -> bool {
    part.strip_prefix('v').is_some_and(|number| number.starts_with(|c: char| c.is_ascii_digit()))
}

/// `id|secret|region`, as both write it.
fn amazon(key: &str, provider: &mut Provider) {
    let mut parts = key.split('|').map(|part| part.trim().to_owned());
    if let (Some(id), Some(secret)) = (parts.next(), parts.next()) {
        provider.aws =
            vec![("access_key_id", Key::Plain(id)), ("secret_access_key", Key::Plain(secret))];
        provider.region = parts.next();
    }
}

fn enter(channel: Channel, layout: &mut Layout) {
    for (asked, there) in channel.models {
        layout.model(&asked).targets.push(Target {
            provider: channel.provider.clone(),
            wish: channel.name.clone(),
            model: Some(there),
            weight: channel.weight,
            // For now its priority; more of it comes first.
            order: Some(priority_rank(channel.priority)),
            ..Target::default()
        });
    }
}

/// A number that grows as the priority falls.
fn priority_rank(priority: i64) -> u64 {
    u64::MAX / 2 - (priority.clamp(-1_000_000, 1_000_000) + 1_000_000).cast_unsigned()
}

/// Turns priorities into 1, 2 and so on; where all are the same nothing need be said.
fn rank(targets: &mut [Target]) {
    let mut ranks: Vec<u64> = targets.iter().filter_map(|target| target.order).collect();
    ranks.sort_unstable();
    ranks.dedup();
    for target in targets {
        let place = ranks.iter().position(|rank| Some(*rank) == target.order);
        target.order = place.filter(|_| ranks.len() > 1).map(|place| place as u64 + 1);
    }
}

const TOKENS: Reading = Reading { head, fill, facts: &TOKEN_FACTS };

fn head(record: &mut Record, _: &mut Vec<Lost>) -> Head {
    let name = record.text("name").unwrap_or_default();
    let ends = record.take("expired_time").and_then(|value| value.as_i64());
    // -1 is never.
    let ends = ends.and_then(|seconds| u64::try_from(seconds).ok()).filter(|seconds| *seconds > 0);
    let expires_at = ends.map(|seconds| Timestamp::from_millis(seconds.saturating_mul(1000)));
    Head { called: format!("`{name}`"), name, expires_at }
}

fn fill(record: &mut Record, planned: &mut PlannedKey, lost: &mut Vec<Lost>) {
    planned.disabled = record.count("status") != Some(ENABLED);
    quota(record, planned, lost);
    let mut models = record.list("models");
    if record.flag("model_limits_enabled") {
        models = record.list("model_limits");
    }
    record.forget(&["model_limits"]);
    planned.models(&models, &record.at("models"), lost);
    for name in ["subnet", "allow_ips"] {
        let networks = record.list(name);
        planned.networks(&networks, &record.at(name), lost);
    }
    if let Some(user) = record.text("user_id") {
        planned.tag("user", user);
    }
    if let Some(group) = record.text("group").filter(|group| group != "default") {
        planned.tag("group", group);
        let why = "groups have no counterpart: it is kept as a tag, and any model may be used";
        lose(lost, record.at("group"), why);
    }
}

/// What a token says of itself and not of what it may do.
const TOKEN_FACTS: [&str; 7] =
    ["id", "key", "created_time", "accessed_time", "used_quota", "created_at", "updated_at"];

fn quota(record: &mut Record, planned: &mut PlannedKey, lost: &mut Vec<Lost>) {
    let is_unlimited = record.flag("unlimited_quota");
    let place = record.at("remain_quota");
    let left = record.take("remain_quota").and_then(|value| value.as_i64());
    if is_unlimited {
        return;
    }
    let left = left.and_then(|left| u64::try_from(left).ok()).unwrap_or_default();
    let amount = Money::from_nano(left.saturating_mul(NANO_PER_UNIT));
    planned.limit(amount, None, &place, lost);
}
