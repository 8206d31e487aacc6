//! The PROXY protocol, versions 1 and 2: what a proxy that passes connections on says first about where
//! each of them comes from.
//!
//! It is read where the configuration says that proxies speak it, and from these alone. It is read to the
//! byte, so that what follows is as it was sent, within a time and a length, and never guessed at: what is
//! not a header ends the connection, because its sender could not be told from the proxy itself.
//!
//! <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use actix_web::rt::net::TcpStream;
use tokio::io::AsyncReadExt;

/// The first bytes of version 2; also as many as both versions have at least.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const PREFIX: &[u8] = b"PROXY ";
/// The longest line of version 1, with its end.
const LONGEST_LINE: usize = 107;
/// The longest header of version 2 that is taken: addresses and a few additions.
const LONGEST_BODY: usize = 2_048;

/// Why a connection is not served.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyError {
    #[error("{0} is not in `server.trusted_proxies`, and only those may connect here")]
    Stranger(IpAddr),
    #[error("{0} did not begin with a header of the PROXY protocol: {1}")]
    Malformed(IpAddr, &'static str),
    #[error("the header did not come in time")]
    Slow,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// From there.
    Address(SocketAddr),
    /// From the proxy itself, as when it looks whether we live; or it does not know.
    Itself,
}

/// Reads the header of a connection from `peer`, and says where it really comes from.
pub(super) async fn receive(
    stream: &mut TcpStream,
    peer: SocketAddr,
) -> Result<SocketAddr, ProxyError> {
    let malformed = |why| ProxyError::Malformed(peer.ip(), why);
    let mut start = [0; SIGNATURE.len()];
    stream.read_exact(&mut start).await?;
    let said = if start == SIGNATURE {
        let mut rest = [0; 4];
        stream.read_exact(&mut rest).await?;
        let length = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        if length > LONGEST_BODY {
            return Err(malformed("it is too long"));
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        binary([rest[0], rest[1]], &body)
    } else if start.starts_with(PREFIX) {
        text(&line(stream, &start).await?)
    } else {
        Err("neither version 1 nor version 2")
    };
    match said.map_err(malformed)? {
        Said::Address(address) => Ok(address),
        Said::Itself => Ok(peer),
    }
}

/// The rest of the line that began with `start`. What follows it stays in the socket.
async fn line(stream: &mut TcpStream, start: &[u8]) -> io::Result<Vec<u8>> {
    let mut line = start.to_vec();
    let mut seen = [0; LONGEST_LINE];
    loop {
        let room = LONGEST_LINE - line.len();
        let count = stream.peek(&mut seen[..room]).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let end = seen[..count].iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(count, |at| at + 1);
        stream.read_exact(&mut seen[..taken]).await?;
        line.extend_from_slice(&seen[..taken]);
        if end.is_some() || line.len() == LONGEST_LINE {
            return Ok(line);
        }
    }
}

/// Version 1: `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443`.
fn text(line: &[u8]) -> Result<Said, &'static str> {
    let line = line.strip_suffix(b"\r\n").ok_or("its line has no end")?;
    let line = std::str::from_utf8(line).map_err(|_| "it is not text")?;
    let mut words = line.split(' ').skip(1);
    let mut next = || words.next().ok_or("something is missing");
    let family = next()?;
    if family == "UNKNOWN" {
        return Ok(Said::Itself);
    }
    let (source, destination) = (next()?, next()?);
    let (port, other_port) = (next()?, next()?);
    let parse = |text: &str| -> Result<IpAddr, &'static str> {
        match family {
            "TCP4" => text.parse().map(IpAddr::V4).map_err(|_| "an address is malformed"),
            "TCP6" => text.parse().map(IpAddr::V6).map_err(|_| "an address is malformed"),
            _ => Err("its protocol is neither TCP4 nor TCP6"),
        }
    };
    let address = parse(source)?;
    parse(destination)?;
    let number = |text: &str| {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let is_plain = is_plain && (text == "0" || !text.starts_with('0'));
        text.parse::<u16>().ok().filter(|_| is_plain).ok_or("a port is malformed")
    };
    number(other_port)?;
    let port = number(port)?;
    if words.next().is_some() {
        return Err("there is more than belongs there");
    }
    Ok(Said::Address(SocketAddr::new(address, port)))
}

/// Version 2: the byte of version and command, that of the family, and what follows the length.
fn binary([command, family]: [u8; 2], body: &[u8]) -> Result<Said, &'static str> {
    match command {
        0x20 => return Ok(Said::Itself),
        0x21 => {}
        _ => return Err("its version or command is not known"),
    }
    let truncated = "its addresses are cut short";
    match family {
        // TCP over IPv4: two addresses, two ports.
        0x11 => {
            let addresses = body.get(..12).ok_or(truncated)?;
            let octets: [u8; 4] = addresses[..4].try_into().map_err(|_| truncated)?;
            let port = u16::from_be_bytes([addresses[8], addresses[9]]);
            Ok(Said::Address(SocketAddr::new(Ipv4Addr::from(octets).into(), port)))
        }
        // TCP over IPv6.
        0x21 => {
            let addresses = body.get(..36).ok_or(truncated)?;
            let octets: [u8; 16] = addresses[..16].try_into().map_err(|_| truncated)?;
            let port = u16::from_be_bytes([addresses[32], addresses[33]]);
            Ok(Said::Address(SocketAddr::new(Ipv6Addr::from(octets).into(), port)))
        }
        // Not specified, datagrams and Unix sockets: as the specification says, the real ones are used.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => Ok(Said::Itself),
        _ => Err("its family is not known"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Said {
        Said::Address(text.parse().unwrap())
    }

    #[test]
    fn lines_of_version_1() {
        for (line, expected) in [
            ("PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n", Ok(address("192.0.2.1:56324"))),
            ("PROXY TCP6 2001:db8::1 ::1 1 2\r\n", Ok(address("[2001:db8::1]:1"))),
            ("PROXY UNKNOWN\r\n", Ok(Said::Itself)),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", Ok(Said::Itself)),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\n", Err("its line has no end")),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n", Err("something is missing")),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", Err("there is more than belongs there")),
            ("PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n", Err("an address is malformed")),
            ("PROXY TCP4 2001:db8::1 ::1 1 2\r\n", Err("an address is malformed")),
            ("PROXY TCP4 192.0.2.1 x 1 2\r\n", Err("an address is malformed")),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n", Err("a port is malformed")),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n", Err("a port is malformed")),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n", Err("a port is malformed")),
            (
                "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
                Err("its protocol is neither TCP4 nor TCP6"),
            ),
        ] {
            assert_eq!(text(line.as_bytes()), expected, "{line:?}");
        }
    }

    #[test]
    fn headers_of_version_2() {
        let four = [192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 0x04, 1, 0xbb];
        assert_eq!(binary([0x21, 0x11], &four), Ok(address("192.0.2.1:56324")));
        // Additions follow the addresses.
        let more = [&four[..], &[0x04, 0, 1, 0]].concat();
        assert_eq!(binary([0x21, 0x11], &more), Ok(address("192.0.2.1:56324")));
        let mut six = [0; 36];
        six[..16].copy_from_slice(&"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        six[33] = 7;
        assert_eq!(binary([0x21, 0x21], &six), Ok(address("[2001:db8::1]:7")));
        assert_eq!(binary([0x20, 0x00], &[]), Ok(Said::Itself));
        assert_eq!(binary([0x20, 0xff], &four), Ok(Said::Itself));
        assert_eq!(binary([0x21, 0x31], &[0; 216]), Ok(Said::Itself));
        for (head, body) in [([0x21, 0x11], &four[..11]), ([0x21, 0x21], &six[..35])] {
            assert_eq!(binary(head, body), Err("its addresses are cut short"));
        }
        assert_eq!(binary([0x11, 0x11], &four), Err("its version or command is not known"));
        assert_eq!(binary([0x22, 0x11], &four), Err("its version or command is not known"));
        assert_eq!(binary([0x21, 0x13], &four), Err("its family is not known"));
    }
}
