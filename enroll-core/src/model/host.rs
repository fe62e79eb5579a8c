//! Names and addresses under which a listener is reached.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A host as it may stand in a certificate: a DNS name or an IP address.
///
/// Folded to one spelling, so that two hosts compare as what they reach: names in lower case and
/// without the dot of the root, an IPv4 address inside IPv6 as IPv4. A wildcard is no host.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(Kind);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Dns(Box<str>),
    Ip(IpAddr),
}

/// A text that is neither a DNS name nor an IP address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither a DNS name nor an IP address")]
#[non_exhaustive]
pub struct HostError;

impl Host {
    /// Reads a DNS name (labels of 1 to 63 of `[A-Za-z0-9-]`, 253 bytes in all) or an IP address;
    /// an IPv6 address may stand in brackets, as it does in a URL.
    ///
    /// # Errors
    /// [`HostError`] for anything else.
    pub fn new(text: &str) -> Result<Self, HostError> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        match bare.unwrap_or(text).parse::<IpAddr>() {
            Ok(ip) if bare.is_none() || ip.is_ipv6() => Ok(ip.into()),
            _ => dns_name(text).map(|name| Self(Kind::Dns(name.into()))).ok_or(HostError),
        }
    }

    /// The host of an `https` URL: what a node advertises as its endpoint.
    ///
    /// # Errors
    /// [`HostError`] for another scheme, for user information, for a port that is none, and where
    /// the host is none.
    pub fn of_url(url: &str) -> Result<Self, HostError> {
        let rest = url.strip_prefix("https://").ok_or(HostError)?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        // The last colon is the port's, unless it stands inside the brackets of an address.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let digits = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
        match port {
            Some(port) if !digits(port) || port.parse::<u16>().is_err() => Err(HostError),
            _ if host.contains(':') && !host.starts_with('[') => Err(HostError),
            _ => Self::new(host),
        }
    }

    /// The name, if it is one.
    #[must_use]
    pub fn as_dns(&self) -> Option<&str> {
        match &self.0 {
            Kind::Dns(name) => Some(name),
            Kind::Ip(_) => None,
        }
    }

    /// The address, if it is one.
    #[must_use]
    pub const fn as_ip(&self) -> Option<IpAddr> {
        match self.0 {
            Kind::Dns(_) => None,
            Kind::Ip(ip) => Some(ip),
        }
    }
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        Self(Kind::Ip(ip.to_canonical()))
    }
}

impl FromStr for Host {
    type Err = HostError;
    fn from_str(text: &str) -> Result<Self, HostError> {
        Self::new(text)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Dns(name) => f.write_str(name),
            Kind::Ip(ip) => ip.fmt(f),
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `text` folded, if it is a DNS name that cannot be taken for an IPv4 address.
fn dns_name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let last = name.rsplit('.').next()?;
    let numeric = last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x");
    let good = name.len() <= 253 && !numeric && name.split('.').all(is_label);
    good.then_some(name)
}

fn is_label(label: &str) -> bool {
    matches!(label.len(), 1..=63)
        && label.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_fold_to_one_spelling() {
        for (text, folded) in [
            ("Master.Example", "master.example"),
            ("master.example.", "master.example"),
            ("10.0.0.1", "10.0.0.1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("[2001:DB8::1]", "2001:db8::1"),
            ("xn--mnchen-3ya.example", "xn--mnchen-3ya.example"),
        ] {
            assert_eq!(Host::new(text).map(|h| h.to_string()).as_deref(), Ok(folded), "{text}");
        }
        assert!(Host::new("10.0.0.1").unwrap().as_ip().is_some());
        assert_eq!(Host::new("a.b").unwrap().as_dns(), Some("a.b"));
    }

    #[test]
    fn the_host_of_an_endpoint_is_what_stands_between_scheme_and_port() {
        for (url, host) in [
            ("https://10.0.0.21:9443", "10.0.0.21"),
            ("https://Worker.example", "worker.example"),
            ("https://[2001:db8::1]:9443/path", "2001:db8::1"),
            ("https://[2001:db8::1]", "2001:db8::1"),
            ("https://a.b/?x=c:1", "a.b"),
        ] {
            assert_eq!(Host::of_url(url).map(|h| h.to_string()).as_deref(), Ok(host), "{url}");
        }
        for bad in [
            "",
            "a.b",
            "http://a.b",
            "https://",
            "https://:9443",
            "https://a.b:",
            "https://a.b:x",
            "https://a.b:+1",
            "https://a.b:65536",
            "https://user@a.b",
            "https://user:1@a.b:2",
            "https://2001:db8::1",
            "https://*.a.b",
            "https://a.b c",
        ] {
            assert_eq!(Host::of_url(bad), Err(HostError), "{bad}");
        }
    }

    #[test]
    fn everything_else_is_no_host() {
        for bad in [
            "",
            ".",
            "*",
            "*.example",
            "a..b",
            "-a",
            "a-",
            "a_b",
            "a b",
            "ä",
            "1.2.3",
            "1.2.3.4.5",
            "0x7f.0x1",
            "[10.0.0.1]",
            "[::1",
            "fe80::1%eth0",
            "a:80",
            "a/b",
            "a\0",
            &"a".repeat(64),
            &"a.".repeat(128),
        ] {
            assert_eq!(Host::new(bad), Err(HostError), "{bad}");
        }
    }
}
