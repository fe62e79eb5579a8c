//! Who asks: the key a request claims by, proven when that matters and only once.

use std::sync::OnceLock;

use crate::decision::KeyProof;
use crate::model::{ClaimKey, EnrollRequest};

#[cfg(feature = "x509")]
use crate::issue::x509::{BadCsr, Csr, ProvenKey};

/// The key a request claims by.
pub(super) struct Claimant {
    claim: Option<ClaimKey>,
    #[cfg(feature = "x509")]
    csr: Option<Result<Csr, BadCsr>>,
    proof: OnceLock<Result<Proof, String>>,
}

#[cfg(feature = "x509")]
type Proof = Option<ProvenKey>;
#[cfg(not(feature = "x509"))]
type Proof = Option<std::convert::Infallible>;

impl Claimant {
    /// Reads the key, believing nothing. A certificate request counts only where one is needed.
    pub(super) fn of(request: &EnrollRequest, key_needed: bool) -> Self {
        #[cfg(feature = "x509")]
        if key_needed {
            let csr = request.csr.as_deref().map(Csr::parse);
            let key = csr.as_ref().and_then(|csr| csr.as_ref().ok());
            let claim = key.map(|csr| ClaimKey::of_public_key(csr.public_key()));
            return Self { claim, csr, proof: OnceLock::new() };
        }
        let _without_x509_no_issuer_needs_one = key_needed;
        Self {
            claim: request.attempt_key.as_ref().map(crate::model::AttemptKey::claim),
            #[cfg(feature = "x509")]
            csr: None,
            proof: OnceLock::new(),
        }
    }

    /// What a retry is recognised by.
    pub(super) const fn claim(&self) -> Option<ClaimKey> {
        self.claim
    }

    /// The key, if its possession was proven.
    #[cfg(feature = "x509")]
    pub(super) fn proven_key(&self) -> Option<&ProvenKey> {
        self.proof().as_ref().ok()?.as_ref()
    }

    fn proof(&self) -> &Result<Proof, String> {
        self.proof.get_or_init(|| {
            #[cfg(feature = "x509")]
            if let Some(csr) = &self.csr {
                let csr = csr.as_ref().map_err(ToString::to_string)?;
                return csr.verify().map(Some).map_err(|why| why.to_string());
            }
            Ok(None)
        })
    }
}

impl KeyProof for Claimant {
    fn prove(&self) -> Result<(), String> {
        self.proof().as_ref().map(|_| ()).map_err(|why| format!("The key is refused: {why}."))
    }
}
