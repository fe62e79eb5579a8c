//! The one root a machine trusts, and what a peer under it has to be.

use enroll_core::issue::x509::{PeerError, PeerLeaf, RootCertificate};
use enroll_core::model::{Fingerprint, SpiffeId, Subject};
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{TlsError, TlsRefusal};

/// The root among `presented` that has one of the pinned fingerprints; everything else in a chain
/// or a bundle is forgotten.
///
/// # Errors
/// [`TlsRefusal::PinMismatch`] if there is none, [`TlsRefusal::Chain`] if what has the fingerprint
/// is no root.
pub fn pinned_root<'a>(
    presented: impl IntoIterator<Item = &'a [u8]>,
    pins: &[Fingerprint],
) -> Result<RootCertificate, TlsRefusal> {
    let pinned = |der: &&[u8]| pins.contains(&Fingerprint::of_der(der));
    let der = presented.into_iter().find(pinned).ok_or(TlsRefusal::PinMismatch)?;
    RootCertificate::from_der(der).map_err(|_| TlsRefusal::Chain)
}

/// The roots as trust anchors.
///
/// # Errors
/// [`TlsError::Root`] if one cannot be an anchor.
pub(super) fn anchors<'a>(
    roots: impl IntoIterator<Item = &'a RootCertificate>,
) -> Result<RootCertStore, TlsError> {
    let mut anchors = RootCertStore::empty();
    for root in roots {
        anchors.add(CertificateDer::from(root.der())).map_err(|_| TlsError::Root)?;
    }
    Ok(anchors)
}

/// What the peer uses its certificate for in the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Server,
    Client,
}

/// Verifies that `leaf` chains to `anchors` alone, is valid now, and may be a server's.
pub(super) fn verify_chain(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    anchors: &RootCertStore,
    now: UnixTime,
    provider: &CryptoProvider,
) -> Result<(), TlsRefusal> {
    let leaf = ParsedCertificate::try_from(leaf).map_err(|_| TlsRefusal::Chain)?;
    let algorithms = provider.signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&leaf, anchors, intermediates, now, algorithms)
        .map_err(|error| TlsRefusal::of_verification(&error))
}

/// Checks what path validation leaves open: that `leaf` has exactly one URI name, that of `member`,
/// and that its purpose is stated, not merely not denied.
pub(super) fn check_member(
    leaf: &CertificateDer<'_>,
    purpose: Purpose,
    member: &SpiffeId,
) -> Result<(), TlsRefusal> {
    let another = match member.subject() {
        Subject::Master => TlsRefusal::NotMaster,
        Subject::Node(_) => TlsRefusal::NotThatNode,
    };
    let peer = PeerLeaf::parse(leaf).map_err(|error| match error {
        PeerError::Identity => another,
        _ => TlsRefusal::Chain,
    })?;
    if peer.id() != member {
        return Err(another);
    }
    if is_meant_for(leaf, purpose) { Ok(()) } else { Err(TlsRefusal::Chain) }
}

fn is_meant_for(leaf: &[u8], purpose: Purpose) -> bool {
    let Ok((_, leaf)) = X509Certificate::from_der(leaf) else { return false };
    let Ok(Some(usage)) = leaf.extended_key_usage() else { return false };
    match purpose {
        Purpose::Server => usage.value.server_auth,
        Purpose::Client => usage.value.client_auth,
    }
}
