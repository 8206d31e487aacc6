//! Images and files as calls carry them: data URLs taken apart and put together.
//!
//! What is inside stays as it came, in base64: it is decoded only where a dialect wants text.

/// A data URL with its content in base64 (RFC 2397).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DataUrl<'a> {
    /// Without parameters; `text/plain` where none is given.
    pub(super) media_type: &'a str,
    pub(super) base64: &'a str,
}

/// Whether this is a data URL of any kind, also one that [`data_url`] cannot take apart.
pub(super) fn is_data_url(url: &str) -> bool {
    url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"))
}

/// Takes a data URL apart; `None` for other URLs and for content that is not in base64.
pub(super) fn data_url(url: &str) -> Option<DataUrl<'_>> {
    if !is_data_url(url) {
        return None;
    }
    let (head, base64) = url.get(5..)?.split_once(',')?;
    let (kind, last) = head.rsplit_once(';')?;
    if !last.trim().eq_ignore_ascii_case("base64") {
        return None;
    }
    let media_type = kind.split(';').next().unwrap_or_default().trim();
    Some(DataUrl {
        media_type: if media_type.is_empty() { "text/plain" } else { media_type },
        base64,
    })
}

/// A data URL of content that is in base64 already.
pub(super) fn to_data_url(media_type: &str, base64: &str) -> String {
    format!("data:{media_type};base64,{base64}")
}

/// The text behind base64 of either alphabet, padded or not; `None` if it is not base64 or not UTF-8.
pub(super) fn text_of(base64: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(base64.len() / 4 * 3 + 2);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for byte in base64.trim().trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'\r' | b'\n' => continue,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    // Six bits that are left over belong to no byte.
    if count >= 6 { None } else { String::from_utf8(bytes).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_url_comes_apart_and_together() {
        let image = DataUrl { media_type: "image/png", base64: "aGk=" };
        assert_eq!(data_url("data:image/png;base64,aGk="), Some(image));
        assert_eq!(data_url("DATA:image/png;name=a.png;Base64,aGk="), Some(image));
        assert_eq!(data_url(&to_data_url("image/png", "aGk=")), Some(image));
        assert_eq!(data_url("data:;base64,aGk=").map(|url| url.media_type), Some("text/plain"));
        for other in ["https://example.com/a.png", "data:text/plain,hi", "data:", "dätä:", ""] {
            assert_eq!(data_url(other), None, "{other}");
        }
        assert!(is_data_url("data:text/plain,hi"));
    }

    #[test]
    fn text_is_read_from_base64_of_either_alphabet() {
        for (base64, text) in
            [("", ""), ("aGk=", "hi"), ("aGk", "hi"), ("w7_Dvw", "ÿÿ"), ("aGVs\r\nbG8=", "hello")]
        {
            assert_eq!(text_of(base64).as_deref(), Some(text), "{base64}");
        }
        for bad in ["a", "a*b=", "/w=="] {
            assert_eq!(text_of(bad), None, "{bad}");
        }
    }
}
