//! What an address is: public, or one of the many kinds that only some can reach.
//!
//! Source: IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890, RFC 8190), and the metadata addresses that
//! the large clouds document.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kind of an address, judged by who can reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AddressKind {
    /// Reachable from everywhere, and by everyone the same.
    Public,
    /// `0.0.0.0/8` and `::`, which many systems take for the machine itself.
    Unspecified,
    /// The machine itself: `127.0.0.0/8`, `::1`.
    Loopback,
    /// A private network: RFC 1918, RFC 4193 and the deprecated site-local addresses.
    Private,
    /// A carrier's network: `100.64.0.0/10` (RFC 6598).
    Shared,
    /// The local link: `169.254.0.0/16`, where clouds keep their metadata service, and `fe80::/10`.
    LinkLocal,
    /// A cloud's metadata or control service at an address of another kind.
    Metadata,
    /// A group or everybody.
    Multicast,
    /// Kept for documentation.
    Documentation,
    /// Kept for something else, or not given out.
    Reserved,
}

impl AddressKind {
    /// Returns the kind of `address`; one that embeds an IPv4 address is what that one is.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => v4(address),
            IpAddr::V6(address) => v6(address),
        }
    }

    /// Tells whether an address of this kind may be reached when nothing but the host's name was configured: public
    /// ones and those of one's own networks, never metadata services or what is no host at all.
    #[must_use]
    pub const fn is_usual_upstream(self) -> bool {
        matches!(
            self,
            Self::Public | Self::Loopback | Self::Private | Self::Shared
        )
    }
}

impl fmt::Display for AddressKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "public",
            Self::Unspecified => "unspecified",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::Shared => "carrier-shared",
            Self::LinkLocal => "link-local",
            Self::Metadata => "cloud metadata",
            Self::Multicast => "multicast",
            Self::Documentation => "documentation",
            Self::Reserved => "reserved",
        })
    }
}

fn v4(address: Ipv4Addr) -> AddressKind {
    match address.octets() {
        // Azure's wire server; Alibaba's metadata service; Oracle's metadata service.
        [168, 63, 129, 16] | [100, 100, 100, 200] | [192, 0, 0, 192] => AddressKind::Metadata,
        [0, ..] => AddressKind::Unspecified,
        [127, ..] => AddressKind::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => AddressKind::Private,
        [100, 64..=127, ..] => AddressKind::Shared,
        [169, 254, ..] => AddressKind::LinkLocal,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => AddressKind::Documentation,
        // Protocol assignments; 6to4 relays (RFC 7526); benchmarks (RFC 2544); class E and broadcast.
        [192, 0, 0, _] | [192, 88, 99, _] | [198, 18..=19, ..] | [240..=255, ..] => {
            AddressKind::Reserved
        }
        [224..=239, ..] => AddressKind::Multicast,
        _ => AddressKind::Public,
    }
}

fn v6(address: Ipv6Addr) -> AddressKind {
    if let Some(embedded) = embedded_v4(address) {
        return v4(embedded);
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => AddressKind::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => AddressKind::Loopback,
        // AWS's and Google's metadata services.
        [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254] | [0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254] => {
            AddressKind::Metadata
        }
        // Unique local (RFC 4193); site-local (RFC 3879).
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => AddressKind::Private,
        [0xfe80..=0xfebf, ..] => AddressKind::LinkLocal,
        [0xff00..=0xffff, ..] => AddressKind::Multicast,
        [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => AddressKind::Documentation,
        // Protocol assignments: Teredo, benchmarks, ORCHID and others (RFC 2928).
        [0x2001, 0..=0x01ff, ..] => AddressKind::Reserved,
        // The one block that global unicast addresses are given out of; ISATAP lies in anybody's prefix.
        [0x2000..=0x3fff, ..] => isatap_v4(address).map_or(AddressKind::Public, v4),
        _ => AddressKind::Reserved,
    }
}

/// The IPv4 address that packets to this one end at: mapped (RFC 4291, 2.5.5.2), NAT64 (RFC 6052), 6to4 (RFC 3056).
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x0064, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(joined(high, low))
        }
        [0x2002, high, low, ..] => Some(joined(high, low)),
        _ => None,
    }
}

/// The IPv4 address in an ISATAP interface identifier, `0:5efe:a.b.c.d` or `200:5efe:a.b.c.d` (RFC 5214, 6.1).
fn isatap_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [_, _, _, _, 0x0000 | 0x0200, 0x5efe, high, low] => Some(joined(high, low)),
        _ => None,
    }
}

fn joined(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kind(address: &str) -> AddressKind {
        AddressKind::of(address.parse().unwrap())
    }

    #[test]
    fn every_v4_block_has_its_kind_to_its_edges() {
        use AddressKind::*;
        for (address, expected) in [
            ("0.0.0.0", Unspecified),
            ("0.255.255.255", Unspecified),
            ("1.0.0.0", Public),
            ("9.255.255.255", Public),
            ("10.0.0.0", Private),
            ("10.255.255.255", Private),
            ("11.0.0.0", Public),
            ("100.63.255.255", Public),
            ("100.64.0.0", Shared),
            ("100.127.255.255", Shared),
            ("100.128.0.0", Public),
            ("100.100.100.200", Metadata),
            ("126.255.255.255", Public),
            ("127.0.0.1", Loopback),
            ("127.255.255.255", Loopback),
            ("128.0.0.0", Public),
            ("169.253.255.255", Public),
            ("169.254.169.254", LinkLocal),
            ("169.255.0.0", Public),
            ("168.63.129.16", Metadata),
            ("168.63.129.17", Public),
            ("172.15.255.255", Public),
            ("172.16.0.0", Private),
            ("172.31.255.255", Private),
            ("172.32.0.0", Public),
            ("192.0.0.1", Reserved),
            ("192.0.0.192", Metadata),
            ("192.0.1.0", Public),
            ("192.0.2.1", Documentation),
            ("192.88.99.1", Reserved),
            ("192.167.255.255", Public),
            ("192.168.0.0", Private),
            ("192.169.0.0", Public),
            ("198.17.255.255", Public),
            ("198.18.0.0", Reserved),
            ("198.19.255.255", Reserved),
            ("198.20.0.0", Public),
            ("198.51.100.7", Documentation),
            ("203.0.113.7", Documentation),
            ("223.255.255.255", Public),
            ("224.0.0.1", Multicast),
            ("239.255.255.255", Multicast),
            ("240.0.0.0", Reserved),
            ("255.255.255.255", Reserved),
            ("8.8.8.8", Public),
        ] {
            assert_eq!(kind(address), expected, "{address}");
        }
    }

    #[test]
    fn every_v6_block_has_its_kind_and_embedded_v4_decides() {
        use AddressKind::*;
        for (address, expected) in [
            ("::", Unspecified),
            ("::1", Loopback),
            ("::2", Reserved),
            ("::127.0.0.1", Reserved),
            ("::ffff:127.0.0.1", Loopback),
            ("::ffff:8.8.8.8", Public),
            ("::ffff:169.254.169.254", LinkLocal),
            ("64:ff9b::10.0.0.1", Private),
            ("64:ff9b::8.8.8.8", Public),
            ("64:ff9b:1::8.8.8.8", Reserved),
            ("100::1", Reserved),
            ("1fff::1", Reserved),
            ("2000::1", Public),
            ("2001::1", Reserved),
            ("2001:1ff::1", Reserved),
            ("2001:200::1", Public),
            ("2001:db8::1", Documentation),
            ("2002:7f00:1::1", Loopback),
            ("2002:a9fe:a9fe::", LinkLocal),
            ("2002:808:808::1", Public),
            ("2606:4700::1111", Public),
            ("2606:4700::5efe:127.0.0.1", Loopback),
            ("2606:4700::200:5efe:10.0.0.1", Private),
            ("2606:4700::5efe:8.8.8.8", Public),
            ("3fff:fff::1", Documentation),
            ("3fff:1000::1", Public),
            ("4000::1", Reserved),
            ("5f00::1", Reserved),
            ("fc00::1", Private),
            ("fd00:ec2::254", Metadata),
            ("fd20:ce::254", Metadata),
            ("fe80::1", LinkLocal),
            ("febf::1", LinkLocal),
            ("fec0::1", Private),
            ("ff02::1", Multicast),
        ] {
            assert_eq!(kind(address), expected, "{address}");
        }
    }

    #[test]
    fn configured_hosts_may_be_near_but_not_metadata() {
        for address in [
            "8.8.8.8",
            "127.0.0.1",
            "::1",
            "10.1.2.3",
            "fd12::1",
            "100.64.0.1",
        ] {
            assert!(kind(address).is_usual_upstream(), "{address}");
        }
        for address in [
            "169.254.169.254",
            "fd00:ec2::254",
            "0.0.0.0",
            "255.255.255.255",
            "ff02::1",
            "192.0.2.1",
        ] {
            assert!(!kind(address).is_usual_upstream(), "{address}");
        }
    }

    proptest! {
        #[test]
        fn what_the_standard_library_calls_special_is_never_public(bits in any::<u32>()) {
            let address = Ipv4Addr::from_bits(bits);
            let special = address.is_loopback() || address.is_private() || address.is_link_local()
                || address.is_broadcast() || address.is_documentation() || address.is_unspecified()
                || address.is_multicast();
            prop_assert!(!(special && v4(address) == AddressKind::Public));
            prop_assert_eq!(v6(address.to_ipv6_mapped()), v4(address));
        }

        #[test]
        fn public_v6_lies_in_global_unicast_or_embeds_public_v4(bits in any::<u128>()) {
            let address = Ipv6Addr::from_bits(bits);
            if v6(address) == AddressKind::Public {
                prop_assert!(embedded_v4(address).is_some() || bits >> 125 == 1);
            }
        }
    }
}
