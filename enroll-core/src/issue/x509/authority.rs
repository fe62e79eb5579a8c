//! The authority: the root certificate and the key that signs under it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyUsagePurpose,
    PublicKeyData as _,
};
use zeroize::Zeroizing;

use crate::model::{
    Clock as _, Entropy, Fingerprint, Serial, SystemClock, SystemEntropy, Timestamp, TrustDomain,
};

use super::authority_error::AuthorityError;
use super::files::{Place, Presence, Texts};
use super::root::{self, RootCertificate, RootError};
use super::sign::date;
use super::signer::Signer;
use crate::pem;

/// A fleet's certificate authority: P-256, valid ten years, kept as `ca.key` and `ca.crt`.
///
/// Parsed once; signing re-reads nothing. Shared by reference or `Arc`; any number of threads may
/// sign at once.
pub struct Authority {
    root: RootCertificate,
    issuer: Issuer<'static, Signer>,
}

/// How an authority is opened or created.
///
/// # Defaults
/// - trust domain: whatever an existing authority has; [`TrustDomain::DEFAULT`] for a new one.
#[derive(Debug, Clone, Default)]
pub struct AuthorityOptions {
    trust_domain: Option<TrustDomain>,
}

impl Authority {
    /// How long a root certificate is valid: ten years of 365 days.
    pub const LIFETIME: Duration = Duration::from_secs(3650 * DAY);

    /// Opens the authority in `dir`, or creates one there for [`TrustDomain::DEFAULT`], by the
    /// system's clock and randomness.
    ///
    /// # Errors
    /// As [`AuthorityOptions::open_or_create`].
    pub fn open_or_create(dir: impl AsRef<Path>) -> Result<Self, AuthorityError> {
        let at = SystemClock::new().now();
        AuthorityOptions::new().open_or_create(dir.as_ref(), at, &SystemEntropy::new())
    }

    /// Creates a new authority in `dir`, which is made (mode 0700) if need be.
    ///
    /// # Errors
    /// [`AuthorityError::Exists`] when there is one, or half of one; otherwise what
    /// the file system or the randomness refused.
    pub fn create(
        dir: &Path,
        trust_domain: &TrustDomain,
        at: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<Self, AuthorityError> {
        let place = Place::new(dir);
        place.prepare()?;
        let _locked = place.lock()?;
        if place.presence() != Presence::Neither {
            return Err(AuthorityError::Exists { dir: dir.into() });
        }
        place.write(&generate(trust_domain, at, entropy)?)?;
        Self::open(dir, at)
    }

    /// Opens the authority in `dir`.
    ///
    /// # Errors
    /// [`AuthorityError`] when a file is missing, damaged, exposed, linked or somebody else's,
    /// when the two do not belong together, or when the certificate is not valid at `at`.
    pub fn open(dir: &Path, at: Timestamp) -> Result<Self, AuthorityError> {
        let place = Place::new(dir);
        Self::from_texts(&place.read()?, &place, at)
    }

    /// An authority from its certificate and its PKCS #8 key, both PEM: for a program that keeps
    /// them elsewhere than in files.
    ///
    /// # Errors
    /// [`AuthorityError`] when one is damaged, when they do not belong together, or when the
    /// certificate is not valid at `at`.
    pub fn from_pem(
        certificate: &str,
        key: &Zeroizing<String>,
        at: Timestamp,
    ) -> Result<Self, AuthorityError> {
        let texts = Texts { key: key.clone(), certificate: certificate.to_owned() };
        Self::from_texts(&texts, &Place::new(Path::new("")), at)
    }

    /// A new authority that is kept nowhere: for tests and demonstrations, since whoever enrolled
    /// with it has to enroll again after a restart.
    ///
    /// # Errors
    /// [`AuthorityError::Generate`].
    pub fn in_memory(
        trust_domain: &TrustDomain,
        at: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<Self, AuthorityError> {
        let texts = generate(trust_domain, at, entropy)?;
        Self::from_texts(&texts, &Place::new(Path::new("")), at)
    }

    /// The root certificate.
    #[must_use]
    pub const fn root(&self) -> &RootCertificate {
        &self.root
    }

    /// The root certificate as PEM.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        self.root.pem()
    }

    /// The root certificate's DER.
    #[must_use]
    pub fn root_der(&self) -> &[u8] {
        self.root.der()
    }

    /// The fingerprint workers pin.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.root.fingerprint()
    }

    /// The fleet's name.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        self.root.trust_domain()
    }

    /// The last second the root certificate is valid.
    #[must_use]
    pub const fn not_after(&self) -> Timestamp {
        self.root.not_after()
    }

    pub(super) const fn issuer(&self) -> &Issuer<'static, Signer> {
        &self.issuer
    }

    fn from_texts(texts: &Texts, place: &Place, at: Timestamp) -> Result<Self, AuthorityError> {
        let (key, certificate) = (place.key(), place.certificate());
        let root = RootCertificate::from_pem(&texts.certificate)
            .map_err(|source| certificate_error(certificate.clone(), source))?;
        let signer = pem::decode(PRIVATE_KEY, &texts.key)
            .and_then(|pkcs8| Signer::from_pkcs8(&pkcs8).ok())
            .ok_or_else(|| AuthorityError::KeyDamaged { path: key.clone() })?;
        if signer.subject_public_key_info() != root.public_key().as_spki() {
            return Err(AuthorityError::KeyMismatch { key, certificate });
        }
        if at > root.not_after() {
            return Err(AuthorityError::Expired { not_after: root.not_after() });
        }
        if at < root.not_before() {
            return Err(AuthorityError::NotYetValid { not_before: root.not_before() });
        }
        let issuer = Issuer::from_ca_cert_der(&root.der().into(), signer).map_err(|_| {
            AuthorityError::NotAuthority { path: certificate, source: RootError::Malformed }
        })?;
        Ok(Self { root, issuer })
    }
}

impl AuthorityOptions {
    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self { trust_domain: None }
    }

    /// The trust domain a new authority gets, and an existing one must have.
    #[must_use]
    pub fn with_trust_domain(mut self, trust_domain: TrustDomain) -> Self {
        self.trust_domain = Some(trust_domain);
        self
    }

    /// Opens the authority in `dir`, or creates it.
    ///
    /// Of several processes that start at once, one creates and the others open what it made. A
    /// creation that a crash cut short is finished; a half that something else has left is not
    /// touched.
    ///
    /// # Errors
    /// As [`Authority::open`] and [`Authority::create`], and [`AuthorityError::OtherTrustDomain`].
    pub fn open_or_create(
        &self,
        dir: &Path,
        at: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<Authority, AuthorityError> {
        let place = Place::new(dir);
        // A whole authority is opened without the lock, so that a read-only directory will do.
        if place.presence() != Presence::Both {
            place.prepare()?;
            let _locked = place.lock()?;
            self.complete(&place, at, entropy)?;
        }
        let authority = Authority::open(dir, at)?;
        match &self.trust_domain {
            Some(wanted) if wanted != authority.trust_domain() => {
                Err(AuthorityError::OtherTrustDomain {
                    wanted: wanted.clone(),
                    found: authority.trust_domain().clone(),
                })
            }
            _ => Ok(authority),
        }
    }

    /// Makes what is missing, if it may be made. The caller holds the lock.
    fn complete(
        &self,
        place: &Place,
        at: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<(), AuthorityError> {
        if place.presence() == Presence::Neither {
            let trust_domain = self.trust_domain.clone().unwrap_or_default();
            return place.write(&generate(&trust_domain, at, entropy)?);
        }
        match place.read_interrupted() {
            Some(texts) if Authority::from_texts(&texts, place, at).is_ok() => place.finish(),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("root", &self.root)
            .field("key", &"[redacted]")
            .finish_non_exhaustive()
    }
}

/// A new key and the root certificate over it.
fn generate(
    trust_domain: &TrustDomain,
    at: Timestamp,
    entropy: &dyn Entropy,
) -> Result<Texts, AuthorityError> {
    let serial =
        Serial::generate(at, entropy).map_err(|error| AuthorityError::Generate(Some(error)))?;
    let failed = || AuthorityError::Generate(None);
    let (signer, pkcs8) = Signer::generate().map_err(|_| failed())?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, trust_domain.as_str());
    params.serial_number = Some(serial.as_bytes().to_vec().into());
    params.not_before = date(at.before(BACK)).ok_or_else(failed)?;
    params.not_after = date(at.after(Authority::LIFETIME)).ok_or_else(failed)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&signer).map_err(|_| failed())?;
    Ok(Texts {
        key: Zeroizing::new(pem::encode(PRIVATE_KEY, &pkcs8)),
        certificate: pem::encode(root::CERTIFICATE, certificate.der()),
    })
}

fn certificate_error(path: PathBuf, source: RootError) -> AuthorityError {
    match source {
        RootError::Malformed | RootError::Signature => {
            AuthorityError::CertificateDamaged { path, source }
        }
        RootError::NotAuthority | RootError::TrustDomain | RootError::Key => {
            AuthorityError::NotAuthority { path, source }
        }
    }
}

/// How far back root and master certificates start, for machines whose clocks are behind.
pub(super) const BACK: Duration = Duration::from_secs(DAY);
pub(super) const DAY: u64 = 24 * 60 * 60;
const PRIVATE_KEY: &str = "PRIVATE KEY";
