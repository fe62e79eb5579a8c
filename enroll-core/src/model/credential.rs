//! Credentials as they are handed over: the other half of what is on record.

use std::fmt;

use zeroize::Zeroizing;

use super::{ApiKey, CredentialKind, Timestamp};

/// One credential of a machine. It may hold a secret, and is therefore neither `Clone` nor stored.
#[derive(Debug)]
#[non_exhaustive]
pub enum Credential {
    /// A certificate for the key the machine made itself.
    X509(X509Credential),
    /// A bearer key.
    ApiKey(ApiKey),
    /// A key by which the machine joins a mesh.
    Mesh(MeshCredential),
}

/// A certificate and what it is verified with. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the members of the answer, built by issuers")]
pub struct X509Credential {
    /// PEM, leaf first.
    pub certificate: String,
    /// PEM of the roots to trust.
    pub ca_bundle: String,
    /// When the leaf ends.
    pub not_after: Timestamp,
    /// From when on it is to be renewed.
    pub renew_after: Timestamp,
}

/// From when on a credential is to be renewed: two thirds of its lifetime.
#[must_use]
pub fn renewal_due(issued_at: Timestamp, expires_at: Timestamp) -> Timestamp {
    issued_at.after(expires_at.since(issued_at) * 2 / 3)
}

/// A single-use pre-auth key of a mesh's control plane.
#[expect(clippy::exhaustive_structs, reason = "the members of the answer, built by issuers")]
pub struct MeshCredential {
    /// The kind on the wire, e.g. `headscale`.
    pub kind: CredentialKind,
    /// The key, secret.
    pub authkey: Zeroizing<String>,
    /// Where the control plane is reached.
    pub control_url: String,
    /// When the key ends.
    pub expires_at: Timestamp,
}

impl Credential {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> CredentialKind {
        match self {
            Self::X509(_) => CredentialKind::X509,
            Self::ApiKey(_) => CredentialKind::API_KEY,
            Self::Mesh(mesh) => mesh.kind.clone(),
        }
    }
}

impl fmt::Debug for MeshCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshCredential")
            .field("kind", &self.kind)
            .field("authkey", &"[redacted]")
            .field("control_url", &self.control_url)
            .field("expires_at", &self.expires_at)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_debug_shows_a_secret() {
        let mesh = Credential::Mesh(MeshCredential {
            kind: CredentialKind::from_static("headscale"),
            authkey: Zeroizing::new("hskey-auth-s3cret".into()),
            control_url: "https://mesh".into(),
            expires_at: Timestamp::from_unix_secs(0),
        });
        let key = Credential::ApiKey(ApiKey::presented("s3cret".into()));
        assert!(!format!("{mesh:?}{key:?}").contains("s3cret"));
    }
}
