//! The address of a provider, checked and taken apart once, so that what is sent there cannot be led
//! elsewhere by it.

use std::fmt;
use std::net::Ipv6Addr;

/// An `http` or `https` address without user, query or fragment. The path has no `/` at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    https: bool,
    /// As it stands in an address: an IPv6 address is in brackets.
    host: String,
    port: u16,
    path: String,
}

impl BaseUrl {
    /// # Errors
    /// What is wrong, to follow "is not an address for calls:".
    pub fn parse(text: &str) -> Result<Self, String> {
        let (https, rest) = match text.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            Some(_) => return Err("it must begin with http:// or https://".to_owned()),
            None => return Err("it must begin with https:// (or http://)".to_owned()),
        };
        if rest.contains('?') {
            return Err("it must have no query (`?…`)".to_owned());
        }
        if rest.contains('#') {
            return Err("it must have no fragment (`#…`)".to_owned());
        }
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return Err("it must have no user or password in it".to_owned());
        }
        let (host, port) = host_and_port(authority)?;
        let port = port.unwrap_or(if https { 443 } else { 80 });
        Ok(Self { https, host, port, path: checked_path(path)? })
    }

    pub const fn is_https(&self) -> bool {
        self.https
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Empty, or begins with `/` and does not end with it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The address of something below this one; `below` has no `/` at its start.
    pub fn join(&self, below: &str) -> String {
        format!("{self}/{below}")
    }

    /// What the `Host` header says.
    pub fn authority(&self) -> String {
        match (self.https, self.port) {
            (true, 443) | (false, 80) => self.host.clone(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }

    /// Whether calls stay on this machine.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host == "[::1]" || self.host.starts_with("127.")
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

fn host_and_port(authority: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match authority.rsplit_once(':') {
        // A colon inside brackets is part of an IPv6 address.
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port = port.map(|port| match port.parse::<u16>() {
        Ok(number) if number > 0 && port.bytes().all(|b| b.is_ascii_digit()) => Ok(number),
        _ => Err("its port must be a number from 1 to 65535".to_owned()),
    });
    Ok((checked_host(host)?, port.transpose()?))
}

fn checked_host(host: &str) -> Result<String, String> {
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        let parsed = address.parse::<Ipv6Addr>();
        return match parsed {
            Ok(address) => Ok(format!("[{address}]")),
            Err(_) => Err("what is in brackets must be an IPv6 address".to_owned()),
        };
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if host.is_empty() {
        return Err("it has no host".to_owned());
    }
    if !host.bytes().all(plain) || host.starts_with('.') || host.contains("..") {
        return Err("its host is not a name or an address".to_owned());
    }
    Ok(host.to_ascii_lowercase())
}

fn checked_path(path: &str) -> Result<String, String> {
    let allowed = |b: u8| {
        b.is_ascii_graphic()
            && !matches!(b, b'\\' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}')
    };
    if !path.bytes().all(allowed) {
        return Err("its path has characters that an address must not have".to_owned());
    }
    let path = path.trim_end_matches('/');
    if path.split('/').any(|part| part == "." || part == "..") {
        return Err("its path must not have `.` or `..` in it".to_owned());
    }
    for endpoint in ["/chat/completions", "/completions", "/embeddings", "/responses"] {
        if let Some(above) = path.strip_suffix(endpoint) {
            return Err(format!(
                "`{endpoint}` is added by the gateway: the path ends with `{above}`"
            ));
        }
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        for (text, host, port, path, shown) in [
            (
                "https://api.example.com/v1",
                "api.example.com",
                443,
                "/v1",
                "https://api.example.com/v1",
            ),
            (
                "https://API.Example.com/v1/",
                "api.example.com",
                443,
                "/v1",
                "https://api.example.com/v1",
            ),
            ("http://127.0.0.1:8000", "127.0.0.1", 8000, "", "http://127.0.0.1:8000"),
            ("http://[::1]:8000/v1", "[::1]", 8000, "/v1", "http://[::1]:8000/v1"),
            ("http://[0:0::1]/", "[::1]", 80, "", "http://[::1]"),
            ("http://host:80/a/b", "host", 80, "/a/b", "http://host/a/b"),
        ] {
            let url = BaseUrl::parse(text).unwrap();
            assert_eq!((url.host(), url.port(), url.path()), (host, port, path), "{text}");
            assert_eq!(url.to_string(), shown);
            assert_eq!(BaseUrl::parse(shown), Ok(url));
        }
        let url = BaseUrl::parse("https://api.example.com/v1/").unwrap();
        assert_eq!(url.join("models"), "https://api.example.com/v1/models");
    }

    #[test]
    fn what_could_lead_elsewhere_is_refused() {
        for text in [
            "",
            "api.example.com/v1",
            "ftp://host",
            "https://",
            "https:///v1",
            "https://user:word@host/v1",
            "https://host/v1?key=1",
            "https://host/v1#x",
            "https://host:0/v1",
            "https://host:+80/v1",
            "https://host:99999",
            "https://host:/v1",
            "https://ho st/v1",
            "https://höst/v1",
            "https://host/v 1",
            "https://host/../v1",
            "https://host\\@other/v1",
            "https://[::1/v1",
            "https://[nonsense]/v1",
            "https://host/v1/chat/completions",
        ] {
            assert!(BaseUrl::parse(text).is_err(), "{text}");
        }
    }
}
