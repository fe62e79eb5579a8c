//! Configurations of the two ends, with what must not be forgotten already said.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use enroll_core::issue::x509::RootCertificate;
use enroll_core::model::{Clock, SystemClock};
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::UnixTime;

use super::root::anchors;
use super::{CertSlot, RootVerifier, TlsError, alpn, provider};

/// Whether a server asks its clients for a certificate.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ClientAuth {
    /// It asks for none.
    Off,
    /// It asks, and lets in without: a request then carries no
    /// [`PeerCertificate`](crate::server::PeerCertificate). What is presented must chain to one of
    /// these roots and be valid, or the handshake fails.
    Optional {
        /// The roots of members.
        roots: Vec<RootCertificate>,
    },
    /// It lets in one member alone, as a worker does with its master.
    Only(Arc<RootVerifier>),
}

/// The server's side of TLS 1.2 and 1.3.
///
/// # Defaults
/// - **No resumption**, by ticket or by session: a resumed session skips the verification of the
///   client's certificate. No early data.
/// - No client certificate is asked for.
/// - HTTP/1.1 by ALPN; a [`Listener`](crate::server::Listener) sets it by what it serves.
/// - The system's clock.
#[derive(Clone)]
pub struct ServerTls {
    identity: Arc<CertSlot>,
    client_auth: ClientAuth,
    http2: bool,
    clock: Arc<dyn Clock>,
}

impl ServerTls {
    /// Presents what is in `identity`, at each handshake anew.
    #[must_use]
    pub fn new(identity: Arc<CertSlot>) -> Self {
        Self { identity, client_auth: ClientAuth::Off, http2: false, clock: system() }
    }

    /// Whether clients are asked for a certificate.
    #[must_use]
    pub fn with_client_auth(mut self, client_auth: ClientAuth) -> Self {
        self.client_auth = client_auth;
        self
    }

    /// Offers HTTP/2 before HTTP/1.1.
    #[must_use]
    pub const fn with_http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    /// The clock that certificates are judged by.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The configuration.
    ///
    /// # Errors
    /// [`TlsError::Root`] if a root for clients is none, or there is none.
    pub fn config(self) -> Result<Arc<ServerConfig>, TlsError> {
        let time = Arc::new(Time(self.clock));
        let builder = ServerConfig::builder_with_details(Arc::new(provider()), time)
            .with_safe_default_protocol_versions()
            .map_err(|_| TlsError::Provider)?;
        let builder = match verifier(self.client_auth)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(self.identity);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        config.alpn_protocols = alpn(self.http2);
        Ok(Arc::new(config))
    }
}

fn verifier(client_auth: ClientAuth) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    let roots = match client_auth {
        ClientAuth::Off => return Ok(None),
        ClientAuth::Only(verifier) => return Ok(Some(verifier)),
        ClientAuth::Optional { roots } => roots,
    };
    let anchors = Arc::new(anchors(&roots)?);
    WebPkiClientVerifier::builder_with_provider(anchors, Arc::new(provider()))
        .allow_unauthenticated()
        .build()
        .map(Some)
        .map_err(|_| TlsError::Root)
}

/// The client's side of TLS 1.2 and 1.3.
///
/// # Defaults
/// - No resumption and no early data, as on the server's side.
/// - No certificate is presented.
/// - HTTP/1.1 by ALPN.
/// - The system's clock.
#[derive(Clone)]
pub struct ClientTls {
    verifier: Arc<dyn ServerCertVerifier>,
    identity: Option<Arc<CertSlot>>,
    http2: bool,
    clock: Arc<dyn Clock>,
}

impl ClientTls {
    /// Trusts whom `verifier` accepts: a [`PinnedVerifier`](super::PinnedVerifier) or a
    /// [`RootVerifier`].
    #[must_use]
    pub fn new(verifier: Arc<dyn ServerCertVerifier>) -> Self {
        Self { verifier, identity: None, http2: false, clock: system() }
    }

    /// Presents what is in `identity` when the server asks.
    #[must_use]
    pub fn with_identity(mut self, identity: Arc<CertSlot>) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Offers HTTP/2 before HTTP/1.1.
    #[must_use]
    pub const fn with_http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    /// The clock that certificates are judged by.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The configuration.
    ///
    /// # Errors
    /// [`TlsError::Provider`] if the cryptography provider lacks what TLS 1.2 or 1.3 needs.
    pub fn config(self) -> Result<ClientConfig, TlsError> {
        let time = Arc::new(Time(self.clock));
        let builder = ClientConfig::builder_with_details(Arc::new(provider()), time)
            .with_safe_default_protocol_versions()
            .map_err(|_| TlsError::Provider)?
            // The verifiers of this crate are stricter than the web's in all but the host name.
            .dangerous()
            .with_custom_certificate_verifier(self.verifier);
        let mut config = match self.identity {
            Some(identity) => builder.with_client_cert_resolver(identity),
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        config.alpn_protocols = alpn(self.http2);
        Ok(config)
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("client_auth", &self.client_auth)
            .field("http2", &self.http2)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("verifier", &self.verifier)
            .field("identity", &self.identity)
            .field("http2", &self.http2)
            .finish_non_exhaustive()
    }
}

fn system() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

/// The library's clock as rustls asks for it.
struct Time(Arc<dyn Clock>);

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Time")
    }
}

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        let millis = u64::try_from(self.0.now().unix_millis()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_millis(millis)))
    }
}
