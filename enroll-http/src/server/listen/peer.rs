//! Who is on the other end of a connection.

use std::net::SocketAddr;
use std::sync::Arc;

use enroll_core::issue::x509::PeerLeaf;

/// The address a connection came from; in the extensions of every request that a
/// [`Listener`](super::Listener) serves. It is the socket's address: no header can change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "an embedder's own listener inserts it too")]
pub struct PeerAddr(pub SocketAddr);

/// The certificate a client presented and proved to hold the key of, read once per connection; in
/// the extensions of every request of it, absent where none was presented.
///
/// The handshake verified the chain, the dates and the purpose, once. Whether the identity still
/// holds (revoked, replaced, expired since) is asked of the store at each request.
#[derive(Debug, Clone)]
pub struct PeerCertificate(Arc<PeerLeaf>);

impl PeerCertificate {
    /// For an embedder whose own TLS front verified the client: insert the value into the request's
    /// extensions, as a [`Listener`](super::Listener) does.
    #[must_use]
    pub fn new(leaf: PeerLeaf) -> Self {
        Self(Arc::new(leaf))
    }

    /// The certificate.
    #[must_use]
    pub fn leaf(&self) -> &PeerLeaf {
        &self.0
    }
}
