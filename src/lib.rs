//! Conduit: a gateway between programs and LLM providers.

pub mod catalogue;

pub mod domain;

pub mod provider;
