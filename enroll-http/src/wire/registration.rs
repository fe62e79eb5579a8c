//! Registering a node before its machine exists.

use std::collections::BTreeMap;

use enroll_core::master::{Minted, Registered};
use enroll_core::model::TokenId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{NodeView, Rfc3339, SecretText};

/// What `POST /v1/nodes` takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[expect(clippy::exhaustive_structs, reason = "a name and options, built with `..default()`")]
pub struct NewNode {
    /// The name the machine is to have.
    #[serde(default)]
    #[schema(required = true, example = "worker-1")]
    pub name: String,
    /// The operator's labels, which win over the machine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// How long the token lives, in seconds; clamped to 60 to 86 400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(default = 86400)]
    pub token_ttl_secs: Option<u64>,
}

/// A registered node with its token: the one answer that shows the token's text.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct RegisteredNode {
    /// The node.
    pub node: NodeView,
    /// The token's public half.
    #[schema(value_type = String, pattern = "^[0-9A-Za-z]{12}$")]
    pub id: TokenId,
    /// The token's text, shown this once.
    pub token: SecretText,
    /// All the worker needs to start but the cluster secret, in one string; `null` where the master
    /// does not know the address it is reached at, or issues no certificates.
    #[schema(required = true)]
    pub invitation: Option<SecretText>,
    /// From this instant on the token is no longer good.
    pub expires_at: Rfc3339,
    /// What to paste on the machine; `null` where the master does not know the address it is
    /// reached at.
    #[schema(required = true)]
    pub install: Option<Install>,
}

/// What to paste on a machine so that it becomes this node. Each text carries the token, and the
/// cluster secret where the master was given it to hand on.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct Install {
    /// Starts the worker in a container.
    pub docker: SecretText,
    /// Installs the worker as a systemd service.
    pub systemd: SecretText,
    /// Enrolls, then runs the worker in the foreground.
    pub shell: SecretText,
}

impl RegisteredNode {
    pub(crate) fn of(registered: &Registered, node: NodeView, install: Option<Install>) -> Self {
        let minted = &registered.minted;
        Self {
            node,
            id: minted.record.id,
            token: SecretText::new(minted.token.expose()),
            invitation: invitation(minted),
            expires_at: minted.record.expires_at.into(),
            install,
        }
    }
}

/// The invitation that goes with a token.
pub(super) fn invitation(minted: &Minted) -> Option<SecretText> {
    minted.invitation.as_ref().map(|invitation| SecretText::new(invitation.to_text().as_str()))
}
