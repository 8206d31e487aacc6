//! The importers by the binary: files as other gateways write them, what is made of them, and what is
//! said about what could not be.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/import").join(name)
}

struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_conduit"));
        command.env_clear().env("HOUSE_URL", "http://10.1.2.3:9000/v1");
        command.current_dir(self.0.path()).args(arguments).output().unwrap()
    }

    /// What a command prints that must do well.
    fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn report(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.done(arguments)).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// The limit of a key for a period, as it is shown.
fn limit<'a>(key: &'a Value, period: &str) -> &'a Value {
    let windows = key["windows"].as_array().unwrap();
    &windows.iter().find(|window| window["period"] == period).unwrap()["limit"]
}

fn lost(report: &Value) -> Vec<String> {
    let each = report["not_carried_over"].as_array().unwrap().iter();
    each.map(|lost| {
        format!("{}: {}", lost["place"].as_str().unwrap(), lost["why"].as_str().unwrap())
    })
    .collect()
}

fn expect_lost(report: &Value, expected: &[&str]) {
    let lost = lost(report);
    for expected in expected {
        let place = lost.iter().filter(|lost| lost.starts_with(expected)).count();
        assert_eq!(place, 1, "{expected}\n{lost:#?}");
    }
    assert_eq!(lost.len(), expected.len(), "{lost:#?}");
}

#[test]
fn litellm_becomes_a_configuration_and_keys() {
    let desk = Desk::new();
    let (yaml, keys) = (fixture("litellm.yaml"), fixture("litellm-keys.json"));
    let (yaml, keys) = (yaml.to_str().unwrap(), keys.to_str().unwrap());
    let report = desk.report(&["import", "litellm", yaml, keys, "--json"]);
    expect_lost(
        &report,
        &[
            "litellm.yaml: model_list[0].litellm_params.rpm: ",
            "litellm.yaml: model_list[1].litellm_params.rpm: ",
            "litellm.yaml: model_list[1].litellm_params.temperature: ",
            "litellm.yaml: model_list[8].litellm_params: `vertex` does not lead there",
            "litellm.yaml: router_settings.redis_host: ",
            "litellm.yaml: litellm_settings.fallbacks[0]: there is no model `missing`",
            "litellm.yaml: litellm_settings.drop_params: ",
            "litellm.yaml: litellm_settings.success_callback: ",
            "litellm.yaml: general_settings.master_key: ",
            "litellm.yaml: general_settings.database_url: ",
            "litellm.yaml: environment_variables.LANGFUSE_HOST: ",
            "litellm-keys.json: keys[0].spend: ",
            "litellm-keys.json: keys[0].metadata.tags: ",
            "litellm-keys.json: keys[0].model_max_budget: ",
            "litellm-keys.json: keys[1].max_budget: a budget for all time",
            "litellm-keys.json: keys[1].soft_budget: ",
            "litellm-keys.json: keys[3]: has expired",
        ],
    );
    let config = fs::read_to_string(desk.path("conduit.toml")).unwrap();
    for words in [
        "base_url = \"https://example-eu.openai.azure.com\"",
        "api_version = \"2024-10-21\"",
        "api_key_env = \"AZURE_API_KEY_EU\"",
        "{ provider = \"azure\", model = \"gpt-4o-eu\", weight = 300 },",
        "{ provider = \"openai\", weight = 100, total_timeout = \"300s\", first_byte_timeout = \"60500ms\" },",
        "aliases = [\"gpt-4\"]",
        "fallbacks = [\"claude\"]",
        "api_key_file = \"credentials/anthropic\"",
        "[models.\"groq/*\"]",
        "base_url = \"http://127.0.0.1:11434/v1\"",
        "model = \"llama3.1:8b\"",
        "base_url = \"http://10.1.2.3:9000/v1\"",
        "model = \"org/house-7b\"",
        "price = { input = \"0.15\", output = \"0.6\" }",
        "max_output_tokens = 4096",
        "access_key_id_env = \"AWS_ACCESS_KEY_ID\"",
        "model = \"amazon.nova-lite-v1:0\"",
        "retries = 2",
        "failures = 4",
        "cooldown = \"30s\"",
        "total_timeout = \"600s\"",
    ] {
        assert!(config.contains(words), "{words}\n{config}");
    }
    assert!(!config.contains("plain-key"), "{config}");
    let secret = desk.path("credentials/anthropic");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "sk-ant-plain-key-that-stands-here");
    assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
    let variables: Vec<_> = report["variables"].as_array().unwrap().iter().collect();
    assert!(variables.iter().any(|variable| *variable == "AZURE_API_KEY_EU"), "{variables:?}");

    let made: Vec<_> = report["keys"].as_array().unwrap().iter().collect();
    let names: Vec<_> = made.iter().map(|key| key["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["web", "web-2", "litellm-01234567"]);
    assert!(made.iter().all(|key| key["secret"].as_str().unwrap().starts_with("sk-cdt-")));
    let listed: Value =
        serde_json::from_str(&desk.done(&["keys", "show", "web", "--json"])).unwrap();
    assert_eq!(*limit(&listed, "monthly"), "25.50", "{listed}");
    assert_eq!(listed["models"], serde_json::json!(["gpt-4o", "groq/*"]), "{listed}");
    assert_eq!((&listed["rpm"], &listed["tpm"]), (&60.into(), &100_000.into()), "{listed}");
    let blocked = desk.done(&["keys", "show", "web-2", "--json"]);
    let blocked: Value = serde_json::from_str(&blocked).unwrap();
    assert_eq!(
        (&blocked["status"], limit(&blocked, "monthly")),
        (&"disabled".into(), &"10.00".into())
    );

    // A second time nothing is overwritten.
    let again = desk.run(&["import", "litellm", yaml, keys]);
    assert_eq!(again.status.code(), Some(4));
    assert!(String::from_utf8(again.stderr).unwrap().contains("is not overwritten"));
    assert_eq!(fs::read_to_string(desk.path("conduit.toml")).unwrap(), config);
}

#[test]
fn a_dry_run_writes_nothing() {
    let desk = Desk::new();
    let yaml = fixture("litellm.yaml");
    let output = desk.run(&["import", "litellm", yaml.to_str().unwrap(), "--dry-run"]);
    let (out, said) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{said}");
    assert!(out.starts_with("# Imported from LiteLLM.\n"), "{out}");
    assert!(said.contains("litellm.yaml: general_settings.master_key: "), "{said}");
    assert_eq!(fs::read_dir(desk.0.path()).unwrap().count(), 0);
}

#[test]
fn keys_of_litellm_come_from_a_table_too() {
    let desk = Desk::new();
    let (yaml, keys) = (fixture("litellm.yaml"), fixture("litellm-keys.csv"));
    desk.done(&["import", "litellm", yaml.to_str().unwrap(), keys.to_str().unwrap()]);
    let shown = |name: &str| -> Value {
        serde_json::from_str(&desk.done(&["keys", "show", name, "--json"])).unwrap()
    };
    let (web, batch) = (shown("web"), shown("batch"));
    assert_eq!(*limit(&web, "daily"), "5.00", "{web}");
    assert_eq!(web["models"], serde_json::json!(["gpt-4o", "claude"]), "{web}");
    assert_eq!((&batch["status"], &batch["tpm"]), (&"disabled".into(), &200_000.into()));
}

#[test]
fn one_apis_database_becomes_a_configuration_and_keys() {
    let desk = Desk::new();
    let db = fixture("one-api.db");
    let report = desk.report(&["import", "one-api", db.to_str().unwrap(), "--json"]);
    expect_lost(
        &report,
        &[
            "one-api.db: channels with id 2.group: ",
            "one-api.db: channels with id 3.system_prompt: ",
            "one-api.db: channels with id 4: `Baidu` is of type 15",
            "one-api.db: channels with id 5: `Off` is disabled",
            "one-api.db: tokens with id 1.remain_quota: a budget for all time",
            "one-api.db: tokens with id 3.remain_quota: a budget for all time",
            "one-api.db: tokens with id 4: `gone` has expired",
        ],
    );
    let config = fs::read_to_string(desk.path("conduit.toml")).unwrap();
    for words in [
        "[providers.\"openai-main\"]\nkind = \"openai\"\napi_key_file = \"credentials/openai-main\"",
        "kind = \"azure\"\nbase_url = \"https://example.openai.azure.com\"\napi_version = \"2024-10-21\"",
        "{ provider = \"openai-main\", weight = 3, order = 1 },",
        "{ provider = \"azure-eu\", model = \"my-deployment\", order = 2 },",
        "[models.\"claude-sonnet-4-5\"]\nprovider = \"claude\"",
        "base_url = \"http://127.0.0.1:9000/v1\"",
        "[models.\"many-model-299\"]",
    ] {
        assert!(config.contains(words), "{words}\n{config}");
    }
    assert_eq!(fs::read_to_string(desk.path("credentials/claude")).unwrap(), "sk-ant-of-a-channel");
    assert_eq!(report["keys"].as_array().unwrap().len(), 33);
    let web: Value = serde_json::from_str(&desk.done(&["keys", "show", "web", "--json"])).unwrap();
    assert_eq!(*limit(&web, "monthly"), "5.00", "{web}");
    assert_eq!(web["models"], serde_json::json!(["gpt-4o", "gpt-4o-mini"]), "{web}");
    assert_eq!(web["allow_ips"], serde_json::json!(["10.0.0.0/8"]), "{web}");
    let off: Value = serde_json::from_str(&desk.done(&["keys", "show", "off", "--json"])).unwrap();
    assert_eq!(off["status"], "disabled");
}

#[test]
fn what_the_api_of_one_api_lists_is_read() {
    let desk = Desk::new();
    let file = desk.path("export.json");
    fs::write(
        &file,
        r#"{"channels": {"success": true, "data": [{"id": 1, "type": 48, "key": "xai-key", "status": 1, "name": "x", "base_url": "", "models": "grok-4", "group": "default", "auto_ban": 1, "priority": 0, "weight": 0}]},
            "tokens": {"data": {"items": [{"id": 7, "name": "t", "status": 1, "expired_time": -1, "unlimited_quota": true, "model_limits_enabled": true, "model_limits": "grok-4", "allow_ips": "10.0.0.1\n10.0.0.2"}]}}}"#,
    )
    .unwrap();
    desk.done(&["import", "one-api", "export.json", "--out", "new.toml"]);
    let config = fs::read_to_string(desk.path("new.toml")).unwrap();
    assert!(config.starts_with("# Imported from New API.\n"), "{config}");
    assert!(config.contains("kind = \"xai\""), "in New API 48 is xAI\n{config}");
    let key = desk.done(&["keys", "show", "t", "--json", "--config", "new.toml"]);
    let key: Value = serde_json::from_str(&key).unwrap();
    assert_eq!(key["models"], serde_json::json!(["grok-4"]));
    assert_eq!(key["allow_ips"].as_array().unwrap().len(), 2);
}

#[test]
fn what_is_none_of_these_is_refused_and_named() {
    let desk = Desk::new();
    for (text, what, words) in [
        ("model_list: [", "litellm", "is not YAML"),
        ("a: 1", "litellm", "no `model_list`"),
        ("- 1", "litellm", "no table such as"),
        ("{", "one-api", "is not JSON"),
        ("{}", "one-api", "neither channels nor tokens"),
        ("SQLite format 3\0", "one-api", "cannot be read as an SQLite database"),
    ] {
        fs::write(desk.path("file"), text).unwrap();
        let output = desk.run(&["import", what, "file"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}: {said}");
        assert!(said.contains("file") && said.contains(words), "{text}: {said}");
    }
    fs::write(desk.path("file-wal"), "rows").unwrap();
    let output = desk.run(&["import", "one-api", "file"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("stop the other program"));
}
