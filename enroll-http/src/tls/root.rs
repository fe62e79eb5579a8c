//! The one root a machine trusts, and what a peer under it has to be.

use enroll_core::model::{Fingerprint, NodeName};
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::TlsRefusal;

/// Whom a certificate under the trusted root has to name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Member {
    Master,
    Node(NodeName),
}

impl Member {
    fn uri(&self, trust_domain: &str) -> String {
        match self {
            Self::Master => format!("spiffe://{trust_domain}/master"),
            Self::Node(name) => format!("spiffe://{trust_domain}/node/{name}"),
        }
    }

    const fn refusal(&self) -> TlsRefusal {
        match self {
            Self::Master => TlsRefusal::NotMaster,
            Self::Node(_) => TlsRefusal::NotThatNode,
        }
    }
}

/// What the peer uses its certificate for in the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Server,
    Client,
}

/// A root certificate, read once.
#[derive(Debug, Clone)]
pub(super) struct Root {
    der: CertificateDer<'static>,
    trust_domain: String,
    anchors: RootCertStore,
}

impl Root {
    /// Reads a root: a CA certificate with exactly one common name, which is the trust domain.
    pub(super) fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, root) = X509Certificate::from_der(der).ok()?;
        if !root.is_ca() {
            return None;
        }
        let mut names = root.subject().iter_common_name();
        let trust_domain = names.next()?.as_str().ok()?.to_owned();
        if names.next().is_some() || !is_trust_domain(&trust_domain) {
            return None;
        }
        let der = der.clone().into_owned();
        let mut anchors = RootCertStore::empty();
        anchors.add(der.clone()).ok()?;
        Some(Self { der, trust_domain, anchors })
    }

    pub(super) const fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    pub(super) const fn anchors(&self) -> &RootCertStore {
        &self.anchors
    }

    /// Verifies that `leaf` chains to this root alone, is valid now, is meant for a server, and
    /// names `member`.
    pub(super) fn verify_server(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        provider: &CryptoProvider,
        member: &Member,
    ) -> Result<(), TlsRefusal> {
        let parsed = ParsedCertificate::try_from(leaf).map_err(|_| TlsRefusal::Chain)?;
        let algorithms = provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.anchors,
            intermediates,
            now,
            algorithms,
        )
        .map_err(|error| TlsRefusal::of_verification(&error))?;
        self.check_name(leaf, Purpose::Server, member)
    }

    /// Checks what path validation leaves open: that the purpose is stated, not merely not denied,
    /// and that `leaf` has exactly one URI name, that of `member`.
    pub(super) fn check_name(
        &self,
        leaf: &CertificateDer<'_>,
        purpose: Purpose,
        member: &Member,
    ) -> Result<(), TlsRefusal> {
        let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| TlsRefusal::Chain)?;
        let usage = leaf.extended_key_usage().map_err(|_| TlsRefusal::Chain)?;
        let meant = usage.is_some_and(|usage| match purpose {
            Purpose::Server => usage.value.server_auth,
            Purpose::Client => usage.value.client_auth,
        });
        if !meant {
            return Err(TlsRefusal::Chain);
        }
        let names = leaf.subject_alternative_name().map_err(|_| TlsRefusal::Chain)?;
        let mut uris =
            names.iter().flat_map(|san| &san.value.general_names).filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            });
        let only = uris.next().filter(|_| uris.next().is_none());
        let wanted = member.uri(&self.trust_domain);
        if only == Some(&wanted) { Ok(()) } else { Err(member.refusal()) }
    }
}

/// The first certificate of a chain or bundle that has one of the pinned fingerprints.
#[must_use]
pub fn find_pinned<'c, 'd>(
    presented: &'c [CertificateDer<'d>],
    pins: &[Fingerprint],
) -> Option<&'c CertificateDer<'d>> {
    presented.iter().find(|der| pins.contains(&Fingerprint::of_der(der)))
}

/// The characters of a SPIFFE trust domain (SPIFFE-ID §2.1), of which there are 1 to 255.
fn is_trust_domain(text: &str) -> bool {
    let ok = |b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    (1..=255).contains(&text.len()) && text.bytes().all(ok)
}
