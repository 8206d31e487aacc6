//! The configuration file from outside: each kind of mistake with its exact words, the example, and
//! the ways in which a file is replaced under a running gateway.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use conduit::config::live::{Reload, Source};
use conduit::config::{self, Config, Live, LogFormat, Problems, Secrets};
use conduit::domain::money::Rate;
use conduit::domain::price::Pricing;
use conduit::domain::usage::{Class, ServiceTier};
use conduit::domain::window::Timestamp;
use secrecy::{ExposeSecret, SecretString};

const ECHO: &str = "[providers.echo]\nkind = \"echo\"\n";

fn no_variables(_: &str) -> Option<String> {
    None
}

fn check(text: &str) -> Result<Config, Problems> {
    config::check(Path::new("conduit.toml"), text, &no_variables, Secrets::Read)
}

fn check_with(text: &str, variables: &[(&str, &str)]) -> Result<Config, Problems> {
    let environment = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    config::check(Path::new("conduit.toml"), text, &environment, Secrets::Read)
}

fn lines(text: &str) -> Vec<String> {
    check(text).map_or_else(|problems| problems.lines().collect(), |_| Vec::new())
}

/// A file with its mistake after a good provider, so that only the mistake is reported. Lines are
/// counted from the first one after it.
fn mistakes(text: &str) -> Vec<String> {
    let checked = check_with(
        &format!(
            "{text}
{ECHO}"
        ),
        &[("K", "key")],
    );
    checked.map_or_else(|problems| problems.lines().collect(), |_| Vec::new())
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_mistake_is_said_in_these_words() {
    for (text, expected) in [
        // Keys and types.
        (
            "[server]\nlistne = \"127.0.0.1:1\"",
            "2:1: unknown key `listne` in `server` (did you mean `listen`?)",
        ),
        ("[sever]", "1:2: unknown key `sever` (did you mean `server`?)"),
        ("unrelated = 1", "1:1: unknown key `unrelated`"),
        ("server = 5", "1:10: `server` must be a table (this is a whole number)"),
        (
            "[server]\nworkers = \"two\"",
            "2:11: `server.workers` must be a whole number from 1 to 1024 (this is a text)",
        ),
        (
            "[server]\nworkers = 2.0",
            "2:11: `server.workers` must be a whole number from 1 to 1024 (this is a number with a point or an exponent)",
        ),
        (
            "[server]\nworkers = 0",
            "2:11: `server.workers` must be a whole number from 1 to 1024 (out of range)",
        ),
        (
            "[server]\nworkers = -1",
            "2:11: `server.workers` must be a whole number from 1 to 1024 (out of range)",
        ),
        (
            "[server]\nmax_body = \"32 MiB\"",
            "2:12: `server.max_body` must be a size from \"1KiB\" to \"4GiB\" (write it like \"512KiB\", \"32MiB\" or \"10MB\")",
        ),
        (
            "[server]\nmax_body = 12",
            "2:12: `server.max_body` must be a size from \"1KiB\" to \"4GiB\" (out of range)",
        ),
        (
            "[server]\nshutdown_deadline = 30",
            "2:21: `server.shutdown_deadline` must be a length of time from \"0s\" to \"1d\" (this is a whole number)",
        ),
        (
            "[limits]\nmax_wait = \"half a minute\"",
            "2:12: `limits.max_wait` must be a length of time from \"0s\" to \"10m\" (write it like \"500ms\", \"30s\", \"5m\", \"12h\", \"90d\" or \"2w\")",
        ),
        (
            "[limits]\nmax_wait = \"1h\"",
            "2:12: `limits.max_wait` must be a length of time from \"0s\" to \"10m\" (out of range)",
        ),
        (
            "[limits]\nenforcement = \"sfot\"",
            "2:15: `limits.enforcement` must be \"hard\" or \"soft\" (did you mean `soft`?)",
        ),
        (
            "[log]\nformat = true",
            "2:10: `log.format` must be \"auto\", \"text\" or \"json\" (this is true or false)",
        ),
        (
            "[server]\nlisten = [\"127.0.0.1:1\", 2]",
            "2:26: `server.listen` must be a text in quotes, or a list of them (this is a whole number)",
        ),
        // Values.
        (
            "[server]\nlisten = \"localhost\"",
            "2:10: `server.listen`: `localhost` is not an address and port: write 127.0.0.1:8080, 0.0.0.0:8080 or [::]:8080",
        ),
        (
            "[server]\nproxy_protocol = true",
            "2:18: `server.proxy_protocol` needs `server.trusted_proxies`",
        ),
        ("[server.tls]\ncert = \"a.pem\"", "1:9: `server.tls.key` is missing"),
        ("[admin.tls]\nkey = \"a.pem\"", "1:8: `admin.tls.cert` is missing"),
        (
            "[server.tls]\ncert = \"a\"\nkey = 1",
            "3:7: `server.tls.key` must be a text in quotes (this is a whole number)",
        ),
        (
            "[server.tls]\nacme = true",
            "2:8: a certificate is to be ordered, and nothing says for which name",
        ),
        (
            "[acme]\nnames = \"a.test\"\nagree_to_terms = true",
            "1:2: `acme` orders a certificate that no listener has",
        ),
        (
            "[acme]\nagree_to_terms = true\n[server.tls]\nacme = true",
            "1:2: `acme.names` is missing",
        ),
        (
            "[acme]\nnames = \"a.test\"\n[server.tls]\nacme = true",
            "1:2: `acme.agree_to_terms` must be true",
        ),
        (
            "[acme]\nnames = \"a.test\"\nagree_to_terms = false\n[server.tls]\nacme = true",
            "3:18: `acme.agree_to_terms` must be true",
        ),
        (
            "[acme]\nnames = [\"a.test\", \"*.a.test\"]\nagree_to_terms = true\n[server.tls]\nacme = true",
            "2:20: `acme.names`: `*.a.test` has a wildcard, which is proven by DNS alone: let another client of ACME order it",
        ),
        (
            "[acme]\nnames = [\"A.test\", \"a.test\"]\nagree_to_terms = true\n[server.tls]\nacme = true",
            "2:20: `acme.names`: `a.test` is written twice",
        ),
        (
            "[acme]\nnames = \"192.0.2.1\"\nagree_to_terms = true\n[server.tls]\nacme = true",
            "2:9: `acme.names`: `192.0.2.1` is an address: only names are ordered",
        ),
        (
            "[acme]\nnames = \"https://a.test\"\nagree_to_terms = true\n[server.tls]\nacme = true",
            "2:9: `acme.names`: `https://a.test` is not the name of a host: write gateway.example.com",
        ),
        (
            "[acme]\nnames = \"a.test\"\nagree_to_terms = true\ndirectory = \"http://b.test/dir\"\n[server.tls]\nacme = true",
            "4:13: `acme.directory` is not the address of an authority: it must begin with https://",
        ),
        (
            "[acme]\nnames = \"a.test\"\nagree_to_terms = true\ncontact = \"me\"\n[server.tls]\nacme = true",
            "4:11: `acme.contact`: `me` is not an address for mail",
        ),
        (
            "[acme]\nnames = \"a.test\"\nagree_to_terms = true\neab_key_id = \"k\"\n[server.tls]\nacme = true",
            "4:14: `acme.eab_key_id` and `acme.eab_key_file` belong together",
        ),
        (
            "[acme]\nnames = \"a.test\"\nagree_to_terms = true\neab_key = \"k\"\n[server.tls]\nacme = true",
            "4:1: a secret must not be written in this file",
        ),
        (
            "[acme]\nnames = \"a.test\"\nagree_to_terms = true\n[server.tls]\nacme = true\ncert = \"a\"",
            "6:8: `server.tls` orders its certificate, and has `cert`, too",
        ),
        (
            "[server]\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:1\"]",
            "2:26: `server.listen`: 127.0.0.1:1 is written twice",
        ),
        (
            "[server]\ntrusted_proxies = [\"10.0.0.1/8\"]",
            "2:20: `server.trusted_proxies`: `10.0.0.1/8` is not the start of a network: write 10.0.0.0/8",
        ),
        (
            "[admin]\nlisten = \"0.0.0.0:8081\"",
            "2:10: `admin.listen`: 0.0.0.0:8081 is reachable from other machines, and what comes there is not encrypted: give it a certificate by [admin.tls], put a proxy with TLS before 127.0.0.1, or write `allow_remote = true`",
        ),
        (
            "[admin]\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:1\"]",
            "2:26: `admin.listen`: 127.0.0.1:1 is written twice",
        ),
        (
            "[admin]\nhosts = [\"https://admin\"]",
            "2:10: `admin.hosts`: `https://admin` is not the name of a host: write admin.example.com",
        ),
        (
            "[admin]\nmetrics = \"lokal\"",
            "2:11: `admin.metrics` must be \"token\", \"local\" or \"open\" (did you mean `local`?)",
        ),
        ("[store]\npath = \"\"", "2:8: `store.path` must be a path"),
        ("[log]\naccess = \"\"", "2:10: `log.access` must be a path"),
        (
            "[log]\naccess = \"a.log\"\naudit = \"a.log\"",
            "3:9: `log.access` and `log.audit` are the same file",
        ),
        (
            "[tracing]\nendpont = \"http://127.0.0.1:4318\"",
            "2:1: unknown key `endpont` in `tracing` (did you mean `endpoint`?)",
        ),
        (
            "[tracing]\nendpoint = \"127.0.0.1:4318\"",
            "2:12: `tracing.endpoint` is no address for traces: it must begin with https:// (or http://)",
        ),
        (
            "[tracing]\nendpoint = \"https://user:password@collector\"",
            "2:12: `tracing.endpoint` is no address for traces: it must have no user or password in it",
        ),
        (
            "[tracing]\npercent = 101",
            "2:11: `tracing.percent` must be a whole number from 0 to 100 (out of range)",
        ),
        (
            "[tracing]\npercent = 0.5",
            "2:11: `tracing.percent` must be a whole number from 0 to 100 (this is a number with a point or an exponent)",
        ),
        ("[tracing]\nservice_name = \"\"", "2:16: `tracing.service_name` must be a name"),
        (
            "[log]\nlevel = \"inof\"",
            "2:9: `log.level`: `inof` is not a level: error, warn, info, debug, trace or off; did you mean `info`?",
        ),
        (
            "[limits]\nwindows = \"calendar\"\ntime_zone = \"Europe/Berln\"",
            "3:13: `limits.time_zone`: there is no time zone `Europe/Berln` (did you mean `Europe/Berlin`?)",
        ),
        (
            "[limits]\ntime_zone = \"UTC\"",
            "2:13: `limits.time_zone` has a meaning only with `windows = \"calendar\"`",
        ),
        // Providers.
        ("[providers.openai]", "1:12: provider `openai` needs a `kind` (write kind = \"openai\")"),
        (
            "[providers.x]\nkind = \"opnai\"",
            "2:8: `opnai` is not a kind of provider (did you mean `openai`?)",
        ),
        (
            "[providers.\"a b\"]\nkind = \"echo\"",
            "1:12: `a b` is not a name for a provider (at most 64 letters, digits, `-`, `_` or `.`)",
        ),
        (
            "[providers.x]\nkind = \"azure\"\napi_key_env = \"K\"",
            "1:12: provider `x` needs a `base_url` (kind `azure` has no address of its own)",
        ),
        (
            "[providers.x]\nkind = \"vllm\"\nbase_url = \"localhost:8000\"",
            "3:12: `base_url` of `x`: it must begin with https:// (or http://)",
        ),
        (
            "[providers.x]\nkind = \"vllm\"\nbase_url = \"http://h/v1?key=1\"",
            "3:12: `base_url` of `x`: it must have no query (`?…`)",
        ),
        (
            "[providers.x]\nkind = \"vllm\"\nbase_url = \"http://u:p@h/v1\"",
            "3:12: `base_url` of `x`: it must have no user or password in it",
        ),
        (
            "[providers.x]\nkind = \"openai\"\nbase_url = \"https://h/v1/chat/completions\"",
            "3:12: `base_url` of `x`: `/chat/completions` is added by the gateway: the path ends with `/v1`",
        ),
        (
            "[providers.x]\nkind = \"echo\"\nbase_url = \"http://h\"",
            "3:12: a provider of kind `echo` answers by itself: it has no `base_url`",
        ),
        (
            "[providers.x]\nkind = \"openai\"",
            "1:12: provider `x` has no key: the environment variable OPENAI_API_KEY is not set",
        ),
        (
            "[providers.x]\nkind = \"openai\"\napi_key_env = \"MINE\"",
            "3:15: provider `x` has no key: the environment variable MINE is not set",
        ),
        (
            "[providers.x]\nkind = \"openai\"\napi_key_file = \"/nonexistent/key\"",
            "3:16: provider `x` has no key: the key file /nonexistent/key cannot be read: No such file or directory (os error 2)",
        ),
        (
            "[providers.x]\nkind = \"openai\"\napi_key_credential = \"../x\"",
            "3:22: `api_key_credential` must be the name of a systemd credential",
        ),
        (
            "[providers.x]\nkind = \"openai\"\napi_key = \"sk-1\"",
            "3:1: a key must not be written in this file",
        ),
        (
            "[providers.x]\nkind = \"openai\"\napi_key_env = \"sk-proj-1\"",
            "3:15: `api_key_env` must be the name of an environment variable",
        ),
        (
            "[providers.x]\nkind = \"openai\"\napi_key_env = \"A\"\napi_key_file = \"b\"",
            "4:16: provider `x` has two places for its key (only one of them)",
        ),
        (
            "[providers.x]\nkind = \"ollama\"\nheaders = { Authorization = \"Bearer x\" }",
            "3:13: the header `authorization` is set by the gateway",
        ),
        (
            "[providers.x]\nkind = \"ollama\"\nheaders = { \"a b\" = \"c\" }",
            "3:13: `a b` is not the name of a header",
        ),
        (
            "[providers.x]\nkind = \"ollama\"\nheaders = { a = \"b\\nc\" }",
            "3:17: the value of the header `a` must be visible ASCII",
        ),
        (
            "[providers.x]\nkind = \"ollama\"\nheaders = { X-A = \"1\", x-a = \"2\" }",
            "3:24: the header `x-a` is written twice",
        ),
        (
            "[providers.x]\nkind = \"ollama\"\napi_version = \"1\"",
            "3:15: `api_version` has a meaning only with kind `azure`",
        ),
        ("[providers.x]\nkind = \"bedrock\"", "1:12: provider `x` needs a `region`"),
        (
            "[providers.x]\nkind = \"bedrock\"\nregion = \"us-east-1/\"",
            "3:10: `region` must be a region such as \"us-east-1\"",
        ),
        (
            "[providers.x]\nkind = \"bedrock\"\nregion = \"us-east-1\"",
            "1:12: provider `x` has no key: neither AWS_BEARER_TOKEN_BEDROCK nor AWS_ACCESS_KEY_ID is set",
        ),
        (
            "[providers.x]\nkind = \"bedrock\"\nregion = \"us-east-1\"\nsecret_access_key = \"abc\"",
            "4:1: a key must not be written in this file",
        ),
        (
            "[providers.x]\nkind = \"ollama\"\nregion = \"us-east-1\"",
            "3:10: `region` has a meaning only with kind `bedrock`",
        ),
        (
            "[providers.x]\nkind = \"ollama\"\nsession_token_env = \"T\"",
            "3:21: credentials to sign with have a meaning only with kind `bedrock`",
        ),
        // Models.
        (
            "[models.m]\nprovider = \"ehco\"",
            "2:12: `models.m.provider`: there is no provider `ehco` (did you mean `echo`?)",
        ),
        ("[models.m]", "1:9: model `m` needs a `provider`"),
        (
            "[models.\"a b\"]\nprovider = \"echo\"",
            "1:9: `a b` is not a model name: at most 256 bytes, no spaces",
        ),
        (
            "[models.a]\nprovider = \"echo\"\n[models.b]\nprovider = \"echo\"\naliases = [\"a\"]",
            "5:12: `a` already means the model `a` (and here again)",
        ),
        (
            "[models.a]\nprovider = \"echo\"\naliases = [\"x\", \"x\"]",
            "3:17: `x` already means the model `a` (and here again)",
        ),
        (
            "[models.\"a*\"]\nprovider = \"echo\"\naliases = [\"x\"]",
            "3:12: a model with a `*` in its name must have no aliases",
        ),
        (
            "[models.a]\nprovider = \"echo\"\naliases = [\"x*\"]",
            "3:12: an alias must not have a `*` in it",
        ),
        (
            "[models.a]\nprovider = \"echo\"\nmodel = \"x*\"",
            "3:9: `model` must not have a `*` in it where the model's own name has none",
        ),
        // Targets.
        ("[models.a]\ntargets = []", "2:11: model `a` leads nowhere: its `targets` are empty"),
        (
            "[models.a]\ntargets = \"echo\"",
            "2:11: `models.a.targets` must be a list of tables such as { provider = \"openai\" } (this is a text)",
        ),
        (
            "[models.a]\ntargets = [\"echo\"]",
            "2:12: `models.a.targets[0]` must be a table (this is a text)",
        ),
        (
            "[models.a]\ntargets = [{ model = \"x\" }]",
            "2:12: `models.a.targets[0].provider` is missing",
        ),
        (
            "[models.a]\ntargets = [{ provider = \"echo\" }, { provider = \"ehco\" }]",
            "2:48: `models.a.targets[1].provider`: there is no provider `ehco` (did you mean `echo`?)",
        ),
        (
            "[models.a]\ntargets = [{ provider = \"echo\", weight = 0 }]",
            "2:42: `models.a.targets[0].weight` must be a whole number from 1 to 1000000 (out of range)",
        ),
        (
            "[models.a]\ntargets = [{ provider = \"echo\", wieght = 1 }]",
            "2:33: unknown key `wieght` in `models.a.targets[0]` (did you mean `weight`?)",
        ),
        (
            "[models.a]\nprovider = \"echo\"\ntargets = [{ provider = \"echo\" }]",
            "2:12: model `a` has `targets`: this belongs into one of them",
        ),
        (
            "[models.a]\ntargets = [{ provider = \"echo\", model = \"x*\" }]",
            "2:41: `model` must not have a `*` in it where the model's own name has none",
        ),
        (
            "[models.a]\nprovider = \"echo\"\nfallbacks = [\"b\"]",
            "3:14: `models.a.fallbacks`: there is no model `b`",
        ),
        (
            "[models.a]\nprovider = \"echo\"\nfallbacks = [\"a\"]",
            "3:14: model `a` must not fall back on itself",
        ),
        (
            "[routing]\nsticky_header = \"x-session\"",
            "2:17: `routing.sticky_header` has a meaning only with sticky = \"header\"",
        ),
        (
            "[routing]\nsticky = \"header\"\nsticky_header = \"Authorization\"",
            "3:17: `routing.sticky_header`: `Authorization` is not a header to go by",
        ),
        (
            "[routing]\nsticky = \"haeder\"",
            "2:10: `routing.sticky` must be \"off\", \"key\" or \"header\" (did you mean `header`?)",
        ),
        (
            "[routing]\ndefault_provider = \"nobody\"",
            "2:20: `routing.default_provider`: there is no provider `nobody`",
        ),
        // Prices.
        (
            "[models.a]\nprovider = \"echo\"\nprice = \"cheap\"",
            "3:9: `models.a.price` must be \"free\", or a table such as { input = 2.50, output = 10 }",
        ),
        (
            "[models.a]\nprovider = \"echo\"\nprice = 0",
            "3:9: `models.a.price` must be \"free\", or a table such as { input = 2.50, output = 10 } (this is a whole number)",
        ),
        (
            "[models.a]\nprovider = \"echo\"\nprice = { input = 1e3, output = 1 }",
            "3:19: `models.a.price.input`: `1e3` is not an amount in dollars: write it like 5, 2.50 or 0.001",
        ),
        (
            "[models.a]\nprovider = \"echo\"\nprice = { input = -1, output = 1 }",
            "3:19: `models.a.price.input`: `-1` is not an amount in dollars: write it like 5, 2.50 or 0.001",
        ),
        (
            "[models.a]\nprovider = \"echo\"\nprice = { input = 0.0000000001, output = 1 }",
            "3:19: `models.a.price.input`: `0.0000000001` has more than 9 decimal places: a nano-dollar is the smallest amount",
        ),
        (
            "[models.a]\nprovider = \"echo\"\nprice = { input = true, output = 1 }",
            "3:19: `models.a.price.input` must be an amount in dollars, like 2.50 or \"2.50\" (this is true or false)",
        ),
        (
            "[models.a]\nprovider = \"echo\"\nprice = { input = 1 }",
            "3:9: `models.a.price.output` is missing",
        ),
        (
            "[models.a]\nprovider = \"echo\"\nprice = { input = 1, outptu = 1, output = 1 }",
            "3:22: unknown key `outptu` in `models.a.price` (did you mean `output`?)",
        ),
        (
            "[models.a]\nprovider = \"echo\"\nprice = { input = 1, output = 1, above_lots = { input = 2 } }",
            "3:34: `models.a.price.above_lots` is not a prompt size (write it like `above_200k`)",
        ),
        // Syntax.
        ("[server\nlisten = 1", "1:8: not TOML: unclosed table, expected `]`"),
        ("[server]\n[server]", "2:2: this key is written twice"),
        ("[server]\nworkers =", "2:10: not TOML: a value is missing"),
        ("[server]\nworkers = 1 2", "2:11: not TOML: a text must be in quotes"),
        ("[log]\nlevel = info", "2:9: not TOML: a text must be in quotes"),
    ] {
        assert_eq!(mistakes(text), [format!("conduit.toml:{expected}")], "{text}");
    }
}

#[test]
fn mistakes_in_the_variables_of_opentelemetry_name_the_variable() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318/");
    for (name, value, expected) in [
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "10s", "a number of milliseconds is wanted"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-1", "a number of milliseconds is wanted"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "sk-secret", "what stands there must be like name=value"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a b=c", "`a b` is not a header"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=b%0d%0ac: d", "`a` is not a header"),
        ("OTEL_RESOURCE_ATTRIBUTES", "plain", "what stands there must be like name=value"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "`grpc` is not spoken here: http/protobuf"),
    ] {
        let problems = check_with(ECHO, &[endpoint, (name, value)]).unwrap_err();
        let lines: Vec<_> = problems.lines().collect();
        assert_eq!(lines, [format!("conduit.toml: {name}: {expected}")]);
    }
    let set = check_with(ECHO, &[endpoint]).unwrap().tracing.unwrap();
    assert_eq!(set.url, "http://127.0.0.1:4318/v1/traces");
    let whole = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:1/otlp");
    assert_eq!(check_with(ECHO, &[endpoint, whole]).unwrap().tracing.unwrap().url, whole.1);
    // What is turned off needs no protocol that is spoken here.
    let (off, grpc) = (("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"));
    assert!(check_with(ECHO, &[endpoint, off, grpc]).unwrap().tracing.is_none());
}

#[test]
fn a_file_without_a_provider_is_refused() {
    for text in ["", "# nothing\n", "[providers]\n", "[server]\nworkers = 1\n"] {
        assert_eq!(lines(text), ["conduit.toml: there is no provider"], "{text}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once_in_the_order_of_the_file() {
    let text = "[server]\nworkers = \"x\"\nlistn = 1\n\n[models.m]\nprovider = \"gone\"\nprice = { input = \"x\" }\n\n[providers.oa]\nkind = \"openai\"\nbase_ulr = \"x\"\nidle_timeout = 5\n";
    assert_eq!(
        lines(text),
        [
            "conduit.toml:2:11: `server.workers` must be a whole number from 1 to 1024 (this is a text)",
            "conduit.toml:3:1: unknown key `listn` in `server` (did you mean `listen`?)",
            "conduit.toml:6:12: `models.m.provider`: there is no provider `gone`",
            "conduit.toml:7:9: `models.m.price.output` is missing",
            "conduit.toml:7:19: `models.m.price.input`: `x` is not an amount in dollars: write it like 5, 2.50 or 0.001",
            "conduit.toml:9:12: provider `oa` has no key: the environment variable OPENAI_API_KEY is not set",
            "conduit.toml:11:1: unknown key `base_ulr` in `providers.oa` (did you mean `base_url`?)",
            "conduit.toml:12:16: `providers.oa.idle_timeout` must be a length of time from \"1ms\" to \"1d\" (this is a whole number)",
        ]
    );
}

#[test]
fn errors_of_syntax_are_all_reported_but_come_alone() {
    let text = "a = \"x\nb = 1\nc = nope\n[server]\nunknown = 1\n";
    assert_eq!(
        lines(text),
        [
            "conduit.toml:1:7: not TOML: invalid basic string, expected `\"`",
            "conduit.toml:3:5: not TOML: a text must be in quotes",
        ]
    );
}

#[test]
fn the_place_is_underlined() {
    let text = format!(
        "{ECHO}\n[models.a]\nprovider = \"ehco\"\naliases = [\"b\"]\n\n[models.b]\nprovider = \"echo\"\n"
    );
    let shown = check(&text).unwrap_err().render(false);
    let expected = r#"error: `models.a.provider`: there is no provider `ehco`
 --> conduit.toml:5:12
  |
5 | provider = "ehco"
  |            ^^^^^^ did you mean `echo`?
  |
  = help: there is `echo`

error: `b` already means the model `b`
 --> conduit.toml:6:12
  |
6 | aliases = ["b"]
  |            ^^^ and here again
7 |
8 | [models.b]
  |         - it is named here"#;
    assert_eq!(shown, expected);
    let nowhere = check("").unwrap_err();
    let expected = "error: there is no provider\n--> conduit.toml\n = help: write [providers.openai] and, below it, kind = \"openai\"";
    assert_eq!(nowhere.to_string(), expected);
    assert!(nowhere.render(true).contains("\u{1b}["));
}

#[test]
fn what_may_be_a_secret_is_never_shown() {
    let secret = "sk-Very0Secret";
    for text in [
        format!("[providers.x]\nkind = \"openai\"\napi_key = \"{secret}\""),
        format!("[providers.x]\nkind = \"openai\"\napi_kye = \"{secret}\""),
        format!("[providers.x]\nkind = \"openai\"\nbearer = \"{secret}\""),
        format!("[providers.x]\nkind = \"openai\"\napi_key_env = \"{secret}\""),
        format!("[providers.x]\nkind = \"openai\"\napi_key_file = \"{secret}\""),
        format!("[providers.x]\nkind = \"openai\"\napi_key_credential = \"{secret}\""),
        format!(
            "[providers.x]\nkind = \"openai\"\nheaders = {{ Authorization = \"Bearer {secret}\" }}"
        ),
        format!("[providers.x]\nkind = \"openai\"\nbase_url = \"https://u:{secret}@h\""),
        format!("[providers.x]\nkind = \"openai\"\napi_key = \"{secret}"),
        format!("[providers]\nx = {{ kind = 1, api_key = \"{secret}\" }}"),
    ] {
        let problems = check(&text).unwrap_err();
        let lines = problems.lines().collect::<String>();
        let all = format!("{}{}{problems:?}{lines}", problems.render(false), problems.render(true));
        assert!(!all.contains("Very0Secret"), "{all}");
    }
    let text = "[providers.x]\nkind = \"openai\"\nheaders = { x-a = \"Very0Secret\" }";
    let config = check_with(text, &[("OPENAI_API_KEY", "Very0Secret")]).unwrap();
    assert!(!format!("{config:?}").contains("Very0Secret"));
}

#[test]
fn amazons_credentials_come_from_where_its_own_tools_look() {
    const KEYS: [(&str, &str); 2] =
        [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")];
    let other = [("ID", "id2"), ("SECRET", "secret2"), ("AWS_BEARER_TOKEN_BEDROCK", "bearer")];
    let token = [("AWS_SESSION_TOKEN", "token"), ("AWS_REGION", "eu-west-1")];
    let signing = "access_key_id_env = \"ID\"\nsecret_access_key_env = \"SECRET\"";
    let vpc = "base_url = \"https://x.bedrock-runtime.eu-west-1.vpce.amazonaws.com\"";
    for (text, variables, expected) in [
        ("region = \"us-east-1\"", &KEYS[..], "us-east-1 signed id secret -"),
        ("", &[&KEYS[..], &token].concat(), "eu-west-1 signed id secret token"),
        ("region = \"us-east-1\"", &[&KEYS[..], &other].concat(), "us-east-1 sent bearer"),
        (&format!("region = \"us-east-1\"\n{signing}"), &other, "us-east-1 signed id2 secret2 -"),
        (vpc, &KEYS, "eu-west-1 signed id secret -"),
        (
            "region = \"us-east-1\"\nbase_url = \"https://elsewhere.example\"",
            &KEYS,
            "us-east-1 bare",
        ),
        ("region = \"us-east-1\"\napi_key_env = \"ID\"", &other, "us-east-1 sent id2"),
    ] {
        let text = format!("[providers.x]\nkind = \"bedrock\"\n{text}");
        let config = check_with(&text, variables).unwrap_or_else(|problems| panic!("{problems}"));
        let provider = config.provider("x").unwrap();
        let aws = provider.aws.as_ref().unwrap();
        let shown = |secret: &SecretString| secret.expose_secret().to_owned();
        let found = match (&aws.credentials, provider.keys.first()) {
            (None, None) => "bare".to_owned(),
            (None, Some(key)) => format!("sent {}", shown(key)),
            (Some(found), _) => format!(
                "signed {} {} {}",
                shown(&found.access_key_id),
                shown(&found.secret_access_key),
                found.session_token.as_ref().map_or("-".to_owned(), shown),
            ),
        };
        assert_eq!(format!("{} {found}", aws.region), expected, "{text}");
        assert!(!format!("{config:?}").contains("secret\""));
    }
    let config =
        check_with("[providers.x]\nkind = \"bedrock\"\nregion = \"us-east-1\"", &KEYS).unwrap();
    let url = config.provider("x").unwrap().base_url.as_ref().unwrap().to_string();
    assert_eq!(url, "https://bedrock-runtime.us-east-1.amazonaws.com");

    let half =
        "[providers.x]\nkind = \"bedrock\"\nregion = \"us-east-1\"\nsecret_access_key_env = \"S\"";
    let problems = check_with(half, &[("S", "secret")]).unwrap_err();
    assert_eq!(problems.list()[0].message, "provider `x` needs an `access_key_id_env`");
}

#[test]
fn offline_everything_but_the_keys_is_checked() {
    let offline =
        |text: &str| config::check(Path::new("conduit.toml"), text, &no_variables, Secrets::Skip);
    assert!(offline("[providers.x]\nkind = \"openai\"").is_ok());
    let problems = offline("[providers.x]\nkind = \"openai\"\napi_key_env = \"a b\"").unwrap_err();
    assert_eq!(problems.list().len(), 1);
}

#[test]
fn a_key_goes_only_where_it_is_known_to_belong() {
    let key = [("OPENAI_API_KEY", "abc"), ("OTHER", "def")];
    for (text, expected) in [
        ("kind = \"openai\"", true),
        ("kind = \"openai\"\nbase_url = \"https://api.openai.com/v2\"", true),
        ("kind = \"openai\"\nbase_url = \"http://api.openai.com/v1\"", false),
        ("kind = \"openai\"\nbase_url = \"https://elsewhere.example/v1\"", false),
        (
            "kind = \"openai\"\nbase_url = \"https://elsewhere.example/v1\"\napi_key_env = \"OTHER\"",
            true,
        ),
        ("kind = \"ollama\"", false),
    ] {
        let config = check_with(&format!("[providers.x]\n{text}\n"), &key).unwrap();
        assert_eq!(!config.providers[0].keys.is_empty(), expected, "{text}");
    }
}

#[test]
fn variables_take_the_place_of_options() {
    let config = check_with(
        &format!("[log]\nlevel = \"warn\"\n{ECHO}"),
        &[
            ("CONDUIT_LISTEN", "127.0.0.1:1, [::1]:2"),
            ("CONDUIT_STORE", "/s"),
            ("CONDUIT_ADMIN_SOCKET", "/a"),
            ("RUST_LOG", "debug"),
            ("CONDUIT_LOG_FORMAT", "json"),
        ],
    )
    .unwrap();
    assert_eq!(config.server.listen.len(), 2);
    assert_eq!(config.store.path, PathBuf::from("/s"));
    assert_eq!(config.admin.socket, PathBuf::from("/a"));
    assert_eq!((config.log.filter.as_str(), config.log.format), ("debug", LogFormat::Json));
    assert_eq!(config.overrides.len(), 5);

    let bad = [("CONDUIT_LISTEN", "x"), ("CONDUIT_LOG", "a=b=c"), ("CONDUIT_LOG_FORMAT", "xml")];
    let problems = check_with(ECHO, &bad).unwrap_err();
    let lines = problems.lines().collect::<Vec<_>>();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].starts_with("conduit.toml: CONDUIT_LISTEN: `x` is not"), "{lines:?}");
    assert_eq!(lines[2], "conduit.toml: CONDUIT_LOG_FORMAT must be auto, text or json");
}

#[test]
fn paths_start_at_the_files_folder() {
    let text = format!("[store]\npath = \"my.redb\"\n[admin]\nsocket = \"/run/x.sock\"\n{ECHO}");
    let path = Path::new("/etc/conduit/conduit.toml");
    let config = config::check(path, &text, &no_variables, Secrets::Read).unwrap();
    assert_eq!(config.store.path, PathBuf::from("/etc/conduit/my.redb"));
    assert_eq!(config.admin.socket, PathBuf::from("/run/x.sock"));
    let long = format!("/{}/conduit.toml", "x".repeat(100));
    let problems = config::check(Path::new(&long), ECHO, &no_variables, Secrets::Read).unwrap_err();
    assert!(problems.list()[0].message.contains("a socket's can have 107"));
}

#[test]
fn prices_are_read_from_their_text() {
    let text = format!(
        "{ECHO}[models.a]\nprovider = \"echo\"\n[models.a.price]\ninput = 0.1\noutput = \"2.50\"\n\
         cache_read = 0.000000001\ncall = 0.01\nabove_200k = {{ input = 1_000 }}\n\
         priority = {{ input = 3, above_200k = {{ output = 7.10 }} }}\n"
    );
    let config = check(&text).unwrap();
    let Some(Pricing::Priced(price)) = config.routes.list()[0].price.as_deref() else {
        panic!("not priced");
    };
    for (class, tier, input, nano) in [
        (Class::Input, ServiceTier::Standard, 1, 100_000_000),
        (Class::Output, ServiceTier::Standard, 1, 2_500_000_000),
        (Class::CacheRead, ServiceTier::Standard, 1, 1),
        (Class::Call, ServiceTier::Standard, 1, 10_000_000_000_000),
        (Class::Input, ServiceTier::Standard, 200_001, 1_000_000_000_000),
        (Class::Input, ServiceTier::Priority, 1, 3_000_000_000),
        (Class::Output, ServiceTier::Priority, 200_001, 7_100_000_000),
    ] {
        let rate = price.rate(class, tier, input).map(Rate::nano_per_million);
        assert_eq!(rate, Some(nano), "{class} {tier:?} {input}");
    }
}

#[test]
fn what_a_request_asks_for_may_have_a_price_of_its_own() {
    let priced = |table: &str| {
        check(&format!("{ECHO}[models.a]\nprovider = \"echo\"\n[models.a.price]\n{table}\n"))
    };
    let config = priced(
        "images = { \"1024x1024\" = 0.04, \"HD 1024x1792\" = \"0.12\" }\ncalls = { low = 0.005 }",
    );
    let config = config.unwrap();
    let Some(Pricing::Priced(price)) = config.routes.list()[0].price.as_deref() else {
        panic!("not priced");
    };
    let variants: Vec<_> = price
        .variants
        .iter()
        .map(|variant| (variant.class, variant.to_string(), variant.rate.nano_per_million()))
        .collect();
    let expected = [
        (Class::Image, "1024x1024".to_owned(), 40_000_000_000_000),
        (Class::Image, "hd 1024x1792".to_owned(), 120_000_000_000_000),
        (Class::Call, "low".to_owned(), 5_000_000_000_000),
    ];
    assert_eq!(variants, expected);
    for (table, message) in [
        ("images = { \"hd hd\" = 1 }", "`models.a.price.images.\"hd hd\"` is not something to ask"),
        ("images = { \"1x1\" = 1, \"1-x-1\" = 2 }", "is written twice, in other words"),
        ("calls = { huge = 1 }", "`models.a.price.calls.huge` is not something to ask for"),
        ("images = { \"1x1\" = true }", "must be an amount in dollars"),
        ("images = 0.04", "`models.a.price.images` must be a table"),
    ] {
        let problems = priced(table).unwrap_err();
        assert!(problems.list()[0].message.contains(message), "{table}: {problems}");
    }
}

#[test]
fn the_admin_listener_is_for_this_machine_unless_more_is_meant() {
    let listen = |text: &str, variable: Option<&str>| {
        let variables: Vec<_> =
            variable.map(|value| ("CONDUIT_ADMIN_LISTEN", value)).into_iter().collect();
        let config = check_with(&format!("[admin]\n{text}\n{ECHO}"), &variables);
        config.map(|config| (config.admin.listen, config.admin.listen_is_default))
    };
    let one = |address: &str| vec![address.parse().unwrap()];
    assert_eq!(listen("", None).unwrap(), (one("127.0.0.1:8081"), true));
    assert_eq!(listen("listen = \"off\"", None).unwrap(), (vec![], false));
    assert_eq!(listen("listen = \"[::1]:9\"", None).unwrap(), (one("[::1]:9"), false));
    let remote = "allow_remote = true\nlisten = \"0.0.0.0:9\"";
    assert_eq!(listen(remote, None).unwrap(), (one("0.0.0.0:9"), false));
    assert_eq!(listen(remote, Some("off")).unwrap(), (vec![], false));
    assert!(listen("", Some("0.0.0.0:9")).is_err());
}

#[test]
fn the_admin_password_comes_from_a_file_and_never_from_this_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    let said = || {
        let text = format!("[admin]\npassword_file = \"password\"\n{ECHO}");
        let path = folder.path().join("conduit.toml");
        config::check(&path, &text, &no_variables, Secrets::Read)
    };
    for (text, words) in [
        ("", "is empty"),
        ("eleven char", "fewer than 12 characters"),
        ("a long enough password\nand a second line", "holds more than a line"),
    ] {
        fs::write(&file, text).unwrap();
        let problems = said().unwrap_err().to_string();
        assert!(problems.contains(words), "{problems}");
        assert!(text.is_empty() || !problems.contains(text), "{problems}");
    }
    fs::write(&file, "a long enough password\n").unwrap();
    assert!(said().unwrap().admin.password.is_some());
    let written = mistakes("[admin]\npassword = \"a long enough password\"");
    assert!(written[0].contains("must not be written in this file"), "{written:?}");
}

#[test]
fn the_example_is_valid_as_it_is() {
    let config = check(config::EXAMPLE).unwrap();
    assert_eq!(config.providers.len(), 1);
    assert_eq!(&*config.route("echo").unwrap().provider.name, "echo");
    assert!(config.route("anything").is_none());
}

/// The example with every option set.
fn whole_example() -> String {
    let uncommented = |line: &'static str| match line.strip_prefix('#') {
        Some(option) if !option.is_empty() && !option.starts_with(' ') => option,
        _ => line,
    };
    config::EXAMPLE.lines().map(uncommented).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_option_of_the_example_is_valid_and_shows_its_default() {
    let whole = whole_example();
    let check =
        |text: &str| config::check(Path::new("conduit.toml"), text, &no_variables, Secrets::Skip);
    let set = check(&whole).unwrap_or_else(|problems| panic!("{problems}"));
    let unset = check(config::EXAMPLE).unwrap();
    let workers = set.server.workers;
    // That it is written is the difference.
    assert!(unset.server.listen_is_default && !set.server.listen_is_default);
    let tls = set.server.tls.clone();
    assert!(
        tls.is_some() && set.admin.tls == Some(config::Tls::Acme) && unset.server.tls.is_none()
    );
    let acme = set.acme.as_ref().unwrap();
    assert_eq!(acme.folder, set.store.path.with_file_name("acme"));
    assert!(acme.directory.contains("letsencrypt") && acme.binding.is_some());
    assert!(unset.acme.is_none());
    let written = config::Server { workers, listen_is_default: false, tls, ..unset.server };
    assert_eq!(set.server, written);
    assert_eq!(set.store, unset.store);
    assert_eq!(set.admin.socket, unset.admin.socket);
    assert_eq!(set.admin.listen, unset.admin.listen);
    assert_eq!(set.admin.audit_keep_ms, unset.admin.audit_keep_ms);
    assert_eq!((set.admin.hosts.len(), unset.admin.hosts.len()), (1, 0));
    // The files are examples; by default there are none.
    assert!(set.log.access.is_some() && set.log.audit.is_some());
    let log = config::Log { access: None, audit: None, ..set.log.clone() };
    assert_eq!(log, unset.log);
    assert!(unset.tracing.is_none() && set.tracing.is_some());
    assert_eq!(set.limits, config::Limits { windows: set.limits.windows.clone(), ..unset.limits });
    let sticky = config::Sticky::Header("x-conduit-session".to_owned());
    assert_eq!(set.routing, config::Routing { sticky, ..unset.routing });
    assert_eq!(set.provider("openai").unwrap().timeouts, unset.providers[0].timeouts);
    assert_eq!(set.provider("groq").unwrap().timeouts, unset.providers[0].timeouts);
    let upstream = |name: &str| {
        let found = set.route(name).unwrap();
        format!("{} {}", found.provider.name, found.upstream_model)
    };
    let mut places = Vec::new();
    set.routes.visit("gpt-4o-safe", |found| {
        places.push(format!("{} {} {}", found.provider.name, found.upstream_model, found.weight));
    });
    assert_eq!(
        places,
        [
            "azure my-deployment 3",
            "openai gpt-4o 1",
            "groq llama-3.3-70b-versatile 1",
            "local llama-at-home 1"
        ]
    );
    assert_eq!(upstream("best"), "openai gpt-4o-2024-08-06");
    assert_eq!(upstream("openai/o3"), "openai o3");
    assert_eq!(upstream("azure/a"), "azure deployment-a");
    assert_eq!(upstream("llama3:8b"), "local llama3:8b");
    assert_eq!(upstream("other"), "openai other");
}

#[test]
fn the_example_has_every_option() {
    let whole = whole_example();
    let written: BTreeSet<&str> =
        whole.lines().filter_map(|line| Some(line.split_once(" = ")?.0)).collect();
    // The help for an unknown key names those that are known in its place.
    for section in [
        "server",
        "store",
        "admin",
        "log",
        "limits",
        "defaults",
        "routing",
        "providers.echo",
        "models.echo",
        "models.echo.price",
    ] {
        let text = format!("{section}.zzzzzzzzzzzz = 1\n");
        let problems = check(&text).unwrap_err();
        let unknown = problems.list().iter().find(|p| p.message.starts_with("unknown"));
        let help = unknown.and_then(|problem| problem.help.as_deref()).unwrap();
        for option in help.trim_start_matches("known here: ").split(", ") {
            let option = option.trim_matches('`');
            let is_section = whole.contains(&format!(".{option}]"));
            // Of two that exclude each other, the other is named in words.
            let is_named = whole.contains(&format!("(`{option}`)"));
            assert!(written.contains(option) || is_section || is_named, "{option} of {section}");
        }
    }
}

/// A folder with a configuration file that a [`Live`] follows.
struct Scene {
    folder: tempfile::TempDir,
    live: Arc<Live>,
    changes: Arc<AtomicU64>,
    _watch: config::live::Watch,
}

fn clock() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000)
}

fn source(path: PathBuf) -> Source {
    Source { path, environment: Box::new(no_variables), clock }
}

fn with_model(name: &str) -> String {
    format!("{ECHO}[models.{name}]\nprovider = \"echo\"\n")
}

impl Scene {
    fn new(arrange: impl FnOnce(&Path) -> PathBuf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = arrange(folder.path());
        let live = Live::open(source(path)).unwrap();
        let changes = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&changes);
        live.on_change(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let watch = live.watch().unwrap();
        Self { folder, live, changes, _watch: watch }
    }

    fn plain() -> Self {
        Self::new(|folder| {
            fs::write(folder.join("conduit.toml"), with_model("first")).unwrap();
            folder.join("conduit.toml")
        })
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("conduit.toml")
    }

    fn has(&self, model: &str) -> bool {
        self.live.load().config.route(model).is_some()
    }

    fn wait(&self, what: &str, until: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !until(self) {
            assert!(Instant::now() < deadline, "{what}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }
}

/// As editors do it: written beside, then renamed.
fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}

#[test]
fn a_file_replaced_by_rename_is_noticed_again_and_again() {
    let scene = Scene::plain();
    for name in ["second", "third", "fourth"] {
        replace(&scene.file(), &with_model(name));
        scene.wait(name, |scene| scene.has(name));
    }
    assert!(!scene.has("first"));
    assert_eq!(scene.live.load().generation, 4);
    assert_eq!(scene.changes(), 3);
}

#[test]
fn a_file_written_in_place_is_noticed() {
    let scene = Scene::plain();
    fs::write(scene.file(), with_model("second")).unwrap();
    scene.wait("second", |scene| scene.has("second"));
}

#[test]
fn a_link_to_another_version_is_noticed() {
    let scene = Scene::new(|folder| {
        for version in ["v1", "v2"] {
            fs::create_dir(folder.join(version)).unwrap();
            fs::write(folder.join(version).join("conduit.toml"), with_model(version)).unwrap();
        }
        fs::create_dir(folder.join("etc")).unwrap();
        symlink("v1", folder.join("..data")).unwrap();
        symlink("../..data/conduit.toml", folder.join("etc/conduit.toml")).unwrap();
        folder.join("etc/conduit.toml")
    });
    for version in ["v2", "v1", "v2"] {
        let beside = scene.folder.path().join("..data_tmp");
        symlink(version, &beside).unwrap();
        fs::rename(beside, scene.folder.path().join("..data")).unwrap();
        scene.wait(version, |scene| scene.has(version));
    }
    // And a change in the folder that the link now leads to.
    replace(&scene.folder.path().join("v2/conduit.toml"), &with_model("deep"));
    scene.wait("deep", |scene| scene.has("deep"));
}

#[test]
fn a_folder_that_is_replaced_is_followed() {
    let scene = Scene::new(|folder| {
        fs::create_dir(folder.join("etc")).unwrap();
        fs::write(folder.join("etc/conduit.toml"), with_model("first")).unwrap();
        folder.join("etc/conduit.toml")
    });
    let root = scene.folder.path().to_owned();
    fs::create_dir(root.join("new")).unwrap();
    fs::write(root.join("new/conduit.toml"), with_model("second")).unwrap();
    fs::rename(root.join("etc"), root.join("old")).unwrap();
    fs::rename(root.join("new"), root.join("etc")).unwrap();
    scene.wait("second", |scene| scene.has("second"));
    replace(&root.join("etc/conduit.toml"), &with_model("third"));
    scene.wait("third", |scene| scene.has("third"));
}

#[test]
fn a_burst_of_saves_is_one_change() {
    let scene = Scene::plain();
    for count in 0..20 {
        fs::write(scene.file(), with_model(&format!("m{count}"))).unwrap();
        thread::sleep(Duration::from_millis(10));
    }
    scene.wait("the last one", |scene| scene.has("m19"));
    assert!(scene.changes() < 10, "{}", scene.changes());
}

#[test]
fn a_file_that_says_the_same_changes_nothing() {
    let scene = Scene::plain();
    replace(&scene.file(), &with_model("first"));
    thread::sleep(Duration::from_millis(600));
    assert_eq!(scene.changes(), 0);
    scene.live.trigger();
    scene.wait("trigger", |scene| scene.changes() == 1);
}

#[test]
fn a_broken_file_keeps_the_last_good_one_until_it_is_mended() {
    let scene = Scene::plain();
    replace(&scene.file(), "[server]\nworkrs = 1\n");
    scene.wait("failure", |scene| scene.live.failed().is_some());
    let failed = scene.live.failed().unwrap();
    assert_eq!(failed.at, clock());
    let first = failed.problems.lines().next().unwrap();
    let expected = ":2:1: unknown key `workrs` in `server` (did you mean `workers`?)";
    assert!(first.ends_with(expected), "{first}");
    assert!(scene.has("first"));
    assert_eq!(scene.live.load().generation, 1);
    // Back to the text that is in force.
    replace(&scene.file(), &with_model("first"));
    scene.wait("recovery", |scene| scene.live.failed().is_none());
    replace(&scene.file(), &with_model("second"));
    scene.wait("second", |scene| scene.has("second"));
}

#[test]
fn a_file_that_is_away_for_a_moment_is_no_failure() {
    let scene = Scene::plain();
    fs::remove_file(scene.file()).unwrap();
    thread::sleep(Duration::from_millis(450));
    assert!(scene.live.failed().is_none());
    fs::write(scene.file(), with_model("second")).unwrap();
    scene.wait("second", |scene| scene.has("second"));
    assert!(scene.live.failed().is_none());
    fs::remove_file(scene.file()).unwrap();
    scene.wait("failure", |scene| scene.live.failed().is_some());
    assert!(scene.has("second"));
    fs::write(scene.file(), with_model("third")).unwrap();
    scene.wait("third", |scene| scene.has("third"));
}

#[test]
fn what_needs_a_restart_is_named_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("conduit.toml");
    fs::write(&path, ECHO).unwrap();
    let live = Live::open(source(path.clone())).unwrap();
    let before = live.snapshot();
    let changed =
        "[server]\nlisten = \"127.0.0.1:1\"\nmax_body = \"1MiB\"\n[store]\npath = \"x\"\n";
    fs::write(&path, format!("{changed}{ECHO}")).unwrap();
    let Reload::Changed(after) = live.reload() else { panic!("not changed") };
    assert_eq!(after.needs_restart, ["server.listen", "store.path"]);
    assert_eq!(after.config.server.listen, before.config.server.listen);
    assert_eq!(after.config.store, before.config.store);
    assert_eq!(after.config.server.max_body, 1 << 20);
    fs::write(&path, ECHO).unwrap();
    assert!(matches!(live.reload(), Reload::Changed(s) if s.needs_restart.is_empty()));
    fs::write(&path, "x").unwrap();
    assert!(matches!(live.reload(), Reload::Kept(_)));
}

#[test]
fn a_call_keeps_the_snapshot_it_began_with() {
    let scene = Scene::plain();
    let call = scene.live.snapshot();
    replace(&scene.file(), &with_model("second"));
    scene.wait("second", |scene| scene.has("second"));
    assert!(call.config.route("first").is_some());
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("conduit.toml");
    let load = || config::load(&path, &no_variables, Secrets::Read).unwrap_err().to_string();
    assert!(load().starts_with("error: the file cannot be read: No such file or directory"));
    fs::write(&path, b"a = 1\n\xff").unwrap();
    assert!(load().starts_with("error: the file is not text in UTF-8: see line 2"));
}
