//! What there is on the admin listener, part by part, and who is asked who they are there. A path outside
//! of these parts is answered with 404 before any route is looked for, so a part that is not entered here
//! does not exist; the table of callers in the tests is made from this list.

use super::{PREFIX, metrics};

/// Who is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// Everybody: the files of the dashboard, which say nothing about anybody.
    Nobody,
    /// As each operation of the API says.
    ByOperation,
    /// Whoever may see things there, or more, as the configuration says.
    Viewer,
    /// Sessions and nobody else, with the token of theirs; what is behind it asks which key pays.
    Session,
}

/// A part of the listener.
#[derive(Clone, Copy, Debug)]
pub struct Surface {
    /// The one path, or with a `/` at its end all paths below it.
    pub path: &'static str,
    pub asks: Asks,
    /// Whether what is answered there comes from elsewhere.
    pub is_relayed: bool,
}

/// All there is.
pub const SURFACES: [Surface; 5] = [
    Surface { path: "", asks: Asks::Nobody, is_relayed: false },
    Surface { path: "/assets/", asks: Asks::Nobody, is_relayed: false },
    Surface { path: PREFIX, asks: Asks::ByOperation, is_relayed: false },
    Surface { path: metrics::PATH, asks: Asks::Viewer, is_relayed: false },
    Surface { path: "/playground/", asks: Asks::Session, is_relayed: true },
];

/// The part that a path is on.
pub(super) fn of(path: &str) -> Option<&'static Surface> {
    SURFACES.iter().find(|surface| surface.has(path))
}

impl Surface {
    fn has(&self, path: &str) -> bool {
        match path.strip_prefix(self.path) {
            // The API's prefix, or a single page: itself, or itself and a slash.
            Some("" | "/") => true,
            Some(rest) => {
                !self.path.is_empty() && (self.path.ends_with('/') || rest.starts_with('/'))
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_on_its_part_and_on_no_other() {
        for (path, expected) in [
            ("/", Some("")),
            ("/assets/app.js", Some("/assets/")),
            ("/admin/api/v1/keys", Some(PREFIX)),
            ("/admin/api/v1", Some(PREFIX)),
            ("/admin/api/v12", None),
            ("/playground/v1/models", Some("/playground/")),
            ("/playground", None),
            ("/assets", None),
            ("/v1/models", None),
            ("//", None),
            ("/metrics", Some("/metrics")),
            ("/metricsx", None),
        ] {
            assert_eq!(of(path).map(|surface| surface.path), expected, "{path}");
        }
    }
}
