//! The join token: `<prefix>_<id>_<secret><check>`.
//!
//! The id is public and time-ordered; the secret is 256 random bits; the check digits catch a typo
//! before any connection is opened. A store keeps the id and the SHA-256 of the whole text.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use super::base62;
use super::{Entropy, Timestamp};

/// What a token of one product begins with: `[a-z][a-z0-9_]{0,31}`. Secret scanners look for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenPrefix(Box<str>);

/// The public half of a join token: 12 base-62 digits, time-ordered, may be logged and listed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenId(u128);

/// A whole join token, in memory only.
pub struct JoinToken {
    id: TokenId,
    text: Zeroizing<String>,
}

/// The SHA-256 of a token's whole text: all a store ever sees of its secret.
#[derive(Clone)]
pub struct TokenDigest([u8; 32]);

/// Proof that a presented token is the one a digest was made of. Only [`TokenDigest::verify`]
/// makes it.
#[derive(Debug)]
pub struct TokenMatched(());

/// Why a text is no join token of this product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The prefix is not `[a-z][a-z0-9_]{0,31}`.
    #[error("a token prefix is a lower-case letter, then at most 31 of a-z, 0-9 and _")]
    Prefix,
    /// The text begins with something else than the prefix of this product.
    #[error("this is not a join token of this product: its beginning differs")]
    ForeignPrefix,
    /// The text has another length than a token has: cut short, or pasted twice.
    #[error("the join token is incomplete or has something added: copy all of it again")]
    Length,
    /// A character is not a base-62 digit, or a number is out of range.
    #[error("the join token holds a character that no token has: copy it again")]
    Character,
    /// The check digits do not match: a character was changed.
    #[error("the join token has a typing error (its check digits do not match): copy it again")]
    Check,
}

impl TokenPrefix {
    /// Validates `text`.
    ///
    /// # Errors
    /// [`TokenError::Prefix`].
    pub fn new(text: &str) -> Result<Self, TokenError> {
        let tail_ok = |b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_');
        let bytes = text.as_bytes();
        let good = bytes.len() <= 32
            && bytes.first().is_some_and(u8::is_ascii_lowercase)
            && bytes.iter().copied().all(tail_ok);
        if good { Ok(Self(text.into())) } else { Err(TokenError::Prefix) }
    }

    /// The prefix as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TokenPrefix {
    /// `enroll`.
    fn default() -> Self {
        Self("enroll".into())
    }
}

impl TokenId {
    /// Digits in its text.
    pub const LEN: usize = 12;
    const BITS: u32 = 71;
    const RANDOM_BITS: u32 = 29;

    /// A new id: 42 bits of Unix milliseconds, then 29 random bits.
    ///
    /// # Errors
    /// What `entropy` returned.
    pub fn generate(at: Timestamp, entropy: &dyn Entropy) -> std::io::Result<Self> {
        let mut random = [0; 4];
        entropy.fill(&mut random)?;
        let low = u128::from(u32::from_be_bytes(random) >> (32 - Self::RANDOM_BITS));
        let millis = u128::try_from(at.unix_millis()).unwrap_or(0) & ((1 << 42) - 1);
        Ok(Self(millis << Self::RANDOM_BITS | low))
    }

    /// When it was generated, to the millisecond, by the master's clock.
    #[must_use]
    pub fn generated_at(self) -> Timestamp {
        Timestamp::from_unix_millis((self.0 >> Self::RANDOM_BITS) as i64)
    }
}

impl FromStr for TokenId {
    type Err = TokenError;
    fn from_str(text: &str) -> Result<Self, TokenError> {
        if text.len() != Self::LEN {
            return Err(TokenError::Length);
        }
        base62::decode_u128(text)
            .filter(|value| value >> Self::BITS == 0)
            .map(Self)
            .ok_or(TokenError::Character)
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(Self::LEN);
        // 71 bits always fit into 12 digits.
        base62::encode_u128(self.0, Self::LEN, &mut text).ok_or(fmt::Error)?;
        f.write_str(&text)
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for TokenId {
    type Error = TokenError;
    fn try_from(text: String) -> Result<Self, TokenError> {
        text.parse()
    }
}

impl From<TokenId> for String {
    fn from(id: TokenId) -> Self {
        id.to_string()
    }
}

impl JoinToken {
    /// A new token, its id stamped `at`.
    ///
    /// # Errors
    /// What `entropy` returned.
    pub fn generate(
        prefix: &TokenPrefix,
        at: Timestamp,
        entropy: &dyn Entropy,
    ) -> std::io::Result<Self> {
        let id = TokenId::generate(at, entropy)?;
        let mut secret = Zeroizing::new([0; 32]);
        entropy.fill(&mut *secret)?;
        // Reserved in full, so that growing leaves no copy of the secret behind.
        let mut text = Zeroizing::new(String::with_capacity(text_len(prefix)));
        text.push_str(&format!("{}_{id}_", prefix.as_str()));
        base62::encode_256(&secret, &mut text);
        push_check(&mut text);
        Ok(Self { id, text })
    }

    /// Reads a token, accepting exactly one spelling. White space around it is the caller's to trim.
    ///
    /// # Errors
    /// [`TokenError`] says what is wrong, never what the text was.
    pub fn parse(prefix: &TokenPrefix, text: &str) -> Result<Self, TokenError> {
        let rest = text
            .strip_prefix(prefix.as_str())
            .and_then(|rest| rest.strip_prefix('_'))
            .ok_or(TokenError::ForeignPrefix)?;
        if text.len() != text_len(prefix) {
            return Err(TokenError::Length);
        }
        let (id, secret) = rest.split_once('_').ok_or(TokenError::Character)?;
        let id: TokenId = id.parse()?;
        let secret = secret.get(..base62::WIDTH_256).ok_or(TokenError::Character)?;
        if !base62::is_256(secret) {
            return Err(TokenError::Character);
        }
        if !check_holds(text) {
            return Err(TokenError::Check);
        }
        Ok(Self { id, text: Zeroizing::new(text.to_owned()) })
    }

    /// The public half.
    #[must_use]
    pub const fn id(&self) -> TokenId {
        self.id
    }

    /// What a store keeps of it.
    #[must_use]
    pub fn digest(&self) -> TokenDigest {
        TokenDigest(sha2::Sha256::digest(self.text.as_bytes()).into())
    }

    /// The text itself: for the one answer that shows it, and the one request that presents it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("id", &self.id).field("text", &"[redacted]").finish()
    }
}

impl TokenDigest {
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
    pub fn verify(&self, presented: &JoinToken) -> Option<TokenMatched> {
        let theirs = presented.digest();
        bool::from(self.0.ct_eq(&theirs.0)).then_some(TokenMatched(()))
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest([redacted])")
    }
}

impl Drop for TokenDigest {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Digits of a CRC-32 in base 62.
pub(super) const CHECK_LEN: usize = 6;

fn text_len(prefix: &TokenPrefix) -> usize {
    prefix.as_str().len() + 1 + TokenId::LEN + 1 + base62::WIDTH_256 + CHECK_LEN
}

/// Appends the CRC-32 of all that stands before it.
pub(super) fn push_check(text: &mut String) {
    let check = crc32fast::hash(text.as_bytes());
    // 32 bits always fit into 6 digits.
    let _fits = base62::encode_u128(u128::from(check), CHECK_LEN, text);
}

/// Whether the last six digits are the CRC-32 of what stands before them.
pub(super) fn check_holds(text: &str) -> bool {
    text.len().checked_sub(CHECK_LEN).and_then(|at| text.split_at_checked(at)).is_some_and(
        |(body, check)| {
            base62::decode_u128(check) == Some(u128::from(crc32fast::hash(body.as_bytes())))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SystemEntropy;
    use proptest::prelude::*;

    const AT: Timestamp = Timestamp::from_unix_millis(1_795_000_000_123);

    fn token() -> JoinToken {
        JoinToken::generate(&TokenPrefix::default(), AT, &SystemEntropy).unwrap()
    }

    #[test]
    fn a_token_reads_back_and_matches_only_itself() {
        let (one, two) = (token(), token());
        let again = JoinToken::parse(&TokenPrefix::default(), one.expose()).unwrap();
        assert_eq!(again.id(), one.id());
        assert_eq!(one.id().generated_at(), AT);
        assert!(one.digest().verify(&again).is_some());
        assert!(one.digest().verify(&two).is_none());
        assert_eq!(one.expose().len(), "enroll".len() + 1 + 12 + 1 + 49);
    }

    #[test]
    fn ids_sort_by_time() {
        let early = TokenId::generate(AT, &SystemEntropy).unwrap();
        let late = TokenId::generate(AT.after(std::time::Duration::from_millis(1)), &SystemEntropy)
            .unwrap();
        assert!(early < late);
        assert!(early.to_string() < late.to_string());
    }

    #[test]
    fn a_prefix_may_hold_underscores() {
        let prefix = TokenPrefix::new("acme_join").unwrap();
        let one = JoinToken::generate(&prefix, AT, &SystemEntropy).unwrap();
        assert!(JoinToken::parse(&prefix, one.expose()).is_ok());
        let other = TokenPrefix::new("acme").unwrap();
        assert!(JoinToken::parse(&other, one.expose()).is_err());
        for bad in ["", "1a", "Acme", "a-b", "_a", &"a".repeat(33)] {
            assert_eq!(TokenPrefix::new(bad), Err(TokenError::Prefix), "{bad}");
        }
    }

    #[test]
    fn each_mistake_is_named() {
        let prefix = TokenPrefix::default();
        let text = token().expose().to_owned();
        let why = |text: &str| JoinToken::parse(&prefix, text).map(|_| ()).unwrap_err();
        assert_eq!(why(""), TokenError::ForeignPrefix);
        assert_eq!(why("otx_join_AbC123"), TokenError::ForeignPrefix);
        assert_eq!(why(&text[..text.len() - 1]), TokenError::Length);
        assert_eq!(why(&format!("{text}{text}")), TokenError::Length);
        assert_eq!(why(&format!("{text} ")), TokenError::Length);
        assert_eq!(why(&text.replacen('_', "-", 2)), TokenError::ForeignPrefix);
        let mut letters: Vec<char> = text.chars().collect();
        letters[40] = if letters[40] == 'a' { 'b' } else { 'a' };
        assert_eq!(why(&letters.into_iter().collect::<String>()), TokenError::Check);
        let mut huge = format!("enroll_zzzzzzzzzzzz_{}", "0".repeat(43));
        push_check(&mut huge);
        assert_eq!(why(&huge), TokenError::Character);
        let mut above = format!("enroll_000000000000_{}", "z".repeat(43));
        push_check(&mut above);
        assert_eq!(why(&above), TokenError::Character);
    }

    #[test]
    fn no_debug_shows_a_secret() {
        let one = token();
        let secret = &one.expose()["enroll_000000000000_".len()..];
        assert!(!format!("{one:?}").contains(secret));
        let shown = format!("{:?}", one.digest());
        assert_eq!(shown, "TokenDigest([redacted])");
    }

    proptest! {
        #[test]
        fn any_single_change_is_caught(at in 7_usize..69, by in 1_u8..=255) {
            let text = token().expose().to_owned();
            let mut bytes = text.into_bytes();
            bytes[at] = bytes[at].wrapping_add(by);
            if let Ok(text) = String::from_utf8(bytes) {
                prop_assert!(JoinToken::parse(&TokenPrefix::default(), &text).is_err());
            }
        }

        #[test]
        fn nothing_makes_the_parser_panic(text in "\\PC*") {
            let _seen = JoinToken::parse(&TokenPrefix::default(), &text).is_ok();
            let _seen = JoinToken::parse(&TokenPrefix::default(), &format!("enroll_{text}")).is_ok();
        }
    }
}
