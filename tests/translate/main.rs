//! The translations from outside: against golden files, and against recorded traffic.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test says what is wrong by failing, and that it was skipped by saying so"
)]

mod golden;
mod recorded_anthropic;
mod recorded_gemini;
