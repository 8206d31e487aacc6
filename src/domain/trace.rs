//! Where a call stands in somebody's trace, in the words of W3C's Trace Context, and whether a trace is
//! taken.

use std::fmt;

/// The span that another one belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    pub trace: u128,
    pub span: u64,
    pub sampled: bool,
}

impl TraceContext {
    /// Reads a `traceparent` header (W3C Trace Context, section 3.2); `None` for what is not one.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (version, rest) = (hex(text.get(..2)?)?, text.get(2..)?);
        let is_whole = match version {
            0 => text.len() == 55,
            // A later version may have more after what this one has.
            1..=0xfe => text.len() == 55 || text.get(55) == Some(&b'-'),
            _ => false,
        };
        let dashes = [0, 33, 50].map(|at| rest.get(at) == Some(&b'-'));
        if !is_whole || dashes != [true; 3] {
            return None;
        }
        let trace = hex(rest.get(1..33)?)?;
        let span = u64::try_from(hex(rest.get(34..50)?)?).ok()?;
        let flags = hex(rest.get(51..53)?)?;
        (trace != 0 && span != 0).then_some(Self { trace, span, sampled: flags & 1 == 1 })
    }
}

impl fmt::Display for TraceContext {
    /// As a `traceparent` header.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

/// Digits in lower case, as the standard has them.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0_u128, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

/// A whole, of which a sampler takes a part.
const MILLION: u64 = 1_000_000;

/// Which traces are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampler {
    /// A caller who has a trace decides for it.
    pub follows_parent: bool,
    /// So many millionths of all others.
    pub share: u64,
}

impl Default for Sampler {
    fn default() -> Self {
        Self { follows_parent: true, share: MILLION }
    }
}

impl Sampler {
    /// Reads what `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` say.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn from_words(name: &str, argument: Option<&str>) -> Result<Self, String> {
        let (follows_parent, plain) = match name.strip_prefix("parentbased_") {
            Some(plain) => (true, plain),
            None => (false, name),
        };
        let share = match plain {
            "always_on" => MILLION,
            "always_off" => 0,
            "traceidratio" => share(argument.unwrap_or("1")).ok_or_else(|| {
                format!(
                    "`{}` is not a part of one: write it like 0.1",
                    argument.unwrap_or_default()
                )
            })?,
            _ => {
                return Err(format!(
                    "`{}` is not a sampler: always_on, always_off, traceidratio, or one of these \
                     with parentbased_ before it",
                    name.escape_debug()
                ));
            }
        };
        Ok(Self { follows_parent, share })
    }

    /// A part of all traces in hundredths; callers who have one decide for it.
    pub const fn percent(percent: u64) -> Self {
        Self { follows_parent: true, share: percent * (MILLION / 100) }
    }

    /// Whether the trace of this id is taken.
    pub fn takes(self, trace: u128, parent: Option<TraceContext>) -> bool {
        if let Some(parent) = parent.filter(|_| self.follows_parent) {
            return parent.sampled;
        }
        // By its random end, so that all who see a trace agree on it.
        let end = trace & u128::from(u64::MAX);
        end * u128::from(MILLION) < u128::from(self.share) << 64
    }
}

/// A decimal number from 0 to 1, in millionths.
fn share(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{part:0<6}");
    let is_number = [whole, part].iter().all(|p| p.bytes().all(|byte| byte.is_ascii_digit()));
    if !is_number || whole.is_empty() {
        return None;
    }
    let part: u64 = digits.get(..6)?.parse().ok()?;
    let share = whole.parse::<u64>().ok()?.checked_mul(MILLION)?.checked_add(part)?;
    (share <= MILLION).then_some(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_read_as_the_standard_writes_it() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let read = TraceContext::parse(good.as_bytes()).unwrap();
        assert_eq!(read.to_string(), good);
        assert!(read.sampled && read.span == 0xb7ad_6b71_6920_3331);
        for (text, expected) in [
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", Some(false)),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03", Some(true)),
            ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-else", Some(true)),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-else", None),
            ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x", None),
            ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None),
            ("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", None),
            ("00-00000000000000000000000000000000-b7ad6b7169203331-01", None),
            ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", None),
            ("00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331", None),
            ("", None),
        ] {
            let read = TraceContext::parse(text.as_bytes());
            assert_eq!(read.map(|read| read.sampled), expected, "{text}");
        }
    }

    #[test]
    fn a_sampler_takes_its_share() {
        let sampler = |name, argument| Sampler::from_words(name, argument).unwrap();
        let parent = |sampled| Some(TraceContext { trace: 1, span: 1, sampled });
        let tenth = sampler("traceidratio", Some("0.1"));
        let taken =
            (0..10_000_u128).filter(|n| tenth.takes(n * (u128::from(u64::MAX) / 10_000), None));
        assert_eq!(taken.count(), 1_001);
        assert!(tenth.takes(0, parent(false)) && !tenth.takes(u128::MAX, parent(true)));
        let follows = sampler("parentbased_always_off", None);
        assert!(follows.takes(5, parent(true)) && !follows.takes(5, None));
        let all = Sampler::default();
        assert!(all.takes(u128::MAX, None) && !all.takes(0, parent(false)));
        assert!(!Sampler::percent(0).takes(0, None));
        assert_eq!(sampler("parentbased_traceidratio", Some("1")), all);
        for (name, argument) in
            [("always", None), ("traceidratio", Some("2")), ("traceidratio", Some("x"))]
        {
            assert!(Sampler::from_words(name, argument).is_err(), "{name}");
        }
    }
}
