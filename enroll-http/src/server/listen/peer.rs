//! Who is on the other end of a connection.

use std::net::SocketAddr;
use std::sync::Arc;

use enroll_core::model::Timestamp;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// The address a connection came from; in the extensions of every request that a
/// [`Listener`](super::Listener) serves. It is the socket's address: no header can change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "an embedder's own listener inserts it too")]
pub struct PeerAddr(pub SocketAddr);

/// The certificate a client presented and proved to hold the key of; in the extensions of every
/// request of its connection, absent where none was presented.
///
/// The handshake verified the chain, the dates and the purpose, once. Whether the identity still
/// holds (revoked, replaced, expired since) is asked of the store at each request.
#[derive(Clone)]
pub struct PeerCertificate(Arc<Parsed>);

struct Parsed {
    der: CertificateDer<'static>,
    serial: Vec<u8>,
    uris: Vec<String>,
    not_after: Timestamp,
}

impl PeerCertificate {
    /// Reads a leaf certificate; `None` if `der` is none.
    ///
    /// For an embedder whose own TLS front verified the client: insert the value into the request's
    /// extensions, as a [`Listener`](super::Listener) does.
    #[must_use]
    pub fn parse(der: &[u8]) -> Option<Self> {
        let (rest, leaf) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let names = leaf.subject_alternative_name().ok()?;
        let uris = names.map_or_else(Vec::new, |san| {
            let uri = |name: &GeneralName<'_>| match name {
                GeneralName::URI(uri) => Some((*uri).to_owned()),
                _ => None,
            };
            san.value.general_names.iter().filter_map(uri).collect()
        });
        Some(Self(Arc::new(Parsed {
            der: CertificateDer::from(der.to_vec()),
            serial: positive(leaf.raw_serial()).to_vec(),
            uris,
            not_after: Timestamp::from_unix_secs(leaf.validity().not_after.timestamp()),
        })))
    }

    /// The certificate's DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// The serial number: big-endian, without the zero byte that DER puts before a high first bit.
    #[must_use]
    pub fn serial(&self) -> &[u8] {
        &self.0.serial
    }

    /// The URI names, as they stand in the certificate. A node's leaf has exactly one.
    #[must_use]
    pub fn uris(&self) -> &[String] {
        &self.0.uris
    }

    /// The end of its validity. A connection can outlive it.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.0.not_after
    }
}

impl std::fmt::Debug for PeerCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerCertificate")
            .field("serial", &data_encoding::HEXLOWER.encode(self.serial()))
            .field("uris", &self.uris())
            .finish_non_exhaustive()
    }
}

fn positive(serial: &[u8]) -> &[u8] {
    match serial {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    }
}
