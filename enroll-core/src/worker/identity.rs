//! Who this machine is: what it holds once it has enrolled.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::secret_text::SecretText;
use crate::model::{ApiKey, CredentialKind, Fingerprint, NodeId, NodeName, Timestamp};

/// The public part of an identity, as `identity.json` holds it. It names the credentials and holds
/// none of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub(crate) node_id: NodeId,
    pub(crate) node_name: NodeName,
    pub(crate) credentials: BTreeSet<CredentialKind>,
    pub(crate) ca: Option<Fingerprint>,
    pub(crate) master_addr: Option<String>,
    pub(crate) heartbeat_interval_secs: u64,
    pub(crate) enrolled_at: Timestamp,
    pub(crate) not_after: Option<Timestamp>,
    pub(crate) renew_after: Option<Timestamp>,
}

impl Identity {
    /// The id the master gave the node.
    #[must_use]
    pub const fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// The name of the node.
    #[must_use]
    pub const fn node_name(&self) -> &NodeName {
        &self.node_name
    }

    /// What the worker can authenticate with; at least one.
    pub fn credentials(&self) -> impl Iterator<Item = &CredentialKind> {
        self.credentials.iter()
    }

    /// Whether the worker can authenticate with this kind.
    #[must_use]
    pub fn has(&self, kind: &CredentialKind) -> bool {
        self.credentials.contains(kind)
    }

    /// The one root that is trusted from now on; absent where the transport has none.
    #[must_use]
    pub const fn ca(&self) -> Option<Fingerprint> {
        self.ca
    }

    /// Where the master is reached from now on, as the master said: `host:port`.
    #[must_use]
    pub fn master_addr(&self) -> Option<&str> {
        self.master_addr.as_deref()
    }

    /// How often the master wants a heartbeat, as it said when the identity was made.
    #[must_use]
    pub const fn heartbeat_interval(&self) -> Duration {
        Duration::from_secs(self.heartbeat_interval_secs)
    }

    /// When the worker enrolled, by its own clock. A renewal does not change it.
    #[must_use]
    pub const fn enrolled_at(&self) -> Timestamp {
        self.enrolled_at
    }

    /// When the certificate ends; absent where nothing does.
    #[must_use]
    pub const fn not_after(&self) -> Option<Timestamp> {
        self.not_after
    }

    /// From when on the certificate should be renewed; absent where nothing ends.
    #[must_use]
    pub const fn renew_after(&self) -> Option<Timestamp> {
        self.renew_after
    }
}

/// An identity with its secrets, in memory: what a call to the master authenticates with.
pub struct Credentials {
    pub(crate) identity: Identity,
    pub(crate) ca_pem: Option<String>,
    pub(crate) certificate: Option<ClientCertificate>,
    pub(crate) api_key: Option<ApiKey>,
}

/// A certificate chain and the key it is for.
pub struct ClientCertificate {
    pub(crate) chain_pem: String,
    pub(crate) key_pem: SecretText,
}

impl Credentials {
    /// Whose credentials they are.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The one root that is trusted, in PEM.
    #[must_use]
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// The certificate and its key, where there is one.
    #[must_use]
    pub const fn certificate(&self) -> Option<&ClientCertificate> {
        self.certificate.as_ref()
    }

    /// The API key, where there is one.
    #[must_use]
    pub const fn api_key(&self) -> Option<&ApiKey> {
        self.api_key.as_ref()
    }
}

impl ClientCertificate {
    /// The chain in PEM, leaf first.
    #[must_use]
    pub fn chain_pem(&self) -> &str {
        &self.chain_pem
    }

    /// The key as PKCS#8 in PEM.
    #[must_use]
    pub fn expose_key_pem(&self) -> &str {
        self.key_pem.expose()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("identity", &self.identity)
            .field("certificate", &self.certificate)
            .field("api_key", &self.api_key)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").field("key_pem", &self.key_pem).finish_non_exhaustive()
    }
}
