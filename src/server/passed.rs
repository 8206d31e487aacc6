//! Sockets that a service manager holds and passes on at each start (`sd_listen_fds(3)`), so that nobody
//! is refused while the gateway restarts: connections wait in the socket until it serves again.
//!
//! A socket is known by its name, or else by its address. One that fits nothing is an error: who set it up
//! believes that something answers there.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;

use listenfd::ListenFd;

use crate::config::{Config, process_environment};

/// What the sockets are for, as `FileDescriptorName=` of their units says.
const GATEWAY: &str = "gateway";
const ADMIN: &str = "admin";
const SOCKET: &str = "socket";
/// More than anybody passes; a larger number is no number of sockets.
const MOST: usize = 64;

/// The sockets that were passed, before it is known what they are for.
#[derive(Debug, Default)]
pub struct Passed(Vec<Named>);

#[derive(Debug)]
struct Named {
    /// Absent where the manager had none of its own to give: then it names the unit, or says `unknown`.
    name: Option<String>,
    listener: Listener,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The passed sockets by what they are for.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    pub(super) gateway: Vec<TcpListener>,
    pub(super) admin: Vec<TcpListener>,
    pub(super) socket: Option<UnixListener>,
}

/// Why passed sockets are not taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PassedError {
    #[error("LISTEN_FDS is not a number of sockets up to {MOST}")]
    Count,
    #[error("the passed socket {0} cannot be used: {1}; stream sockets are, of IP or Unix")]
    Kind(usize, String),
    #[error(
        "the passed socket `{0}` is not known: FileDescriptorName= must be gateway, admin or socket"
    )]
    Name(String),
    #[error("the passed socket `{0}` must be {1}")]
    Type(&'static str, &'static str),
    #[error(
        "the service manager passes {passed} for `{name}`, but `{option}` is {configured}: make \
         ListenStream= and `{option}` say the same{or}"
    )]
    Address {
        passed: String,
        name: &'static str,
        option: &'static str,
        configured: String,
        or: &'static str,
    },
    #[error(
        "the service manager passes {0}, which is not in the configuration: give it a name by \
         FileDescriptorName= (gateway, admin or socket), or write it there"
    )]
    Unknown(String),
    #[error("two passed sockets are named `socket`")]
    Twice,
}

impl Passed {
    /// Takes what was passed to this process, if anything; a second time there is nothing.
    ///
    /// # Errors
    /// When it is not what a service manager passes.
    pub fn take() -> Result<Self, PassedError> {
        let count = process_environment("LISTEN_FDS").unwrap_or_default();
        let count = count.trim();
        if !count.is_empty() && !count.parse::<usize>().is_ok_and(|count| count <= MOST) {
            return Err(PassedError::Count);
        }
        let names = process_environment("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut fds = ListenFd::from_env();
        let mut passed = Vec::new();
        for index in 0..fds.len() {
            let name = names.next().filter(|name| is_own_name(name)).map(str::to_owned);
            let listener = listener(&mut fds, index)
                .map_err(|error| PassedError::Kind(index + 1, error.to_string()))?;
            passed.push(Named { name, listener });
        }
        Ok(Self(passed))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Finds out what each is for, and that it is where the configuration says.
    pub(super) fn sort(self, config: &Config) -> Result<Sorted, PassedError> {
        let mut sorted = Sorted::default();
        for Named { name, listener } in self.0 {
            let address = listener.address();
            let name = match name {
                Some(name) => name,
                None => name_of(&listener, config)
                    .ok_or_else(|| PassedError::Unknown(address.clone()))?
                    .to_owned(),
            };
            match (name.as_str(), listener) {
                (GATEWAY, Listener::Tcp(listener)) => {
                    check_gateway(&listener, config)?;
                    sorted.gateway.push(listener);
                }
                (ADMIN, Listener::Tcp(listener)) => {
                    check_admin(&listener, config)?;
                    sorted.admin.push(listener);
                }
                (SOCKET, Listener::Unix(listener)) => {
                    check_socket(&listener, config)?;
                    if sorted.socket.replace(listener).is_some() {
                        return Err(PassedError::Twice);
                    }
                }
                (GATEWAY, Listener::Unix(_)) => {
                    return Err(PassedError::Type(GATEWAY, "an IP socket: address and port"));
                }
                (ADMIN, Listener::Unix(_)) => {
                    return Err(PassedError::Type(ADMIN, "an IP socket: address and port"));
                }
                (SOCKET, Listener::Tcp(_)) => {
                    return Err(PassedError::Type(SOCKET, "a Unix socket: a path"));
                }
                _ => return Err(PassedError::Name(name)),
            }
        }
        Ok(sorted)
    }
}

/// Whether somebody gave the name on purpose: without `FileDescriptorName=` it is the unit's.
fn is_own_name(name: &str) -> bool {
    let is_units = Path::new(name).extension().is_some_and(|ending| ending == "socket");
    !name.is_empty() && name != "unknown" && name != "connection" && !is_units
}

fn listener(fds: &mut ListenFd, index: usize) -> io::Result<Listener> {
    let gone = || io::Error::from(io::ErrorKind::NotFound);
    if let Ok(listener) = fds.take_tcp_listener(index) {
        let listener = listener.ok_or_else(gone)?;
        listener.set_nonblocking(true)?;
        return Ok(Listener::Tcp(listener));
    }
    let listener = fds.take_unix_listener(index)?.ok_or_else(gone)?;
    listener.set_nonblocking(true)?;
    Ok(Listener::Unix(listener))
}

impl Listener {
    fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(|address| address.to_string()),
            Self::Unix(listener) => listener.local_addr().map(|address| {
                let path = address.as_pathname();
                path.map_or_else(|| "a nameless socket".to_owned(), |p| p.display().to_string())
            }),
        }
        .unwrap_or_else(|_| "a socket without an address".to_owned())
    }
}

fn name_of(listener: &Listener, config: &Config) -> Option<&'static str> {
    match listener {
        Listener::Unix(listener) => check_socket(listener, config).is_ok().then_some(SOCKET),
        Listener::Tcp(listener) => {
            let address = listener.local_addr().ok()?;
            if fits_one(address, &config.server.listen) {
                Some(GATEWAY)
            } else {
                fits_one(address, &config.admin.listen).then_some(ADMIN)
            }
        }
    }
}

/// Whether a socket is one of those in the configuration; `[::]` takes IPv4, too.
fn fits_one(passed: SocketAddr, configured: &[SocketAddr]) -> bool {
    let is_any = passed.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    configured.iter().any(|address| {
        let is_same = address.ip() == passed.ip() || is_any && address.ip().is_unspecified();
        is_same && (address.port() == passed.port() || address.port() == 0)
    })
}

/// Whether one of these listens at a configured address.
pub(super) fn is_covered(address: SocketAddr, listeners: &[TcpListener]) -> bool {
    let fits =
        |listener: &TcpListener| listener.local_addr().is_ok_and(|a| fits_one(a, &[address]));
    listeners.iter().any(fits)
}

fn check_gateway(listener: &TcpListener, config: &Config) -> Result<(), PassedError> {
    let (listen, is_default) = (&config.server.listen, config.server.listen_is_default);
    check_address(listener, (GATEWAY, "server.listen"), listen, is_default)
}

fn check_admin(listener: &TcpListener, config: &Config) -> Result<(), PassedError> {
    let (listen, is_default) = (&config.admin.listen, config.admin.listen_is_default);
    let remote = listener.local_addr().is_ok_and(|address| !address.ip().is_loopback());
    // What other machines reach has to be written in the configuration, where it is checked.
    check_address(listener, (ADMIN, "admin.listen"), listen, is_default && !remote)
}

fn check_address(
    listener: &TcpListener,
    (name, option): (&'static str, &'static str),
    configured: &[SocketAddr],
    is_default: bool,
) -> Result<(), PassedError> {
    let fits = listener.local_addr().is_ok_and(|address| fits_one(address, configured));
    if fits || is_default {
        return Ok(());
    }
    let passed = listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
    let configured = match configured {
        [] => "off".to_owned(),
        all => all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    let or = if name == GATEWAY { ", or leave `server.listen` out" } else { "" };
    Err(PassedError::Address { passed, name, option, configured, or })
}

fn check_socket(listener: &UnixListener, config: &Config) -> Result<(), PassedError> {
    let address = listener.local_addr().ok();
    let passed = address.as_ref().and_then(|address| address.as_pathname());
    let configured = &config.admin.socket;
    let is_same = |path: &Path| {
        path == configured
            || matches!((path.canonicalize(), configured.canonicalize()), (Ok(a), Ok(b)) if a == b)
    };
    if passed.is_some_and(is_same) {
        return Ok(());
    }
    Err(PassedError::Address {
        passed: passed.map_or_else(|| "a nameless socket".to_owned(), |p| p.display().to_string()),
        name: SOCKET,
        option: "admin.socket",
        configured: configured.display().to_string(),
        or: "",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Secrets, check};

    fn config(text: &str) -> Config {
        let text = format!("{text}\n[providers.echo]\nkind = \"echo\"\n");
        check(Path::new("conduit.toml"), &text, &|_: &str| None, Secrets::Skip).unwrap()
    }

    fn tcp(name: Option<&str>) -> (Named, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (Named { name: name.map(str::to_owned), listener: Listener::Tcp(listener) }, address)
    }

    fn listen(address: SocketAddr) -> Config {
        config(&format!("[server]\nlisten = \"{address}\""))
    }

    #[test]
    fn a_name_decides_and_the_address_must_fit_what_is_written() {
        let (named, address) = tcp(Some("gateway"));
        assert_eq!(Passed(vec![named]).sort(&listen(address)).unwrap().gateway.len(), 1);
        // Where nothing is written, the manager decides.
        let (named, _) = tcp(Some("gateway"));
        assert_eq!(Passed(vec![named]).sort(&config("")).unwrap().gateway.len(), 1);
        let (named, _) = tcp(Some("admin"));
        assert_eq!(Passed(vec![named]).sort(&config("")).unwrap().admin.len(), 1);
        let (named, address) = tcp(Some("gateway"));
        let error = Passed(vec![named]).sort(&config("[server]\nlisten = \"127.0.0.1:1\""));
        let error = error.unwrap_err().to_string();
        for word in [&*address.to_string(), "`server.listen` is 127.0.0.1:1", "leave"] {
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn without_a_name_the_address_decides() {
        let (named, address) = tcp(None);
        assert_eq!(Passed(vec![named]).sort(&listen(address)).unwrap().gateway.len(), 1);
        let (named, address) = tcp(None);
        let admin = config(&format!("[admin]\nlisten = \"{address}\""));
        assert_eq!(Passed(vec![named]).sort(&admin).unwrap().admin.len(), 1);
        let (named, address) = tcp(None);
        let error = Passed(vec![named]).sort(&config("")).unwrap_err();
        assert_eq!(error, PassedError::Unknown(address.to_string()));
    }

    #[test]
    fn what_fits_nothing_is_named() {
        let (named, _) = tcp(Some("web"));
        let error = Passed(vec![named]).sort(&config("")).unwrap_err();
        assert_eq!(error, PassedError::Name("web".to_owned()));
        let (named, _) = tcp(Some("socket"));
        let error = Passed(vec![named]).sort(&config("")).unwrap_err();
        assert_eq!(error, PassedError::Type("socket", "a Unix socket: a path"));
        let (named, _) = tcp(Some("admin"));
        let error = Passed(vec![named]).sort(&config("[admin]\nlisten = \"off\"")).unwrap_err();
        assert!(error.to_string().contains("`admin.listen` is off"), "{error}");
    }

    #[test]
    fn the_admin_socket_is_known_by_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let unix = || {
            let _ = std::fs::remove_file(&path);
            Listener::Unix(UnixListener::bind(&path).unwrap())
        };
        let here = config(&format!("[admin]\nsocket = \"{}\"", path.display()));
        for name in [None, Some("socket".to_owned())] {
            let passed = Passed(vec![Named { name, listener: unix() }]);
            assert!(passed.sort(&here).unwrap().socket.is_some());
        }
        let passed = Passed(vec![Named { name: Some("socket".to_owned()), listener: unix() }]);
        let error = passed.sort(&config("")).unwrap_err().to_string();
        assert!(error.contains("`admin.socket` is data/admin.sock"), "{error}");
    }

    #[test]
    fn every_address_of_ipv6_takes_ipv4_too() {
        let any = "[::]:443".parse().unwrap();
        assert!(fits_one(any, &["0.0.0.0:443".parse().unwrap()]));
        assert!(fits_one(any, &["[::]:443".parse().unwrap()]));
        assert!(!fits_one(any, &["127.0.0.1:443".parse().unwrap()]));
        assert!(!fits_one(any, &["0.0.0.0:80".parse().unwrap()]));
    }

    #[test]
    fn a_units_name_is_none_of_ours() {
        for (name, expected) in
            [("gateway", true), ("conduit.socket", false), ("unknown", false), ("", false)]
        {
            assert_eq!(is_own_name(name), expected, "{name}");
        }
    }
}
