//! Whose word is taken for where a request came from.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use axum::extract::ConnectInfo;
use enroll_core::model::Origin;
use http::{Extensions, HeaderMap};
use ipnet::{IpNet, Ipv4Net};

use super::PeerAddr;

/// Proxies that stand before this master and whose `X-Forwarded-For` is believed.
///
/// The header is read only where the peer itself is one of them, from right to left, because each
/// proxy appends whom it heard from: the first address that is no listed proxy is where the request
/// came from. What stands to the left of it is the caller's own invention.
///
/// A proxy speaks for many, so its connections should not count as those of one address:
/// `listener.with_exempt(move |ip| proxies.contains(ip))`.
///
/// # Defaults
/// None: the address of the socket counts, whatever a header says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies(Vec<IpNet>);

/// A text that is neither an address nor a network in CIDR notation (RFC 4632).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an IP address nor a network such as 10.0.0.0/8")]
#[non_exhaustive]
pub struct ProxyError(String);

impl Proxies {
    /// Nobody's word is taken.
    #[must_use]
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Addresses and networks, e.g. `10.0.0.0/8` or `2001:db8::1`.
    ///
    /// # Errors
    /// [`ProxyError`] shows the first that is neither.
    pub fn parse<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self, ProxyError> {
        texts.into_iter().map(|text| network(text.as_ref())).collect::<Result<_, _>>().map(Self)
    }

    /// Whether `ip` is one of them.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|network| network.contains(&ip))
    }

    /// Where a request came from: the address of the socket, unless a listed proxy says better.
    ///
    /// The socket's address is the [`PeerAddr`] of this crate's listener, or axum's [`ConnectInfo`],
    /// whichever the request carries; without either the origin is unknown.
    #[must_use]
    pub fn origin(&self, extensions: &Extensions, headers: &HeaderMap) -> Origin {
        let ours = extensions.get::<PeerAddr>().map(|peer| peer.0);
        let axums = || extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
        match ours.or_else(axums) {
            Some(peer) => Origin::from_ip(self.beyond(peer.ip().to_canonical(), headers)),
            None => Origin::default(),
        }
    }

    /// The nearest address before `peer` that is no listed proxy.
    fn beyond(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut from = peer;
        let mut lines = headers.get_all(FORWARDED_FOR).iter().rev();
        let mut hops = lines.by_ref().flat_map(|line| line.as_bytes().rsplit(|&b| b == b','));
        while self.contains(from) {
            // A hop that cannot be read hides all before it: the proxy that wrote it answers for it.
            match hops.next().and_then(address) {
                Some(ip) => from = ip,
                None => break,
            }
        }
        from
    }
}

impl FromStr for Proxies {
    type Err = ProxyError;

    /// One address or network.
    fn from_str(text: &str) -> Result<Self, ProxyError> {
        Self::parse([text])
    }
}

impl Extend<Self> for Proxies {
    fn extend<T: IntoIterator<Item = Self>>(&mut self, more: T) {
        self.0.extend(more.into_iter().flat_map(|proxies| proxies.0));
    }
}

fn network(text: &str) -> Result<IpNet, ProxyError> {
    let parsed = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    parsed.map(canonical).map_err(|_| ProxyError(text.to_owned()))
}

/// IPv4 networks inside IPv6 as IPv4 ones, because that is how addresses are compared.
fn canonical(network: IpNet) -> IpNet {
    let mapped = match (network.addr().to_canonical(), network.prefix_len().checked_sub(96)) {
        (IpAddr::V4(v4), Some(prefix)) if network.addr().is_ipv6() => {
            Ipv4Net::new(v4, prefix).ok().map(IpNet::V4)
        }
        _ => None,
    };
    mapped.unwrap_or(network)
}

/// An address as proxies write it: bare, with a port, in brackets.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim();
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let ip = text.parse::<IpAddr>().ok().or_else(with_port).or_else(bracketed)?;
    Some(ip.to_canonical())
}

const FORWARDED_FOR: &str = "x-forwarded-for";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::AddressLimiter;
    use enroll_core::model::Timestamp;

    fn headers(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (FORWARDED_FOR.parse().unwrap(), line.parse().unwrap())).collect()
    }

    fn peer(ip: &str) -> Extensions {
        let mut extensions = Extensions::new();
        extensions.insert(PeerAddr(SocketAddr::new(ip.parse().unwrap(), 4711)));
        extensions
    }

    fn origin(proxies: &[&str], from: &str, lines: &[&str]) -> String {
        let proxies = Proxies::parse(proxies).unwrap();
        proxies.origin(&peer(from), &headers(lines)).source_ip.unwrap().to_string()
    }

    #[test]
    fn nobody_is_believed_who_is_not_listed() {
        assert_eq!(origin(&[], "192.0.2.1", &["203.0.113.9"]), "192.0.2.1");
        assert_eq!(origin(&["10.0.0.0/8"], "192.0.2.1", &["203.0.113.9"]), "192.0.2.1");
        assert_eq!(origin(&["192.0.2.1"], "192.0.2.10", &["203.0.113.9"]), "192.0.2.10");
    }

    #[test]
    fn the_right_most_hop_that_is_no_proxy_is_the_origin() {
        let two = ["10.0.0.0/8", "2001:db8::1"];
        for (lines, from) in [
            (&["203.0.113.9"][..], "203.0.113.9"),
            (&["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
            (&["1.1.1.1, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
            (&["1.1.1.1", "203.0.113.9", "2001:db8::1,10.9.9.9"], "203.0.113.9"),
            (&["203.0.113.9:5555"], "203.0.113.9"),
            (&["[2001:db8::7]:5555"], "2001:db8::7"),
            (&["[2001:db8::7]"], "2001:db8::7"),
            (&["::ffff:203.0.113.9"], "203.0.113.9"),
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            (&[], "10.0.0.1"),
            (&[""], "10.0.0.1"),
            (&["203.0.113.9, unknown"], "10.0.0.1"),
            (&["203.0.113.9, unknown, 10.0.0.2"], "10.0.0.2"),
            (&["203.0.113.9,"], "10.0.0.1"),
        ] {
            assert_eq!(origin(&two, "10.0.0.1", lines), from, "{lines:?}");
        }
        assert_eq!(origin(&two, "::ffff:10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
    }

    #[test]
    fn networks_are_read_in_both_families() {
        let proxies =
            Proxies::parse(["10.0.0.0/8", "::ffff:192.0.2.0/120", "2001:db8::/32", "::1"]).unwrap();
        let holds = |ip: &str| proxies.contains(ip.parse().unwrap());
        assert!(
            ["10.1.2.3", "192.0.2.200", "2001:db8:1::", "::1", "::ffff:10.1.2.3"]
                .into_iter()
                .all(holds)
        );
        assert!(!["11.0.0.1", "192.0.3.1", "2001:db9::", "::2", "::a00:1"].into_iter().any(holds));
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "proxy.example", "10.0.0.1 ", "::1/129", "/8"] {
            assert_eq!(bad.parse::<Proxies>(), Err(ProxyError(bad.into())), "{bad}");
        }
    }

    #[test]
    fn axums_own_address_serves_where_the_listener_is_not_ours() {
        let mut extensions = Extensions::new();
        let none = Proxies::none().origin(&extensions, &headers(&["203.0.113.9"]));
        assert_eq!(none.source_ip, None, "a header alone is nobody's word");
        extensions.insert(ConnectInfo(SocketAddr::from(([192, 0, 2, 1], 1))));
        let some = Proxies::none().origin(&extensions, &HeaderMap::new());
        assert_eq!(some, Origin::from_ip([192, 0, 2, 1].into()));
    }

    #[test]
    fn three_hundred_thousand_invented_addresses_of_one_peer_are_one_address() {
        let (limiter, proxies) = (AddressLimiter::new(10), Proxies::parse(["10.0.0.1"]).unwrap());
        let now = Timestamp::from_unix_secs(1_800_000_000);
        let (direct, proxied) = (peer("203.0.113.9"), peer("10.0.0.1"));
        let mut let_in = [0, 0];
        for n in 0..300_000_u32 {
            let invented = IpAddr::from(n.to_be_bytes());
            let own = headers(&[&invented.to_string()]);
            let passed_on = headers(&[&format!("{invented}, 198.51.100.7")]);
            for (count, (extensions, headers)) in
                let_in.iter_mut().zip([(&direct, own), (&proxied, passed_on)])
            {
                let from = proxies.origin(extensions, &headers).source_ip;
                *count += usize::from(limiter.admit(from, now).is_ok());
            }
        }
        assert_eq!(let_in, [10, 10]);
    }
}
