//! Feeds the fuzzer's bytes to the target `translate_stream`.

#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::translate_stream(data));
