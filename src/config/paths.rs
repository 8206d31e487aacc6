//! Where a configuration puts its store and its socket, read without judging the rest of the file: a
//! command must find a running server also while somebody is in the middle of editing.

use std::path::{Path, PathBuf};

use super::check::{DEFAULT_SOCKET, DEFAULT_STORE};
use super::secrets::Environment;

/// The two paths that commands need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    pub store: PathBuf,
    pub socket: PathBuf,
}

impl Paths {
    /// Reads `store.path` and `admin.socket` line by line; a line that makes no sense says nothing.
    pub fn find(file: &Path, environment: &Environment<'_>) -> Self {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let folder = file.parent().unwrap_or(Path::new(""));
        let path = |variable: &str, section: &str, key: &str, default: &str| {
            environment(variable).map_or_else(
                || folder.join(value(&text, section, key).as_deref().unwrap_or(default)),
                PathBuf::from,
            )
        };
        Self {
            store: path("CONDUIT_STORE", "store", "path", DEFAULT_STORE),
            socket: path("CONDUIT_ADMIN_SOCKET", "admin", "socket", DEFAULT_SOCKET),
        }
    }
}

/// The text that `key` has in `[section]`.
fn value(text: &str, section: &str, key: &str) -> Option<String> {
    let mut within = false;
    for line in text.lines() {
        let Ok(table) = line.parse::<toml::Table>() else { continue };
        match table.iter().next() {
            Some((name, toml::Value::Table(_))) if line.trim_start().starts_with('[') => {
                within = name == section;
            }
            Some((name, toml::Value::String(value))) if within && name == key => {
                return Some(value.clone());
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paths_are_found_in_a_file_that_is_wrong_elsewhere() {
        let text = "[server\nlisten = \n[store]\n# path = \"no\"\npath = \"a/b.redb\" # yes\n[x]\nsocket = \"no\"\n [admin]\nsocket = 's'\n";
        assert_eq!(value(text, "store", "path").as_deref(), Some("a/b.redb"));
        assert_eq!(value(text, "admin", "socket").as_deref(), Some("s"));
        assert_eq!(value("", "admin", "socket"), None);
    }

    #[test]
    fn variables_come_first_and_paths_start_at_the_file() {
        let none = |_: &str| None;
        let paths = Paths::find(Path::new("/nowhere/conduit.toml"), &none);
        assert_eq!(paths.store, Path::new("/nowhere").join(DEFAULT_STORE));
        let all = |name: &str| Some(format!("/{name}"));
        let paths = Paths::find(Path::new("/nowhere/conduit.toml"), &all);
        assert_eq!(paths.socket, Path::new("/CONDUIT_ADMIN_SOCKET"));
    }
}
