//! Private keys that sign: the authority's, and the one a master's listeners answer with.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, KeyPair as _,
};
use rcgen::SignatureAlgorithm;
use zeroize::Zeroizing;

/// An ECDSA key pair, held by the cryptographic library alone: it wipes the key when it is done,
/// which rcgen's own key pair does not.
pub(super) struct Signer {
    pair: EcdsaKeyPair,
    algorithm: &'static SignatureAlgorithm,
}

/// The library made no key, or takes none from these bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoKey;

impl Signer {
    /// A new P-256 key, and its PKCS #8.
    pub(super) fn generate() -> Result<(Self, Zeroizing<Vec<u8>>), NoKey> {
        let (signing, algorithm) = KINDS[0];
        let made = EcdsaKeyPair::generate_pkcs8(signing, &SystemRandom::new());
        let pkcs8 = Zeroizing::new(made.map_err(|_| NoKey)?.as_ref().to_vec());
        let pair = EcdsaKeyPair::from_pkcs8(signing, &pkcs8).map_err(|_| NoKey)?;
        Ok((Self { pair, algorithm }, pkcs8))
    }

    /// The P-256 or P-384 key in `pkcs8`.
    pub(super) fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, NoKey> {
        KINDS
            .iter()
            .find_map(|&(signing, algorithm)| {
                let pair = EcdsaKeyPair::from_pkcs8(signing, pkcs8).ok()?;
                Some(Self { pair, algorithm })
            })
            .ok_or(NoKey)
    }
}

impl rcgen::PublicKeyData for Signer {
    fn der_bytes(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

impl rcgen::SigningKey for Signer {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = self.pair.sign(&SystemRandom::new(), message);
        signature.map(|s| s.as_ref().to_vec()).map_err(|_| rcgen::Error::RingUnspecified)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer([redacted])")
    }
}

/// New keys are of the first kind.
static KINDS: [(&EcdsaSigningAlgorithm, &SignatureAlgorithm); 2] = [
    (&ECDSA_P256_SHA256_ASN1_SIGNING, &rcgen::PKCS_ECDSA_P256_SHA256),
    (&ECDSA_P384_SHA384_ASN1_SIGNING, &rcgen::PKCS_ECDSA_P384_SHA384),
];
