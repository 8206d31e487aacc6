//! Conduit: one program between your programs and LLM providers.
//!
//! # Layers, in reading order
//!
//! - [`domain`]: money, windows, usage, prices, keys, receipts, budgets: values and rules, no I/O.
//! - [`provider`]: what providers speak: bytes in, facts and bytes out, no I/O.
//! - [`translate`]: from one dialect to another, no I/O.
//! - [`catalogue`]: the prices that come with the program, and updates of them.
//! - [`config`]: the file, checked as a whole and swapped while calls run.
//! - [`store`]: what outlives the process; the only layer that knows redb.
//! - [`ledger`]: the authority on spend: holds, posts, the waiting line.
//! - [`gateway`]: the life of a call; [`error`] makes its failures HTTP.
//! - [`traces`]: sends what calls took to a collector of traces.
//! - [`alerts`]: tells people that a key or a team comes near its limits.
//! - [`acme`]: orders the certificate of a public name, and renews it.
//! - [`admin`]: what an administrator can do, as verbs for the socket and the command line.
//! - [`import`]: what other gateways' files say, as ours; no I/O.
//! - [`dashboard`]: the pages for a browser, files of the program.
//! - [`server`]: puts it all together and takes it down in order.
//! - [`cli`]: the commands.
//!
//! [`alarm`], [`client`], [`clock`], [`fields`], [`framing`], [`logging`], [`map`], [`message`], [`metrics`] and
//! [`version`] are leaves that any layer above `domain` and `provider` may use.
//!
//! # What must never happen
//!
//! - A call is sent to a provider without a hold, or a hold ends twice or not at all.
//! - An answer is seen in full by a client whose bill would not survive the process.
//! - A secret, a prompt or an answer reaches a log, an error or the store.
//! - A bad configuration comes into force, even in part.

pub mod domain;

pub mod provider;
pub mod translate;

pub mod catalogue;

pub mod config;

pub mod store;

pub mod ledger;

pub mod error;
pub mod gateway;

pub mod acme;
pub mod alerts;
pub mod traces;

pub mod admin;
pub mod dashboard;

pub mod import;

pub mod server;

pub mod cli;

pub mod alarm;
pub mod client;
pub mod clock;
pub mod fields;
pub mod framing;
pub mod logging;
pub mod map;
pub mod message;
pub mod metrics;
pub mod version;
