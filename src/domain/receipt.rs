//! The receipt of a call: what it used, at which rates, what it cost and how that is known.
//!
//! A receipt carries its own rates and where each stood in its list, so a price that changes later
//! never changes an old bill, and an old bill can always be explained.

mod coding;
mod names;
mod written;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::key::KeyId;
use super::money::{Charge, Money};
use super::price::{Line, sum};

pub use super::price::ProviderCost;
pub use names::KnownNames;
pub use written::Written;

use super::request_id::RequestId;
use super::usage::{ServiceTier, Usage};
use super::window::Timestamp;

/// How the usage of a receipt is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metered {
    /// The provider reported it.
    Reported,
    /// The provider reported nothing, or the call was cut before it did: counted by us.
    Estimated,
    /// The process died during the call: its hold was posted.
    Recovered,
    /// Nothing was used.
    Nothing,
}

impl Metered {
    const ALL: [Self; 4] = [Self::Reported, Self::Estimated, Self::Recovered, Self::Nothing];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Estimated => "estimated",
            Self::Recovered => "recovered",
            Self::Nothing => "nothing",
        }
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The answer went out whole.
    Done,
    /// The provider answered with an error.
    UpstreamError,
    /// The provider could not be reached, or broke off.
    UpstreamCut,
    /// The provider was silent for too long, or took too long in all.
    Timeout,
    /// The client left before the end.
    ClientGone,
    /// The gateway stopped before the end.
    Shutdown,
    /// The process died; see [`Metered::Recovered`].
    Crash,
}

impl Ending {
    const ALL: [Self; 7] = [
        Self::Done,
        Self::UpstreamError,
        Self::UpstreamCut,
        Self::Timeout,
        Self::ClientGone,
        Self::Shutdown,
        Self::Crash,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::UpstreamError => "upstream_error",
            Self::UpstreamCut => "upstream_cut",
            Self::Timeout => "timeout",
            Self::ClientGone => "client_gone",
            Self::Shutdown => "shutdown",
            Self::Crash => "crash",
        }
    }
}

/// One row per call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub id: RequestId,
    /// The call that this is a later attempt at, made again or elsewhere; the first attempt has the
    /// call's own id.
    pub of: Option<RequestId>,
    pub key: KeyId,
    /// When it was posted; when the call began is in its id.
    pub at: Timestamp,
    /// What the client asked for.
    pub model: Arc<str>,
    pub provider: Arc<str>,
    /// What the provider was asked for.
    pub upstream_model: Arc<str>,
    /// The path of the endpoint, as `chat/completions`.
    pub endpoint: Arc<str>,
    pub status: u16,
    pub streamed: bool,
    pub ending: Ending,
    pub metered: Metered,
    pub service: ServiceTier,
    pub lines: Vec<Line>,
    pub cost: Money,
    pub provider_cost: Option<ProviderCost>,
    /// What had been set aside.
    pub held: Money,
    /// Which price list: its source and date, `free` or `unknown`.
    pub price: Arc<str>,
    pub first_byte_ms: Option<u64>,
    pub total_ms: u64,
}

impl Receipt {
    /// The counts of its lines, those of other models too.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        for line in &self.lines {
            usage.count(line.class, line.count);
        }
        usage
    }

    /// The sum of its lines, not rounded.
    pub fn sum(&self) -> Charge {
        sum(&self.lines)
    }

    /// Whether something in it has no price that anybody knows.
    pub fn has_gap(&self) -> bool {
        self.lines.iter().any(Line::is_gap)
    }

    /// Whether its cost is what its own figures come to: the sum of the lines, the provider's figure
    /// where that counts, or all that was held where nobody could know, be it what was used or what a
    /// part of it costs.
    pub fn adds_up(&self) -> bool {
        let nobody_knows = if self.lines.is_empty() {
            matches!(self.metered, Metered::Estimated | Metered::Recovered)
        } else {
            self.has_gap()
        };
        let whole_hold = nobody_knows && self.cost == self.held;
        match self.provider_cost.filter(|provider| provider.counts) {
            Some(provider) => self.cost == provider.amount,
            None => self.cost == self.sum().total() || whole_hold,
        }
    }
}
