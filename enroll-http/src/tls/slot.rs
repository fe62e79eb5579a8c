//! A certificate that can be replaced while connections are being made.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{TlsError, provider};

/// A certificate chain and its key, replaced in place at renewal: connections made from then on use
/// the new one, those that stand are not touched.
///
/// It serves both ends: what a server presents, and what a client presents when it is asked.
pub struct CertSlot(RwLock<Arc<CertifiedKey>>);

impl CertSlot {
    /// A chain, leaf first, and the key of the leaf. A master sends its root as the last of the
    /// chain, so that a worker that knows only the fingerprint can find it there.
    ///
    /// # Errors
    /// [`TlsError::Identity`] if the chain is empty, the key is of no kind that can be used, or the
    /// two do not fit.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, TlsError> {
        certified(chain, key).map(|key| Self(RwLock::new(key)))
    }

    /// The same from PEM.
    ///
    /// # Errors
    /// [`TlsError::Identity`] as [`Self::new`], or if either is no PEM.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let (chain, key) = read_pem(chain, key)?;
        Self::new(chain, key)
    }

    /// Presents another chain from now on. On an error the old one stays.
    ///
    /// # Errors
    /// [`TlsError::Identity`] as [`Self::new`].
    pub fn replace(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<(), TlsError> {
        let key = certified(chain, key)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = key;
        Ok(())
    }

    /// [`Self::replace`] from PEM.
    ///
    /// # Errors
    /// [`TlsError::Identity`] as [`Self::from_pem`].
    pub fn replace_pem(&self, chain: &[u8], key: &[u8]) -> Result<(), TlsError> {
        let (chain, key) = read_pem(chain, key)?;
        self.replace(chain, key)
    }

    /// The chain that is presented now, leaf first.
    #[must_use]
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.current().cert.clone()
    }

    fn current(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for CertSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertSlot").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for CertSlot {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl ResolvesClientCert for CertSlot {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let current = self.current();
        current.key.choose_scheme(schemes).is_some().then_some(current)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, TlsError> {
    CertifiedKey::from_der(chain, key, &provider()).map(Arc::new).map_err(|_| TlsError::Identity)
}

type ChainAndKey = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn read_pem(chain: &[u8], key: &[u8]) -> Result<ChainAndKey, TlsError> {
    let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>();
    let key = PrivateKeyDer::from_pem_slice(key);
    // A parse error may quote what it could not read, and one of the two is a private key.
    chain.ok().zip(key.ok()).ok_or(TlsError::Identity)
}
