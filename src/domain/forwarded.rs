//! Where a request really comes from, when proxies of ours stand before us.

use core::net::{IpAddr, SocketAddr};

use super::cidr::Cidr;

/// The peer, or, as long as that is a proxy of ours, the hop before it. `lines` are the values of
/// `X-Forwarded-For` in their order; what a stranger wrote further left is never looked at. `None` when
/// a proxy of ours wrote what is not an address.
pub fn caller(peer: IpAddr, lines: &[&[u8]], trusted: &[Cidr]) -> Option<IpAddr> {
    let hops = lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
    let mut address = peer;
    for hop in hops {
        if !is_trusted(address, trusted) {
            break;
        }
        address = hop_address(std::str::from_utf8(hop).ok()?.trim())?;
    }
    Some(address)
}

/// Whether this is a proxy of ours, whose headers are believed.
pub fn is_trusted(address: IpAddr, trusted: &[Cidr]) -> bool {
    trusted.iter().any(|network| network.contains(address))
}

/// An address as proxies write it, some with a port.
fn hop_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
}
