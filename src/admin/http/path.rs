//! Which operation a method and a path mean.

use super::incoming::LONGEST_BODY;
use super::operations::{OPERATIONS, Operation};

/// The parts of a path that its template names.
pub(super) type Segments = Vec<(&'static str, String)>;

/// What was found for a method and a path.
pub(super) enum Found {
    Operation(&'static Operation, Segments),
    /// The path is known by these methods.
    OtherMethods(Vec<&'static str>),
    Nothing,
}

pub(super) fn find(method: &str, path: &str) -> Found {
    let mut others = Vec::new();
    for operation in OPERATIONS.iter() {
        let Some(segments) = fit(operation.path, path) else { continue };
        if operation.method.name() == method {
            return Found::Operation(operation, segments);
        }
        others.push(operation.method.name());
    }
    if others.is_empty() { Found::Nothing } else { Found::OtherMethods(others) }
}

/// The most bytes that a request may have in its body.
pub(super) fn longest_body(method: &str, path: &str) -> usize {
    match find(method, path) {
        Found::Operation(operation, _) => operation.longest_body,
        Found::OtherMethods(_) | Found::Nothing => LONGEST_BODY,
    }
}

/// The parts of `path` that `template` names, if it fits.
fn fit(template: &'static str, path: &str) -> Option<Segments> {
    let mut parts = path.split('/');
    let mut segments = Vec::new();
    for wanted in template.split('/') {
        let part = parts.next()?;
        match wanted.strip_prefix('{').and_then(|wanted| wanted.strip_suffix('}')) {
            Some(name) => {
                let part = decode(part).filter(|part| !part.is_empty())?;
                segments.push((name, part));
            }
            None if wanted == part => {}
            None => return None,
        }
    }
    parts.next().is_none().then_some(segments)
}

/// What `%41` and the like stand for; `None` where that is no text.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            let digits = std::str::from_utf8(digits).ok()?;
            let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?);
            rest = after;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_fits_its_template_and_no_other() {
        let fit = |path| fit("/keys/{key}/limits", path);
        assert_eq!(fit("/keys/a%2Fb%20c/limits"), Some(vec![("key", "a/b c".to_owned())]));
        for path in ["/keys//limits", "/keys/a", "/keys/a/limits/", "/keys/%ff/limits", "/keys/a/b"]
        {
            assert_eq!(fit(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_decoded_without_panic(text: String) {
            let _ = decode(&text);
            let _ = find("GET", &text);
        }
    }
}
