//! From when until when a certificate is valid: the one part of it that nothing else here tells.
//!
//! Reads as much of the DER of RFC 5280, section 4.1, as leads there. Nothing is verified.

use super::der::{self, SEQUENCE, take};
use crate::domain::window::Timestamp;

const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// What stands for no end at all (RFC 5280, section 4.1.2.5), which is later than calendars here go.
const NO_END: &str = "99991231235959";
const END_OF_TIME: Timestamp = Timestamp::from_millis(253_402_300_799_000);

/// The span in which a certificate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

impl Validity {
    /// That of a certificate in DER; `None` if it is none.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let (_, mut fields) = der::serial(certificate)?;
        take(&mut fields, SEQUENCE)?;
        take(&mut fields, SEQUENCE)?;
        let mut validity = take(&mut fields, SEQUENCE)?;
        Some(Self { from: time(&mut validity)?, until: time(&mut validity)? })
    }
}

/// `YYMMDDHHMMSSZ`, of which the years from 50 on are those of the last century, or `YYYYMMDDHHMMSSZ`.
fn time(rest: &mut &[u8]) -> Option<Timestamp> {
    let kind = *rest.first()?;
    let text = std::str::from_utf8(take(rest, kind)?).ok()?.strip_suffix('Z')?;
    let text = match (kind, text.len()) {
        (UTC_TIME, 12) if text.as_bytes()[0] < b'5' => format!("20{text}"),
        (UTC_TIME, 12) => format!("19{text}"),
        (GENERALIZED_TIME, 14) => text.to_owned(),
        _ => return None,
    };
    if text == NO_END {
        return Some(END_OF_TIME);
    }
    text.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
    let part = |from: usize, to: usize| &text[from..to];
    let (year, month, day) = (part(0, 4), part(4, 6), part(6, 8));
    let (hour, minute, second) = (part(8, 10), part(10, 12), part(12, 14));
    format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::der::INTEGER;
    use super::*;

    fn encoded(kind: u8, text: &str) -> Option<Timestamp> {
        let mut bytes = vec![kind, u8::try_from(text.len()).unwrap()];
        bytes.extend_from_slice(text.as_bytes());
        time(&mut bytes.as_slice())
    }

    #[test]
    fn both_forms_of_time_are_read() {
        for (kind, text, seconds) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "260228235959Z", Some(1_772_323_199)),
            (UTC_TIME, "240229120000Z", Some(1_709_208_000)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (UTC_TIME, "991231235959Z", Some(946_684_799)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799)),
            (UTC_TIME, "2602282359Z", None),
            (UTC_TIME, "261328235959Z", None),
            (UTC_TIME, "260228235959+0100", None),
            (UTC_TIME, "26-228235959Z", None),
            (INTEGER, "260228235959Z", None),
        ] {
            let expected = seconds.map(|seconds| Timestamp::from_millis(seconds * 1_000));
            assert_eq!(encoded(kind, text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_cut_or_made_up_is_no_certificate() {
        let begins = [0x30, 0x82, 0x01, 0x00, 0x30, 0x81, 0xf0, 0xa0, 0x03];
        for length in 0..=begins.len() {
            assert_eq!(Validity::of(&begins[..length]), None);
        }
        assert_eq!(Validity::of(&[0x30, 0xff, 0x30]), None);
        assert_eq!(Validity::of(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0x30]), None);
    }
}
