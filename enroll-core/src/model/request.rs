//! A request to become a member, as the domain sees it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use data_encoding::{BASE64URL, BASE64URL_NOPAD};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{NodeName, Sha256, SharedSecret};

/// What a machine presents. None of it is believed yet.
#[derive(Debug)]
#[non_exhaustive]
pub enum Presented {
    /// A join token alone.
    Token(PresentedToken),
    /// A join token and a shared secret.
    TokenAndSecret(PresentedToken, SharedSecret),
    /// A shared secret alone.
    Secret(SharedSecret),
}

/// The text of a join token as it came: perhaps none at all.
pub struct PresentedToken(Zeroizing<String>);

impl Presented {
    /// What the two optional fields of a request amount to; `None` when both are absent.
    #[must_use]
    pub fn from_parts(token: Option<String>, secret: Option<String>) -> Option<Self> {
        let secret = secret.map(SharedSecret::presented);
        match (token.map(PresentedToken::new), secret) {
            (Some(token), None) => Some(Self::Token(token)),
            (Some(token), Some(secret)) => Some(Self::TokenAndSecret(token, secret)),
            (None, Some(secret)) => Some(Self::Secret(secret)),
            (None, None) => None,
        }
    }
}

impl PresentedToken {
    /// Takes the text as it came.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, to be parsed.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PresentedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresentedToken([redacted])")
    }
}

/// Bytes a worker keeps, to identify a retry where no certificate request does.
pub struct AttemptKey(Zeroizing<Vec<u8>>);

impl AttemptKey {
    /// The fewest bytes.
    pub const MIN_LEN: usize = 16;

    /// Reads base64url, padded or not: the bytes are the same, and so is the claim. `None` for anything
    /// else, or too few bytes. How many there may be is for whoever reads the request to bound.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let spelling = if text.ends_with('=') { BASE64URL } else { BASE64URL_NOPAD };
        let bytes = Zeroizing::new(spelling.decode(text.as_bytes()).ok()?);
        (bytes.len() >= Self::MIN_LEN).then_some(Self(bytes))
    }

    /// The claim it makes.
    #[must_use]
    pub fn claim(&self) -> ClaimKey {
        ClaimKey(Sha256::of(&self.0))
    }
}

impl fmt::Debug for AttemptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AttemptKey([redacted])")
    }
}

/// What identifies a claimant over retries: the SHA-256 of the public key in its certificate
/// request, or of its attempt key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimKey(Sha256);

impl ClaimKey {
    /// The claim made by a public key, given as the DER of its SubjectPublicKeyInfo.
    #[must_use]
    pub fn of_public_key(spki_der: &[u8]) -> Self {
        Self(Sha256::of(spki_der))
    }

    /// The claim whose digest this is, read back from a store.
    #[must_use]
    pub const fn from_digest(digest: Sha256) -> Self {
        Self(digest)
    }

    /// Its digest.
    #[must_use]
    pub const fn digest(&self) -> &Sha256 {
        &self.0
    }
}

impl fmt::Display for ClaimKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0.to_hex())
    }
}

impl fmt::Debug for ClaimKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a node says of itself: kept and shown, never believed.
///
/// All of it is bounded by [`Facts::check`]; unknown members are kept in `other`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a bag of optional facts, built with `..default()`")]
pub struct Facts {
    /// CPU architecture, e.g. `x86_64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// Operating system, e.g. `linux`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// The machine's own host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The worker's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Where the master may call the worker, an `https` URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertised_endpoint: Option<String>,
    /// Free labels; the operator's win over these.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What a product adds.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl Facts {
    /// The longest text of a fact, in bytes.
    pub const MAX_TEXT: usize = 1024;
    /// The most labels, and the most facts a product adds.
    pub const MAX_ENTRIES: usize = 64;
    /// The most that a product adds in all, in bytes of JSON: 32 KiB.
    pub const MAX_OTHER: usize = 32 * 1024;
    /// The most values that a product adds in all, those within lists and objects among them.
    pub const MAX_VALUES: usize = 512;
    /// How deep lists and objects may stand in each other in what a product adds.
    pub const MAX_DEPTH: usize = 32;

    /// Holds the facts to their bounds.
    ///
    /// # Errors
    /// The name of the fact that is too large.
    pub fn check(&self) -> Result<(), &'static str> {
        let texts = [
            ("arch", &self.arch),
            ("os", &self.os),
            ("hostname", &self.hostname),
            ("version", &self.version),
            ("advertised_endpoint", &self.advertised_endpoint),
        ];
        for (name, text) in texts {
            if text.as_ref().is_some_and(|t| t.len() > Self::MAX_TEXT) {
                return Err(name);
            }
        }
        let long = |t: &String| t.len() > Self::MAX_TEXT;
        if self.labels.len() > Self::MAX_ENTRIES
            || self.labels.iter().any(|(k, v)| long(k) || long(v))
        {
            return Err("labels");
        }
        if self.other.len() > Self::MAX_ENTRIES
            || self.other.keys().any(long)
            || !self.other_is_bounded()
        {
            return Err("facts");
        }
        Ok(())
    }

    fn other_is_bounded(&self) -> bool {
        // A value takes many times the memory that it takes as text, so they are counted too.
        let mut left = Self::MAX_VALUES;
        self.other.values().all(|value| take_from(&mut left, value, Self::MAX_DEPTH))
            && serde_json::to_string(&self.other).is_ok_and(|text| text.len() <= Self::MAX_OTHER)
    }

    /// Takes over what `newer` says, keeping what it leaves unsaid.
    pub fn merge(&mut self, newer: Self) {
        let take = |old: &mut Option<String>, new: Option<String>| {
            if new.is_some() {
                *old = new;
            }
        };
        take(&mut self.arch, newer.arch);
        take(&mut self.os, newer.os);
        take(&mut self.hostname, newer.hostname);
        take(&mut self.version, newer.version);
        take(&mut self.advertised_endpoint, newer.advertised_endpoint);
        self.labels.extend(newer.labels);
        self.other.extend(newer.other);
    }
}

/// Takes a value and all within it from those that are `left`; says whether there were so many, none
/// of them deeper than `depth`.
fn take_from(left: &mut usize, value: &Value, depth: usize) -> bool {
    let Some(rest) = left.checked_sub(1) else { return false };
    *left = rest;
    let within = |value| depth > 0 && take_from(left, value, depth - 1);
    match value {
        Value::Array(values) => values.iter().all(within),
        Value::Object(members) => members.values().all(within),
        _ => true,
    }
}

/// Where a request came from, as far as the transport knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Origin {
    /// The peer's address, or the one a trusted proxy vouched for.
    pub source_ip: Option<IpAddr>,
}

impl Origin {
    /// A request from `source_ip`.
    #[must_use]
    pub const fn from_ip(source_ip: IpAddr) -> Self {
        Self { source_ip: Some(source_ip) }
    }
}

/// A request to become a member, parsed and bounded, nothing of it believed.
#[derive(Debug)]
#[non_exhaustive]
pub struct EnrollRequest {
    /// What the machine presents.
    pub presented: Presented,
    /// The name it wants; may be absent with a bound token.
    pub node_name: Option<NodeName>,
    /// PEM of a PKCS #10 certificate request.
    pub csr: Option<String>,
    /// What identifies a retry where no certificate request does.
    pub attempt_key: Option<AttemptKey>,
    /// What it says of itself.
    pub facts: Facts,
}

impl EnrollRequest {
    /// A request that presents `presented` and nothing else yet.
    #[must_use]
    pub fn new(presented: Presented) -> Self {
        Self { presented, node_name: None, csr: None, attempt_key: None, facts: Facts::default() }
    }

    /// Asks for `name`.
    #[must_use]
    pub fn with_node_name(mut self, name: NodeName) -> Self {
        self.node_name = Some(name);
        self
    }

    /// Brings a certificate request, PEM.
    #[must_use]
    pub fn with_csr(mut self, pem: impl Into<String>) -> Self {
        self.csr = Some(pem.into());
        self
    }

    /// Brings an attempt key.
    #[must_use]
    pub fn with_attempt_key(mut self, key: AttemptKey) -> Self {
        self.attempt_key = Some(key);
        self
    }

    /// Brings facts.
    #[must_use]
    pub fn with_facts(mut self, facts: Facts) -> Self {
        self.facts = facts;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn facts(other: Value) -> Facts {
        serde_json::from_value(other).unwrap()
    }

    #[test]
    fn i11_what_a_product_adds_is_bounded_in_all() {
        assert_eq!(
            facts(json!({"gpus": [{"model": "a"}, {"model": "b"}], "rack": 7})).check(),
            Ok(())
        );
        let list = |values: usize| facts(json!({ "x": vec![1; values] }));
        assert_eq!(list(Facts::MAX_VALUES - 1).check(), Ok(()));
        assert_eq!(list(Facts::MAX_VALUES).check(), Err("facts"));
        // As many as fit into the body of a request, each many times as large in memory.
        assert_eq!(list(32 * 1024).check(), Err("facts"));
        let text = |bytes: usize| facts(json!({ "x": "y".repeat(bytes) }));
        assert_eq!(text(Facts::MAX_OTHER - r#"{"x":""}"#.len()).check(), Ok(()));
        assert_eq!(text(Facts::MAX_OTHER).check(), Err("facts"));
        let nested = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!([inner]));
        assert_eq!(facts(json!({ "x": nested(Facts::MAX_DEPTH) })).check(), Ok(()));
        assert_eq!(facts(json!({ "x": nested(Facts::MAX_DEPTH + 1) })).check(), Err("facts"));
    }

    #[test]
    fn an_attempt_key_is_sixteen_bytes_or_more_padded_or_not() {
        let claim = |text: &str| AttemptKey::parse(text).map(|key| key.claim());
        let bytes: Vec<u8> = (0..96).collect();
        for length in [16, 17, 18, 96] {
            let key = &bytes[..length];
            let (plain, padded) = (BASE64URL_NOPAD.encode(key), BASE64URL.encode(key));
            let expected = Some(ClaimKey(Sha256::of(key)));
            assert_eq!((claim(&plain), claim(&padded)), (expected, expected), "{length}");
        }
        let short = &bytes[..15];
        for bad in [BASE64URL.encode(short), "=".repeat(24), "A".repeat(21) + "=", "a b".into()] {
            assert_eq!(claim(&bad), None, "{bad}");
        }
    }

    #[test]
    fn labels_have_bounds_of_their_own() {
        let labels = |entries: usize, bytes: usize| {
            let label = |entry| (format!("{entry:0bytes$}"), "v".repeat(bytes));
            Facts { labels: (0..entries).map(label).collect(), ..Facts::default() }.check()
        };
        assert_eq!(labels(Facts::MAX_ENTRIES, Facts::MAX_TEXT), Ok(()));
        assert_eq!(labels(Facts::MAX_ENTRIES + 1, 1), Err("labels"));
        assert_eq!(labels(1, Facts::MAX_TEXT + 1), Err("labels"));
    }
}
