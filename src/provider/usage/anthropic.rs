//! The counts of Anthropic's messages.
//!
//! Cached and written prompt tokens lie outside `input_tokens`; thinking lies inside `output_tokens`.
//! The counts beside `iterations` leave out what was compacted and what an advisor said: those are
//! reported apart, each for the price of its own model. (Anthropic's page on compaction, its release
//! notes on refusals; recorded streams of each kind.)

use super::Extra;
use super::number::{count, overwrite, service_tier};
use crate::domain::price::Wanted;
use crate::domain::usage::{Class, ServiceTier, Usage};
use crate::provider::json::{Cursor, name};

/// More samplings than one call can make; a list that is longer is not read further.
const MOST_ITERATIONS: usize = 256;

/// The counts of a report. A later report overwrites what it names: `message_delta` is cumulative, and
/// may raise the input of `message_start`.
#[derive(Clone, Debug, Default)]
pub(in crate::provider) struct Counts {
    tokens: Tokens,
    thinking: Option<u64>,
    searches: Option<u64>,
    tier: Option<ServiceTier>,
    is_fast: bool,
    iterations: Vec<Iteration>,
}

/// What every report of tokens has, of a whole call or of one sampling in it.
#[derive(Clone, Copy, Debug, Default)]
struct Tokens {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    write_5m: Option<u64>,
    write_1h: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct Iteration {
    kind: Sampling,
    model: Option<Box<str>>,
    tokens: Tokens,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sampling {
    /// Counted beside the list, unless another model took over.
    #[default]
    Message,
    /// Counted beside the list: the model that took over after a refusal.
    Fallback,
    /// Counted nowhere else: the conversation was summed up, or another model was asked.
    Apart,
}

impl Counts {
    /// Takes over the counts that a usage object names; text that stops making sense is read so far.
    pub(in crate::provider) fn read(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        cursor.object(|cursor, key, _| match key {
            b"iterations" => self.read_iterations(cursor),
            b"output_tokens_details" => cursor.object(|cursor, key, _| {
                let value = cursor.skip()?;
                if key == b"thinking_tokens" {
                    overwrite(&mut self.thinking, count(value));
                }
                Some(())
            }),
            b"server_tool_use" => cursor.object(|cursor, key, _| {
                let value = cursor.skip()?;
                if key == b"web_search_requests" {
                    overwrite(&mut self.searches, count(value));
                }
                Some(())
            }),
            b"service_tier" => {
                overwrite(&mut self.tier, service_tier(cursor.skip()?));
                Some(())
            }
            b"speed" => {
                self.is_fast = cursor.skip()? == b"\"fast\"";
                Some(())
            }
            _ => self.tokens.member(cursor, key),
        })
    }

    fn read_iterations(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        if cursor.peek()? != b'[' {
            return cursor.skip().map(drop);
        }
        self.iterations.clear();
        cursor.array(|cursor| {
            let iteration = Iteration::read(cursor)?;
            if self.iterations.len() < MOST_ITERATIONS {
                self.iterations.push(iteration);
            }
            Some(())
        })
    }

    /// The counts in disjoint classes; `None` where nothing was counted.
    pub(in crate::provider) fn usage(&self) -> Option<Usage> {
        let mut usage = self.tokens.usage()?;
        let output = usage.get(Class::Output);
        let thinking = self.thinking.unwrap_or(0).min(output);
        usage.set(Class::Output, output - thinking);
        usage.set(Class::Reasoning, thinking);
        usage.set(Class::WebSearch, self.searches.unwrap_or(0));
        Some(usage)
    }

    /// The model whose answer it is, where another took over from the one that was called: the counts
    /// beside the list are its own.
    pub(in crate::provider) fn served_by(&self) -> Option<Box<str>> {
        let fallback = |iteration: &&Iteration| iteration.kind == Sampling::Fallback;
        self.iterations.iter().rev().find(fallback)?.model.clone()
    }

    /// What other samplings of the call used, which the counts beside the list leave out. A model that
    /// refused before it had said anything is not billed; one that refused later is.
    pub(in crate::provider) fn extra(&self) -> Vec<Extra> {
        let served_by = self.served_by();
        let counts_apart = |iteration: &&Iteration| match iteration.kind {
            Sampling::Apart => true,
            Sampling::Fallback | Sampling::Message => {
                served_by.is_some()
                    && iteration.model != served_by
                    && iteration.tokens.output.is_some_and(|output| output > 0)
            }
        };
        let extra = |iteration: &Iteration| {
            let usage = iteration.tokens.usage()?;
            Some(Extra { model: iteration.model.clone(), usage, wanted: Wanted::default() })
        };
        self.iterations.iter().filter(counts_apart).filter_map(extra).collect()
    }

    /// The tier that was served. Fast mode is charged as a tier of its own, whatever the other says.
    pub(in crate::provider) const fn service(&self) -> Option<ServiceTier> {
        if self.is_fast { Some(ServiceTier::Priority) } else { self.tier }
    }
}

impl Iteration {
    fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        let mut iteration = Self::default();
        cursor.object(|cursor, key, _| match key {
            b"type" => {
                iteration.kind = match cursor.skip()? {
                    b"\"message\"" => Sampling::Message,
                    b"\"fallback_message\"" => Sampling::Fallback,
                    // A kind that nobody knows yet is more likely left out than counted twice.
                    _ => Sampling::Apart,
                };
                Some(())
            }
            b"model" => {
                iteration.model = name(cursor.skip()?);
                Some(())
            }
            _ => iteration.tokens.member(cursor, key),
        })?;
        Some(iteration)
    }
}

impl Tokens {
    fn member(&mut self, cursor: &mut Cursor<'_>, key: &[u8]) -> Option<()> {
        let slot = match key {
            b"input_tokens" => &mut self.input,
            b"output_tokens" => &mut self.output,
            b"cache_read_input_tokens" => &mut self.cache_read,
            b"cache_creation_input_tokens" => &mut self.cache_write,
            b"cache_creation" => return self.read_written(cursor),
            _ => return cursor.skip().map(drop),
        };
        overwrite(slot, count(cursor.skip()?));
        Some(())
    }

    fn read_written(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        cursor.object(|cursor, key, _| {
            let value = cursor.skip()?;
            match key {
                b"ephemeral_5m_input_tokens" => overwrite(&mut self.write_5m, count(value)),
                b"ephemeral_1h_input_tokens" => overwrite(&mut self.write_1h, count(value)),
                _ => {}
            }
            Some(())
        })
    }

    fn usage(&self) -> Option<Usage> {
        self.input.or(self.output).or(self.cache_read).or(self.cache_write)?;
        let hour = self.write_1h.unwrap_or(0);
        let by_age = self.write_5m.unwrap_or(0).saturating_add(hour);
        let written = self.cache_write.unwrap_or(0).max(by_age);
        let usage = Usage::default()
            .with(Class::Input, self.input.unwrap_or(0))
            .with(Class::CacheRead, self.cache_read.unwrap_or(0))
            .with(Class::CacheWrite, written - hour)
            .with(Class::CacheWrite1h, hour)
            .with(Class::Output, self.output.unwrap_or(0));
        Some(usage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(reports: &[&str]) -> Counts {
        let mut counts = Counts::default();
        for report in reports {
            counts.read(&mut Cursor::new(report.as_bytes()));
        }
        counts
    }

    #[test]
    fn cached_tokens_lie_outside_and_thinking_inside() {
        let report = r#"{"input_tokens":10,"output_tokens":50,"cache_read_input_tokens":7,
            "cache_creation_input_tokens":9,"cache_creation":{"ephemeral_5m_input_tokens":4,
            "ephemeral_1h_input_tokens":5},"output_tokens_details":{"thinking_tokens":20},
            "server_tool_use":{"web_search_requests":3,"web_fetch_requests":1},"service_tier":"batch"}"#;
        let usage = Usage::default()
            .with(Class::Input, 10)
            .with(Class::CacheRead, 7)
            .with(Class::CacheWrite, 4)
            .with(Class::CacheWrite1h, 5)
            .with(Class::Output, 30)
            .with(Class::Reasoning, 20)
            .with(Class::WebSearch, 3);
        let counts = counts(&[report]);
        assert_eq!(counts.usage(), Some(usage));
        assert_eq!(counts.service(), Some(ServiceTier::Batch));
        assert_eq!((counts.extra(), counts.served_by()), (vec![], None));
    }

    #[test]
    fn a_later_report_overwrites_what_it_names() {
        let start = r#"{"input_tokens":10,"output_tokens":1,"cache_read_input_tokens":7,"service_tier":"standard"}"#;
        let counts = counts(&[
            start,
            r#"{"output_tokens":9}"#,
            r#"{"input_tokens":30,"output_tokens":12,"cache_read_input_tokens":null,"speed":"fast"}"#,
        ]);
        let usage = counts.usage().expect("usage");
        assert_eq!(
            [Class::Input, Class::CacheRead, Class::Output].map(|c| usage.get(c)),
            [30, 7, 12]
        );
        assert_eq!(counts.service(), Some(ServiceTier::Priority));
    }

    #[test]
    fn written_tokens_without_an_age_are_of_the_short_one() {
        for (report, short, long) in [
            (r#"{"cache_creation_input_tokens":9}"#, 9, 0),
            (
                r#"{"cache_creation_input_tokens":9,"cache_creation":{"ephemeral_1h_input_tokens":9}}"#,
                0,
                9,
            ),
            (
                r#"{"input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":2,"ephemeral_1h_input_tokens":3}}"#,
                2,
                3,
            ),
        ] {
            let usage = counts(&[report]).usage().expect("usage");
            let written = [Class::CacheWrite, Class::CacheWrite1h].map(|class| usage.get(class));
            assert_eq!(written, [short, long], "{report}");
        }
    }

    #[test]
    fn what_is_left_out_of_the_totals_is_reported_apart() {
        let report = r#"{"input_tokens":5,"output_tokens":6,"iterations":[
            {"type":"compaction","input_tokens":900,"output_tokens":40},
            {"type":"message","input_tokens":5,"output_tokens":6},
            {"type":"advisor_message","model":"wise-1","input_tokens":70,"output_tokens":8,"cache_read_input_tokens":3}]}"#;
        let counts = counts(&[report]);
        let compacted = Usage::default().with(Class::Input, 900).with(Class::Output, 40);
        let advice = Usage::default()
            .with(Class::Input, 70)
            .with(Class::CacheRead, 3)
            .with(Class::Output, 8);
        let expected = [
            Extra { model: None, usage: compacted, wanted: Wanted::default() },
            Extra { model: Some("wise-1".into()), usage: advice, wanted: Wanted::default() },
        ];
        assert_eq!(counts.extra(), expected);
        assert_eq!(counts.usage().map(|usage| usage.input_tokens()), Some(5));
    }

    #[test]
    fn a_model_that_took_over_is_named_and_one_that_said_nothing_is_not_billed() {
        let report = |said: u64| {
            format!(
                r#"{{"input_tokens":12,"output_tokens":9,"iterations":[
                {{"type":"message","model":"shy-1","input_tokens":11,"output_tokens":{said}}},
                {{"type":"fallback_message","model":"bold-1","input_tokens":12,"output_tokens":9}}]}}"#
            )
        };
        let silent = counts(&[&report(0)]);
        assert_eq!(silent.served_by().as_deref(), Some("bold-1"));
        assert_eq!(silent.extra(), []);
        let broke_off = counts(&[&report(4)]).extra();
        let usage = Usage::default().with(Class::Input, 11).with(Class::Output, 4);
        assert_eq!(
            broke_off,
            [Extra { model: Some("shy-1".into()), usage, wanted: Wanted::default() }]
        );
    }

    #[test]
    fn zero_is_a_report_and_nothing_is_not() {
        assert_eq!(counts(&[r#"{"input_tokens":0}"#]).usage(), Some(Usage::default()));
        for report in ["{}", "null", r#"{"input_tokens":null}"#, r#"{"service_tier":"standard"}"#] {
            assert_eq!(counts(&[report]).usage(), None, "{report}");
        }
    }
}
