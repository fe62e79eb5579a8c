//! What a master's listeners present.

use std::fmt;
use std::time::Duration;

use rcgen::PublicKeyData as _;
use zeroize::Zeroizing;

use crate::model::{Entropy, Host, Serial, Timestamp};

use super::authority::{Authority, BACK, DAY};
use super::key::PublicKey;
use super::leaf::whole_second;
use super::profile::{AltName, Profile};
use super::sign::IssueError;
use super::signer::Signer;

/// A master's certificate and its new P-256 key.
///
/// It carries `spiffe://<trust domain>/master`, the one name by which a worker knows a master,
/// and the advertised hosts, for everybody else's client.
pub struct MasterCertificate {
    chain: [Vec<u8>; 2],
    key: Zeroizing<Vec<u8>>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl MasterCertificate {
    /// How long it is valid: 90 days from its issuance, renewed in place.
    pub const LIFETIME: Duration = Duration::from_secs(90 * DAY);

    /// The DER chain to present, leaf first, the root included: a worker that knows but the
    /// root's fingerprint finds it there.
    #[must_use]
    pub const fn chain(&self) -> &[Vec<u8>; 2] {
        &self.chain
    }

    /// The private key as PKCS #8 DER.
    #[must_use]
    pub fn expose_key(&self) -> &[u8] {
        &self.key
    }

    /// The first second it is valid.
    #[must_use]
    pub const fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// The last second it is valid.
    #[must_use]
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

impl fmt::Debug for MasterCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterCertificate")
            .field("key", &"[redacted]")
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes a key and issues a certificate for a master reached under `hosts`.
    ///
    /// It starts a day back, as the root does; never before or past the root.
    ///
    /// # Errors
    /// [`IssueError`]; nothing has left then.
    pub fn issue_master(
        &self,
        hosts: &[Host],
        at: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<MasterCertificate, IssueError> {
        self.check_validity(at)?;
        let (signer, key) = Signer::generate().map_err(|_| IssueError::Crypto)?;
        let public = PublicKey::from_spki(&signer.subject_public_key_info())
            .map_err(|_| IssueError::Crypto)?;
        let profile = Profile {
            root: self.root(),
            key: &public,
            common_name: Some(COMMON_NAME),
            alt_names: alt_names(self.trust_domain().master_uri(), hosts),
            serial: Serial::generate(at, entropy).map_err(IssueError::Entropy)?,
            not_before: whole_second(at.before(BACK)).max(self.root().not_before()),
            not_after: whole_second(at.after(MasterCertificate::LIFETIME)).min(self.not_after()),
        };
        let chain = [self.sign(&profile)?, self.root_der().to_vec()];
        let (not_before, not_after) = (profile.not_before, profile.not_after);
        Ok(MasterCertificate { chain, key, not_before, not_after })
    }
}

fn alt_names(uri: String, hosts: &[Host]) -> Vec<AltName> {
    let mut names = vec![AltName::Uri(uri)];
    for name in hosts.iter().map(AltName::from) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// For people who look at it. No node can have this name, because it has a space.
const COMMON_NAME: &str = "fleet master";
