//! How a line says where a call came from.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// An address as a line of the log has it: as it always shows, but without what it usually costs, for
/// there is one in every line.
#[derive(Clone, Copy, Debug)]
pub struct Address(pub IpAddr);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => show(address, f),
            IpAddr::V6(address) => address.fmt(f),
        }
    }
}

fn show(address: Ipv4Addr, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut text = [0; "255.255.255.255".len()];
    let mut end = 0;
    let mut put = |byte: u8| {
        text[end] = byte;
        end += 1;
    };
    for (index, part) in address.octets().into_iter().enumerate() {
        if index > 0 {
            put(b'.');
        }
        for (unit, least) in [(100, 100), (10, 10), (1, 0)] {
            if part >= least {
                put(b'0' + part / unit % 10);
            }
        }
    }
    f.write_str(std::str::from_utf8(&text[..end]).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_show_as_they_do_elsewhere() {
        for text in
            ["0.0.0.0", "1.20.255.100", "255.255.255.255", "127.0.0.1", "10.99.101.9", "::1"]
        {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(Address(address).to_string(), address.to_string());
        }
    }
}
