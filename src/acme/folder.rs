//! Where an account and its certificate are kept from one start to the next: files that only their owner
//! may read, each replaced as a whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use instant_acme::AccountCredentials;

use super::order::Issued;
use crate::config::Acme;
use crate::config::certificate::Pair;

const CERTIFICATE: &str = "certificate.pem";

/// A certificate that was ordered.
pub struct Held {
    pub pair: Pair,
    /// The first line of its file: of whom it was ordered, and for what.
    heading: String,
}

impl Held {
    /// Whether it is what the configuration asks for.
    pub fn fits(&self, plan: &Acme) -> bool {
        self.heading == heading(plan)
    }
}

/// What stands above the key, where readers of PEM do not look.
fn heading(plan: &Acme) -> String {
    format!("Ordered by conduit from {} for {}", plan.directory, plan.names.join(", "))
}

fn certificate_file(plan: &Acme) -> PathBuf {
    plan.folder.join(CERTIFICATE)
}

/// The certificate that was kept; `None` if there is none.
///
/// # Errors
/// What is wrong with its file.
pub fn kept(plan: &Acme) -> Result<Option<Held>, String> {
    let file = certificate_file(plan);
    let Some(text) = read(&file, |file| fs::read_to_string(file))? else { return Ok(None) };
    let heading = text.lines().next().unwrap_or_default().to_owned();
    Ok(Some(Held { pair: Pair::read(&file)?, heading }))
}

/// What stands in a file; `None` if there is none.
fn read<T>(file: &Path, by: fn(&Path) -> io::Result<T>) -> Result<Option<T>, String> {
    match by(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{} cannot be read: {error}", file.display())),
        Ok(content) => Ok(Some(content)),
    }
}

/// Keeps what was issued, and gives it as it is read again.
pub(super) fn keep(plan: &Acme, issued: &Issued) -> Result<Held, String> {
    let heading = heading(plan);
    let text = format!("{heading}\n{}\n{}", issued.key.trim_end(), issued.chain);
    let file = certificate_file(plan);
    write(&file, text.as_bytes()).map_err(|error| unwritten(&file, &error))?;
    Ok(Held { pair: Pair::read(&file)?, heading })
}

/// Each authority has a file, so that trying another one loses no account.
fn account_file(plan: &Acme) -> PathBuf {
    let digest = blake3::hash(plan.directory.as_bytes()).to_hex();
    plan.folder.join(format!("account-{}.json", &digest[..8]))
}

/// The account that was made; `None` where one has to be.
pub(super) fn account(plan: &Acme) -> Result<Option<AccountCredentials>, String> {
    let file = account_file(plan);
    let Some(text) = read(&file, |file| fs::read(file))? else { return Ok(None) };
    // What is wrong with it may show what is in it.
    let account = serde_json::from_slice(&text);
    account.map(Some).map_err(|_| format!("{} holds no account: move it away", file.display()))
}

pub(super) fn keep_account(plan: &Acme, account: &AccountCredentials) -> Result<(), String> {
    let file = account_file(plan);
    let text = serde_json::to_vec(account).map_err(|error| error.to_string())?;
    write(&file, &text).map_err(|error| unwritten(&file, &error))
}

/// The authority does not know it any more.
pub(super) fn forget_account(plan: &Acme) {
    let _ = fs::remove_file(account_file(plan));
}

fn unwritten(file: &Path, error: &io::Error) -> String {
    format!("{} cannot be written: {error}", file.display())
}

/// In the file's place after it is whole and on the disk.
fn write(file: &Path, content: &[u8]) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let fresh = file.with_extension("new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    written.write_all(content)?;
    written.sync_all()?;
    fs::rename(&fresh, file)?;
    File::open(folder)?.sync_all()
}
