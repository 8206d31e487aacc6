//! The gateway in process, between raw sockets: a client that sends exact bytes and a provider that
//! follows a script, down to the byte where it breaks off.
//!
//! Cases are rows of tables. Whatever a case did, the books are checked when its gateway goes: no
//! hold may be open, and what accounts, receipts and reports say must be one and the same.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]
#![expect(clippy::panic, reason = "a test says what is wrong by failing")]

mod alerts;
mod bad_input;
mod bedrock;
mod client;
mod controls;
mod dialects;
mod forms;
mod gateway;
mod headers;
mod limits;
mod metrics;
mod models;
mod prices;
mod providers;
mod reload;
mod routing;
mod shutdown;
mod streaming;
mod translated;
mod upstream;
mod wires;
