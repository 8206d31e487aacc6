//! What providers speak: the endpoints, the facts read from a call, what is rewritten in it, and how
//! usage is read from an answer.
//!
//! Pure: bytes in, facts and bytes out. Nothing here may send, wait, read a clock or a file, or know
//! the ledger.

pub mod address;
pub mod bounds;
pub mod charge;
pub mod echo;
pub mod endpoint;
pub mod event_stream;
mod json;
pub mod kind;
pub mod meter;
pub mod offers;
pub mod request;
pub mod sse;
pub mod tokens;
pub mod trouble;
pub mod usage;
