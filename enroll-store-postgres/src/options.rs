//! What an embedder may choose.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::error::{OpenError, OpenErrorKind};

/// How a server is reached and used.
///
/// What durability rests on is no option: `synchronous_commit` raised in every transaction, READ
/// COMMITTED, a server with `fsync` and `full_page_writes` that is not in recovery.
///
/// # Defaults
/// - [`pool_size`](Self::with_pool_size): [`Self::DEFAULT_POOL_SIZE`], because a server spends tokens
///   fastest with a few connections for each of its cores, and each costs it memory.
/// - [`wait_timeout`](Self::with_wait_timeout): [`Self::DEFAULT_WAIT_TIMEOUT`], which is below what a
///   worker waits for an answer.
/// - [`batch`](Self::with_batch): [`Self::DEFAULT_BATCH`], beyond which one commit gains nothing more.
/// - [`statement_timeout`](Self::with_statement_timeout): [`Self::DEFAULT_STATEMENT_TIMEOUT`], which
///   is far above what any statement takes that does not wait for another.
/// - no [roots](Self::with_roots_pem): a server on another host has to be given some.
#[derive(Clone)]
pub struct Options {
    pub(crate) pool_size: NonZeroUsize,
    pub(crate) wait_timeout: Duration,
    pub(crate) statement_timeout: Duration,
    pub(crate) batch: NonZeroUsize,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl Options {
    /// Connections of one store.
    pub const DEFAULT_POOL_SIZE: NonZeroUsize = NonZeroUsize::new(16).expect("is not zero");
    /// How long an operation waits for a connection: 5 s.
    pub const DEFAULT_WAIT_TIMEOUT: Duration = Duration::from_secs(5);
    /// How long one statement may take, its waiting for locks included: 5 s.
    pub const DEFAULT_STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

    /// Redemptions that wait at the same moment and are committed together: 64.
    pub const DEFAULT_BATCH: NonZeroUsize = NonZeroUsize::new(64).expect("is not zero");

    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            batch: Self::DEFAULT_BATCH,
            pool_size: Self::DEFAULT_POOL_SIZE,
            wait_timeout: Self::DEFAULT_WAIT_TIMEOUT,
            statement_timeout: Self::DEFAULT_STATEMENT_TIMEOUT,
            tls: None,
        }
    }

    /// Uses at most `size` connections; unread with the embedder's own pool.
    #[must_use]
    pub const fn with_pool_size(mut self, size: NonZeroUsize) -> Self {
        self.pool_size = size;
        self
    }

    /// Waits at most `timeout` for a connection; what waits longer is told
    /// [`Unavailable`](enroll_core::store::StoreErrorKind::Unavailable).
    #[must_use]
    pub const fn with_wait_timeout(mut self, timeout: Duration) -> Self {
        self.wait_timeout = timeout;
        self
    }

    /// Lets one statement take at most `timeout`, in whole milliseconds, from 1 ms to 1 h.
    #[must_use]
    pub fn with_statement_timeout(mut self, timeout: Duration) -> Self {
        self.statement_timeout =
            timeout.clamp(Duration::from_millis(1), Duration::from_secs(60 * 60));
        self
    }

    /// Commits at most so many redemptions together. None waits for a batch to fill: those go
    /// together that came while others were under way. With 1 each has a transaction of its own.
    #[must_use]
    pub const fn with_batch(mut self, most: NonZeroUsize) -> Self {
        self.batch = most;
        self
    }

    /// Trusts a server whose certificate for its host name chains to one of these roots, PEM.
    ///
    /// # Errors
    /// [`OpenErrorKind::Insecure`] when there is none in it, or one that is no certificate.
    pub fn with_roots_pem(self, pem: &[u8]) -> Result<Self, OpenError> {
        let refused = |why: String| OpenError::new(OpenErrorKind::Insecure, why);
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| refused(error.to_string()))?;
            roots.add(certificate).map_err(|error| refused(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(refused("there is no certificate in the roots to trust".into()));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| refused(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(self.with_tls(config))
    }

    /// Speaks TLS as `config` says, e.g. with a client certificate.
    #[must_use]
    pub fn with_tls(mut self, config: ClientConfig) -> Self {
        self.tls = Some(Arc::new(config));
        self
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

/// A client's certificate may stand in the configuration of TLS, so that is not shown.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("pool_size", &self.pool_size)
            .field("wait_timeout", &self.wait_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("batch", &self.batch)
            .field("tls", &self.tls.is_some())
            .finish()
    }
}
