//! Feeds the fuzzer's bytes to the target `price_import`.

#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::price_import(data));
