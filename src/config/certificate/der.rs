//! As much of DER (X.690) as leads to what is wanted of a certificate.

pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTET_STRING: u8 = 0x04;
/// `[0] IMPLICIT`, of something that has no parts.
pub(super) const CONTEXT_0: u8 = 0x80;
/// `[0] EXPLICIT`: the version of a certificate.
pub(super) const VERSION: u8 = 0xa0;

/// The serial number of a certificate (RFC 5280, section 4.1), and the fields behind it.
pub(super) fn serial(certificate: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut outer = certificate;
    let mut inner = take(&mut outer, SEQUENCE)?;
    let mut fields = take(&mut inner, SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        take(&mut fields, VERSION)?;
    }
    Some((take(&mut fields, INTEGER)?, fields))
}

/// The content of the next element, which must be of this kind.
pub(super) fn take<'a>(rest: &mut &'a [u8], kind: u8) -> Option<&'a [u8]> {
    let (&found, after) = rest.split_first()?;
    let (&first, mut after) = after.split_first()?;
    let length = if first < 0x80 {
        usize::from(first)
    } else {
        let (digits, behind) = after.split_at_checked(usize::from(first & 0x7f))?;
        after = behind;
        (1..=4).contains(&digits.len()).then_some(())?;
        digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit))
    };
    let (content, behind) = after.split_at_checked(length)?;
    *rest = behind;
    (found == kind).then_some(content)
}
