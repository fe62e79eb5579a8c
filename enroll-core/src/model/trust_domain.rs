//! Whom a certificate speaks of: SPIFFE identifiers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::NodeName;

/// The name of a fleet in its certificates: a SPIFFE trust domain, 1 to 255 of `[a-z0-9._-]`.
///
/// It is fixed with the certificate authority, whose common name it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustDomain(Box<str>);

/// A text that is no trust domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a trust domain has 1 to 255 characters, only lower-case letters, digits, dots, hyphens and \
     underscores"
)]
#[non_exhaustive]
pub struct TrustDomainError;

impl TrustDomain {
    /// The trust domain of a fleet that chose none.
    pub const DEFAULT: &'static str = "enroll.internal";
    /// The longest trust domain, in bytes.
    pub const MAX_LEN: usize = 255;

    /// Validates `text`.
    ///
    /// # Errors
    /// [`TrustDomainError`] when it is empty, too long or has another character.
    pub fn new(text: &str) -> Result<Self, TrustDomainError> {
        let known = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        let good = !text.is_empty() && text.len() <= Self::MAX_LEN && text.bytes().all(known);
        good.then(|| Self(text.into())).ok_or(TrustDomainError)
    }

    /// The trust domain as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `spiffe://<trust domain>/node/<name>`.
    #[must_use]
    pub fn node_uri(&self, name: &NodeName) -> String {
        format!("{SCHEME}{self}{NODE}{name}")
    }

    /// `spiffe://<trust domain>/master`.
    #[must_use]
    pub fn master_uri(&self) -> String {
        format!("{SCHEME}{self}{MASTER}")
    }
}

impl Default for TrustDomain {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

impl FromStr for TrustDomain {
    type Err = TrustDomainError;
    fn from_str(text: &str) -> Result<Self, TrustDomainError> {
        Self::new(text)
    }
}

impl TryFrom<String> for TrustDomain {
    type Error = TrustDomainError;
    fn try_from(text: String) -> Result<Self, TrustDomainError> {
        Self::new(&text)
    }
}

impl From<TrustDomain> for String {
    fn from(domain: TrustDomain) -> Self {
        domain.0.into()
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Whom a certificate speaks of, within one trust domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a third kind of member must not pass unnoticed")]
pub enum Subject {
    /// The node of that name.
    Node(NodeName),
    /// A master, whichever of them.
    Master,
}

/// A SPIFFE identifier of this fleet's making: `spiffe://<trust domain>/node/<name>` or
/// `spiffe://<trust domain>/master`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SpiffeId {
    trust_domain: TrustDomain,
    subject: Subject,
}

/// A text that is no SPIFFE identifier of a node or a master.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not `spiffe://<trust domain>/node/<name>` or `spiffe://<trust domain>/master`")]
#[non_exhaustive]
pub struct SpiffeIdError;

impl SpiffeId {
    /// The identifier of `subject` in `trust_domain`.
    #[must_use]
    pub const fn new(trust_domain: TrustDomain, subject: Subject) -> Self {
        Self { trust_domain, subject }
    }

    /// The fleet it belongs to.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Whom it names.
    #[must_use]
    pub const fn subject(&self) -> &Subject {
        &self.subject
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    /// One spelling only: no upper case, port, query, escape or slash at the end.
    fn from_str(text: &str) -> Result<Self, SpiffeIdError> {
        let rest = text.strip_prefix(SCHEME).ok_or(SpiffeIdError)?;
        let slash = rest.find('/').ok_or(SpiffeIdError)?;
        let (domain, path) = rest.split_at(slash);
        let trust_domain = TrustDomain::new(domain).map_err(|_| SpiffeIdError)?;
        let subject = match path.strip_prefix(NODE) {
            Some(name) => Subject::Node(NodeName::new(name).map_err(|_| SpiffeIdError)?),
            None if path == MASTER => Subject::Master,
            None => return Err(SpiffeIdError),
        };
        Ok(Self { trust_domain, subject })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&match &self.subject {
            Subject::Node(name) => self.trust_domain.node_uri(name),
            Subject::Master => self.trust_domain.master_uri(),
        })
    }
}

const SCHEME: &str = "spiffe://";
const NODE: &str = "/node/";
const MASTER: &str = "/master";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn acme() -> TrustDomain {
        TrustDomain::new("acme.example").unwrap()
    }

    #[test]
    fn trust_domains_keep_to_the_spiffe_rules() {
        for good in ["a", "enroll.internal", "x_y-z.0", &"a".repeat(255)] {
            assert_eq!(TrustDomain::new(good).map(String::from).as_deref(), Ok(good));
        }
        for bad in ["", "Acme", "a/b", "a:1", "a b", "ä", "a@b", &"a".repeat(256)] {
            assert_eq!(TrustDomain::new(bad), Err(TrustDomainError), "{bad}");
        }
        assert_eq!(TrustDomain::default(), TrustDomain::new(TrustDomain::DEFAULT).unwrap());
    }

    #[test]
    fn identifiers_read_what_they_print() {
        let name = NodeName::new("worker-1").unwrap();
        assert_eq!(acme().node_uri(&name), "spiffe://acme.example/node/worker-1");
        assert_eq!(acme().master_uri(), "spiffe://acme.example/master");
        for subject in [Subject::Node(name), Subject::Master] {
            let id = SpiffeId::new(acme(), subject);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn every_other_uri_is_nobody() {
        for bad in [
            "",
            "spiffe://",
            "spiffe://acme.example",
            "spiffe://acme.example/",
            "spiffe:///master",
            "SPIFFE://acme.example/master",
            "spiffe://Acme.example/master",
            "spiffe://acme.example:443/master",
            "spiffe://acme.example/master/",
            "spiffe://acme.example//master",
            "spiffe://acme.example/Master",
            "spiffe://acme.example/node",
            "spiffe://acme.example/node/",
            "spiffe://acme.example/node/a/b",
            "spiffe://acme.example/node/a%2fb",
            "spiffe://acme.example/node/a?x=1",
            "spiffe://acme.example/node/A",
            "https://acme.example/master",
        ] {
            assert_eq!(bad.parse::<SpiffeId>(), Err(SpiffeIdError), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn whatever_reads_prints_as_it_was(text in "spiffe://[a-c./]{0,9}(/master|/node/[a-b.-]{0,5})") {
            if let Ok(id) = text.parse::<SpiffeId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
