//! The README as a test: what it tells people to type is typed, and what it says comes back must come
//! back.
//!
//! A fenced block's first word is its language. The words after it say why a block is not run here;
//! the SDK suites run those in `python` and `js`. A language or a word that nobody knows fails, so that
//! no example goes untested by a slip.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]
#![expect(clippy::print_stdout, reason = "a test that skips says so")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use conduit::config::{self, Secrets};
use tempfile::TempDir;

const README: &str = include_str!("../README.md");
/// The address in the examples; the tests use a free one.
const ADDRESS: &str = "127.0.0.1:8080";
const LANGUAGES: [&str; 10] =
    ["console", "ini", "js", "json", "nginx", "python", "sh", "text", "toml", "yaml"];
/// Why a block is not run: it holds a placeholder, needs root, takes minutes, or is wrong on purpose.
const MARKS: [&str; 4] = ["paste", "root", "slow", "wrong"];

struct Block {
    language: &'static str,
    mark: Option<&'static str>,
    line: usize,
    text: String,
}

fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = README.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let mut words = info.split(' ');
        let language = words.next().unwrap_or_default();
        let inside = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
        let text = inside.flat_map(|line| [line, "\n"]).collect();
        blocks.push(Block { language, mark: words.next(), line: index + 1, text });
    }
    blocks
}

#[test]
fn every_block_says_what_it_is() {
    for block in blocks() {
        let known = LANGUAGES.contains(&block.language);
        assert!(known, "line {}: `{}`", block.line, block.language);
        assert!(block.mark.is_none_or(|mark| MARKS.contains(&mark)), "line {}", block.line);
    }
}

#[test]
fn it_opens_with_the_two_commands() {
    let commands: Vec<_> = blocks().into_iter().take(2).map(|block| block.text).collect();
    assert_eq!(commands, ["cargo run --release -- quickstart\n", "tests/run\n"]);
}

#[test]
fn every_configuration_is_good_or_wrong_as_it_says() {
    let blocks = blocks();
    // As on a machine where every provider's key is set.
    let environment =
        |name: &str| name.ends_with("_API_KEY").then(|| "key-of-a-provider".to_owned());
    for (index, block) in blocks.iter().enumerate().filter(|(_, block)| block.language == "toml") {
        let mut text = block.text.clone();
        if !text.contains("[providers.") {
            text.push_str("[providers.echo]\nkind = \"echo\"\n");
        }
        let checked = config::check(Path::new("conduit.toml"), &text, &environment, Secrets::Skip);
        if block.mark == Some("wrong") {
            let shown = blocks[index + 1].text.trim_end();
            let said = checked.unwrap_err().render(false);
            assert!(said.starts_with(shown), "line {}:\n{said}", block.line);
        } else {
            assert!(checked.is_ok(), "line {}:\n{}", block.line, checked.unwrap_err());
        }
    }
}

#[test]
fn the_line_that_quickstart_prints_works_when_pasted() {
    let Some(gateway) = Quickstart::start() else { return };
    let line = gateway.printed.lines().find(|line| line.starts_with("    curl ")).unwrap();
    let answer = gateway.shell(line);
    assert!(answer.contains(r#""content":"Hello!""#), "{answer}");
    for hint in ["Give it a limit:", "See what it spent:"] {
        let line = gateway.printed.lines().find_map(|line| line.strip_prefix(hint)).unwrap();
        gateway.shell(line);
    }
    gateway.stop();
}

#[test]
fn a_second_quickstart_keeps_what_is_there() {
    let Some(mut gateway) = Quickstart::start() else { return };
    gateway.terminate();
    gateway.launch();
    assert!(gateway.printed.contains("is kept, with 1 key.\n"), "{}", gateway.printed);
    let key = gateway.shell(
        "curl -s http://127.0.0.1:8080/v1/key -H \"Authorization: Bearer $CONDUIT_API_KEY\"",
    );
    assert!(key.contains(r#""name":"quickstart""#), "{key}");
    gateway.stop();
}

#[test]
fn what_quickstart_prints_is_shown() {
    let Some(gateway) = Quickstart::start() else { return };
    let shown = blocks().into_iter().find(|block| block.text.starts_with("$ conduit quickstart"));
    let shown = shown.unwrap().text;
    let printed =
        gateway.printed.replace(&gateway.address, ADDRESS).replace(&gateway.secret, "sk-cdt-…");
    for line in shown.lines().skip(1) {
        // The request that follows is in the next example.
        let start = line.strip_suffix(" …").unwrap_or(line);
        assert!(printed.lines().any(|printed| printed.starts_with(start)), "{line}\n{printed}");
    }
    gateway.stop();
}

#[test]
fn the_examples_do_what_they_say() {
    let Some(gateway) = Quickstart::start() else { return };
    for block in blocks().into_iter().filter(|block| block.mark.is_none()) {
        match block.language {
            "sh" => {
                gateway.shell(&block.text);
            }
            "console" => {
                let commands = block.text.lines().filter_map(|line| line.strip_prefix("$ "));
                let commands = commands.collect::<Vec<_>>().join("\n");
                let shown = block.text.lines().filter(|line| !line.starts_with("$ "));
                let shown = shown.collect::<Vec<_>>().join("\n");
                let said = gateway.shell(&commands);
                // CSV has its own line ends.
                let said = steady(said.trim_end()).replace('\r', "");
                assert_eq!(said, steady(&shown), "line {}", block.line);
            }
            _ => {}
        }
    }
    gateway.stop();
}

#[test]
fn a_capped_answer_says_so() {
    let block = blocks().into_iter().find(|block| block.text.contains("small --daily")).unwrap();
    let Some(gateway) = Quickstart::start() else { return };
    let said = gateway.shell(&block.text);
    let cap = said.trim().strip_prefix("x-conduit-max-tokens-clamped: ").unwrap();
    let cap: u64 = cap.parse().unwrap();
    assert!((16..500).contains(&cap), "a tenth of a cent pays for 500 tokens of output: {cap}");
    gateway.stop();
}

#[test]
fn every_error_is_listed() {
    let source = include_str!("../src/error.rs");
    let labels = source.split("fn labels").nth(1).unwrap().split("pub fn body").next().unwrap();
    let codes = labels.split("Some(\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    let mut count = 0;
    for code in codes.filter(|code| *code != "model") {
        count += 1;
        assert!(README.contains(&format!("`{code}`")), "no `{code}`");
    }
    assert!(count > 10, "the codes have moved");
}

/// What differs from one run to the next, by what it is.
fn steady(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let mut steady = String::new();
    for piece in text.split_inclusive(|c| !is_word(c)) {
        let word = piece.trim_end_matches(|c| !is_word(c));
        let is_instant = word.len() == 10 && word.bytes().all(|byte| byte.is_ascii_digit());
        let known = ["sk-cdt-", "key_", "req_", "echo-req_"].iter().find(|p| word.starts_with(**p));
        steady.push_str(known.copied().unwrap_or(if is_instant { "instant" } else { word }));
        steady.push_str(&piece[word.len()..]);
    }
    steady
}

/// `conduit quickstart` in a folder of its own, on a free port, and a shell beside it.
struct Quickstart {
    folder: TempDir,
    child: Child,
    printed: String,
    address: String,
    secret: String,
}

impl Quickstart {
    /// `None` where there is no curl to try the examples with.
    fn start() -> Option<Self> {
        if Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_err() {
            println!("Skipped: there is no curl.");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("bin")).unwrap();
        symlink(env!("CARGO_BIN_EXE_conduit"), folder.path().join("bin/conduit")).unwrap();
        let child = Command::new("true").spawn().unwrap();
        let (printed, address, secret) = Default::default();
        let mut gateway = Self { folder, child, printed, address, secret };
        gateway.launch();
        gateway.secret = between(&gateway.printed, "Bearer ", "'").to_owned();
        Some(gateway)
    }

    /// Starts it and reads what it prints up to its last line.
    fn launch(&mut self) {
        self.child.wait().unwrap();
        let log = fs::File::create(self.folder.path().join("log")).unwrap();
        let quickstart = "exec conduit quickstart --listen 127.0.0.1:0";
        let mut command = self.command(quickstart);
        self.child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        self.printed.clear();
        let mut output = BufReader::new(self.child.stdout.take().unwrap());
        while !self.printed.contains("Serving on ") {
            let read = output.read_line(&mut self.printed).unwrap();
            assert!(read > 0, "it ended: {}", self.log());
        }
        self.address = between(&self.printed, "Serving on http://", "/").to_owned();
        // It prints before it serves.
        self.shell("curl -sf http://127.0.0.1:8080/healthz");
    }

    /// A shell with nothing of the caller's but the way to its programs.
    fn command(&self, script: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("sh");
        command
            .args(["-e", "-c", script])
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", format!("{}:{path}", self.folder.path().join("bin").display()))
            .env("CONDUIT_API_KEY", &self.secret)
            .stdin(Stdio::null());
        command
    }

    /// Runs a script that must succeed; its standard output.
    fn shell(&self, script: &str) -> String {
        let script = script.replace(ADDRESS, &self.address);
        let done = self.command(&script).output().unwrap();
        let said = String::from_utf8(done.stdout).unwrap();
        let complaint = String::from_utf8(done.stderr).unwrap();
        assert!(done.status.success(), "{script}\n{said}{complaint}{}", self.log());
        said
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Stops it as Ctrl-C or systemd would.
    fn terminate(&mut self) {
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(self.command(&kill).status().unwrap().success());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.log());
    }

    fn stop(mut self) {
        self.terminate();
        assert!(!self.log().contains(&self.secret), "a secret is in the log");
    }
}

impl Drop for Quickstart {
    /// Leaves nothing running where a test fails.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    text.split(before).nth(1).and_then(|rest| rest.split(after).next()).unwrap()
}
