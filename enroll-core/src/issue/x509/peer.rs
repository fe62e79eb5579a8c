//! A certificate somebody presents.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::model::{Serial, Sha256, SpiffeId, Timestamp};

use super::key::PublicKey;
use super::root::{RootCertificate, parse_certificate};
use super::signed::Signed;
use crate::pem;

/// The leaf certificate of a peer: who it says its holder is.
///
/// Reading one proves nothing. On a connection the TLS layer has proven it; anywhere else
/// [`PeerLeaf::verify_issued_by`] does. Either way the store has the last word, by the serial.
#[derive(Debug, Clone)]
pub struct PeerLeaf {
    der: Box<[u8]>,
    signed: Signed,
    issuer: Box<[u8]>,
    serial: Serial,
    id: SpiffeId,
    key: PublicKey,
    not_before: Timestamp,
    not_after: Timestamp,
}

/// Why a certificate is no member's of a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// It is not the DER of one certificate, or its serial number is none.
    #[error("not one whole certificate")]
    Malformed,
    /// It may sign certificates.
    #[error("the certificate is that of an authority, not of a member")]
    Authority,
    /// It does not hold exactly one URI, that of a node or a master.
    #[error("the certificate names no node and no master")]
    Identity,
    /// Its key is none this fleet accepts.
    #[error("the certificate's key is not ECDSA P-384, ECDSA P-256 or Ed25519")]
    Key,
    /// The root has not issued it.
    #[error("the certificate was not issued by this fleet's authority")]
    Foreign,
}

impl PeerLeaf {
    /// Reads the DER of a certificate. Neither its signature nor its validity is looked at.
    ///
    /// # Errors
    /// [`PeerError`], all but [`PeerError::Foreign`].
    pub fn parse(der: &[u8]) -> Result<Self, PeerError> {
        let signed = Signed::parse(der).ok_or(PeerError::Malformed)?;
        let cert = parse_certificate(der).ok_or(PeerError::Malformed)?;
        if is_authority(&cert) {
            return Err(PeerError::Authority);
        }
        Ok(Self {
            signed,
            issuer: cert.issuer().as_raw().into(),
            serial: serial(&cert).ok_or(PeerError::Malformed)?,
            id: spiffe_id(&cert).ok_or(PeerError::Identity)?,
            key: PublicKey::from_spki(cert.public_key().raw).map_err(|_| PeerError::Key)?,
            not_before: Timestamp::from_unix_secs(cert.validity().not_before.timestamp()),
            not_after: Timestamp::from_unix_secs(cert.validity().not_after.timestamp()),
            der: der.into(),
        })
    }

    /// Reads a PEM text that holds one certificate and nothing else.
    ///
    /// # Errors
    /// As [`PeerLeaf::parse`].
    pub fn from_pem(text: &str) -> Result<Self, PeerError> {
        Self::parse(&pem::decode("CERTIFICATE", text).ok_or(PeerError::Malformed)?)
    }

    /// Verifies that `root` issued it, whether or not it has expired since.
    ///
    /// # Errors
    /// [`PeerError::Foreign`].
    pub fn verify_issued_by(&self, root: &RootCertificate) -> Result<(), PeerError> {
        let named =
            &*self.issuer == root.subject() && self.id.trust_domain() == root.trust_domain();
        let signed = || self.signed.verify(&self.der, root.public_key()).is_ok();
        if named && signed() { Ok(()) } else { Err(PeerError::Foreign) }
    }

    /// The certificate's DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The serial number, by which the store knows it.
    #[must_use]
    pub const fn serial(&self) -> Serial {
        self.serial
    }

    /// Whom it names, and in which trust domain.
    #[must_use]
    pub const fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// Its public key.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.key
    }

    /// The SHA-256 of its public key's DER `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn key_digest(&self) -> Sha256 {
        self.key.digest()
    }

    /// The first second it is valid.
    #[must_use]
    pub const fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// The last second it is valid.
    #[must_use]
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

/// What cannot be read counts as the worst it could say.
fn is_authority(cert: &X509Certificate<'_>) -> bool {
    let constraints = cert.basic_constraints();
    let signs = cert.key_usage().map(|usage| usage.is_some_and(|u| u.value.key_cert_sign()));
    !matches!(constraints, Ok(Some(basic)) if !basic.value.ca) || !matches!(signs, Ok(false))
}

fn serial(cert: &X509Certificate<'_>) -> Option<Serial> {
    let raw = cert.tbs_certificate.raw_serial();
    let positive = raw.first().is_some_and(|&first| first < 0x80);
    Serial::from_bytes(raw).ok().filter(|_| positive)
}

/// A certificate with two URIs would be two members, one for each reader (SPIFFE X.509-SVID, 2).
fn spiffe_id(cert: &X509Certificate<'_>) -> Option<SpiffeId> {
    let names = cert.subject_alternative_name().ok()??;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let one = uris.next()?;
    uris.next().is_none().then(|| one.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issue::x509::Authority;
    use crate::issue::x509::profile::{AltName, Profile};
    use crate::model::{SystemEntropy, TrustDomain};

    /// An authority signs its own trust domain only; a leaf of another, even with its signature,
    /// would be a member of a fleet it has no say in.
    #[test]
    fn a_leaf_that_names_another_trust_domain_than_its_root_is_foreign() {
        let at = Timestamp::from_unix_secs(1_795_176_000);
        let ours = Authority::in_memory(&TrustDomain::default(), at, &SystemEntropy).unwrap();
        let parse = |uri: &str| {
            let profile = Profile {
                root: ours.root(),
                key: ours.root().public_key(),
                common_name: None,
                alt_names: vec![AltName::Uri(uri.into())],
                serial: Serial::generate(at, &SystemEntropy).unwrap(),
                not_before: at,
                not_after: at,
            };
            PeerLeaf::parse(&ours.sign(&profile).unwrap()).unwrap()
        };
        let own = parse("spiffe://enroll.internal/master");
        assert_eq!(own.verify_issued_by(ours.root()), Ok(()));
        let other = parse("spiffe://other.example/master");
        assert_eq!(other.verify_issued_by(ours.root()), Err(PeerError::Foreign));
    }
}
