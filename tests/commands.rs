//! The commands by the real binary: what they print, where, and how they exit when something is in the
//! way.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use conduit::store::Store;
use redb::{Database, ReadableDatabase, TableDefinition};

const CONFIG: &str = "[server]\nlisten = \"127.0.0.1:0\"\n\n[store]\npath = \"s/conduit.redb\"\n\n\
                      [admin]\nsocket = \"admin.sock\"\n\n[providers.echo]\nkind = \"echo\"\n\n\
                      [models.echo]\nprovider = \"echo\"\n";

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("conduit.toml"), CONFIG).unwrap();
    folder
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conduit"));
    command.current_dir(folder).env_clear().stdin(Stdio::null());
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    command(folder).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Exits with `code` and says each of `words` on standard error, and nothing on standard output.
fn refuses(output: &Output, code: i32, words: &[&str]) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn a_key_is_made_with_the_same_result_whether_a_server_runs_or_not() {
    let folder = folder();
    let secret = |name| {
        let output = run(folder.path(), &["keys", "create", name, "--daily", "2.50"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let printed = text(&output.stdout);
        assert!(printed.starts_with("sk-cdt-") && printed.trim_end().len() == 45, "{printed}");
        assert_eq!(printed.lines().count(), 1, "the secret stands alone");
        assert!(!text(&output.stderr).contains(printed.trim_end()), "shown once only");
        printed
    };
    let down = secret("down");
    let mut server = command(folder.path()).arg("serve").stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    let socket = folder.path().join("admin.sock");
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "the server did not come up");
        std::thread::sleep(Duration::from_millis(50));
    }
    let status = text(&run(folder.path(), &["admin", "status"]).stdout);
    assert!(status.contains("server    running\n"), "{status}");
    let up = secret("up");
    assert_ne!(down, up);
    let listed = text(&run(folder.path(), &["keys", "list"]).stdout);
    assert!(listed.contains("\tdown\t") && listed.contains("\tup\t"), "{listed}");
    refuses(&run(folder.path(), &["keys", "create", "up"]), 4, &["`up`"]);
    server.kill().unwrap();
    server.wait().unwrap();
    let after = text(&run(folder.path(), &["keys", "list"]).stdout);
    assert_eq!(after, listed, "the same with the server gone, which was killed");
    let stored = fs::read(folder.path().join("s/conduit.redb")).unwrap();
    for secret in [&down, &up] {
        let secret = secret.trim_end().as_bytes();
        assert!(!stored.windows(secret.len()).any(|bytes| bytes == secret), "only hashes are kept");
    }
}

#[test]
fn a_store_that_another_process_holds_is_named() {
    let folder = folder();
    let (store, _) = Store::open(&folder.path().join("s/conduit.redb")).unwrap();
    let output = run(folder.path(), &["keys", "create", "x"]);
    refuses(&output, 69, &["another process has", "conduit.redb", "admin.socket"]);
    refuses(&run(folder.path(), &["serve"]), 69, &["another process has"]);
    drop(store);
    assert!(run(folder.path(), &["keys", "create", "x"]).status.success());
}

#[test]
fn a_store_of_a_newer_version_is_left_alone() {
    let folder = folder();
    assert!(run(folder.path(), &["keys", "create", "x"]).status.success());
    let path = folder.path().join("s/conduit.redb");
    let meta: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
    let db = Database::open(&path).unwrap();
    let write = db.begin_write().unwrap();
    write.open_table(meta).unwrap().insert("format", 99).unwrap();
    write.commit().unwrap();
    drop(db);
    for arguments in [&["keys", "list"][..], &["serve"]] {
        refuses(&run(folder.path(), arguments), 78, &["newer conduit", "format 99"]);
    }
    let db = Database::open(&path).unwrap();
    let read = db.begin_read().unwrap();
    let format = read.open_table(meta).unwrap().get("format").unwrap();
    assert_eq!(format.map(|format| format.value()), Some(99));
}

#[test]
fn a_file_that_is_no_store_is_left_alone() {
    let folder = folder();
    fs::create_dir(folder.path().join("s")).unwrap();
    let path = folder.path().join("s/conduit.redb");
    fs::write(&path, "dear diary").unwrap();
    refuses(&run(folder.path(), &["keys", "list"]), 78, &["not a conduit store"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "dear diary");
}

#[test]
fn a_data_folder_that_cannot_be_made_is_named() {
    let folder = folder();
    // A file where the folder should be keeps everybody out, the superuser too.
    fs::write(folder.path().join("s"), "").unwrap();
    for arguments in [&["keys", "create", "x"][..], &["serve"]] {
        let output = run(folder.path(), arguments);
        refuses(&output, 1, &["s", "cannot be used"]);
    }
    let output = run(folder.path(), &["quickstart", "--dir", "s/below", "--listen", "127.0.0.1:0"]);
    refuses(&output, 1, &["s/below/conduit.toml cannot be made"]);
}

#[test]
fn mistakes_on_the_command_line_say_what_was_expected() {
    let folder = folder();
    for (arguments, words) in [
        (&["keys", "create", "x", "--daily", "five"][..], &["`five`", "2.50"][..]),
        (&["keys", "create", "x", "--daily", "0.0000000001"], &["nano-dollar"]),
        (&["keys", "create", "x", "--expires", "soon"], &["`soon`", "90d"]),
        (&["keys", "create", "x", "--tag", "alone"], &["name=value"]),
        (&["keys", "create", ""], &["must not be empty"]),
        (&["keys", "create", "sk-abc"], &["looks like a secret"]),
        (&["keys", "limits", "x"], &["--daily"]),
        (&["admin", "usage", "--since", "long ago"], &["`long ago`", "7d"]),
    ] {
        refuses(&run(folder.path(), arguments), 2, words);
    }
    refuses(&run(folder.path(), &["keys", "show", "nobody"]), 3, &["`nobody`"]);
    let elsewhere = tempfile::tempdir().unwrap();
    refuses(&run(elsewhere.path(), &["keys", "list", "--config", "no.toml"]), 78, &["no.toml"]);
}

const PRICED: &str = "[server]\nlisten = \"127.0.0.1:0\"\n[store]\npath = \"s/conduit.redb\"\n\
                      [admin]\nsocket = \"admin.sock\"\n[log]\nlevel = \"off\"\n\
                      [providers.oa]\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\n\
                      [providers.echo]\nkind = \"echo\"\n\
                      [models.mine]\nprovider = \"oa\"\nmodel = \"moon-1\"\n\
                      [models.own]\nprovider = \"oa\"\nprice = { input = 1, output = 2.50 }\n\
                      [models.gpt-4o]\nprovider = \"oa\"\naliases = [\"best\"]\n\
                      [models.\"any/*\"]\nprovider = \"oa\"\n\
                      [models.echo]\nprovider = \"echo\"\n";

fn priced_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("conduit.toml"), PRICED).unwrap();
    let map = r#"{"moon-1": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1e-06,
        "output_cost_per_token": 2.5e-06, "input_cost_per_token_priority": 4e-06,
        "input_cost_per_token_above_200k_tokens": 2e-06, "max_output_tokens": 4096},
        "gpt-4o": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 3e-06,
        "output_cost_per_token": 1e-05},
        "debt-1": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": -1}}"#;
    fs::write(folder.path().join("map.json"), map).unwrap();
    folder
}

#[test]
fn prices_are_shown_and_updated_with_the_same_result_whether_a_server_runs_or_not() {
    let folder = priced_folder();
    let says = |arguments: &[&str]| {
        let output = run(folder.path(), arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let shows = [
        &["admin", "prices"][..],
        &["admin", "prices", "--json"],
        &["admin", "prices", "mine"],
        &["admin", "prices", "best"],
        &["admin", "prices", "own", "--json"],
        &["admin", "prices", "any/gpt-4o"],
        &["admin", "prices", "update", "map.json", "--dry-run"],
        &["admin", "prices", "reset", "--dry-run", "--json"],
    ];
    let before = shows.map(says);
    assert!(before[0].contains("mine\toa\tmoon-1\tunknown\tunknown\n"), "{}", before[0]);
    assert!(before[0].contains("own\toa\town\tpriced\tconfig, line 19\n"), "{}", before[0]);
    assert!(before[0].contains("gpt-4o\toa\tgpt-4o\tpriced\tcatalogue 2026-11\n"));
    assert!(before[0].contains("any/*\toa\t*\tby name\t\n"), "{}", before[0]);
    assert!(before[0].contains("echo\techo\techo\tfree\tthe gateway\n"), "{}", before[0]);
    assert!(before[6].contains("added\topenai\tmoon-1\t"), "{}", before[6]);
    assert!(before[6].contains("changed\topenai\tgpt-4o\t"), "{}", before[6]);
    assert!(before[6].contains("unreadable\t\tdebt-1\t"), "{}", before[6]);
    assert!(!folder.path().join("s/conduit.redb.prices").exists());

    let mut server = command(folder.path()).arg("serve").stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    while std::os::unix::net::UnixStream::connect(folder.path().join("admin.sock")).is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "the server did not come up");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(shows.map(says), before, "the same with a server");
    says(&["admin", "prices", "update", "map.json"]);
    let updated = shows.map(says);
    let mine = &updated[2];
    for line in [
        "price     priced\n",
        "from      update ",
        "listed as openai moon-1\n",
        "output    4096 tokens\n",
        "input\t\t1\tmillion tokens\n",
        "input\tpriority\t4\tmillion tokens\n",
        "input\tabove 200000 tokens\t2\tmillion tokens\n",
    ] {
        assert!(mine.contains(line), "{line:?} is not in: {mine}");
    }
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(shows.map(says), updated, "the same with the server gone, which was killed");
    let checked = text(&run(folder.path(), &["check", "--offline"]).stderr);
    assert!(!checked.contains("moon-1"), "a check knows the update: {checked}");
    says(&["admin", "prices", "reset"]);
    assert_eq!(shows.map(says), before);

    refuses(&run(folder.path(), &["admin", "prices", "nobody"]), 3, &["`nobody`"]);
    refuses(&run(folder.path(), &["admin", "prices", "update", "none.json"]), 1, &["none.json"]);
    refuses(&run(folder.path(), &["admin", "prices", "update", "conduit.toml"]), 2, &["JSON"]);
    fs::write(folder.path().join("s/conduit.redb.prices"), "conduit-prices 2 upd").unwrap();
    let output = run(folder.path(), &["admin", "prices", "gpt-4o"]);
    assert!(text(&output.stdout).contains("catalogue 2026-11"));
    assert!(text(&output.stderr).contains("conduit.redb.prices"), "{}", text(&output.stderr));
}

#[test]
fn init_makes_what_is_missing_and_shows_the_password_once_alone() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["init"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let password = text(&output.stdout);
    assert_eq!((password.lines().count(), password.trim_end().len()), (1, 23), "{password}");
    let said = text(&output.stderr);
    assert!(!said.contains(password.trim_end()), "shown once only: {said}");
    assert!(said.contains("Made conduit-data/conduit.toml."), "{said}");
    assert!(said.contains("http://127.0.0.1:8081/"), "{said}");
    let (store, _) = Store::open(&folder.path().join("conduit-data/conduit.redb")).unwrap();
    assert!(store.admin_password().unwrap().is_some());
    drop(store);
    // The commands that come next find it.
    assert!(run(folder.path(), &["check"]).status.success());
    assert!(run(folder.path(), &["keys", "create", "first"]).status.success());

    let again = run(folder.path(), &["init"]);
    assert!(again.status.success());
    assert_eq!(text(&again.stdout), "", "nothing is changed and nothing is shown");
    assert!(text(&again.stderr).contains("The admin password stays what it was."));
    fs::write(folder.path().join("password"), "another password\n").unwrap();
    let taken = run(folder.path(), &["init", "--password-file", "password"]);
    refuses(&taken, 4, &["there is an admin password already", "conduit admin password"]);
}

#[test]
fn init_takes_a_password_from_a_file_or_from_where_the_configuration_says() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("short"), "short\n").unwrap();
    fs::write(folder.path().join("password"), "a password of many letters\n").unwrap();
    let init = ["init", "--config", "etc/conduit.toml", "--password-file"];
    let with = |file: &'static str| run(folder.path(), &[&init[..], &[file]].concat());
    refuses(&with("none"), 2, &["the password cannot be read from none"]);
    refuses(&with("short"), 2, &["at least 12 characters"]);
    let output = with("password");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "", "who wrote it knows it");

    let named = CONFIG.replace("[admin]\n", "[admin]\npassword_file = \"../password\"\n");
    fs::create_dir(folder.path().join("named")).unwrap();
    fs::write(folder.path().join("named/conduit.toml"), named).unwrap();
    let init = ["init", "--dir", "named"];
    let output = run(folder.path(), &init);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "");
    assert!(text(&output.stderr).contains("the one that the configuration names"));
    let both = run(folder.path(), &[&init[..], &["--password-file", "password"]].concat());
    refuses(&both, 4, &["leave out --password-file"]);
    let wrong = fs::read_to_string(folder.path().join("named/conduit.toml")).unwrap();
    fs::write(folder.path().join("named/conduit.toml"), wrong.replace("echo", "ekko")).unwrap();
    refuses(&run(folder.path(), &init), 78, &["`ekko` is not a kind of provider", "-->"]);
}

#[test]
fn init_leaves_a_server_that_runs_alone() {
    let folder = folder();
    let mut server = command(folder.path()).arg("serve").stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    while std::os::unix::net::UnixStream::connect(folder.path().join("admin.sock")).is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "the server did not come up");
        std::thread::sleep(Duration::from_millis(50));
    }
    let output = run(folder.path(), &["init", "--dir", "."]);
    refuses(&output, 4, &["a server runs with this configuration", "conduit admin password"]);
    server.kill().unwrap();
    server.wait().unwrap();
}
