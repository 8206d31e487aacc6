//! Conduit: a gateway between programs and LLM providers.

pub mod domain;

pub mod provider;

pub mod config;
