//! A node's certificate.

use std::time::Duration;

use crate::model::{Entropy, Host, NodeName, Serial, Sha256, Timestamp};

use super::authority::Authority;
use super::csr::ProvenKey;
use super::profile::{AltName, Profile};
use super::root;
use super::sign::IssueError;
use crate::pem;

/// What a node's certificate is to say. All of it is the master's decision but the key.
///
/// # Defaults
/// - lifetime: [`Leaf::DEFAULT_LIFETIME`];
/// - no endpoint, and no host the master calls its own.
#[derive(Debug, Clone)]
pub struct LeafRequest<'a> {
    name: &'a NodeName,
    key: &'a ProvenKey,
    at: Timestamp,
    endpoint: Option<&'a Host>,
    master_hosts: &'a [Host],
    lifetime: Duration,
}

/// A node's certificate, made and held against its profile.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Leaf {
    /// The certificate's DER.
    pub der: Vec<u8>,
    /// The PEM chain of the answer: the leaf alone, since the root comes as the bundle.
    pub chain_pem: String,
    /// By which it is looked up and revoked.
    pub serial: Serial,
    /// The first second it is valid: [`Leaf::BACK`] before it was issued.
    pub not_before: Timestamp,
    /// The last second it is valid.
    pub not_after: Timestamp,
    /// The SHA-256 of its public key.
    pub key_digest: Sha256,
}

impl Leaf {
    /// How long a certificate is valid from its issuance, where nothing else is chosen: 30 days,
    /// so that a worker that is off over a holiday comes back by itself.
    pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
    /// How far back a certificate starts: five minutes, for clocks that are a little behind.
    pub const BACK: Duration = Duration::from_secs(5 * 60);
}

impl<'a> LeafRequest<'a> {
    /// A certificate for `name` over `key`, issued at `at`.
    #[must_use]
    pub const fn new(name: &'a NodeName, key: &'a ProvenKey, at: Timestamp) -> Self {
        let lifetime = Leaf::DEFAULT_LIFETIME;
        Self { name, key, at, endpoint: None, master_hosts: &[], lifetime }
    }

    /// The host under which the node says it is reached; it becomes a name of the certificate
    /// unless it is one of [`Self::with_master_hosts`].
    #[must_use]
    pub const fn with_endpoint(mut self, host: &'a Host) -> Self {
        self.endpoint = Some(host);
        self
    }

    /// The master's own hosts, which no node may carry.
    #[must_use]
    pub const fn with_master_hosts(mut self, hosts: &'a [Host]) -> Self {
        self.master_hosts = hosts;
        self
    }

    /// How long it is valid, counted from the issuance; never past the authority's own end.
    #[must_use]
    pub const fn with_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    fn common_name(&self) -> Option<&'a str> {
        Some(self.name.as_str()).filter(|name| name.len() <= COMMON_NAME_MAX)
    }

    fn alt_names(&self, uri: String) -> Vec<AltName> {
        let mut names = vec![AltName::Uri(uri), AltName::Dns(self.name.to_string())];
        let foreign = |host: &&Host| !self.master_hosts.contains(host);
        let endpoint = self.endpoint.filter(foreign).map(AltName::from);
        names.extend(endpoint.filter(|name| name != &names[1]));
        names
    }
}

impl Authority {
    /// Issues a node's certificate.
    ///
    /// Every call makes another one: the same key gets another serial number.
    ///
    /// # Errors
    /// [`IssueError`]; nothing has left then.
    pub fn issue_leaf(
        &self,
        request: &LeafRequest<'_>,
        entropy: &dyn Entropy,
    ) -> Result<Leaf, IssueError> {
        self.check_validity(request.at)?;
        if request.lifetime < Duration::from_secs(1) {
            return Err(IssueError::Lifetime);
        }
        if request.master_hosts.iter().any(|host| host.as_dns() == Some(request.name.as_str())) {
            return Err(IssueError::MasterHost { name: request.name.clone() });
        }
        let profile = Profile {
            root: self.root(),
            key: request.key.public_key(),
            common_name: request.common_name(),
            alt_names: request.alt_names(self.trust_domain().node_uri(request.name)),
            serial: Serial::generate(request.at, entropy).map_err(IssueError::Entropy)?,
            not_before: whole_second(request.at.before(Leaf::BACK)),
            not_after: whole_second(request.at.after(request.lifetime)).min(self.not_after()),
        };
        let der = self.sign(&profile)?;
        Ok(Leaf {
            chain_pem: pem::encode(root::CERTIFICATE, &der),
            der,
            serial: profile.serial,
            not_before: profile.not_before,
            not_after: profile.not_after,
            key_digest: request.key.digest(),
        })
    }
}

/// Certificates know no fractions of a second.
pub(super) const fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_unix_secs(at.unix_secs())
}

/// The longest common name (RFC 5280, appendix A, `ub-common-name`), in bytes.
const COMMON_NAME_MAX: usize = 64;
