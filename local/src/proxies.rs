//! The proxies in front of the server, and whose requests they pass on.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The networks of the proxies whose `X-Forwarded-For` is believed.
#[derive(Debug, Clone, Default)]
pub(crate) struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    pub(crate) fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether a proxy of the owner has this address.
    pub(crate) fn trust(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The address of the client whose request came from `peer`: each proxy has appended the address that it got the request
    /// from, so it is the last one that is not of a trusted proxy. What stands before it the client can have written itself.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let values = headers.get_all(FORWARDED_FOR).iter();
        // What the client wrote into it may not be text.
        let addresses: Vec<&[u8]> = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).collect();
        for text in addresses.into_iter().rev() {
            let text = std::str::from_utf8(text).unwrap_or_default();
            if !self.trust(client) {
                break;
            }
            let Some(address) = address(text.trim()) else { break };
            client = address;
        }
        client
    }
}

/// An address, as proxies write it: some add the port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()))?;
    Some(address.to_canonical())
}

/// A network of IPv4 addresses that are written as IPv6 ones (`::ffff:192.0.2.0/120`), as one of IPv4: addresses are compared
/// as such.
fn canonical(network: IpNet) -> IpNet {
    let IpAddr::V4(address) = network.addr().to_canonical() else { return network };
    let prefix = network.prefix_len().checked_sub(network.max_prefix_len() - 32);
    prefix.and_then(|prefix| IpNet::new(address.into(), prefix).ok()).unwrap_or(network)
}

/// A network in CIDR notation, or one address.
pub(crate) fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let network = network.map(canonical);
    network.map_err(|_| "expected an address or a network, such as 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32".to_owned())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn client(trusted: &[&str], peer: &str, forwarded: &[&str]) -> String {
        let proxies = TrustedProxies::new(trusted.iter().map(|text| network(text).unwrap()).collect());
        let headers = forwarded.iter().map(|value| HeaderValue::from_bytes(value.as_bytes()).unwrap());
        let headers = headers.map(|value| (FORWARDED_FOR, value)).collect();
        proxies.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn the_last_address_that_is_not_a_proxys_is_the_clients() {
        let proxies = &["10.0.0.0/8", "2001:db8::1"];
        for (trusted, peer, forwarded, expected) in [
            (&[][..], "10.0.0.1", &["192.0.2.1"][..], "10.0.0.1"),
            (proxies, "10.0.0.1", &[], "10.0.0.1"),
            (proxies, "10.0.0.1", &["192.0.2.1"], "192.0.2.1"),
            (proxies, "::ffff:10.0.0.1", &["192.0.2.1"], "192.0.2.1"),
            (proxies, "2001:db8::1", &["::ffff:192.0.2.1"], "192.0.2.1"),
            // The client is no proxy, whatever it says.
            (proxies, "192.0.2.2", &["192.0.2.1"], "192.0.2.2"),
            (proxies, "10.0.0.1", &["10.0.0.7, 192.0.2.9 , 192.0.2.1,10.0.0.2"], "192.0.2.1"),
            (proxies, "10.0.0.1", &["192.0.2.9", "192.0.2.1"], "192.0.2.1"),
            (proxies, "10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            // What is no address ends the chain.
            (proxies, "10.0.0.1", &["192.0.2.1, unknown"], "10.0.0.1"),
            (proxies, "10.0.0.1", &["192.0.2.1, unknown, 10.0.0.2"], "10.0.0.2"),
            (proxies, "10.0.0.1", &["192.0.2.1:80"], "192.0.2.1"),
            // What the client made up is no text of HTTP. The proxy has appended its address.
            (proxies, "10.0.0.1", &["\u{e9}, 192.0.2.1"], "192.0.2.1"),
            (proxies, "10.0.0.1", &["192.0.2.9, \u{e9}"], "10.0.0.1"),
            (&["::ffff:10.0.0.0/104", "::ffff:192.0.2.7"], "10.0.0.1", &["192.0.2.1, 192.0.2.7"], "192.0.2.1"),
            (proxies, "10.0.0.1", &["[2001:db8::2]:80"], "2001:db8::2"),
            (proxies, "10.0.0.1", &["[2001:db8::2]"], "2001:db8::2"),
        ] {
            assert_eq!(client(trusted, peer, forwarded), expected, "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn a_network_is_an_address_or_in_cidr_notation() {
        for text in ["192.0.2.1", "192.0.2.0/24", "2001:db8::1", "2001:db8::/32", "0.0.0.0/0"] {
            assert!(network(text).is_ok(), "{text}");
        }
        for text in ["", "x", "192.0.2", "192.0.2.0/33", "192.0.2.1:80", "10.0.0.0/8 "] {
            assert!(network(text).is_err(), "{text:?}");
        }
    }
}
