//! What a provider reports of a call's use, in classes that never overlap: one file for each dialect,
//! because which counts lie inside others is a matter of who says them.
//!
//! Absent is not zero. A later report overwrites what it names; nothing is ever added up. Numbers are
//! read from their decimal text: never through a float, never wrapped.

pub(super) mod anthropic;
pub(super) mod bedrock;
pub(super) mod gemini;
pub(super) mod number;
pub(super) mod openai;
mod parts;

use super::endpoint::Endpoint;
use super::kind::Kind;
use super::meter;
use crate::domain::money::Money;
use crate::domain::price::Wanted;
use crate::domain::usage::{ServiceTier, Usage};

/// What a part of a call used that is priced apart from the rest: another sampling with a size and a
/// tier of its own, or the work of another model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extra {
    /// The model whose price it has; absent for the model that was called.
    pub model: Option<Box<str>>,
    pub usage: Usage,
    /// What of it decides the price of a piece, as it was told.
    pub wanted: Wanted,
}

/// What an answer that is not a stream says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerReport {
    /// Absent where the answer has no usage, which is not the same as none used.
    pub usage: Option<Usage>,
    /// What `usage` leaves out.
    pub extra: Vec<Extra>,
    /// The model that `usage` is of, where another took over from the one that was called.
    pub served_by: Option<Box<str>>,
    /// The tier that the provider says it used.
    pub service: Option<ServiceTier>,
    /// What the provider says it charged.
    pub provider_cost: Option<Money>,
    /// Bytes of generated text, for an estimate where usage is absent.
    pub content_bytes: u64,
    /// Images in the answer, for prices by the image.
    pub images: u64,
    /// What of the answer decides the price of an image.
    pub chosen: Wanted,
    /// The answer is or holds an error, whatever its status was.
    pub error: bool,
}

/// Reads the body of an answer that is not a stream, of the endpoint that the provider was called at.
pub fn read_answer(kind: Kind, endpoint: Endpoint, body: &[u8]) -> AnswerReport {
    let report = meter::read_whole(kind, endpoint, body);
    AnswerReport {
        usage: report.usage,
        extra: report.extra,
        served_by: report.served_by,
        service: report.service,
        provider_cost: report.provider_cost,
        content_bytes: report.content_bytes,
        images: report.images,
        chosen: report.chosen,
        error: report.error,
    }
}
