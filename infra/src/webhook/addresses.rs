//! Which addresses may be called. An owner's URL must not reach what only this machine can: the metadata service of a cloud,
//! or, unless a setting allows it, servers in the same private network.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::vec;

use hyper_util::client::legacy::connect::dns::Name;
use tower::Service;

use super::names::Names;

/// Which addresses may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRules {
    /// Whether private networks and this machine may be called.
    pub private: bool,
}

/// The name belongs to no address that may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the address must not be called")]
pub(super) struct AddressRefused;

/// Who has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// Somebody on the internet.
    Public,
    /// This machine, or one in the same network.
    Private,
    /// Nobody, or a service of the cloud that only this machine reaches.
    Refused,
}

impl AddressRules {
    /// Whether this address may be called.
    pub fn allow(self, address: IpAddr) -> bool {
        match owner(address) {
            Owner::Public => true,
            Owner::Private => self.private,
            Owner::Refused => false,
        }
    }
}

fn owner(address: IpAddr) -> Owner {
    match address {
        IpAddr::V4(address) => owner_v4(address),
        IpAddr::V6(address) => owner_v6(address),
    }
}

fn owner_v4(address: Ipv4Addr) -> Owner {
    match address.octets() {
        // "This network", multicast, reserved and broadcast; link-local with the metadata services; protocol assignments,
        // documentation, and 6to4 relays.
        [0 | 224..=255, ..] | [169, 254, ..] => Owner::Refused,
        [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [192, 88, 99, _] => Owner::Refused,
        // The metadata services of Alibaba Cloud and Azure.
        [100, 100, 100, 200] | [168, 63, 129, 16] => Owner::Refused,
        [10 | 127, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] | [198, 18 | 19, ..] => {
            Owner::Private
        }
        _ => Owner::Public,
    }
}

fn owner_v6(address: Ipv6Addr) -> Owner {
    let from_parts = |high: u16, low: u16| {
        let [[a, b], [c, d]] = [high, low].map(u16::to_be_bytes);
        owner_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Owner::Private,
        // Mapped, compatible and translated addresses are judged by what they stand for.
        [0, 0, 0, 0, 0, 0 | 0xFFFF, high, low] | [0, 0, 0, 0, 0xFFFF, 0, high, low] => from_parts(high, low),
        [0x64, 0xFF9B, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => from_parts(high, low),
        // The metadata services of AWS and Google Cloud.
        [0xFD00, 0xEC2, 0, 0, 0, 0, 0, 0x254] | [0xFD20, 0xCE, 0, 0, 0, 0, 0, 0x254] => Owner::Refused,
        [0xFC00..=0xFDFF | 0xFEC0..=0xFEFF, ..] => Owner::Private,
        // Teredo, and documentation.
        [0x2001, 0 | 0xDB8, ..] | [0x3FFF, 0..=0xFFF, ..] => Owner::Refused,
        [0x2000..=0x3FFF, ..] => Owner::Public,
        // Unspecified, link-local, multicast, and what is not assigned.
        _ => Owner::Refused,
    }
}

/// Looks up names, and leaves out the addresses that must not be called: the connection goes to one that was checked.
#[derive(Clone)]
pub(super) struct CheckedResolver {
    rules: AddressRules,
    names: Arc<Names>,
}

impl CheckedResolver {
    pub(super) fn new(rules: AddressRules, names: Arc<Names>) -> Self {
        Self { rules, names }
    }
}

impl Service<Name> for CheckedResolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self { rules, names } = self.clone();
        Box::pin(async move {
            let found = names.addresses(name.as_str()).await.map_err(io::Error::other)?;
            let allowed = found.into_iter().filter(|address| rules.allow(*address));
            let allowed: Vec<SocketAddr> = allowed.map(|address| SocketAddr::new(address, 0)).collect();
            if allowed.is_empty() { Err(io::Error::other(AddressRefused)) } else { Ok(allowed.into_iter()) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_only_this_machine_reaches_are_refused() {
        use Owner::{Private, Public, Refused};
        for (address, expected) in [
            ("8.8.8.8", Public),
            ("100.63.255.255", Public),
            ("100.128.0.1", Public),
            ("172.15.0.1", Public),
            ("172.32.0.1", Public),
            ("192.167.1.1", Public),
            ("168.63.129.17", Public),
            ("223.255.255.255", Public),
            ("10.0.0.1", Private),
            ("127.0.0.1", Private),
            ("127.255.255.254", Private),
            ("172.16.0.1", Private),
            ("172.31.255.255", Private),
            ("192.168.1.1", Private),
            ("100.64.0.1", Private),
            ("198.18.0.1", Private),
            ("0.0.0.0", Refused),
            ("0.1.2.3", Refused),
            ("169.254.169.254", Refused),
            ("169.254.170.2", Refused),
            ("100.100.100.200", Refused),
            ("168.63.129.16", Refused),
            ("192.0.0.192", Refused),
            ("192.0.2.1", Refused),
            ("224.0.0.1", Refused),
            ("240.0.0.1", Refused),
            ("255.255.255.255", Refused),
            ("2a00:1450:4001::1", Public),
            ("::1", Private),
            ("fc00::1", Private),
            ("fd12:3456::1", Private),
            ("fec0::1", Private),
            ("::", Refused),
            ("fe80::1", Refused),
            ("febf::1", Refused),
            ("ff02::1", Refused),
            ("fd00:ec2::254", Refused),
            ("fd20:ce::254", Refused),
            ("2001:db8::1", Refused),
            ("2001::1", Refused),
            ("100::1", Refused),
            ("4000::1", Refused),
            // Other forms of IPv4 addresses.
            ("::ffff:8.8.8.8", Public),
            ("::ffff:10.0.0.1", Private),
            ("::ffff:127.0.0.1", Private),
            ("::ffff:169.254.169.254", Refused),
            ("::ffff:0:169.254.169.254", Refused),
            ("::169.254.169.254", Refused),
            ("64:ff9b::8.8.8.8", Public),
            ("64:ff9b::127.0.0.1", Private),
            ("64:ff9b::169.254.169.254", Refused),
            ("64:ff9b:1::169.254.169.254", Refused),
            ("2002:808:808::1", Public),
            ("2002:7f00:1::1", Private),
            ("2002:a9fe:a9fe::1", Refused),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(owner(address), expected, "{address}");
            assert_eq!(AddressRules { private: true }.allow(address), expected != Refused, "{address}");
            assert_eq!(AddressRules { private: false }.allow(address), expected == Public, "{address}");
        }
    }

    fn resolver(private: bool) -> CheckedResolver {
        CheckedResolver::new(AddressRules { private }, Arc::new(Names::new(None)))
    }

    #[tokio::test]
    async fn a_name_is_judged_by_its_addresses() {
        for name in ["localhost", "2130706433", "127.1"] {
            for private in [true, false] {
                match resolver(private).call(name.parse().unwrap()).await {
                    Ok(addresses) => {
                        assert!(private && addresses.into_iter().all(|it| it.ip().is_loopback()), "{name}");
                    }
                    Err(error) => {
                        let is_refused =
                            error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<AddressRefused>);
                        assert!(!private && is_refused, "{name}: {error}");
                    }
                }
            }
        }
        // 169.254.169.254 as one number.
        let metadata = resolver(true).call("2852039166".parse().unwrap()).await;
        assert!(metadata.is_err());
    }
}
