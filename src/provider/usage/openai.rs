//! The counts of `OpenAI`'s dialect, as its many speakers report them.
//!
//! Which counts lie inside others differs by the kind of provider and is written down at
//! [`Counts::usage`]; a field's name alone decides nothing.

use super::number::{count, decimal, dollars, overwrite, read_count, service_tier};
use super::parts::Parts;
use crate::domain::money::Money;
use crate::domain::usage::{Class, ServiceTier, Usage};
use crate::provider::json::Cursor;
use crate::provider::kind::Kind;

/// What a report belongs to: the newer endpoints have names and rules of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::provider) enum Shape {
    /// Chat, and what came before it.
    Chat,
    Responses,
    Images,
    Speech,
    Transcript,
}

/// The counts of a report as the provider names them. A later report overwrites what it names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::provider) struct Counts {
    prompt: Option<u64>,
    completion: Option<u64>,
    /// `input_tokens` and `output_tokens`: what newer endpoints call the two.
    input: Option<u64>,
    output: Option<u64>,
    total: Option<u64>,
    /// `cached_tokens` beside the counts (Moonshot, Together).
    cached: Option<u64>,
    /// `num_cached_tokens` (Mistral).
    num_cached: Option<u64>,
    /// `prompt_cache_hit_tokens` (`DeepSeek`).
    cache_hit: Option<u64>,
    /// `reasoning_tokens` beside the counts (Perplexity).
    reasoning: Option<u64>,
    /// `citation_tokens` (Perplexity).
    citation: Option<u64>,
    /// `num_search_queries` (Perplexity), `num_sources_used` (xAI).
    queries: Option<u64>,
    sources: Option<u64>,
    /// `server_tool_use.web_search_requests` (`OpenRouter`).
    searches: Option<u64>,
    /// `server_side_tool_usage_details` (xAI): calls of its web search, and of its search of X.
    web_search_calls: Option<u64>,
    x_search_calls: Option<u64>,
    /// `seconds` of audio that was heard, in milliseconds.
    audio_ms: Option<u64>,
    /// `prompt_audio_seconds` (Mistral), in milliseconds.
    prompt_audio_ms: Option<u64>,
    prompt_details: Details,
    completion_details: Details,
    cost: Option<Money>,
    total_cost: Option<Money>,
    upstream_cost: Option<Money>,
    own_key: bool,
    ticks: Option<Money>,
    pub(in crate::provider) service: Option<ServiceTier>,
}

/// The members of `prompt_tokens_details` and `completion_tokens_details`, by these names or newer ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Details {
    cached: Option<u64>,
    cache_write: Option<u64>,
    audio: Option<u64>,
    image: Option<u64>,
    text: Option<u64>,
    reasoning: Option<u64>,
}

impl Counts {
    /// Takes over the counts that a usage object names; `None` where its text stops making sense, which is
    /// read so far.
    pub(in crate::provider) fn read(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        cursor.object(|cursor, key, _| self.member(cursor, key))
    }

    fn member(&mut self, cursor: &mut Cursor<'_>, key: &[u8]) -> Option<()> {
        let slot = match key {
            b"prompt_tokens" => &mut self.prompt,
            b"completion_tokens" => &mut self.completion,
            b"total_tokens" => &mut self.total,
            b"cached_tokens" => &mut self.cached,
            b"num_cached_tokens" => &mut self.num_cached,
            b"prompt_cache_hit_tokens" => &mut self.cache_hit,
            b"reasoning_tokens" => &mut self.reasoning,
            b"citation_tokens" => &mut self.citation,
            b"num_search_queries" => &mut self.queries,
            b"num_sources_used" => &mut self.sources,
            b"input_tokens" => &mut self.input,
            b"output_tokens" => &mut self.output,
            b"prompt_tokens_details"
            | b"prompt_token_details"
            | b"input_tokens_details"
            | b"input_token_details" => return self.prompt_details.read(cursor),
            b"completion_tokens_details" | b"output_tokens_details" | b"output_token_details" => {
                return self.completion_details.read(cursor);
            }
            b"server_tool_use" | b"server_tool_use_details" => {
                return cursor.object(|cursor, key, _| {
                    let value = cursor.skip()?;
                    if key == b"web_search_requests" {
                        overwrite(&mut self.searches, count(value));
                    }
                    Some(())
                });
            }
            _ => return self.other_member(cursor, key),
        };
        read_count(slot, cursor)
    }

    fn other_member(&mut self, cursor: &mut Cursor<'_>, key: &[u8]) -> Option<()> {
        match key {
            b"cost" if cursor.peek()? == b'{' => {
                return cursor.object(|cursor, key, _| {
                    let value = cursor.skip()?;
                    if key == b"total_cost" {
                        overwrite(&mut self.total_cost, dollars(value));
                    }
                    Some(())
                });
            }
            b"server_side_tool_usage_details" => {
                return cursor.object(|cursor, key, _| {
                    let value = cursor.skip()?;
                    match key {
                        b"web_search_calls" => overwrite(&mut self.web_search_calls, count(value)),
                        b"x_search_calls" => overwrite(&mut self.x_search_calls, count(value)),
                        _ => {}
                    }
                    Some(())
                });
            }
            b"cost_details" => {
                return cursor.object(|cursor, key, _| {
                    let value = cursor.skip()?;
                    if key == b"upstream_inference_cost" {
                        overwrite(&mut self.upstream_cost, dollars(value));
                    }
                    Some(())
                });
            }
            _ => {}
        }
        let value = cursor.skip()?;
        match key {
            b"cost" => overwrite(&mut self.cost, dollars(value)),
            b"is_byok" => self.own_key = value == b"true",
            // Ten thousand million ticks are a dollar: recorded answers agree with the price list.
            b"cost_in_usd_ticks" => {
                overwrite(&mut self.ticks, decimal(value, -1).map(Money::from_nano));
            }
            b"seconds" => overwrite(&mut self.audio_ms, decimal(value, 3)),
            b"prompt_audio_seconds" => overwrite(&mut self.prompt_audio_ms, decimal(value, 3)),
            b"service_tier" => overwrite(&mut self.service, service_tier(value)),
            _ => {}
        }
        Some(())
    }

    /// The counts in disjoint classes; `None` where nothing was counted.
    ///
    /// For all kinds cached and written prompt tokens lie inside the prompt tokens and reasoning lies
    /// inside the completion tokens, but for these:
    ///
    /// - xAI: reasoning lies outside in chat, and inside in responses, as recorded totals show; cached
    ///   tokens lie outside when there are more than prompt ones.
    /// - `DeepInfra`: reasoning lies outside when there is more of it than completion.
    /// - Gemini: what the total has above prompt and completion is thought that is not named.
    /// - Perplexity: reasoning and citations named beside the counts lie outside them.
    /// - Any kind: reasoning lies outside when the total is exactly the sum of all three, which is
    ///   so for one maker's models at another's address.
    ///
    /// What is told without details is what the endpoint is for: the output of images is images, of
    /// speech audio, and what is transcribed is audio.
    pub(in crate::provider) fn usage(&self, kind: Kind, shape: Shape) -> Option<Usage> {
        let (prompt, completion) = match shape {
            Shape::Chat => (self.prompt, self.completion),
            Shape::Responses | Shape::Images | Shape::Speech | Shape::Transcript => {
                (self.input.or(self.prompt), self.output.or(self.completion))
            }
        };
        if prompt.or(completion).or(self.total).is_none() {
            let heard = self.audio_ms.filter(|_| shape == Shape::Transcript)?;
            return Some(Usage::default().with(Class::AudioMillisecond, heard));
        }
        let completion = completion.unwrap_or(0);
        let rest = self.total.unwrap_or(0).saturating_sub(completion);
        let prompt = prompt.unwrap_or(rest);
        let mut usage = Usage::default();
        self.count_input(kind, shape, prompt, &mut usage);
        self.count_output(kind, shape, prompt, completion, &mut usage);
        usage.set(Class::WebSearch, self.searches(kind, shape).unwrap_or(0));
        if kind == Kind::Mistral {
            usage.set(Class::AudioMillisecond, self.prompt_audio_ms.unwrap_or(0));
        }
        Some(usage)
    }

    /// Searches that the usage itself counts.
    fn searches(&self, kind: Kind, shape: Shape) -> Option<u64> {
        match kind {
            Kind::Perplexity => self.queries,
            Kind::Xai if shape == Shape::Responses => {
                let (web, x) = (self.web_search_calls, self.x_search_calls);
                web.or(x).map(|_| web.unwrap_or(0).saturating_add(x.unwrap_or(0)))
            }
            Kind::Xai => self.sources,
            Kind::OpenRouter => self.searches,
            _ => None,
        }
    }

    fn count_input(&self, kind: Kind, shape: Shape, prompt: u64, usage: &mut Usage) {
        let named = match kind {
            Kind::DeepSeek => self.cache_hit,
            Kind::Mistral => self.num_cached,
            Kind::Moonshot | Kind::Together => self.cached,
            _ => None,
        };
        let details = &self.prompt_details;
        let cached = named.or(details.cached).unwrap_or(0);
        let mut whole = prompt;
        if kind == Kind::Xai && cached > prompt {
            whole = prompt.saturating_add(cached);
        }
        let mut audio = details.audio.unwrap_or(0);
        if shape == Shape::Transcript && details.audio.is_none() {
            audio = whole.saturating_sub(details.text.unwrap_or(0));
        }
        let parts = Parts {
            whole,
            cached,
            written: details.cache_write.unwrap_or(0),
            audio,
            image: details.image.unwrap_or(0),
        };
        parts.count(usage);
        if kind == Kind::Perplexity {
            let input = usage.get(Class::Input).saturating_add(self.citation.unwrap_or(0));
            usage.set(Class::Input, input);
        }
    }

    fn count_output(
        &self,
        kind: Kind,
        shape: Shape,
        prompt: u64,
        completion: u64,
        usage: &mut Usage,
    ) {
        let details = &self.completion_details;
        let (mut reasoning, outside) = self.reasoning(kind, shape, prompt, completion);
        let mut room = completion;
        let mut within = |part: u64| {
            let part = part.min(room);
            room -= part;
            part
        };
        let text = details.text.unwrap_or(0);
        let rest_or = |named: Option<u64>, is_all: bool| match named {
            None if is_all => completion.saturating_sub(text),
            named => named.unwrap_or(0),
        };
        let audio = within(rest_or(details.audio, shape == Shape::Speech));
        let image = within(rest_or(details.image, shape == Shape::Images));
        if !outside {
            reasoning = within(reasoning);
        }
        usage.set(Class::OutputAudio, audio);
        usage.set(Class::OutputImage, image);
        usage.set(Class::Reasoning, reasoning);
        usage.set(Class::Output, room);
    }

    /// The tokens of reasoning, and whether they lie outside the completion tokens.
    fn reasoning(&self, kind: Kind, shape: Shape, prompt: u64, completion: u64) -> (u64, bool) {
        let total = self.total.unwrap_or(0);
        let reasoning = self.completion_details.reasoning.unwrap_or(0);
        let named = prompt.saturating_add(completion);
        if let (Kind::Perplexity, Some(beside)) = (kind, self.reasoning) {
            return (beside, true);
        }
        let outside = match kind {
            Kind::Xai if shape == Shape::Chat => true,
            Kind::DeepInfra if reasoning > completion => true,
            _ => reasoning > 0 && total == named.saturating_add(reasoning),
        };
        if kind == Kind::GeminiOpenAi && !outside && total > named {
            return (total - named, true);
        }
        (reasoning, outside)
    }

    /// What the provider says it charged, for the kinds whose word is a charge and not a guess.
    pub(in crate::provider) fn cost(&self, kind: Kind) -> Option<Money> {
        match kind {
            // With a key of one's own the cost is the fee alone, and the maker bills the rest.
            Kind::OpenRouter if self.own_key => {
                Some(self.cost?.saturating_add(self.upstream_cost.unwrap_or_default()))
            }
            Kind::OpenRouter => self.cost,
            Kind::Perplexity => self.total_cost,
            Kind::Xai => self.ticks,
            _ => None,
        }
    }
}

impl Details {
    fn read(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        cursor.object(|cursor, key, _| {
            let slot = match key {
                b"cached_tokens" => &mut self.cached,
                b"cache_write_tokens" | b"cache_creation_input_tokens" => &mut self.cache_write,
                b"audio_tokens" => &mut self.audio,
                b"image_tokens" => &mut self.image,
                b"text_tokens" => &mut self.text,
                b"reasoning_tokens" => &mut self.reasoning,
                _ => return cursor.skip().map(drop),
            };
            read_count(slot, cursor)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(json: &[u8]) -> Counts {
        let mut counts = Counts::default();
        counts.read(&mut Cursor::new(json));
        counts
    }

    fn read(kind: Kind, json: &str) -> Option<Usage> {
        counts(json.as_bytes()).usage(kind, Shape::Chat)
    }

    fn cost(kind: Kind, json: &str) -> Option<u64> {
        counts(json.as_bytes()).cost(kind).map(Money::nano)
    }

    fn classes(pairs: &[(Class, u64)]) -> Usage {
        pairs.iter().fold(Usage::default(), |usage, (class, n)| usage.with(*class, *n))
    }

    #[test]
    fn each_kind_is_read_by_its_own_rules() {
        use Class::{
            AudioMillisecond, CacheRead, CacheReadAudio, CacheReadImage, CacheWrite, Input,
            InputAudio, InputImage, Output, OutputAudio, Reasoning, WebSearch,
        };
        let details = r#"{"prompt_tokens":90,"completion_tokens":50,"total_tokens":140,
            "prompt_tokens_details":{"cached_tokens":30,"cache_write_tokens":20,"audio_tokens":7},
            "completion_tokens_details":{"reasoning_tokens":11,"audio_tokens":4,"rejected_prediction_tokens":3}}"#;
        let inside = [
            (Input, 33),
            (CacheRead, 30),
            (CacheWrite, 20),
            (InputAudio, 7),
            (Output, 35),
            (Reasoning, 11),
            (OutputAudio, 4),
        ];
        let outside = r#"{"prompt_tokens":90,"completion_tokens":5,"total_tokens":155,
            "completion_tokens_details":{"reasoning_tokens":60}}"#;
        let more_thought = r#"{"prompt_tokens":90,"completion_tokens":5,
            "completion_tokens_details":{"reasoning_tokens":60}}"#;
        let hit = r#"{"prompt_tokens":90,"completion_tokens":5,"prompt_cache_hit_tokens":64}"#;
        let top = r#"{"prompt_tokens":90,"completion_tokens":5,"cached_tokens":40}"#;
        let past = r#"{"prompt_tokens":9,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":40}}"#;
        let mixed = r#"{"prompt_tokens":100,"completion_tokens":0,
            "prompt_tokens_details":{"cached_tokens":60,"audio_tokens":80,"image_tokens":5}}"#;
        let thought = r#"{"prompt_tokens":30,"completion_tokens":12,"total_tokens":100}"#;
        for (kind, json, expected) in [
            (Kind::OpenAi, details, &inside[..]),
            (Kind::Groq, details, &inside),
            (Kind::OpenAi, outside, &[(Input, 90), (Output, 5), (Reasoning, 60)]),
            (Kind::Xai, outside, &[(Input, 90), (Output, 5), (Reasoning, 60)]),
            (Kind::Xai, more_thought, &[(Input, 90), (Output, 5), (Reasoning, 60)]),
            (Kind::DeepInfra, more_thought, &[(Input, 90), (Output, 5), (Reasoning, 60)]),
            (Kind::OpenAi, more_thought, &[(Input, 90), (Reasoning, 5)]),
            (Kind::DeepSeek, hit, &[(Input, 26), (CacheRead, 64), (Output, 5)]),
            (Kind::OpenAi, hit, &[(Input, 90), (Output, 5)]),
            (Kind::Moonshot, top, &[(Input, 50), (CacheRead, 40), (Output, 5)]),
            (Kind::Together, top, &[(Input, 50), (CacheRead, 40), (Output, 5)]),
            (Kind::OpenAi, top, &[(Input, 90), (Output, 5)]),
            (Kind::Xai, past, &[(Input, 9), (CacheRead, 40), (Output, 5)]),
            (Kind::Azure, past, &[(CacheRead, 40), (Output, 5)]),
            (
                Kind::OpenAi,
                mixed,
                &[(CacheRead, 15), (CacheReadAudio, 45), (InputAudio, 35), (InputImage, 5)],
            ),
            (Kind::GeminiOpenAi, thought, &[(Input, 30), (Output, 12), (Reasoning, 58)]),
            (Kind::OpenAi, thought, &[(Input, 30), (Output, 12)]),
            (
                Kind::OpenAi,
                r#"{"prompt_tokens":10,"prompt_tokens_details":{"cached_tokens":8,"image_tokens":6}}"#,
                &[(CacheRead, 4), (CacheReadImage, 4), (InputImage, 2)],
            ),
            (
                Kind::Mistral,
                r#"{"prompt_tokens":10,"completion_tokens":1,"num_cached_tokens":4,"prompt_audio_seconds":2}"#,
                &[(Input, 6), (CacheRead, 4), (Output, 1), (AudioMillisecond, 2000)],
            ),
            (
                Kind::Mistral,
                r#"{"prompt_tokens":10,"completion_tokens":1,"prompt_token_details":{"cached_tokens":3}}"#,
                &[(Input, 7), (CacheRead, 3), (Output, 1)],
            ),
            (
                Kind::Alibaba,
                r#"{"prompt_tokens":10,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":3,"cache_creation_input_tokens":5}}"#,
                &[(Input, 2), (CacheRead, 3), (CacheWrite, 5), (Output, 1)],
            ),
            (
                Kind::Perplexity,
                r#"{"prompt_tokens":10,"completion_tokens":20,"total_tokens":30,"citation_tokens":7,"num_search_queries":3,"reasoning_tokens":400}"#,
                &[(Input, 17), (Output, 20), (Reasoning, 400), (WebSearch, 3)],
            ),
            (
                Kind::Xai,
                r#"{"prompt_tokens":10,"completion_tokens":2,"num_sources_used":4}"#,
                &[(Input, 10), (Output, 2), (WebSearch, 4)],
            ),
            (
                Kind::OpenRouter,
                r#"{"prompt_tokens":10,"completion_tokens":2,"server_tool_use":{"web_search_requests":2}}"#,
                &[(Input, 10), (Output, 2), (WebSearch, 2)],
            ),
            (Kind::OpenAi, r#"{"total_tokens":8}"#, &[(Input, 8)]),
            (Kind::OpenAi, r#"{"prompt_tokens":8,"total_tokens":8}"#, &[(Input, 8)]),
        ] {
            assert_eq!(read(kind, json), Some(classes(expected)), "{kind:?} {json}");
        }
    }

    #[test]
    fn zero_is_a_report_and_nothing_is_not() {
        let zeros = r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#;
        assert_eq!(read(Kind::Ollama, zeros), Some(Usage::default()));
        for json in ["null", "{}", "[]", "3", "\"no\"", r#"{"prompt_tokens":null}"#, "", "{"] {
            assert_eq!(read(Kind::OpenAi, json), None, "{json}");
        }
    }

    #[test]
    fn counts_that_do_not_fit_are_held_to_what_does() {
        let json = format!(
            r#"{{"prompt_tokens":{0},"completion_tokens":{0},"total_tokens":1}}"#,
            "9".repeat(40)
        );
        let usage = read(Kind::Xai, &json).expect("usage");
        assert_eq!((usage.input_tokens(), usage.output_tokens()), (u64::MAX, u64::MAX));
    }

    #[test]
    fn a_charge_is_read_to_the_nano_dollar_and_rounded_up() {
        let charged = |value: &str| {
            cost(Kind::OpenRouter, &format!(r#"{{"prompt_tokens":1,"cost":{value}}}"#))
        };
        for (value, nano) in [
            ("0.95", Some(950_000_000)),
            ("7.159e-05", Some(71_590)),
            ("1e-10", Some(1)),
            ("0.0000000011", Some(2)),
            ("0", Some(0)),
            ("-1", Some(0)),
            ("12", Some(12_000_000_000)),
            ("null", None),
            ("{\"total_cost\":1}", None),
        ] {
            assert_eq!(charged(value), nano, "{value}");
        }
    }

    #[test]
    fn only_the_kinds_that_charge_are_believed() {
        let all = r#"{"prompt_tokens":1,"cost":0.5,"cost_in_usd_ticks":1234567891,"is_byok":false,
            "cost_details":{"upstream_inference_cost":0.5}}"#;
        let total = r#"{"prompt_tokens":1,"cost":{"request_cost":0.005,"total_cost":0.00625}}"#;
        let own_key = r#"{"prompt_tokens":1,"cost":0.02,"is_byok":true,"cost_details":{"upstream_inference_cost":0.4}}"#;
        for (kind, json, nano) in [
            (Kind::OpenRouter, all, Some(500_000_000)),
            (Kind::OpenRouter, own_key, Some(420_000_000)),
            (Kind::Xai, all, Some(123_456_790)),
            (Kind::Perplexity, total, Some(6_250_000)),
            (Kind::OpenAi, all, None),
            (Kind::Azure, all, None),
            (Kind::OpenAi, total, None),
        ] {
            assert_eq!(cost(kind, json), nano, "{kind:?} {json}");
        }
    }

    proptest! {
        #[test]
        fn inside_classes_add_up_to_the_counts(
            prompt in 0u64..1000, completion in 0u64..1000, cached in 0u64..400, write in 0u64..300,
            audio in 0u64..1000, image in 0u64..1000, reasoning in 0u64..2000,
        ) {
            let json = format!(
                r#"{{"prompt_tokens":{prompt},"completion_tokens":{completion},
                "prompt_tokens_details":{{"cached_tokens":{cached},"cache_write_tokens":{write},"audio_tokens":{audio},"image_tokens":{image}}},
                "completion_tokens_details":{{"reasoning_tokens":{reasoning}}}}}"#
            );
            let usage = read(Kind::OpenAi, &json).expect("usage");
            prop_assert_eq!(usage.output_tokens(), completion);
            // Never less than was counted; never more, unless the parts cannot be squared with it.
            prop_assert!(usage.input_tokens() >= prompt);
            if cached + write + audio + image <= prompt {
                prop_assert_eq!(usage.input_tokens(), prompt);
            }
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>, text in r#"[\[\]{},:"\\0-9.eE +-]*"#) {
            for input in [&bytes[..], text.as_bytes()] {
                for kind in Kind::ALL {
                    for shape in [Shape::Chat, Shape::Responses, Shape::Images, Shape::Speech, Shape::Transcript] {
                        let _ = counts(input).usage(kind, shape);
                    }
                }
            }
        }
    }
}
