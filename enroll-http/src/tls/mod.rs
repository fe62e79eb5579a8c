//! TLS as a fleet needs it: one private root, members told apart by a URI name, nothing resumed.
//!
//! - **The provider is always named** ([`provider`]): a process-wide default is neither read nor
//!   installed, so an embedder may use another beside it.
//! - **No session is resumed**: resumption would carry a client past the verifier.
//! - **Public roots are never asked**, and a host name never compared: the pin says who the root is,
//!   the URI name says who its member is.
//!
//! Only this module and [`Listener::with_tls`](crate::server::Listener::with_tls) speak in types of
//! rustls; they come from [`rustls`], re-exported so that versions match.

mod config;
mod http;
mod master;
mod refusal;
mod root;
mod slot;
mod verify;
#[cfg(any(feature = "headscale", feature = "portainer"))]
mod web;

pub use config::{ClientAuth, ClientTls, ServerTls};
pub use http::{HttpOptions, http_client};
pub use master::{MasterIdentity, MasterIdentityError};
pub use refusal::{TlsRefusal, tls_refusal};
pub use root::pinned_root;
pub use rustls;
pub use slot::{CertSlot, TlsIdentity};
pub use verify::{PinnedVerifier, RootVerifier};
#[cfg(any(feature = "headscale", feature = "portainer"))]
pub use web::WebRoots;

use ::rustls::crypto::{CryptoProvider, aws_lc_rs};

/// What cannot be made into a TLS configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The chain and the key cannot be presented: unreadable, of no usable kind, or they do not fit.
    #[error("the certificate chain and its private key cannot be used together")]
    Identity,
    /// A root cannot be a trust anchor, or there is none.
    #[error("a root certificate cannot be a trust anchor, or there is none")]
    Root,
    /// The cryptography provider lacks what TLS 1.2 or 1.3 needs.
    #[error("the cryptography provider supports no version of TLS that is accepted")]
    Provider,
    /// The HTTP client could not be built.
    #[error("the HTTP client could not be built")]
    Client(#[source] reqwest::Error),
}

/// The cryptography of every TLS configuration made here: aws-lc-rs.
#[must_use]
pub fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

/// The protocols of ALPN, preferred first.
pub(crate) fn alpn(http2: bool) -> Vec<Vec<u8>> {
    let offered: &[&[u8]] = if http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
    offered.iter().map(|name| name.to_vec()).collect()
}
