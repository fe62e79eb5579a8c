//! The worker's private key: made here, kept here, never sent.

use std::fmt;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData as _, SigningKey,
};
use zeroize::Zeroizing;

use crate::model::NodeName;
use crate::pem;

/// An ECDSA P-384 key as PKCS#8 in PEM. A key of another kind that a certificate accepts is read,
/// never made.
///
/// Only the text is kept, so that a key stands in memory in the open as briefly as can be.
pub struct WorkerKey {
    pem: Zeroizing<String>,
}

/// A key that cannot be made, read or used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The library that makes keys failed.
    #[error("no key could be generated")]
    Generate,
    /// The text holds no private key in PKCS#8 PEM, or more than one.
    #[error("this is not one private key in PKCS#8 PEM")]
    Unreadable,
    /// The key was read and would not sign.
    #[error("the key does not sign")]
    Sign,
}

impl WorkerKey {
    /// Makes a new P-384 key.
    ///
    /// # Errors
    /// [`KeyError::Generate`].
    pub fn generate() -> Result<Self, KeyError> {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384)
            .map(Zeroizing::new)
            .map_err(|_| KeyError::Generate)?;
        Ok(Self { pem: pem::encode(pem::PRIVATE_KEY, pair.serialized_der()).into() })
    }

    /// Takes a key as it was read from a file.
    ///
    /// # Errors
    /// [`KeyError::Unreadable`].
    pub fn from_pem(text: impl Into<Zeroizing<String>>) -> Result<Self, KeyError> {
        let key = Self { pem: text.into() };
        key.pair().map(|_| key)
    }

    /// The key as PKCS#8 in PEM.
    #[must_use]
    pub fn expose_pem(&self) -> &str {
        &self.pem
    }

    /// The public half, as the DER of a `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// [`KeyError::Unreadable`].
    pub fn public_key_der(&self) -> Result<Vec<u8>, KeyError> {
        self.pair().map(|pair| pair.subject_public_key_info())
    }

    /// A certificate request in PEM. A master takes nothing but the public key from it; the name is
    /// there for people, and left out above the 64 bytes a common name may have (RFC 5280).
    ///
    /// # Errors
    /// [`KeyError::Sign`].
    pub fn request(&self, name: Option<&NodeName>) -> Result<String, KeyError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = name.filter(|name| name.as_str().len() <= 64) {
            params.distinguished_name.push(DnType::CommonName, name.as_str());
        }
        let request = params.serialize_request(&*self.pair()?).map_err(|_| KeyError::Sign)?;
        Ok(pem::encode(pem::REQUEST, request.der()))
    }

    /// Signs `message`: ECDSA in its ASN.1 form over the digest that fits the curve, or Ed25519.
    ///
    /// # Errors
    /// [`KeyError::Sign`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.pair()?.sign(message).map_err(|_| KeyError::Sign)
    }

    fn pair(&self) -> Result<Zeroizing<KeyPair>, KeyError> {
        let der = pem::decode(pem::PRIVATE_KEY, &self.pem).ok_or(KeyError::Unreadable)?;
        KeyPair::try_from(der.as_slice()).map(Zeroizing::new).map_err(|_| KeyError::Unreadable)
    }
}

impl fmt::Debug for WorkerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WorkerKey([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::prelude::{FromDer as _, X509CertificationRequest};

    #[test]
    fn a_request_is_signed_by_the_key_it_names() {
        let key = WorkerKey::generate().unwrap();
        let name = NodeName::new("worker-1").unwrap();
        let text = key.request(Some(&name)).unwrap();
        let der = pem::decode(pem::REQUEST, &text).unwrap();
        let (_, request) = X509CertificationRequest::from_der(&der).unwrap();
        request.verify_signature().unwrap();
        let info = &request.certification_request_info;
        assert_eq!(info.subject_pki.raw, key.public_key_der().unwrap());
        assert_eq!(info.subject.to_string(), "CN=worker-1");
        let curve = info.subject_pki.algorithm.parameters.as_ref().unwrap().as_oid().unwrap();
        assert_eq!(curve.to_id_string(), "1.3.132.0.34", "P-384");
    }

    #[test]
    fn a_long_or_absent_name_leaves_the_subject_empty() {
        let key = WorkerKey::generate().unwrap();
        let long = NodeName::new(&format!("{}.{}", "a".repeat(40), "b".repeat(40))).unwrap();
        for name in [None, Some(&long)] {
            let der = pem::decode(pem::REQUEST, &key.request(name).unwrap()).unwrap();
            let (_, request) = X509CertificationRequest::from_der(&der).unwrap();
            assert_eq!(request.certification_request_info.subject.to_string(), "");
        }
    }

    #[test]
    fn a_key_reads_back_and_anything_else_does_not() {
        let key = WorkerKey::generate().unwrap();
        let again = WorkerKey::from_pem(key.expose_pem().to_owned()).unwrap();
        assert_eq!(again.public_key_der(), key.public_key_der());
        assert!(again.sign(b"message").is_ok());
        for bad in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            assert_eq!(WorkerKey::from_pem(bad.to_owned()).unwrap_err(), KeyError::Unreadable);
        }
    }

    #[test]
    fn no_debug_shows_the_key() {
        let key = WorkerKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), "WorkerKey([redacted])");
    }
}
