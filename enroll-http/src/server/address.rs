//! Which addresses count as one.

use std::net::{IpAddr, Ipv4Addr};

/// Addresses that one party controls: an IPv4 address, or an IPv6 `/64`, the least a site is given.
/// An IPv4 address inside IPv6 is that IPv4 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Group {
    V4(Ipv4Addr),
    V6([u16; 4]),
}

impl Group {
    pub(super) fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4),
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Self::V6([a, b, c, d])
            }
        }
    }

    /// The network it most likely belongs to: an IPv4 `/24` or an IPv6 `/48`, of which one party can
    /// have every group.
    pub(super) fn site(self) -> Self {
        match self {
            Self::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                Self::V4(Ipv4Addr::new(a, b, c, 0))
            }
            Self::V6([a, b, c, _]) => Self::V6([a, b, c, 0]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(text: &str) -> Group {
        Group::of(text.parse().unwrap())
    }

    #[test]
    fn a_sixty_four_and_a_mapped_address_are_one_address() {
        assert_eq!(group("2001:db8:0:1::1"), group("2001:db8:0:1:ffff::2"));
        assert_ne!(group("2001:db8:0:1::1"), group("2001:db8:0:2::1"));
        assert_eq!(group("192.0.2.1"), group("::ffff:192.0.2.1"));
        assert_ne!(group("192.0.2.1"), group("192.0.2.2"));
        assert_eq!(group("192.0.2.1").site(), group("192.0.2.2").site());
        assert_eq!(group("2001:db8:0:1::1").site(), group("2001:db8:0:2::1").site());
        assert_ne!(group("2001:db8:0::1").site(), group("2001:db8:1::1").site());
    }
}
