//! Whom a client calls.

use http::Uri;
use rustls::pki_types::ServerName;

/// A host as it is reached: its name, its port, and whether over TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// A name, or an address without brackets.
    host: String,
    port: u16,
    /// What the host is called in requests.
    authority: String,
    /// Whose certificate is asked for, where TLS is spoken.
    server_name: Option<ServerName<'static>>,
}

impl Origin {
    /// The host of an address; `None` if it has none, or another scheme than `http` and `https`.
    pub fn of(uri: &Uri) -> Option<Self> {
        let authority = uri.authority()?;
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let (usual_port, server_name) = match uri.scheme_str()? {
            "http" => (80, None),
            "https" => (443, Some(ServerName::try_from(host.clone()).ok()?)),
            _ => return None,
        };
        // A name and a password before the host are nothing for the host to hear.
        let shown =
            authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, host)| host);
        let port = authority.port_u16().unwrap_or(usual_port);
        Some(Self { host, port, authority: shown.to_owned(), server_name })
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    pub(super) const fn server_name(&self) -> Option<&ServerName<'static>> {
        self.server_name.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_whom_to_call_and_how() {
        for (uri, expected) in [
            ("http://example.com/v1", Some(("example.com", 80, "example.com", false))),
            ("https://example.com", Some(("example.com", 443, "example.com", true))),
            ("https://example.com:8443/", Some(("example.com", 8443, "example.com:8443", true))),
            ("http://[::1]:8080/v1", Some(("::1", 8080, "[::1]:8080", false))),
            ("https://[::1]/v1", Some(("::1", 443, "[::1]", true))),
            ("https://me:secret@example.com/", Some(("example.com", 443, "example.com", true))),
            ("ftp://example.com/", None),
            ("/v1", None),
        ] {
            let found = Origin::of(&uri.parse().unwrap());
            let found = found.as_ref().map(|origin| {
                (origin.host(), origin.port(), origin.authority(), origin.server_name().is_some())
            });
            assert_eq!(found, expected, "{uri}");
        }
    }
}
