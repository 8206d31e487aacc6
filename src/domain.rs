//! The rules of the gateway as pure values: money, time, rates, usage, prices, keys, teams, receipts.
//!
//! This layer must never do I/O, read a clock, draw random numbers, await, or know HTTP, redb or
//! the configuration file. Time and randomness come in as arguments; decisions come out as values.

pub mod access;
pub mod adjustment;
pub mod audit;
pub mod budget;
pub mod ceiling;
pub mod choice;
pub mod cidr;
pub mod circuit;
pub mod codec;
pub mod durations;
pub mod forwarded;
pub mod key;
pub mod money;
pub mod pattern;
pub mod price;
pub mod rate;
pub mod receipt;
pub mod request_id;
pub mod schema;
pub mod team;
pub mod trace;
pub mod usage;
pub mod window;
