//! The root certificate, as everybody but its holder sees it.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::OID_X509_COMMON_NAME;
use x509_parser::x509::{X509Name, X509Version};

use crate::model::{Fingerprint, Timestamp, TrustDomain};

use super::key::PublicKey;
use super::signed::Signed;
use crate::pem;

/// A root certificate of a fleet: self-signed, an authority, named after its trust domain.
#[derive(Clone)]
pub struct RootCertificate {
    der: Box<[u8]>,
    pem: Box<str>,
    fingerprint: Fingerprint,
    trust_domain: TrustDomain,
    key: PublicKey,
    /// The subject's DER, which is the issuer's in every certificate it signed.
    subject: Box<[u8]>,
    key_id: Box<[u8]>,
    not_before: Timestamp,
    not_after: Timestamp,
}

/// Why something is no root certificate of a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// It is not one PEM block, or not the DER of a certificate.
    #[error("it is not one whole certificate")]
    Malformed,
    /// It may not sign certificates: no CA:TRUE, no keyCertSign, or no subject key identifier.
    #[error("it is not the certificate of an authority (CA:TRUE, keyCertSign, key identifier)")]
    NotAuthority,
    /// Its subject is not just a common name that is a trust domain.
    #[error("its subject is not just a common name that is a trust domain")]
    TrustDomain,
    /// Its key is none this fleet accepts.
    #[error("its key is not ECDSA P-256, P-384 or Ed25519")]
    Key,
    /// It is not signed by its own key.
    #[error("it is not signed by its own key")]
    Signature,
}

impl RootCertificate {
    /// Reads one PEM block `CERTIFICATE`. Whether it has expired is not looked at.
    ///
    /// # Errors
    /// [`RootError`] says what is amiss.
    pub fn from_pem(text: &str) -> Result<Self, RootError> {
        Self::from_der(&pem::decode(CERTIFICATE, text).ok_or(RootError::Malformed)?)
    }

    /// Reads the DER of a certificate. Whether it has expired is not looked at.
    ///
    /// # Errors
    /// [`RootError`] says what is amiss.
    pub fn from_der(der: &[u8]) -> Result<Self, RootError> {
        let signed = Signed::parse(der).ok_or(RootError::Malformed)?;
        let cert = parse_certificate(der).ok_or(RootError::Malformed)?;
        let key_id = authority_key_id(&cert).ok_or(RootError::NotAuthority)?;
        let key = PublicKey::from_spki(cert.public_key().raw).map_err(|_| RootError::Key)?;
        signed.verify(der, &key).map_err(|_| RootError::Signature)?;
        if cert.issuer().as_raw() != cert.subject().as_raw() {
            return Err(RootError::Signature);
        }
        Ok(Self {
            pem: pem::encode(CERTIFICATE, der).into(),
            fingerprint: Fingerprint::of_der(der),
            trust_domain: trust_domain(cert.subject()).ok_or(RootError::TrustDomain)?,
            subject: cert.subject().as_raw().into(),
            key_id: key_id.into(),
            not_before: Timestamp::from_unix_secs(cert.validity().not_before.timestamp()),
            not_after: Timestamp::from_unix_secs(cert.validity().not_after.timestamp()),
            der: der.into(),
            key,
        })
    }

    /// The certificate's DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate as PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The SHA-256 of the DER, which workers pin.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The fleet's name, read from the common name.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// From when it is valid; whole seconds.
    #[must_use]
    pub const fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// Until when it is valid, that second included.
    #[must_use]
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// The key its certificates are signed with.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.key
    }

    pub(super) fn subject(&self) -> &[u8] {
        &self.subject
    }

    pub(super) fn key_id(&self) -> &[u8] {
        &self.key_id
    }
}

impl std::fmt::Debug for RootCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RootCertificate")
            .field("trust_domain", &self.trust_domain)
            .field("fingerprint", &self.fingerprint)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// All of `der` as one certificate of version 3.
pub(super) fn parse_certificate(der: &[u8]) -> Option<X509Certificate<'_>> {
    let (rest, cert) = x509_parser::parse_x509_certificate(der).ok()?;
    (rest.is_empty() && cert.version() == X509Version::V3).then_some(cert)
}

/// The common name of a subject that holds nothing else.
pub(super) fn sole_common_name<'a>(subject: &'a X509Name<'_>) -> Option<&'a str> {
    let mut attributes = subject.iter_attributes();
    let one = attributes.next()?;
    let sole = attributes.next().is_none() && one.attr_type() == &OID_X509_COMMON_NAME;
    one.as_str().ok().filter(|_| sole)
}

/// The subject key identifier of a certificate that may sign others.
fn authority_key_id<'a>(cert: &X509Certificate<'a>) -> Option<&'a [u8]> {
    let may_sign =
        cert.basic_constraints().ok()??.value.ca && cert.key_usage().ok()??.value.key_cert_sign();
    let key_id = cert.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    });
    key_id.filter(|_| may_sign)
}

fn trust_domain(subject: &X509Name<'_>) -> Option<TrustDomain> {
    TrustDomain::new(sole_common_name(subject)?).ok()
}

pub(super) const CERTIFICATE: &str = "CERTIFICATE";
