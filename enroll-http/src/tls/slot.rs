//! What is presented in a handshake, and how it is replaced.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use enroll_core::issue::x509::MasterCertificate;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{TlsError, provider};

/// A certificate chain and the private key that belongs to its leaf.
#[derive(Clone)]
pub struct TlsIdentity(Arc<CertifiedKey>);

impl TlsIdentity {
    /// A chain, leaf first, and the key of the leaf. A master has its root as the last of the
    /// chain, so that a worker that knows only the fingerprint can find it there.
    ///
    /// # Errors
    /// [`TlsError::Identity`] if the chain is empty, the key is of no kind that can be used, or the
    /// two do not fit.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, TlsError> {
        CertifiedKey::from_der(chain, key, &provider())
            .map(|key| Self(Arc::new(key)))
            .map_err(|_| TlsError::Identity)
    }

    /// The same from PEM.
    ///
    /// # Errors
    /// [`TlsError::Identity`] as [`Self::new`], or if either is no PEM.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>();
        let key = PrivateKeyDer::from_pem_slice(key);
        // A parse error may quote what it could not read, and one of the two is a private key.
        let (chain, key) = chain.ok().zip(key.ok()).ok_or(TlsError::Identity)?;
        Self::new(chain, key)
    }

    /// What the authority issued for a master.
    ///
    /// # Errors
    /// [`TlsError::Identity`] as [`Self::new`].
    pub fn of_master(master: &MasterCertificate) -> Result<Self, TlsError> {
        let chain = master.chain().iter().map(|der| CertificateDer::from(der.clone())).collect();
        let key = PrivatePkcs8KeyDer::from(master.expose_key()).clone_key();
        Self::new(chain, key.into())
    }

    /// The chain, leaf first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.0.cert
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity").field("key", &"[redacted]").finish_non_exhaustive()
    }
}

/// Where a handshake finds what to present, replaced in place at renewal: connections made from
/// then on present the new identity, those that stand are not touched.
///
/// It serves both ends: what a server presents, and what a client presents when it is asked.
#[derive(Debug)]
pub struct CertSlot(RwLock<TlsIdentity>);

impl CertSlot {
    /// A slot that holds `identity`.
    #[must_use]
    pub fn new(identity: TlsIdentity) -> Self {
        Self(RwLock::new(identity))
    }

    /// Presents `identity` from now on.
    pub fn replace(&self, identity: TlsIdentity) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = identity;
    }

    /// What is presented now.
    #[must_use]
    pub fn current(&self) -> TlsIdentity {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl From<TlsIdentity> for CertSlot {
    fn from(identity: TlsIdentity) -> Self {
        Self::new(identity)
    }
}

impl ResolvesServerCert for CertSlot {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current().0)
    }
}

impl ResolvesClientCert for CertSlot {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let TlsIdentity(current) = self.current();
        current.key.choose_scheme(schemes).is_some().then_some(current)
    }

    fn has_certs(&self) -> bool {
        true
    }
}
