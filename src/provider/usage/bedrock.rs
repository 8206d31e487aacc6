//! The counts of Bedrock's Converse.
//!
//! Cached and written prompt tokens lie outside `inputTokens`, and `cacheDetails` tells the written
//! ones by the age of their cache. (AWS's reference of `TokenUsage` and `CacheDetail`.)

use super::number::{count, overwrite};
use crate::domain::usage::{Class, Usage};
use crate::provider::json::Cursor;

/// The counts of a report. A later report overwrites what it names.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::provider) struct Counts {
    input: Option<u64>,
    output: Option<u64>,
    total: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    /// Written by the age of the cache: in all, and those that last an hour.
    written: Option<u64>,
    written_1h: Option<u64>,
}

impl Counts {
    /// Takes over the counts that a usage object names; text that stops making sense is read so far.
    pub(in crate::provider) fn read(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        cursor.object(|cursor, key, _| {
            let slot = match key {
                b"inputTokens" => &mut self.input,
                b"outputTokens" => &mut self.output,
                b"totalTokens" => &mut self.total,
                // The second of each pair is how the first releases of the cache named them.
                b"cacheReadInputTokens" | b"cacheReadInputTokenCount" => &mut self.cache_read,
                b"cacheWriteInputTokens" | b"cacheWriteInputTokenCount" => &mut self.cache_write,
                b"cacheDetails" => return self.read_details(cursor),
                _ => return cursor.skip().map(drop),
            };
            overwrite(slot, count(cursor.skip()?));
            Some(())
        })
    }

    fn read_details(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        if cursor.peek()? != b'[' {
            return cursor.skip().map(drop);
        }
        let (mut all, mut hour) = (0u64, 0u64);
        cursor.array(|cursor| {
            let (mut tokens, mut is_hour) = (0, false);
            cursor.object(|cursor, key, _| {
                let value = cursor.skip()?;
                match key {
                    b"inputTokens" => tokens = count(value).unwrap_or(0),
                    b"ttl" => is_hour = value == b"\"1h\"",
                    _ => {}
                }
                Some(())
            })?;
            all = all.saturating_add(tokens);
            hour = hour.saturating_add(if is_hour { tokens } else { 0 });
            Some(())
        })?;
        self.written = Some(all);
        self.written_1h = Some(hour);
        Some(())
    }

    /// The counts in disjoint classes; `None` where nothing was counted.
    pub(in crate::provider) fn usage(&self) -> Option<Usage> {
        self.input.or(self.output).or(self.total)?;
        let output = self.output.unwrap_or(0);
        let rest = self.total.unwrap_or(0).saturating_sub(output);
        let written = self.cache_write.unwrap_or(0).max(self.written.unwrap_or(0));
        let hour = self.written_1h.unwrap_or(0).min(written);
        let usage = Usage::default()
            .with(Class::Input, self.input.unwrap_or(rest))
            .with(Class::CacheRead, self.cache_read.unwrap_or(0))
            .with(Class::CacheWrite, written - hour)
            .with(Class::CacheWrite1h, hour)
            .with(Class::Output, output);
        Some(usage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(report: &str) -> Option<Usage> {
        let mut counts = Counts::default();
        counts.read(&mut Cursor::new(report.as_bytes()));
        counts.usage()
    }

    #[test]
    fn cached_tokens_lie_outside_and_written_ones_have_an_age() {
        let report = r#"{"inputTokens":10,"outputTokens":5,"totalTokens":45,"cacheReadInputTokens":12,
            "cacheWriteInputTokens":18,"cacheDetails":[{"ttl":"1h","inputTokens":11},{"ttl":"5m","inputTokens":7}]}"#;
        let expected = Usage::default()
            .with(Class::Input, 10)
            .with(Class::CacheRead, 12)
            .with(Class::CacheWrite, 7)
            .with(Class::CacheWrite1h, 11)
            .with(Class::Output, 5);
        assert_eq!(usage(report), Some(expected));
    }

    #[test]
    fn zero_is_a_report_and_nothing_is_not() {
        let zeros = r#"{"inputTokens":0,"outputTokens":0,"totalTokens":0,"cacheDetails":null}"#;
        assert_eq!(usage(zeros), Some(Usage::default()));
        for report in ["{}", "null", r#"{"inputTokens":null}"#, "[1]"] {
            assert_eq!(usage(report), None, "{report}");
        }
    }
}
