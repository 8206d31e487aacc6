//! Conduit: a gateway between programs and LLM providers.

pub mod catalogue;

pub mod domain;

pub mod clock;
pub mod ledger;
pub mod provider;
pub mod store;
