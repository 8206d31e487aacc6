//! Golden files of the translations: what goes in, and what came out when it was last looked at.
//!
//! A case is a folder `tests/fixtures/translate/<direction>/<case>/` with any of these files, each with
//! its `.expected` beside it: `call.json` (with `brief.json` where the usual brief will not do),
//! `answer.json`, `stream.sse`, `failure.json`. With `CONDUIT_REWRITE_GOLDENS=1` what comes out now is
//! written over what is expected: look at the difference before it is kept.
//!
//! A new direction is a row in [`DIRECTIONS`] and a folder; a new case is a folder.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use conduit::provider::endpoint::{Dialect, Endpoint};
use conduit::translate::{
    About, Brief, Failure, StreamTranslation, Translation, Untranslatable, plan,
};

/// The folders, with what the client calls and what the provider speaks.
const DIRECTIONS: &[(&str, Endpoint, Dialect)] = &[
    ("anthropic", Endpoint::Chat, Dialect::Anthropic),
    ("bedrock", Endpoint::Chat, Dialect::Bedrock),
    ("gemini", Endpoint::Chat, Dialect::Gemini),
    ("messages", Endpoint::Messages, Dialect::OpenAi),
    ("responses", Endpoint::Responses, Dialect::OpenAi),
];

/// What is made of each file.
const FILES: [(&str, &str, Translate); 4] = [
    ("call.json", "call.expected.json", call),
    ("answer.json", "answer.expected.json", answer),
    ("stream.sse", "stream.expected.sse", stream),
    ("failure.json", "failure.expected.json", failure),
];

/// What a file comes to.
type Translate = fn(&Case<'_>, &[u8]) -> String;

struct Case<'a> {
    folder: &'a Path,
    translation: &'a Translation,
}

fn about() -> About {
    About {
        id: "0f1e2d".to_owned(),
        created: 1_700_000_000,
        model: "client-model".to_owned(),
        wants_usage: true,
        ..About::default()
    }
}

fn pretty(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("a value can be written");
    text.push('\n');
    text
}

fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("a fixture is JSON")
}

fn call(case: &Case<'_>, input: &[u8]) -> String {
    let brief = fs::read(case.folder.join("brief.json")).map_or(json!({}), |bytes| parsed(&bytes));
    let brief = Brief {
        model: brief["model"].as_str().unwrap_or("provider-model"),
        stream: brief["stream"].as_bool().unwrap_or(false),
        output_cap: brief["output_cap"].as_u64(),
        max_output_tokens: brief["max_output_tokens"].as_u64(),
    };
    let call = parsed(input);
    let carried = carried(case, call.as_object().expect("a call is an object"), &brief);
    pretty(&match carried {
        Ok(call) => Value::Object(call),
        Err(refused) => {
            json!({ "refused": { "param": refused.param, "message": refused.message } })
        }
    })
}

fn carried(
    case: &Case<'_>,
    call: &Map<String, Value>,
    brief: &Brief<'_>,
) -> Result<Map<String, Value>, Untranslatable> {
    let chat = match case.translation.frontend {
        Some(frontend) => frontend.request(call)?,
        None => call.clone(),
    };
    match case.translation.backend {
        Some(backend) => backend.request(&chat, brief),
        None => Ok(chat),
    }
}

fn answer(case: &Case<'_>, input: &[u8]) -> String {
    let mut answer = parsed(input);
    if let Some(backend) = case.translation.backend {
        answer = backend.answer(&answer, &about());
    }
    if let Some(frontend) = case.translation.frontend {
        answer = frontend.answer(&answer, &about());
    }
    pretty(&answer)
}

/// A stream must not depend on where the network cuts it.
fn stream(case: &Case<'_>, input: &[u8]) -> String {
    let through = |size: usize| {
        let mut translation = StreamTranslation::new(case.translation, &about());
        let mut out = Vec::new();
        for piece in input.chunks(size) {
            out.extend_from_slice(&translation.push(piece));
        }
        out.extend_from_slice(&translation.finish());
        String::from_utf8(out).expect("a stream is text")
    };
    let whole = through(input.len().max(1));
    for size in [1, 7, 100] {
        assert_eq!(through(size), whole, "{}: in pieces of {size}", case.folder.display());
    }
    whole
}

fn failure(case: &Case<'_>, input: &[u8]) -> String {
    let input = parsed(input);
    let status = input["status"].as_u64().and_then(|status| u16::try_from(status).ok());
    let status = status.expect("a failure has a status");
    let text = |name: &str| input[name].as_str().map(str::to_owned);
    let failure = match case.translation.backend {
        Some(backend) => {
            let body = input["body"].as_str().map_or(input["body"].to_string(), str::to_owned);
            backend.failure(status, body.as_bytes())
        }
        None => Failure {
            status,
            message: text("message").unwrap_or_default(),
            kind: text("kind").unwrap_or_default(),
            code: text("code"),
            param: text("param"),
        },
    };
    pretty(&match case.translation.frontend {
        Some(frontend) => frontend.failure(&failure, &about()),
        None => json!({
            "status": failure.status,
            "message": failure.message,
            "kind": failure.kind,
            "code": failure.code,
            "param": failure.param,
        }),
    })
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("there are fixtures");
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry can be read").path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    assert!(!found.is_empty(), "{} has no cases", folder.display());
    found
}

#[test]
fn each_translation_is_as_it_was_last_looked_at() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/translate");
    let rewrite = std::env::var_os("CONDUIT_REWRITE_GOLDENS").is_some();
    let mut wrong = Vec::new();
    for direction in folders(&root) {
        let name = direction.file_name().and_then(|name| name.to_str()).expect("a name");
        let Some((_, endpoint, dialect)) = DIRECTIONS.iter().find(|(known, ..)| *known == name)
        else {
            panic!("{name} is not in the list of directions");
        };
        let translation = plan(*endpoint, *dialect).expect("a direction has a plan");
        for folder in folders(&direction) {
            let case = Case { folder: &folder, translation: &translation };
            wrong.extend(check(&case, rewrite));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn check(case: &Case<'_>, rewrite: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut files = 0;
    for (input, expected, translate) in FILES {
        let Ok(input) = fs::read(case.folder.join(input)) else { continue };
        files += 1;
        let path = case.folder.join(expected);
        let now = translate(case, &input);
        if rewrite {
            fs::write(&path, &now).expect("a golden file can be written");
        }
        let before = fs::read_to_string(&path).unwrap_or_default();
        if before != now {
            wrong.push(format!("{} differs; now it is:\n{now}", path.display()));
        }
    }
    if files == 0 {
        wrong.push(format!("{} has nothing to translate", case.folder.display()));
    }
    wrong
}
