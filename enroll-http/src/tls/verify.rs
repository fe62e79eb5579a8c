//! Verifiers that trust one root, and under it one member.

use std::fmt;
use std::sync::{Arc, OnceLock};

use enroll_core::issue::x509::RootCertificate;
use enroll_core::model::{Fingerprint, NodeName, SpiffeId, Subject};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::root::{Purpose, anchors, check_member, pinned_root, verify_chain};
use super::{TlsError, TlsRefusal, provider};

/// Verifies a master of which only the fingerprint of its root is known: first contact.
///
/// Trusts exactly the presented root that has a pinned fingerprint and forgets the rest; requires
/// the server's certificate to chain to it, to be valid now, to be meant for a server, and to have
/// exactly one URI name, `spiffe://<trust domain>/master`, the trust domain being the root's common
/// name. Without the last, any member of the fleet could pose as the master: members hold server
/// certificates under the same root. The host name is not compared, and no public root is asked.
///
/// All of it happens before the first byte of HTTP, so a wrong pin never sees a token.
pub struct PinnedVerifier {
    pins: Vec<Fingerprint>,
    root: OnceLock<RootCertificate>,
    provider: Arc<CryptoProvider>,
}

impl PinnedVerifier {
    /// Accepts a master under a root that has one of `pins`. Without any, it accepts none.
    #[must_use]
    pub fn new(pins: impl IntoIterator<Item = Fingerprint>) -> Self {
        Self {
            pins: pins.into_iter().collect(),
            root: OnceLock::new(),
            provider: Arc::new(provider()),
        }
    }

    /// The root that was trusted, once a master was verified: what the machine keeps as its CA.
    #[must_use]
    pub fn root(&self) -> Option<&RootCertificate> {
        self.root.get()
    }
}

impl fmt::Debug for PinnedVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinnedVerifier").field("pins", &self.pins).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let root = pinned_root(intermediates.iter().map(AsRef::as_ref), &self.pins)?;
        let anchors = anchors([&root]).map_err(|_| TlsRefusal::Chain)?;
        verify_chain(leaf, intermediates, &anchors, now, &self.provider)?;
        let master = SpiffeId::new(root.trust_domain().clone(), Subject::Master);
        check_member(leaf, Purpose::Server, &master)?;
        self.root.get_or_init(|| root);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Verifies one member under a root that is known: the master for a worker, a node for the master.
///
/// The rules are those of [`PinnedVerifier`], with the root in hand. It serves both ends: the peer
/// that is called, and the peer that calls.
pub struct RootVerifier {
    root: RootCertificate,
    member: SpiffeId,
    anchors: Arc<RootCertStore>,
    callers: Arc<dyn ClientCertVerifier>,
    provider: Arc<CryptoProvider>,
}

impl RootVerifier {
    /// Accepts the master alone: the one URI name `spiffe://<trust domain>/master`.
    ///
    /// # Errors
    /// [`TlsError::Root`] if `root` cannot be a trust anchor.
    pub fn master(root: &RootCertificate) -> Result<Self, TlsError> {
        Self::new(root, Subject::Master)
    }

    /// Accepts the node `name` alone: the one URI name `spiffe://<trust domain>/node/<name>`.
    ///
    /// # Errors
    /// [`TlsError::Root`] if `root` cannot be a trust anchor.
    pub fn node(root: &RootCertificate, name: NodeName) -> Result<Self, TlsError> {
        Self::new(root, Subject::Node(name))
    }

    fn new(root: &RootCertificate, member: Subject) -> Result<Self, TlsError> {
        let provider = Arc::new(provider());
        let anchors = Arc::new(anchors([root])?);
        let (trusted, with) = (Arc::clone(&anchors), Arc::clone(&provider));
        let callers = WebPkiClientVerifier::builder_with_provider(trusted, with)
            .build()
            .map_err(|_| TlsError::Root)?;
        let member = SpiffeId::new(root.trust_domain().clone(), member);
        Ok(Self { root: root.clone(), member, anchors, callers, provider })
    }

    /// The root.
    #[must_use]
    pub const fn root(&self) -> &RootCertificate {
        &self.root
    }
}

impl fmt::Debug for RootVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootVerifier")
            .field("root", &self.root)
            .field("member", &self.member)
            .finish_non_exhaustive()
    }
}

impl ServerCertVerifier for RootVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        verify_chain(leaf, intermediates, &self.anchors, now, &self.provider)?;
        check_member(leaf, Purpose::Server, &self.member)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.callers.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.callers.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.callers.supported_verify_schemes()
    }
}

impl ClientCertVerifier for RootVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.callers.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.callers.verify_client_cert(leaf, intermediates, now)?;
        check_member(leaf, Purpose::Client, &self.member)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.callers.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.callers.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.callers.supported_verify_schemes()
    }
}
