//! Reads what a provider reports of a call's use into classes that never overlap.
//!
//! Which counts lie inside others differs by the kind of provider and is written down at
//! [`Counts::usage`]; a field's name alone decides nothing. Absent is not zero. Numbers are read from
//! their decimal text, rounded up, held to what fits: never through a float, never wrapping.

use super::endpoint::Endpoint;
use super::json::Cursor;
use super::kind::Kind;
use super::meter::Facts;
use crate::domain::money::Money;
use crate::domain::usage::{Class, ServiceTier, Usage};

/// What one report says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    pub usage: Usage,
    /// What the provider says it charged.
    pub cost: Option<Money>,
    pub service: Option<ServiceTier>,
}

/// What a JSON answer says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerReport {
    /// Absent where the answer has no usage, which is not the same as none used.
    pub usage: Option<Usage>,
    /// The tier that the provider says it used.
    pub service: Option<ServiceTier>,
    /// What the provider says it charged.
    pub provider_cost: Option<Money>,
    /// Bytes of generated text, for an estimate where usage is absent.
    pub content_bytes: u64,
    /// The answer is or holds an error, whatever its status was.
    pub error: bool,
}

/// Reads the value of a `usage` member. `None` where it holds no count at all.
pub fn read_usage(kind: Kind, usage_json: &[u8]) -> Option<Reported> {
    let mut counts = Counts::default();
    counts.read(usage_json);
    let usage = counts.usage(kind)?;
    Some(Reported { usage, cost: counts.cost(kind), service: counts.service })
}

/// Reads the body of an answer that is not a stream.
pub fn read_answer(kind: Kind, endpoint: Endpoint, body: &[u8]) -> AnswerReport {
    let facts = Facts::read(endpoint, b"message", body);
    let mut counts = Counts::default();
    for usage in [facts.fallback_usage, facts.usage].into_iter().flatten() {
        counts.read(usage);
    }
    AnswerReport {
        usage: counts.usage(kind),
        service: facts.service.or(counts.service),
        provider_cost: counts.cost(kind),
        content_bytes: facts.content_bytes,
        error: facts.error,
    }
}

/// The counts of a report as the provider names them. A later report overwrites what it names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    prompt: Option<u64>,
    completion: Option<u64>,
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
    /// `prompt_audio_seconds` (Mistral), in milliseconds.
    prompt_audio_ms: Option<u64>,
    prompt_details: Details,
    completion_details: Details,
    cost: Option<Money>,
    total_cost: Option<Money>,
    upstream_cost: Option<Money>,
    own_key: bool,
    ticks: Option<Money>,
    pub(super) service: Option<ServiceTier>,
}

/// The members of `prompt_tokens_details` and `completion_tokens_details`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Details {
    cached: Option<u64>,
    cache_write: Option<u64>,
    audio: Option<u64>,
    image: Option<u64>,
    reasoning: Option<u64>,
}

impl Counts {
    /// Takes over the counts that a usage object names; text that stops making sense is read so far.
    pub(super) fn read(&mut self, usage_json: &[u8]) {
        let mut cursor = Cursor::new(usage_json);
        cursor.object(|cursor, key, _| self.member(cursor, key));
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
            b"prompt_tokens_details" | b"prompt_token_details" => {
                return self.prompt_details.read(cursor);
            }
            b"completion_tokens_details" => return self.completion_details.read(cursor),
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
        overwrite(slot, count(cursor.skip()?));
        Some(())
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
    /// - xAI: reasoning lies outside; cached tokens lie outside when there are more than prompt ones.
    /// - `DeepInfra`: reasoning lies outside when there is more of it than completion.
    /// - Gemini: what the total has above prompt and completion is thought that is not named.
    /// - Perplexity: reasoning and citations named beside the counts lie outside them.
    /// - Any kind: reasoning lies outside when the total is exactly the sum of all three, which is
    ///   so for one maker's models at another's address.
    pub(super) fn usage(&self, kind: Kind) -> Option<Usage> {
        self.prompt.or(self.completion).or(self.total)?;
        let completion = self.completion.unwrap_or(0);
        let rest = self.total.unwrap_or(0).saturating_sub(completion);
        let prompt = self.prompt.unwrap_or(rest);
        let mut usage = Usage::default();
        self.count_input(kind, prompt, &mut usage);
        self.count_output(kind, prompt, completion, &mut usage);
        let searches = match kind {
            Kind::Perplexity => self.queries,
            Kind::Xai => self.sources,
            Kind::OpenRouter => self.searches,
            _ => None,
        };
        usage.set(Class::WebSearch, searches.unwrap_or(0));
        if kind == Kind::Mistral {
            usage.set(Class::AudioMillisecond, self.prompt_audio_ms.unwrap_or(0));
        }
        Some(usage)
    }

    fn count_input(&self, kind: Kind, prompt: u64, usage: &mut Usage) {
        let named = match kind {
            Kind::DeepSeek => self.cache_hit,
            Kind::Mistral => self.num_cached,
            Kind::Moonshot | Kind::Together => self.cached,
            _ => None,
        };
        let mut cached = named.or(self.prompt_details.cached).unwrap_or(0);
        let written = self.prompt_details.cache_write.unwrap_or(0);
        let mut audio = self.prompt_details.audio.unwrap_or(0);
        let mut image = self.prompt_details.image.unwrap_or(0);
        let mut whole = prompt;
        if kind == Kind::Xai && cached > prompt {
            whole = prompt.saturating_add(cached);
        }
        // Parts that add up to more than the whole overlap: the tokens that are in two of them were
        // cached and of the other sort as well.
        let parts = [cached, written, audio, image].into_iter().fold(0, u64::saturating_add);
        let overlap = parts.saturating_sub(whole);
        let cached_audio = overlap.min(audio).min(cached);
        cached -= cached_audio;
        audio -= cached_audio;
        let cached_image = (overlap - cached_audio).min(image).min(cached);
        cached -= cached_image;
        image -= cached_image;
        let parts = parts.saturating_sub(cached_audio).saturating_sub(cached_image);
        usage.set(Class::CacheRead, cached);
        usage.set(Class::CacheWrite, written);
        usage.set(Class::InputAudio, audio);
        usage.set(Class::CacheReadAudio, cached_audio);
        usage.set(Class::InputImage, image);
        usage.set(Class::CacheReadImage, cached_image);
        let mut input = whole.saturating_sub(parts);
        if kind == Kind::Perplexity {
            input = input.saturating_add(self.citation.unwrap_or(0));
        }
        usage.set(Class::Input, input);
    }

    fn count_output(&self, kind: Kind, prompt: u64, completion: u64, usage: &mut Usage) {
        let total = self.total.unwrap_or(0);
        let mut reasoning = self.completion_details.reasoning.unwrap_or(0);
        let named = prompt.saturating_add(completion);
        let mut outside = match kind {
            Kind::Xai => true,
            Kind::DeepInfra if reasoning > completion => true,
            _ => reasoning > 0 && total == named.saturating_add(reasoning),
        };
        if kind == Kind::GeminiOpenAi && !outside && total > named {
            reasoning = total - named;
            outside = true;
        }
        if let (Kind::Perplexity, Some(beside)) = (kind, self.reasoning) {
            reasoning = beside;
            outside = true;
        }
        let mut room = completion;
        let mut within = |part: u64| {
            let part = part.min(room);
            room -= part;
            part
        };
        let audio = within(self.completion_details.audio.unwrap_or(0));
        let image = within(self.completion_details.image.unwrap_or(0));
        if !outside {
            reasoning = within(reasoning);
        }
        usage.set(Class::OutputAudio, audio);
        usage.set(Class::OutputImage, image);
        usage.set(Class::Reasoning, reasoning);
        usage.set(Class::Output, room);
    }

    /// What the provider says it charged, for the kinds whose word is a charge and not a guess.
    pub(super) fn cost(&self, kind: Kind) -> Option<Money> {
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
            let value = cursor.skip()?;
            let slot = match key {
                b"cached_tokens" => &mut self.cached,
                b"cache_write_tokens" | b"cache_creation_input_tokens" => &mut self.cache_write,
                b"audio_tokens" => &mut self.audio,
                b"image_tokens" => &mut self.image,
                b"reasoning_tokens" => &mut self.reasoning,
                _ => return Some(()),
            };
            overwrite(slot, count(value));
            Some(())
        })
    }
}

/// A later report replaces an earlier one only where it says something.
pub(super) fn overwrite<T>(slot: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *slot = value;
    }
}

/// The tier named by a JSON value, where it is a word.
pub(super) fn service_tier(value: &[u8]) -> Option<ServiceTier> {
    let word = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    std::str::from_utf8(word).ok().map(ServiceTier::from_word)
}

fn count(value: &[u8]) -> Option<u64> {
    decimal(value, 0)
}

fn dollars(value: &[u8]) -> Option<Money> {
    decimal(value, 9).map(Money::from_nano)
}

/// Reads a JSON number, or a string that holds one, times ten to the power of `places`: rounded up to
/// a whole number, zero where it is negative, `u64::MAX` where it does not fit.
fn decimal(value: &[u8], places: i64) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    let text = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text).trim();
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, read_exponent(exponent)?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    // The decimal point moves so many digits to the right of where the text begins.
    let point = i64::try_from(whole.len()).ok()?.saturating_add(exponent).saturating_add(places);
    let digits = whole.bytes().chain(fraction.bytes()).map(|byte| u64::from(byte - b'0'));
    Some(if negative { 0 } else { round_up(digits, point) })
}

/// The whole number in the first `point` digits, and one more if any digit after them is not zero.
fn round_up(digits: impl Iterator<Item = u64>, point: i64) -> u64 {
    let mut number = 0u64;
    let mut left = point;
    let mut rest = 0;
    for digit in digits {
        if left > 0 {
            number = number.saturating_mul(10).saturating_add(digit);
        } else {
            rest |= digit;
        }
        left -= 1;
    }
    // Twenty noughts after any digit do not fit, and after none they change nothing.
    for _ in 0..left.clamp(0, 20) {
        number = number.saturating_mul(10);
    }
    number.saturating_add(u64::from(rest > 0))
}

fn read_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // An exponent beyond these decides the matter whatever its digits are.
    let size = digits.parse::<i64>().unwrap_or(i64::MAX).min(1 << 40);
    Some(if text.starts_with('-') { -size } else { size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(kind: Kind, json: &str) -> Option<Usage> {
        read_usage(kind, json.as_bytes()).map(|reported| reported.usage)
    }

    fn cost(kind: Kind, json: &str) -> Option<u64> {
        read_usage(kind, json.as_bytes())?.cost.map(Money::nano)
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
    fn odd_numbers_are_read_for_what_they_mean() {
        for (text, expected) in [
            ("12", Some(12)),
            ("12.0", Some(12)),
            ("12.000001", Some(13)),
            ("\"12\"", Some(12)),
            ("1.2e1", Some(12)),
            ("1200E-2", Some(12)),
            ("0.5", Some(1)),
            ("-3", Some(0)),
            ("-0.0", Some(0)),
            ("0e99999999999999999999", Some(0)),
            ("1e300", Some(u64::MAX)),
            ("1e99999999999999999999", Some(u64::MAX)),
            ("1e-99999999999999999999", Some(1)),
            ("18446744073709551615", Some(u64::MAX)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("null", None),
            ("true", None),
            ("\"\"", None),
            ("\"many\"", None),
            ("1e", None),
            ("1.2.3", None),
            ("{}", None),
        ] {
            assert_eq!(count(text.as_bytes()), expected, "{text}");
        }
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

    #[test]
    fn an_answer_is_read_whole() {
        let body = br#"{"id":"a","choices":[{"message":{"content":"h\u00e9\n","refusal":null,
            "tool_calls":[{"function":{"name":"ab","arguments":"{}"}}]},"finish_reason":"stop"}],
            "service_tier":"flex","usage":{"prompt_tokens":4,"completion_tokens":2,"total_tokens":6}}"#;
        let report = read_answer(Kind::OpenAi, Endpoint::Chat, body);
        assert_eq!(report.usage, Some(classes(&[(Class::Input, 4), (Class::Output, 2)])));
        assert_eq!(report.service, Some(ServiceTier::Flex));
        assert_eq!(report.content_bytes, 8);
        assert!(!report.error);

        let body = br#"{"error":{"message":"no","code":429}}"#;
        let report = read_answer(Kind::OpenRouter, Endpoint::Chat, body);
        assert_eq!(report, AnswerReport { error: true, ..AnswerReport::default() });

        let body =
            br#"{"data":[{"embedding":[0.1,-0.2]}],"usage":{"prompt_tokens":5,"total_tokens":5}}"#;
        let report = read_answer(Kind::OpenAi, Endpoint::Embeddings, body);
        assert_eq!(report.usage, Some(classes(&[(Class::Input, 5)])));

        let body = br#"{"x_groq":{"usage":{"prompt_tokens":5,"completion_tokens":1}}}"#;
        assert!(read_answer(Kind::Groq, Endpoint::Chat, body).usage.is_some());
        for body in ["", "null", "[{\"error\":{}}]", "<html>", "{\"usage\":"] {
            let report = read_answer(Kind::GeminiOpenAi, Endpoint::Chat, body.as_bytes());
            assert_eq!(report.usage, None, "{body}");
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
        fn a_decimal_is_its_value_rounded_up(whole in 0u64..1 << 33, nano in 0u64..1_000_000_000, shift in 0u32..9) {
            let text = format!("{whole}.{nano:09}");
            prop_assert_eq!(decimal(text.as_bytes(), 9), Some(whole * 1_000_000_000 + nano));
            let places = 9 - i64::from(shift);
            let exact = (u128::from(whole) * 1_000_000_000 + u128::from(nano)).div_ceil(10u128.pow(shift));
            prop_assert_eq!(decimal(text.as_bytes(), places).map(u128::from), Some(exact));
            let shifted = format!("{text}e-{shift}");
            prop_assert_eq!(decimal(shifted.as_bytes(), 9).map(u128::from), Some(exact));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>, text in r#"[\[\]{},:"\\0-9.eE +-]*"#) {
            for input in [&bytes[..], text.as_bytes()] {
                for kind in Kind::ALL {
                    let _ = read_usage(kind, input);
                }
                let _ = read_answer(Kind::OpenAi, Endpoint::Chat, input);
                let _ = count(input);
            }
        }
    }
}
