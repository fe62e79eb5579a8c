//! SHA-256 values, and the fingerprints people copy.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// A SHA-256 value of something public. Digests of secrets have their own types.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// A digest read back from where it was kept.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        HEXLOWER.encode(&self.0)
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

/// The fingerprint of a certificate: SHA-256 of its DER, written `sha256:<64 lower-case hex>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(Sha256);

/// A text that is no certificate fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a CA fingerprint is `sha256:` and 64 hexadecimal digits, or the digits alone")]
#[non_exhaustive]
pub struct FingerprintError;

impl Fingerprint {
    /// The fingerprint of the certificate whose DER is `der`.
    #[must_use]
    pub fn of_der(der: &[u8]) -> Self {
        Self(Sha256::of(der))
    }

    /// The digest it is made of.
    #[must_use]
    pub const fn digest(&self) -> Sha256 {
        self.0
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    /// Accepts `sha256:<hex>` and bare hex, in either case: people paste what other tools print.
    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
        let bytes = HEXLOWER.decode(hex.as_bytes()).map_err(|_| FingerprintError)?;
        bytes.try_into().map(|b| Self(Sha256(b))).map_err(|_| FingerprintError)
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = FingerprintError;
    fn try_from(text: String) -> Result<Self, FingerprintError> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0.to_hex())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_reads_what_it_prints_and_what_openssl_prints_without_colons() {
        let one = Fingerprint::of_der(b"x");
        let text = one.to_string();
        assert_eq!(text.parse(), Ok(one));
        assert_eq!(text["sha256:".len()..].to_ascii_uppercase().parse(), Ok(one));
        assert!("sha256:".parse::<Fingerprint>().is_err());
        assert!(text[..text.len() - 1].parse::<Fingerprint>().is_err());
        assert!(format!("{text}0").parse::<Fingerprint>().is_err());
    }
}
