//! Why a TLS peer was refused, and how to find that again in another library's error.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use rustls::{AlertDescription, CertificateError, Error, OtherError};

/// Why no TLS session with a peer came about, or why it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TlsRefusal {
    /// No certificate in the presented chain has a pinned fingerprint.
    #[error(
        "the server presented no certificate with the pinned fingerprint: it is another master, or someone in between"
    )]
    PinMismatch,
    /// The certificate does not chain to the one trusted root, or breaks a rule of RFC 5280.
    #[error("the peer's certificate does not chain to the trusted root")]
    Chain,
    /// The certificate is good, and it is not the master's: a member of the fleet may pose as it.
    #[error("the peer's certificate is not the master's")]
    NotMaster,
    /// The certificate is good, and it is another node's than the one that was called.
    #[error("the peer's certificate is another node's")]
    NotThatNode,
    /// The certificate's validity has not begun, which a wrong clock makes of any certificate.
    #[error("the peer's certificate is not valid yet: look at the clock of this machine")]
    NotYetValid,
    /// The certificate's validity is over.
    #[error(
        "the peer's certificate has expired: look at the clock of this machine, then at the peer's certificate"
    )]
    Expired,
    /// The peer refused our certificate, or asked for one.
    #[error("the peer refused the certificate of this machine")]
    RefusedByPeer,
    /// What the peer spoke is not TLS as it is spoken here.
    #[error("the peer does not speak TLS, or not a version or cipher that is accepted")]
    Protocol,
}

impl TlsRefusal {
    /// Whether the same call can succeed later without anyone changing the pin or the certificate:
    /// a clock that is set, a machine that was started before its time source.
    #[must_use]
    pub const fn may_pass(self) -> bool {
        matches!(self, Self::NotYetValid)
    }

    /// Why the chain could not be verified.
    pub(super) fn of_verification(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
            ) => Self::NotYetValid,
            Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            ) => Self::Expired,
            _ => Self::Chain,
        }
    }

    fn of_session(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(CertificateError::Other(OtherError(refusal))) => {
                refusal.downcast_ref().copied().unwrap_or(Self::Chain)
            }
            Error::InvalidCertificate(_) => Self::of_verification(error),
            Error::AlertReceived(alert) if is_about_a_certificate(*alert) => Self::RefusedByPeer,
            _ => Self::Protocol,
        }
    }
}

impl From<TlsRefusal> for Error {
    fn from(refusal: TlsRefusal) -> Self {
        CertificateError::Other(OtherError(Arc::new(refusal))).into()
    }
}

/// The refusal at the bottom of an error of an HTTP client, a gRPC client or a socket, if it failed
/// in TLS at all.
///
/// Follows `source()`, and looks inside [`io::Error`], which shows what it carries only through
/// `get_ref`.
#[must_use]
pub fn tls_refusal(error: &(dyn StdError + 'static)) -> Option<TlsRefusal> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(refusal) = error.downcast_ref() {
            return Some(*refusal);
        }
        if let Some(error) = error.downcast_ref() {
            return Some(TlsRefusal::of_session(error));
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(carried) => Some(carried),
            None => error.source(),
        };
    }
    None
}

const fn is_about_a_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            // The certificate names a root of the peer's and was not signed by it.
            | AlertDescription::DecryptError
            | AlertDescription::CertificateRequired
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_found_however_deep_it_is_wrapped() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] io::Error);

        let tls = Error::from(TlsRefusal::NotMaster);
        let error = Outer(io::Error::other(io::Error::new(io::ErrorKind::InvalidData, tls)));
        assert_eq!(tls_refusal(&error), Some(TlsRefusal::NotMaster));
    }

    #[test]
    fn what_did_not_fail_in_tls_is_no_refusal() {
        assert_eq!(tls_refusal(&io::Error::from(io::ErrorKind::ConnectionRefused)), None);
        assert_eq!(tls_refusal(&io::Error::other("text")), None);
    }

    #[test]
    fn alerts_about_our_certificate_are_told_from_other_failures() {
        let of = |error: Error| tls_refusal(&io::Error::other(error));
        assert_eq!(
            of(Error::AlertReceived(AlertDescription::CertificateExpired)),
            Some(TlsRefusal::RefusedByPeer)
        );
        assert_eq!(
            of(Error::AlertReceived(AlertDescription::ProtocolVersion)),
            Some(TlsRefusal::Protocol)
        );
    }

    #[test]
    fn only_a_clock_that_may_be_set_is_worth_waiting_for() {
        assert!(TlsRefusal::NotYetValid.may_pass());
        for other in [TlsRefusal::PinMismatch, TlsRefusal::NotMaster, TlsRefusal::Expired] {
            assert!(!other.may_pass(), "{other:?}");
        }
    }
}
