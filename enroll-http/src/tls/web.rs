//! Whom to trust at a service that is no member of the fleet: a mesh's control plane, a Portainer.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::{ClientTls, TlsError, provider};

/// Whom a client trusts at an ordinary web service. The host name counts there, other than within the
/// fleet, where the pin and the URI name do.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum WebRoots {
    /// The authorities that this machine trusts, read when the client is made. Where they are, the
    /// variables `SSL_CERT_FILE` and `SSL_CERT_DIR` may say.
    #[default]
    System,
    /// These alone: one certificate in PEM, or several.
    Pem(String),
}

impl WebRoots {
    /// TLS towards a service under these roots, without an identity of its own.
    ///
    /// # Errors
    /// [`TlsError::Root`] if there is no root that can be used.
    pub fn client(&self) -> Result<ClientConfig, TlsError> {
        let builder =
            WebPkiServerVerifier::builder_with_provider(Arc::new(self.store()?), provider().into());
        ClientTls::new(builder.build().map_err(|_| TlsError::Root)?).config()
    }

    fn store(&self) -> Result<RootCertStore, TlsError> {
        let certificates = match self {
            Self::System => rustls_native_certs::load_native_certs().certs,
            Self::Pem(text) => CertificateDer::pem_slice_iter(text.as_bytes())
                .collect::<Result<_, _>>()
                .map_err(|_| TlsError::Root)?,
        };
        let mut store = RootCertStore::empty();
        let (used, passed_over) = store.add_parsable_certificates(certificates);
        match (self, used, passed_over) {
            // Somebody wrote this list; one that is passed over is a mistake to be told of.
            (_, 0, _) | (Self::Pem(_), _, 1..) => Err(TlsError::Root),
            _ => Ok(store),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use enroll_core::issue::x509::Authority;
    use enroll_core::model::{SystemEntropy, Timestamp, TrustDomain};

    #[test]
    fn a_list_of_roots_has_to_be_one() {
        let at = Timestamp::from_unix_secs(1_800_000_000);
        let authority =
            Authority::in_memory(&TrustDomain::default(), at, &SystemEntropy::new()).unwrap();
        let pem = authority.root_pem();
        assert!(WebRoots::Pem(pem.to_owned()).client().is_ok());
        assert!(WebRoots::Pem([pem, pem].concat()).client().is_ok());
        let torn = pem.replacen("MII", "AAA", 1);
        for bad in ["", "no PEM", &torn] {
            let made = WebRoots::Pem(bad.to_owned()).client();
            assert!(matches!(made, Err(TlsError::Root)), "{bad}");
        }
    }
}
