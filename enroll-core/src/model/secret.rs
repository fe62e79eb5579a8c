//! Secrets: types that can do almost nothing, and the digests that are kept instead of them.
//!
//! None of them is `Clone`, `Eq`, `Hash`, `Display` or serialisable; `Debug` prints `[redacted]`;
//! memory is wiped on drop. What may be compared is a digest, in constant time, and the comparison
//! yields a proof value that only it can make.

use std::fmt;

use sha2::Digest as _;
use subtle::{Choice, ConstantTimeEq as _};
use zeroize::{Zeroize as _, Zeroizing};

use super::Entropy;
use super::base62;
use super::token::{TokenPrefix, check_holds, push_check};

/// A secret many machines share: A's cluster secret, C's enrollment secret, or what a worker
/// presents as one.
pub struct SharedSecret(Zeroizing<String>);

/// The SHA-256 of a [`SharedSecret`].
#[derive(Clone)]
pub struct SharedSecretDigest([u8; 32]);

/// Proof that a presented shared secret was an accepted one.
#[derive(Debug)]
pub struct SecretMatched(());

/// Why a text may not serve as a shared secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// It has no character: an unset variable, an empty file.
    #[error("the shared secret is empty; generate one, e.g. `openssl rand -hex 32`")]
    Empty,
    /// It has fewer than [`SharedSecret::MIN_LEN`] characters.
    #[error(
        "the shared secret has fewer than 32 characters; generate one, e.g. `openssl rand -hex 32`"
    )]
    Short,
    /// It is one character over and over.
    #[error(
        "the shared secret is one character repeated; generate one, e.g. `openssl rand -hex 32`"
    )]
    Constant,
    /// It begins or ends with white space, which is not presented: whoever reads it from a file or a
    /// variable trims it.
    #[error("the shared secret begins or ends with white space; take that away")]
    Untrimmed,
}

impl SharedSecret {
    /// The fewest characters of a configured secret.
    pub const MIN_LEN: usize = 32;

    /// A secret as somebody presents it: taken as it is.
    #[must_use]
    pub fn presented(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// A secret a master is to accept.
    ///
    /// # Errors
    /// [`SecretError`] when it is empty, short, constant or not trimmed: an unset variable must never
    /// become an accepted secret.
    pub fn configured(text: String) -> Result<Self, SecretError> {
        let text = Zeroizing::new(text);
        let mut chars = text.chars();
        let first = chars.next().ok_or(SecretError::Empty)?;
        if chars.all(|c| c == first) && text.chars().count() >= Self::MIN_LEN {
            return Err(SecretError::Constant);
        }
        if text.chars().count() < Self::MIN_LEN {
            return Err(SecretError::Short);
        }
        if text.trim().len() != text.len() {
            return Err(SecretError::Untrimmed);
        }
        Ok(Self(text))
    }

    /// What is kept of it.
    #[must_use]
    pub fn digest(&self) -> SharedSecretDigest {
        SharedSecretDigest(digest(&self.0))
    }

    /// The text itself: for the request that presents it, and the snippet that hands it on.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl SharedSecretDigest {
    /// A digest read back from a store.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes a store writes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Compares in constant time.
    #[must_use]
    pub fn verify(&self, presented: &SharedSecret) -> Option<SecretMatched> {
        Self::verify_any([self], presented).map(|(_, proof)| proof)
    }

    /// Compares with every accepted digest, all of them always, and says which matched: the second
    /// of two during a rotation must not be told from the first by time.
    #[must_use]
    pub fn verify_any<'a>(
        accepted: impl IntoIterator<Item = &'a Self>,
        presented: &SharedSecret,
    ) -> Option<(usize, SecretMatched)> {
        let theirs = digest(&presented.0);
        let (mut any, mut which) = (Choice::from(0), 0_u64);
        for (at, ours) in accepted.into_iter().enumerate() {
            let hit = ours.0.ct_eq(&theirs);
            let first = hit & !any;
            which |= u64::from(first.unwrap_u8()) * at as u64;
            any |= hit;
        }
        bool::from(any).then_some((which as usize, SecretMatched(())))
    }
}

/// A machine's bearer credential, `<prefix>_key_<43 digits><check>`.
pub struct ApiKey(Zeroizing<String>);

/// An operator's bearer credential, `<prefix>_admin_<43 digits><check>`.
pub struct AdminToken(Zeroizing<String>);

/// The SHA-256 of an [`ApiKey`] or [`AdminToken`], by which it is looked up: 256 random bits need
/// neither salt nor a slow function.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BearerDigest([u8; 32]);

impl ApiKey {
    /// A new key.
    ///
    /// # Errors
    /// What `entropy` returned.
    pub fn generate(prefix: &TokenPrefix, entropy: &dyn Entropy) -> std::io::Result<Self> {
        bearer(prefix, "key", entropy).map(Self)
    }

    /// A key as somebody presents it, or as it was read from a file.
    #[must_use]
    pub fn presented(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// What is kept of it.
    #[must_use]
    pub fn digest(&self) -> BearerDigest {
        BearerDigest(digest(&self.0))
    }

    /// The text itself: for the one answer that shows it, and the requests that present it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether the text is whole: nothing cut off or changed.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        check_holds(&self.0)
    }
}

impl AdminToken {
    /// A new token.
    ///
    /// # Errors
    /// What `entropy` returned.
    pub fn generate(prefix: &TokenPrefix, entropy: &dyn Entropy) -> std::io::Result<Self> {
        bearer(prefix, "admin", entropy).map(Self)
    }

    /// A token as somebody presents it, or as it was read from a file.
    #[must_use]
    pub fn presented(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// What is kept of it.
    #[must_use]
    pub fn digest(&self) -> BearerDigest {
        BearerDigest(digest(&self.0))
    }

    /// The text itself: for the one answer that shows it, and the requests that present it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl BearerDigest {
    /// A digest read back from a store.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes a store writes and looks up.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

fn digest(text: &str) -> [u8; 32] {
    sha2::Sha256::digest(text.as_bytes()).into()
}

fn bearer(
    prefix: &TokenPrefix,
    word: &str,
    entropy: &dyn Entropy,
) -> std::io::Result<Zeroizing<String>> {
    let mut secret = Zeroizing::new([0; 32]);
    entropy.fill(&mut *secret)?;
    // Reserved in full, so that growing leaves no copy of the secret behind.
    let mut text = Zeroizing::new(String::with_capacity(prefix.as_str().len() + 64));
    text.push_str(&format!("{}_{word}_", prefix.as_str()));
    base62::encode_256(&secret, &mut text);
    push_check(&mut text);
    Ok(text)
}

macro_rules! redacted {
    ($($name:ident)*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "([redacted])"))
            }
        }
    )*};
}
redacted!(SharedSecret SharedSecretDigest ApiKey AdminToken BearerDigest);

impl Drop for SharedSecretDigest {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SystemEntropy;

    fn secret(text: &str) -> SharedSecret {
        SharedSecret::presented(text.into())
    }

    #[test]
    fn weak_secrets_are_refused() {
        let why = |text: &str| SharedSecret::configured(text.into()).map(|_| ()).unwrap_err();
        assert_eq!(why(""), SecretError::Empty);
        assert_eq!(why("short"), SecretError::Short);
        assert_eq!(why(&"a1".repeat(15)), SecretError::Short);
        assert_eq!(why(&"x".repeat(40)), SecretError::Constant);
        for untrimmed in [format!("{} ", "a1".repeat(16)), format!("\t{}", "a1".repeat(16))] {
            assert_eq!(why(&untrimmed), SecretError::Untrimmed);
        }
        assert!(SharedSecret::configured("0123456789abcdef0123456789abcdef".into()).is_ok());
    }

    #[test]
    fn either_of_two_accepted_secrets_matches_and_says_which() {
        let digests = [secret("new").digest(), secret("old").digest()];
        let which = |text| SharedSecretDigest::verify_any(&digests, &secret(text)).map(|m| m.0);
        assert_eq!(which("new"), Some(0));
        assert_eq!(which("old"), Some(1));
        assert_eq!(which("other"), None);
        assert!(SharedSecretDigest::verify_any([], &secret("")).is_none());
        assert!(digests[0].verify(&secret("new")).is_some());
        assert!(digests[0].verify(&secret("old")).is_none());
    }

    #[test]
    fn no_debug_shows_a_secret() {
        let key = ApiKey::generate(&TokenPrefix::default(), &SystemEntropy).unwrap();
        assert!(key.expose().starts_with("enroll_key_"));
        assert!(key.is_intact());
        assert_eq!(format!("{key:?}"), "ApiKey([redacted])");
        assert_eq!(format!("{:?}", key.digest()), "BearerDigest([redacted])");
        let admin = AdminToken::generate(&TokenPrefix::default(), &SystemEntropy).unwrap();
        assert_eq!(format!("{admin:?}"), "AdminToken([redacted])");
        assert_eq!(format!("{:?}", secret("s3cret")), "SharedSecret([redacted])");
        assert_eq!(format!("{:?}", secret("s").digest()), "SharedSecretDigest([redacted])");
    }
}
