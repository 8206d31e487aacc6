//! Feeds the fuzzer's bytes to the target `answer`.

#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::answer(data));
