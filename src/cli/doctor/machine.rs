//! The machine: its clock, its disk, its ports and what it lets a process have.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use super::{Check, Patient, State};
use crate::clock;
use crate::domain::window::Timestamp;

/// This program was not written before: 2026-11-01.
const EARLIEST: Timestamp = Timestamp::from_millis(1_793_491_200_000);
/// No machine that serves today will see it: 2100-01-01.
const LATEST: Timestamp = Timestamp::from_millis(4_102_444_800_000);

const MIB: u64 = 1 << 20;
/// A journal and a compaction of a small store fit in it.
const SCARCE: u64 = 128 * MIB;
const LITTLE: u64 = 1024 * MIB;

/// A client and a provider take a descriptor each.
const FEW_FILES: u64 = 4096;

const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn checks(patient: &Patient<'_>) -> Vec<Check> {
    let mut checks = vec![clock_is_sane(clock::now()), disk(&patient.paths.store), files()];
    if let Some(config) = patient.config {
        let is_running = patient.status.is_some();
        // A server that runs may have been told of another place than the file says.
        let served = |listen: &[String], written: &[SocketAddr]| {
            let served: Vec<_> = listen.iter().filter_map(|text| text.parse().ok()).collect();
            if served.is_empty() { written.to_vec() } else { served }
        };
        let (calls, administration) = match patient.status {
            Some(status) => (status.listen.as_slice(), status.admin_listen.as_slice()),
            None => Default::default(),
        };
        for address in served(calls, &config.server.listen) {
            checks.push(port("port", address, is_running, true));
        }
        for address in served(administration, &config.admin.listen) {
            let matters = !config.admin.listen_is_default;
            checks.push(port("admin port", address, is_running, matters));
        }
    }
    checks
}

fn clock_is_sane(now: Timestamp) -> Check {
    if (EARLIEST..LATEST).contains(&now) {
        return Check::good("clock", format!("it is {now}"));
    }
    let advice =
        "set it, best by a time service (timedatectl set-ntp true): limits and receipts go by it";
    Check::bad("clock", format!("it says {now}, which cannot be"), advice)
}

fn disk(store: &Path) -> Check {
    let there = store.ancestors().skip(1).find(|folder| folder.is_dir());
    let folder = there.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let stat = match rustix::fs::statvfs(folder) {
        Ok(stat) => stat,
        Err(error) => {
            let found = format!("{} cannot be looked at: {error}", folder.display());
            return Check::bad("disk", found, "see that the folder is there and may be read");
        }
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let found = format!("{} MiB are free at {}", free / MIB, folder.display());
    let advice = "make room: a full disk stops the gateway, which must not lose a receipt";
    let no_names = stat.f_files > 0 && stat.f_favail == 0;
    if no_names {
        let found = format!("no more files can be made at {}", folder.display());
        return Check::bad("disk", found, "delete files that nobody needs");
    }
    match free {
        free if free < SCARCE => Check::bad("disk", found, advice),
        free if free < LITTLE => Check::warning("disk", found, advice),
        _ => Check::good("disk", found),
    }
}

fn files() -> Check {
    let limit = getrlimit(Resource::Nofile).current;
    match limit {
        Some(limit) if limit < FEW_FILES => {
            let found =
                format!("a process started from here may have {limit} files and connections open");
            let advice =
                "raise it where the server is started: LimitNOFILE= in its unit, or ulimit -n";
            Check::warning("open files", found, advice)
        }
        Some(limit) => Check::good("open files", format!("{limit} may be open")),
        None => Check::good("open files", "there is no limit"),
    }
}

/// A port that is served where a server runs, and free where none does.
fn port(what: &'static str, address: SocketAddr, is_running: bool, matters: bool) -> Check {
    if address.port() == 0 {
        return Check::skipped(what, "the system chooses one at each start")
            .of(address.to_string());
    }
    let check = if is_running { served(what, address) } else { free(what, address) };
    let check = match check {
        Check { state: State::Bad, .. } if !matters => Check { state: State::Warning, ..check },
        check => check,
    };
    check.of(address.to_string())
}

fn free(what: &'static str, address: SocketAddr) -> Check {
    let Err(error) = TcpListener::bind(address) else { return Check::good(what, "it is free") };
    let found = format!("nothing can listen there: {error}");
    let advice = match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "another program is there: `ss -ltnp` names it; or choose another address"
        }
        std::io::ErrorKind::PermissionDenied => {
            "ports below 1024 need a right: AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit"
        }
        std::io::ErrorKind::AddrNotAvailable => "this machine does not have that address",
        _ => "choose another address",
    };
    Check::bad(what, found, advice)
}

/// Whether somebody answers in HTTP, which over TLS is told by the refusal.
fn served(what: &'static str, address: SocketAddr) -> Check {
    match say_hello(reachable(address)) {
        Ok(true) => Check::good(what, "the server answers"),
        Ok(false) => {
            let advice = "is another program there? `ss -ltnp` names it";
            Check::warning(what, "what answers there does not speak plain HTTP", advice)
        }
        Err(error) => {
            let advice = "see whether a firewall is in the way, and `conduit admin status` for the \
                          addresses that are really served";
            Check::bad(what, format!("nothing answers: {error}"), advice)
        }
    }
}

/// All addresses of a machine are reached by its own.
const fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn say_hello(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut start = [0; 5];
    Ok(stream.read_exact(&mut start).is_ok() && &start == b"HTTP/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_cannot_be_right_is_bad() {
        let at = |text: &str| clock_is_sane(text.parse().unwrap()).state;
        assert_eq!(at("1970-01-01"), State::Bad);
        assert_eq!(at("2027-05-01"), State::Good);
        assert_eq!(at("2200-01-01"), State::Bad);
    }

    #[test]
    fn a_port_that_is_taken_is_told() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        assert_eq!(port("port", address, false, true).state, State::Bad);
        assert_eq!(port("port", address, false, false).state, State::Warning);
        drop(taken);
        assert_eq!(port("port", address, false, true).state, State::Good);
        assert_eq!(port("port", address, true, true).state, State::Bad);
    }
}
