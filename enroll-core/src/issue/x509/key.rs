//! The public keys a certificate is made for.

use std::fmt;

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};

use crate::model::Sha256;

use super::signed::{BadSignature, Digest};

/// A public key of a kind this fleet accepts: ECDSA P-384 or P-256, or Ed25519, as its DER
/// `SubjectPublicKeyInfo` (RFC 5280, 4.1.2.7).
///
/// One key has one encoding: the uncompressed point behind the algorithm's own prefix, bit for
/// bit. That makes the kind and the size known before any arithmetic is done with the key, and
/// the digest of the encoding a name for the key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    kind: KeyKind,
    spki: Box<[u8]>,
}

/// The kind of a key. What it may be signed with follows from it, never the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyKind {
    P256,
    P384,
    Ed25519,
}

/// A key of another kind, in another encoding, or one known to be weak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key is not ECDSA P-384, ECDSA P-256 or Ed25519, or it is a weak one")]
#[non_exhaustive]
pub struct UnsupportedKey;

impl PublicKey {
    /// Reads a DER `SubjectPublicKeyInfo`.
    ///
    /// Whether the point lies on its curve shows when a signature is verified with it.
    ///
    /// # Errors
    /// [`UnsupportedKey`] unless it is exactly one of the accepted encodings.
    pub fn from_spki(der: &[u8]) -> Result<Self, UnsupportedKey> {
        let fits = |kind: &KeyKind| {
            der.len() == kind.prefix().len() + kind.raw_len() && der.starts_with(kind.prefix())
        };
        let kind = KeyKind::ALL.into_iter().find(fits).ok_or(UnsupportedKey)?;
        let key = Self { kind, spki: der.into() };
        let weak = match kind {
            KeyKind::P256 | KeyKind::P384 => key.raw().first() != Some(&UNCOMPRESSED),
            KeyKind::Ed25519 => has_small_order(key.raw()),
        };
        if weak { Err(UnsupportedKey) } else { Ok(key) }
    }

    /// The DER `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn as_spki(&self) -> &[u8] {
        &self.spki
    }

    /// The SHA-256 of the DER `SubjectPublicKeyInfo`, which names the key.
    #[must_use]
    pub fn digest(&self) -> Sha256 {
        Sha256::of(&self.spki)
    }

    /// Verifies a detached signature over `message`: ECDSA in ASN.1 with the curve's own digest
    /// (P-256 with SHA-256, P-384 with SHA-384), or Ed25519.
    ///
    /// # Errors
    /// [`BadSignature`] when this key did not sign `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        let digest = match self.kind {
            KeyKind::P256 => Digest::Sha256,
            KeyKind::P384 => Digest::Sha384,
            KeyKind::Ed25519 => Digest::Whole,
        };
        self.verify_with(digest, message, signature)
    }

    /// Verifies a signature made over `digest` of `message`.
    pub(super) fn verify_with(
        &self,
        digest: Digest,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        let algorithm: &'static dyn VerificationAlgorithm = match (self.kind, digest) {
            (KeyKind::P256, Digest::Sha256) => &signature::ECDSA_P256_SHA256_ASN1,
            (KeyKind::P256, Digest::Sha384) => &signature::ECDSA_P256_SHA384_ASN1,
            (KeyKind::P256, Digest::Sha512) => &signature::ECDSA_P256_SHA512_ASN1,
            (KeyKind::P384, Digest::Sha256) => &signature::ECDSA_P384_SHA256_ASN1,
            (KeyKind::P384, Digest::Sha384) => &signature::ECDSA_P384_SHA384_ASN1,
            (KeyKind::P384, Digest::Sha512) => &signature::ECDSA_P384_SHA512_ASN1,
            (KeyKind::Ed25519, Digest::Whole) => &signature::ED25519,
            (KeyKind::Ed25519, _) | (_, Digest::Whole) => return Err(BadSignature),
        };
        UnparsedPublicKey::new(algorithm, self.raw())
            .verify(message, signature)
            .map_err(|_| BadSignature)
    }

    pub(super) const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The point or the 32 bytes inside the encoding, as algorithms take them.
    fn raw(&self) -> &[u8] {
        &self.spki[self.kind.prefix().len()..]
    }
}

impl rcgen::PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        self.raw()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        match self.kind {
            KeyKind::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyKind::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            KeyKind::Ed25519 => &rcgen::PKCS_ED25519,
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:?}, {:?})", self.kind, self.digest())
    }
}

impl KeyKind {
    const ALL: [Self; 3] = [Self::P384, Self::P256, Self::Ed25519];

    /// Everything of the encoding that stands before the key itself.
    const fn prefix(self) -> &'static [u8] {
        match self {
            Self::P256 => P256_PREFIX,
            Self::P384 => P384_PREFIX,
            Self::Ed25519 => ED25519_PREFIX,
        }
    }

    const fn raw_len(self) -> usize {
        match self {
            Self::P256 => 65,
            Self::P384 => 97,
            Self::Ed25519 => 32,
        }
    }
}

/// Whether an Ed25519 key is one of the points with which everybody can sign (order 1, 2, 4, 8).
fn has_small_order(raw: &[u8]) -> bool {
    raw.split_last().is_some_and(|(last, low)| {
        // The top bit is the sign of x: both points with this y are of the same order.
        SMALL_ORDER.iter().any(|point| point[..31] == *low && point[31] == last & 0x7f)
    })
}

/// The first byte of an uncompressed point (SEC 1, 2.3.3).
const UNCOMPRESSED: u8 = 0x04;

/// SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING (RFC 5480).
const P256_PREFIX: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// SEQUENCE { SEQUENCE { id-ecPublicKey, secp384r1 }, BIT STRING (RFC 5480).
const P384_PREFIX: &[u8] = &[
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
    0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
];

/// SEQUENCE { SEQUENCE { id-Ed25519 }, BIT STRING (RFC 8410).
const ED25519_PREFIX: &[u8] =
    &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The y coordinates of the points of small order, little-endian: of order 4, 1, 8, 8 and 2, and
/// the spellings of the first two that are not reduced modulo 2^255 - 19.
const SMALL_ORDER: [&[u8; 32]; 7] = [
    &[0; 32],
    &one_then(0x01, 0x00, 0x00),
    &[
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    &[
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
    &one_then(0xec, 0xff, 0x7f),
    &one_then(0xed, 0xff, 0x7f),
    &one_then(0xee, 0xff, 0x7f),
];

const fn one_then(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut bytes = [middle; 32];
    bytes[0] = first;
    bytes[31] = last;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};

    fn pair(algorithm: &'static rcgen::SignatureAlgorithm) -> KeyPair {
        KeyPair::generate_for(algorithm).unwrap()
    }

    #[test]
    fn the_three_kinds_are_accepted_and_verify_what_they_signed() {
        for algorithm in
            [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519]
        {
            let pair = pair(algorithm);
            let key = PublicKey::from_spki(&pair.subject_public_key_info()).unwrap();
            assert_eq!(key.as_spki(), key.subject_public_key_info());
            let signature = pair.sign(b"message").unwrap();
            assert_eq!(key.verify(b"message", &signature), Ok(()));
            assert_eq!(key.verify(b"another", &signature), Err(BadSignature));
            assert_eq!(key.verify(b"message", &signature[1..]), Err(BadSignature));
            assert_eq!(key.verify(b"message", b""), Err(BadSignature));
        }
    }

    #[test]
    fn other_kinds_and_encodings_are_not() {
        let refused = |der: &[u8]| assert!(PublicKey::from_spki(der).is_err(), "{der:x?}");
        refused(&pair(&rcgen::PKCS_ECDSA_P521_SHA512).subject_public_key_info());
        refused(&pair(&rcgen::PKCS_RSA_SHA256).subject_public_key_info());
        refused(&[]);
        let good = pair(&rcgen::PKCS_ECDSA_P256_SHA256).subject_public_key_info();
        refused(&good[..good.len() - 1]);
        refused(&[good.as_slice(), &[0]].concat());
        let mut compressed = good.clone();
        compressed[P256_PREFIX.len()] = 0x02;
        refused(&compressed);
    }

    #[test]
    fn a_point_beside_its_curve_verifies_nothing() {
        let pair = pair(&rcgen::PKCS_ECDSA_P256_SHA256);
        let mut spki = pair.subject_public_key_info();
        *spki.last_mut().unwrap() ^= 1;
        let key = PublicKey::from_spki(&spki).unwrap();
        assert_eq!(key.verify(b"m", &pair.sign(b"m").unwrap()), Err(BadSignature));
    }

    /// With the neutral element as key, R = 0·B and s = 0 sign every message.
    #[test]
    fn ed25519_keys_everybody_can_sign_with_are_weak() {
        for point in SMALL_ORDER {
            for sign in [0x00, 0x80] {
                let mut spki = [ED25519_PREFIX, point].concat();
                *spki.last_mut().unwrap() |= sign;
                assert!(PublicKey::from_spki(&spki).is_err(), "{point:x?}");
            }
        }
        let mut signature = [0; 64];
        signature[0] = 1;
        let neutral = PublicKey {
            kind: KeyKind::Ed25519,
            spki: [ED25519_PREFIX, SMALL_ORDER[1]].concat().into(),
        };
        assert_eq!(
            neutral.verify(b"whatever", &signature),
            Ok(()),
            "else this test proves nothing"
        );
    }
}
