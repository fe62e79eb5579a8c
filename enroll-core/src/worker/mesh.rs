//! Mesh pre-auth keys that came with the identity, until the machine has joined with them.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::secret_text::SecretText;
use crate::model::{CredentialKind, MeshCredential, Timestamp};

/// All of them, as `mesh.json` holds them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct MeshKeys {
    pub(crate) keys: Vec<MeshKey>,
}

/// One of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MeshKey {
    kind: CredentialKind,
    authkey: SecretText,
    control_url: String,
    expires_at: Timestamp,
}

impl From<MeshCredential> for MeshKey {
    fn from(it: MeshCredential) -> Self {
        let authkey = SecretText::new(it.authkey);
        Self { kind: it.kind, authkey, control_url: it.control_url, expires_at: it.expires_at }
    }
}

impl From<MeshKey> for MeshCredential {
    fn from(it: MeshKey) -> Self {
        let authkey = Zeroizing::new(it.authkey.expose().to_owned());
        Self { kind: it.kind, authkey, control_url: it.control_url, expires_at: it.expires_at }
    }
}
