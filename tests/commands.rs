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
