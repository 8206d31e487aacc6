//! Every target of the fuzzer, on examples that were changed at random: what the fuzzer does for hours,
//! for a few seconds with each run of the tests, always in the same way.
//!
//! `CONDUIT_FUZZ_SECONDS` says how long each target is tried instead.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails where it unwraps, and says how much it tried"
)]

#[path = "fuzz/targets.rs"]
mod targets;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use targets::TARGETS;

/// How many changed examples each target is given, where no time is said.
const ROUNDS: usize = 2_000;

/// A small generator with a fixed beginning: a failure can be repeated.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        // Marsaglia's xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }
}

/// Texts of every kind that the targets read: golden files, and recordings where they are.
fn examples() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut examples = Vec::new();
    for folder in ["tests/fixtures", "../shared/traffic/bodies", "../shared/traffic/requests"] {
        collect(&root.join(folder), &mut examples);
    }
    assert!(!examples.is_empty());
    examples
}

fn collect(folder: &Path, examples: &mut Vec<Vec<u8>>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(&path, examples);
        } else {
            let bytes = fs::read(&path).unwrap();
            examples.extend((bytes.len() < 64 << 10).then_some(bytes));
        }
    }
}

/// Changes an example in a few places, with a mind for what its readers look at.
fn change(example: &[u8], others: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    const WORDS: [&[u8]; 16] = [
        b"null",
        b"-1",
        b"1e309",
        b"18446744073709551616",
        b"\"\"",
        b"[]",
        b"{}",
        b"true",
        b"\\u0000",
        b"\\ud800",
        b"\xff",
        b"\r\n\r\n",
        b"data: ",
        b"\"error\":",
        b"\"usage\":",
        b"--b\r\n",
    ];
    let mut out = example.to_vec();
    for _ in 0..=chance.below(6) {
        let at = chance.below(out.len() + 1);
        let end = (at + chance.below(40)).min(out.len());
        match chance.below(6) {
            0 => drop(out.splice(at..end, WORDS[chance.below(WORDS.len())].iter().copied())),
            1 => drop(out.drain(at..end)),
            2 => {
                let copy = out[at..end].to_vec();
                let to = chance.below(out.len() + 1);
                out.splice(to..to, copy);
            }
            3 => {
                if let Some(byte) = out.get_mut(at) {
                    *byte ^= 1 << chance.below(8);
                }
            }
            4 => {
                let other = &others[chance.below(others.len())];
                let from = chance.below(other.len());
                let part = other[from..(from + 200).min(other.len())].to_vec();
                out.splice(at..end, part);
            }
            _ => out.truncate(at),
        }
    }
    out
}

#[test]
fn no_example_however_changed_breaks_a_target() {
    let examples = examples();
    let time = std::env::var("CONDUIT_FUZZ_SECONDS").ok().map(|text| text.parse().unwrap());
    let time = time.map(Duration::from_secs);
    for (name, target) in TARGETS {
        let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
        let began = Instant::now();
        let mut rounds = 0;
        while time.map_or(rounds < ROUNDS, |time| began.elapsed() < time) {
            let example = &examples[chance.below(examples.len())];
            let mut data = change(example, &examples, &mut chance);
            // What the first bytes choose, where they choose anything.
            data.splice(0..0, [chance.byte(), chance.byte()]);
            let caught = std::panic::catch_unwind(|| target(&data));
            assert!(caught.is_ok(), "{name}: {:?}", String::from_utf8_lossy(&data));
            rounds += 1;
        }
        println!("{name}: {rounds} changed examples");
    }
}
