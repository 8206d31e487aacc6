//! What names a certificate among all of its authority (RFC 9773, section 4.1): the authority's key, and
//! the serial number.
//!
//! Nothing is verified: whoever is asked about a name that is wrong says so.

use super::der::{self, CONTEXT_0, OCTET_STRING, SEQUENCE, take};

const OBJECT_IDENTIFIER: u8 = 0x06;
/// `[3] EXPLICIT`: the extensions.
const EXTENSIONS: u8 = 0xa3;
/// 2.5.29.35, in DER.
const AUTHORITY_KEY_IDENTIFIER: [u8; 3] = [0x55, 0x1d, 0x23];

/// Both parts, as their DER has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub authority_key: Vec<u8>,
    pub serial: Vec<u8>,
}

impl Identity {
    /// That of a certificate in DER; `None` where it does not say whose key signed it.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let (serial, mut fields) = der::serial(certificate)?;
        // The algorithm, the issuer, the validity, the subject and its key.
        for _ in 0..5 {
            take(&mut fields, SEQUENCE)?;
        }
        while fields.first()? != &EXTENSIONS {
            let kind = *fields.first()?;
            take(&mut fields, kind)?;
        }
        let mut wrapped = take(&mut fields, EXTENSIONS)?;
        let mut extensions = take(&mut wrapped, SEQUENCE)?;
        while !extensions.is_empty() {
            let mut extension = take(&mut extensions, SEQUENCE)?;
            if take(&mut extension, OBJECT_IDENTIFIER)? != AUTHORITY_KEY_IDENTIFIER {
                continue;
            }
            let mut value = take(&mut extension, OCTET_STRING)?;
            let authority_key = take(&mut take(&mut value, SEQUENCE)?, CONTEXT_0)?.to_vec();
            return Some(Self { authority_key, serial: serial.to_vec() });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::der::{INTEGER, VERSION};
    use super::*;

    fn element(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let mut element = vec![kind, u8::try_from(content.len()).unwrap()];
        element.extend(content);
        element
    }

    /// As much of a certificate as is looked at, with these extensions.
    fn certificate(extensions: &[&[u8]]) -> Vec<u8> {
        let empty = element(SEQUENCE, &[]);
        let fields = element(
            SEQUENCE,
            &[
                &element(VERSION, &[&element(INTEGER, &[&[2]])]),
                &element(INTEGER, &[&[0x00, 0x87, 0x65]]),
                &empty.repeat(5),
                &element(EXTENSIONS, &[&element(SEQUENCE, extensions)]),
            ],
        );
        element(SEQUENCE, &[&fields])
    }

    fn extension(identifier: &[u8], value: &[u8]) -> Vec<u8> {
        let identifier = element(OBJECT_IDENTIFIER, &[identifier]);
        element(SEQUENCE, &[&identifier, &element(OCTET_STRING, &[value])])
    }

    #[test]
    fn it_is_the_authority_s_key_and_the_serial_number() {
        let usage = extension(&[0x55, 0x1d, 0x0f], &[0x03, 0x02, 0x07, 0x80]);
        let value = element(SEQUENCE, &[&element(CONTEXT_0, &[&[0x69, 0x88]])]);
        let authority = extension(&AUTHORITY_KEY_IDENTIFIER, &value);
        let whole = certificate(&[&usage, &authority]);
        let expected = Identity { authority_key: vec![0x69, 0x88], serial: vec![0x00, 0x87, 0x65] };
        assert_eq!(Identity::of(&whole), Some(expected));
        assert_eq!(Identity::of(&certificate(&[&usage])), None);
        for length in 0..whole.len() {
            assert_eq!(Identity::of(&whole[..length]), None);
        }
    }
}
