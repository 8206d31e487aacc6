//! A certificate with its key, read from two files: all that can be wrong with them is found here, and
//! named, before anybody shakes hands with it.
//!
//! The key never leaves what signs with it, and is never printed.

mod der;
mod identity;
mod validity;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::domain::window::Timestamp;
pub use identity::Identity;
use validity::Validity;

/// No chain of certificates and no key comes near it.
const LONGEST_FILE: u64 = 1 << 20;

/// Where a listener's certificate is, and what was found there.
#[derive(Clone)]
pub struct Certificate {
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
    /// Absent where secrets were not to be read.
    pub pair: Option<Arc<Pair>>,
}

/// A certificate that fits its key.
pub struct Pair {
    pub signer: Arc<CertifiedKey>,
    pub valid_from: Timestamp,
    pub valid_until: Timestamp,
    /// Of both files.
    digest: blake3::Hash,
}

impl Certificate {
    /// Whether the files are still those that were read.
    pub(super) fn is_current(&self) -> bool {
        let Some(pair) = &self.pair else { return true };
        let read = (read(&self.certificate_file), read(&self.key_file));
        matches!(read, (Ok(certificate), Ok(key)) if digest(&certificate, &key) == pair.digest)
    }

    /// What people should know of its dates.
    pub fn warning(&self, now: Timestamp) -> Option<String> {
        let pair = self.pair.as_ref()?;
        let file = self.certificate_file.display();
        if pair.valid_until < now {
            Some(format!(
                "the certificate in {file} has expired: it was valid until {}",
                pair.valid_until
            ))
        } else if pair.valid_from > now {
            Some(format!(
                "the certificate in {file} is not valid yet: it will be from {}",
                pair.valid_from
            ))
        } else {
            None
        }
    }
}

impl Pair {
    /// Reads both from one file.
    ///
    /// # Errors
    /// What is wrong, naming the file.
    pub fn read(file: &Path) -> Result<Self, String> {
        load(file, file)
    }

    /// What it is called where its authority is asked about it.
    pub fn identity(&self) -> Option<Identity> {
        Identity::of(self.signer.cert.first()?)
    }

    /// Whether clients that look at the dates take it.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.valid_from <= now && now <= self.valid_until
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        let digest = |certificate: &Self| certificate.pair.as_ref().map(|pair| pair.digest);
        self.certificate_file == other.certificate_file
            && self.key_file == other.key_file
            && digest(self) == digest(other)
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (certificate, key) = (&self.certificate_file, &self.key_file);
        f.debug_struct("Certificate")
            .field("certificate_file", certificate)
            .field("key_file", key)
            .finish_non_exhaustive()
    }
}

/// Reads a certificate and its key.
///
/// # Errors
/// What is wrong, naming the file.
pub(super) fn load(certificate_file: &Path, key_file: &Path) -> Result<Pair, String> {
    let certificates = read(certificate_file)
        .map_err(|error| format!("the certificate file {} {error}", certificate_file.display()))?;
    let keys =
        read(key_file).map_err(|error| format!("the key file {} {error}", key_file.display()))?;
    let chain = chain(&certificates)
        .map_err(|error| format!("the certificate file {} {error}", certificate_file.display()))?;
    let validity = Validity::of(&chain[0]).ok_or_else(|| {
        let file = certificate_file.display();
        format!("the certificate file {file} holds what is not an X.509 certificate")
    })?;
    let key = key(&keys).map_err(|error| format!("the key file {} {error}", key_file.display()))?;
    let signer = any_supported_type(&key).map_err(|_| {
        let file = key_file.display();
        format!(
            "the key file {file} holds a key of a kind that is not supported: RSA (2048 bits or \
                 more), ECDSA P-256 or P-384, and Ed25519 are"
        )
    })?;
    let signer = CertifiedKey::new(chain, signer);
    signer.keys_match().map_err(|error| {
        let (key, certificate) = (key_file.display(), certificate_file.display());
        match error {
            rustls::Error::InconsistentKeys(_) => {
                format!(
                    "the key in {key} does not belong to the first certificate in {certificate}"
                )
            }
            other => format!("the certificate file {certificate} cannot be used: {other}"),
        }
    })?;
    Ok(Pair {
        signer: Arc::new(signer),
        valid_from: validity.from,
        valid_until: validity.until,
        digest: digest(&certificates, &keys),
    })
}

fn digest(certificates: &[u8], key: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(blake3::hash(certificates).as_bytes());
    hasher.update(blake3::hash(key).as_bytes());
    hasher.finalize()
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let open = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(LONGEST_FILE + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = open().map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "cannot be read: this process has no permission for it".to_owned()
        }
        _ => format!("cannot be read: {error}"),
    })?;
    match bytes.len() as u64 {
        0 => Err("is empty".to_owned()),
        length if length > LONGEST_FILE => Err("is too long".to_owned()),
        _ => Ok(bytes),
    }
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.map_err(|error| broken(&error))?;
    if !chain.is_empty() {
        return Ok(chain);
    }
    let why = if is_der(pem) {
        "is in DER: convert it to PEM, as by `openssl x509 -inform der`"
    } else if PrivateKeyDer::from_pem_slice(pem).is_ok() {
        "holds a key and no certificate: are `cert` and `key` the wrong way round?"
    } else {
        "holds no certificate in PEM: there is no `-----BEGIN CERTIFICATE-----`"
    };
    Err(why.to_owned())
}

fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => {
            let has = |mark: &[u8]| memchr::memmem::find(pem, mark).is_some();
            let why = if has(b"BEGIN ENCRYPTED PRIVATE KEY") || has(b"Proc-Type: 4,ENCRYPTED") {
                "holds a key that is protected by a passphrase: take that off, as by `openssl pkey`"
            } else if is_der(pem) {
                "is in DER: convert it to PEM, as by `openssl pkey -inform der`"
            } else if has(b"BEGIN CERTIFICATE") {
                "holds a certificate and no key: are `cert` and `key` the wrong way round?"
            } else {
                "holds no key in PEM: there is no `-----BEGIN PRIVATE KEY-----`"
            };
            Err(why.to_owned())
        }
        Err(error) => Err(broken(&error)),
    }
}

/// The parser's own words may show what is in the file.
fn broken(error: &pem::Error) -> String {
    let what = match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end",
        pem::Error::IllegalSectionStart { .. } => "the beginning of a section is malformed",
        pem::Error::Base64Decode(_) => "it holds what is not base64",
        _ => "it is malformed",
    };
    format!("is not PEM: {what}")
}

/// A SEQUENCE with a long length.
fn is_der(bytes: &[u8]) -> bool {
    matches!(bytes, [0x30, 0x81..=0x84, ..])
}
