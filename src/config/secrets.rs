//! Where a provider's key comes from: a variable, a file or a systemd credential, exactly one.
//!
//! Together with the loading of the file itself this is the only place that reads a secret. It must
//! never put one, or what may be one, into a message.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

/// A key longer than this is some other file.
const MAX_BYTES: u64 = 64 * 1024;

/// A password longer than this is some other file.
const LONGEST_LINE: usize = 1024;

/// The environment, as a function from a variable's name to its value.
pub type Environment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The key in the variable `name`.
///
/// # Errors
/// A sentence that names the variable.
pub(super) fn from_variable(
    name: &str,
    environment: &Environment<'_>,
) -> Result<SecretString, String> {
    let value =
        environment(name).ok_or_else(|| format!("the environment variable {name} is not set"))?;
    checked(value, &format!("the environment variable {name}"))
}

/// The key in a file.
///
/// # Errors
/// A sentence that names the file.
pub(super) fn from_file(path: &Path) -> Result<SecretString, String> {
    let name = format!("the key file {}", path.display());
    let text = read(path).map_err(|error| format!("{name} cannot be read: {error}"))?;
    checked(text, &name)
}

/// The key in the systemd credential `name`.
///
/// # Errors
/// A sentence that names the credential.
pub(super) fn from_credential(
    name: &str,
    environment: &Environment<'_>,
) -> Result<SecretString, String> {
    let folder = environment("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty());
    let folder = folder.ok_or_else(|| no_credentials(name))?;
    let text = read(&Path::new(&folder).join(name))
        .map_err(|error| format!("the credential `{name}` cannot be read: {error}"))?;
    checked(text, &format!("the credential `{name}`"))
}

/// The first and only line of a file, which may have spaces in it: a password.
///
/// # Errors
/// A sentence that names the file.
pub(super) fn line_of_file(path: &Path, what: &str) -> Result<SecretString, String> {
    let name = format!("the {what} file {}", path.display());
    let text = read(path).map_err(|error| format!("{name} cannot be read: {error}"))?;
    line(text, &name)
}

/// The same of the systemd credential `name`.
///
/// # Errors
/// A sentence that names the credential.
pub(super) fn line_of_credential(
    name: &str,
    environment: &Environment<'_>,
) -> Result<SecretString, String> {
    let folder = environment("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty());
    let folder = folder.ok_or_else(|| no_credentials(name))?;
    let text = read(&Path::new(&folder).join(name))
        .map_err(|error| format!("the credential `{name}` cannot be read: {error}"))?;
    line(text, &format!("the credential `{name}`"))
}

fn line(text: String, name: &str) -> Result<SecretString, String> {
    let secret = SecretString::from(text);
    let trimmed = secret.expose_secret().trim_end_matches(['\r', '\n']);
    if trimmed.is_empty() {
        return Err(format!("{name} is empty"));
    }
    if trimmed.len() > LONGEST_LINE || trimmed.chars().any(char::is_control) {
        return Err(format!("{name} holds more than a line"));
    }
    Ok(SecretString::from(trimmed))
}

fn no_credentials(name: &str) -> String {
    format!(
        "there is no credential `{name}`: $CREDENTIALS_DIRECTORY is not set, which systemd does for \
         a unit with LoadCredential="
    )
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    Ok(text)
}

/// What can stand in a header: visible ASCII.
fn checked(text: String, name: &str) -> Result<SecretString, String> {
    let secret = SecretString::from(text);
    let trimmed = secret.expose_secret().trim_end_matches(['\r', '\n']);
    if trimmed.is_empty() {
        return Err(format!("{name} is empty"));
    }
    if trimmed.len() as u64 > MAX_BYTES {
        return Err(format!("{name} is too long to be a key"));
    }
    if !trimmed.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("{name} holds spaces or characters that a key cannot have"));
    }
    Ok(SecretString::from(trimmed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(value: Option<&str>) -> Result<String, String> {
        let value = value.map(str::to_owned);
        let environment = move |name: &str| if name == "K" { value.clone() } else { None };
        from_variable("K", &environment).map(|key| key.expose_secret().to_owned())
    }

    #[test]
    fn a_newline_at_the_end_is_not_part_of_a_key() {
        assert_eq!(variable(Some("abc\n")), Ok("abc".to_owned()));
        assert_eq!(variable(Some("abc\r\n")), Ok("abc".to_owned()));
    }

    #[test]
    fn what_is_no_key_is_named_but_not_shown() {
        for (value, words) in [
            (None, "the environment variable K is not set"),
            (Some("\n"), "the environment variable K is empty"),
            (Some("a b"), "the environment variable K holds spaces"),
            (Some("a\nb"), "the environment variable K holds spaces"),
            (Some("ä"), "the environment variable K holds spaces"),
        ] {
            let error = variable(value).unwrap_err();
            assert!(error.starts_with(words), "{error}");
        }
        assert!(variable(Some(&"x".repeat(70_000))).unwrap_err().contains("too long"));
    }

    #[test]
    fn keys_are_read_from_files_and_credentials() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("openai"), "abc\n").unwrap();
        let path = folder.path().to_str().unwrap().to_owned();
        let environment = move |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| path.clone());
        let key = from_credential("openai", &environment).unwrap();
        assert_eq!(key.expose_secret(), "abc");
        assert!(!format!("{key:?}").contains("abc"));
        let error = from_credential("groq", &environment).unwrap_err();
        assert!(error.starts_with("the credential `groq` cannot be read"), "{error}");
        assert!(
            from_credential("openai", &|_: &str| None).unwrap_err().contains("LoadCredential=")
        );
        assert!(
            from_file(&folder.path().join("none")).unwrap_err().contains("none cannot be read")
        );
    }
}
