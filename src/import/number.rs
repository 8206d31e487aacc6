//! Amounts as others write them, `2.5e-06` among them, without passing through a float.

use crate::domain::money::Money;

/// The text of a number times ten to the power of `shift`; `None` for what is no number from zero up.
pub(super) fn shifted(text: &str, shift: i32) -> Option<String> {
    let text = text.trim().trim_start_matches('+');
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || !all.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    // Where the point is among the digits.
    let point = i32::try_from(whole.len()).ok()?.checked_add(exponent)?.checked_add(shift)?;
    if !(-40..=40).contains(&point) {
        return None;
    }
    let point = i64::from(point);
    let digit = |place: i64| {
        let place = usize::try_from(place).ok();
        char::from(place.and_then(|place| all.as_bytes().get(place).copied()).unwrap_or(b'0'))
    };
    let whole: String = (0.min(point)..point).map(digit).collect();
    let end = i64::try_from(all.len()).ok()?.max(point);
    let fraction: String = (point..end).map(digit).collect();
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    Some(match fraction.trim_end_matches('0') {
        "" => whole.to_owned(),
        fraction => format!("{whole}.{fraction}"),
    })
}

/// Dollars; finer than a nano-dollar is cut off.
pub(super) fn dollars(text: &str) -> Option<Money> {
    let plain = shifted(text, 0)?;
    let cut = plain.find('.').map_or(plain.len(), |point| plain.len().min(point + 10));
    plain[..cut].trim_end_matches('.').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_point_moves_exactly() {
        for (text, shift, expected) in [
            ("2.5e-06", 6, Some("2.5")),
            ("0.00000015", 6, Some("0.15")),
            ("1e-7", 6, Some("0.1")),
            ("3", 6, Some("3000000")),
            ("0.0", 6, Some("0")),
            ("10", 0, Some("10")),
            ("1.5E1", 0, Some("15")),
            ("-1", 0, None),
            ("x", 0, None),
            ("", 0, None),
            ("1e99", 0, None),
        ] {
            assert_eq!(shifted(text, shift).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn dollars_are_cut_at_the_nano() {
        assert_eq!(dollars("12.5").map(Money::nano), Some(12_500_000_000));
        assert_eq!(dollars("0.1234567899").map(Money::nano), Some(123_456_789));
        assert_eq!(dollars("1e-12").map(Money::nano), Some(0));
    }
}
