//! Who may read and change what belongs to the gateway.

use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use super::{Check, Patient};

const FILES: &str = "permissions";
/// Others than the owner and the group.
const OTHERS: u32 = 0o007;
const GROUP_AND_OTHERS: u32 = 0o077;
const WRITE_BY_GROUP_AND_OTHERS: u32 = 0o022;

pub(super) fn checks(patient: &Patient<'_>) -> Vec<Check> {
    let mut checks = Vec::new();
    checks.extend(configuration(patient.file));
    if let Some(config) = patient.config {
        checks.extend(config.secret_files.iter().filter_map(|file| secret(file)));
    }
    let store = &patient.paths.store;
    if let Some(folder) = store.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        checks.extend(data(folder));
    }
    checks.extend(private(store, "the store"));
    checks.extend(socket(&patient.paths.socket));
    if checks.is_empty() {
        checks.push(Check::good(FILES, "nothing is open to those whom it does not concern"));
    }
    checks
}

fn mode(metadata: &Metadata) -> u32 {
    metadata.permissions().mode() & 0o7777
}

/// Whoever may change the file may send the providers' keys anywhere.
fn configuration(file: &Path) -> Option<Check> {
    let metadata = fs::metadata(file).ok()?;
    let mode = mode(&metadata);
    let name = file.display().to_string();
    if mode & 0o002 != 0 {
        let found = format!("everybody may change it (mode {mode:04o})");
        return Some(Check::bad(FILES, found, format!("chmod o-w {name}")).of(name));
    }
    if mode & WRITE_BY_GROUP_AND_OTHERS != 0 {
        let found = format!("its group may change it (mode {mode:04o})");
        return Some(Check::warning(FILES, found, format!("chmod g-w {name}")).of(name));
    }
    None
}

fn secret(file: &Path) -> Option<Check> {
    let metadata = fs::metadata(file).ok()?;
    let mode = mode(&metadata);
    let name = file.display().to_string();
    if mode & OTHERS != 0 {
        let found = format!("everybody on this machine may read a secret (mode {mode:04o})");
        return Some(Check::bad(FILES, found, format!("chmod 600 {name}")).of(name));
    }
    if mode & 0o020 != 0 {
        let found = format!("its group may change a secret (mode {mode:04o})");
        return Some(Check::warning(FILES, found, format!("chmod 640 {name}")).of(name));
    }
    None
}

fn data(folder: &Path) -> Option<Check> {
    let metadata = fs::metadata(folder).ok()?;
    let name = folder.display().to_string();
    if !metadata.is_dir() {
        let advice = "give `store.path` another folder";
        return Some(Check::bad(FILES, "it is not a folder", advice).of(name));
    }
    let mode = mode(&metadata);
    if mode & 0o002 != 0 && mode & 0o1000 == 0 {
        let found = format!("everybody may replace the store in it (mode {mode:04o})");
        return Some(Check::bad(FILES, found, format!("chmod 700 {name}")).of(name));
    }
    let me = rustix::process::geteuid().as_raw();
    if metadata.uid() != me && me != 0 {
        let found = format!("it belongs to the user {}, and this runs as {me}", metadata.uid());
        let advice = "run this, and all that touches the store, as the service's user";
        return Some(Check::warning(FILES, found, advice).of(name));
    }
    None
}

fn private(file: &Path, what: &str) -> Option<Check> {
    let metadata = fs::metadata(file).ok()?;
    let mode = mode(&metadata);
    if mode & GROUP_AND_OTHERS == 0 {
        return None;
    }
    let name = file.display().to_string();
    let found = format!("{what} is not its owner's alone (mode {mode:04o})");
    Some(Check::warning(FILES, found, format!("chmod 600 {name}")).of(name))
}

/// Who may write to the socket may do everything.
fn socket(path: &Path) -> Option<Check> {
    let metadata = fs::symlink_metadata(path).ok()?;
    let name = path.display().to_string();
    if !metadata.file_type().is_socket() {
        let advice = "move it away, or give `admin.socket` another place";
        return Some(Check::bad(FILES, "it is not a socket", advice).of(name));
    }
    let mode = mode(&metadata);
    if mode & 0o002 == 0 {
        return None;
    }
    let found = format!("everybody on this machine may administer the gateway (mode {mode:04o})");
    Some(Check::bad(FILES, found, format!("chmod 600 {name}")).of(name))
}
