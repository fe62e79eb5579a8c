//! What happened, as one typed value: for observers, for the store's journal.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::node::{Method, Role};
use super::{CommandId, CommandStatus, FuseId, NodeId, NodeName, RedemptionId, Timestamp, TokenId};

/// Something that happened, and when. It holds ids and validated names, never a secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a store and an observer read every field")]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// The operator who did it; `None` when no operator did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened. The tag `type` is stable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
#[expect(missing_docs, reason = "fields are the ids and names of what the variant names")]
pub enum What {
    /// A join token was minted.
    TokenMinted { token_id: TokenId, node_name: Option<NodeName>, max_uses: u32 },
    /// A join token was revoked.
    TokenRevoked { token_id: TokenId },
    /// A node was registered.
    NodeRegistered { node_name: NodeName },
    /// A machine became a member.
    Enrolled {
        node_id: NodeId,
        node_name: NodeName,
        method: Method,
        token_id: Option<TokenId>,
        redemption_id: RedemptionId,
        source_ip: Option<IpAddr>,
        replaced: bool,
    },
    /// A machine was given its own answer again.
    Redelivered { node_id: NodeId, node_name: NodeName, redemption_id: RedemptionId },
    /// A machine was refused.
    Refused { reason: String, node_name: Option<NodeName>, source_ip: Option<IpAddr> },
    /// Auto-enrollment let in a name nobody had registered.
    UnfamiliarName { node_id: NodeId, node_name: NodeName, source_ip: Option<IpAddr> },
    /// A machine enrolled with a shared secret that a newer one has replaced.
    OldSecretUsed { node_name: NodeName, method: Method },
    /// A node was heard from for the first time since it enrolled.
    FirstHeartbeat { node_id: NodeId, node_name: NodeName },
    /// A node's identity was renewed.
    Renewed { node_id: NodeId, node_name: NodeName, recovered: bool },
    /// A node was cordoned.
    Cordoned { node_name: NodeName },
    /// A node was uncordoned.
    Uncordoned { node_name: NodeName },
    /// A command was queued for a node.
    CommandQueued { node_name: NodeName, command_id: CommandId, kind: String },
    /// A command ended.
    CommandFinished { node_name: NodeName, command_id: CommandId, status: CommandStatus },
    /// The step to full control began.
    FuseStarted { node_id: NodeId, node_name: NodeName, attempt: FuseId },
    /// A node is under full control.
    Fused { node_id: NodeId, node_name: NodeName, attempt: FuseId },
    /// The step to full control failed, or was overtaken; `source` is a stable word.
    FuseFailed { node_id: NodeId, node_name: NodeName, attempt: FuseId, source: String },
    /// A node was deleted and its identities revoked.
    NodeDeleted { node_id: NodeId, node_name: NodeName, forced: bool },
    /// An authenticated node named itself differently.
    NameMismatch { node_id: NodeId, node_name: NodeName },
    /// A node reported something that happened on its machine.
    Reported {
        node_id: NodeId,
        node_name: NodeName,
        #[serde(with = "rfc3339")]
        happened_at: Timestamp,
        kind: String,
        message: String,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        attributes: BTreeMap<String, String>,
    },
    /// An operator was added.
    AdminAdded { name: String, role: Role },
    /// An operator was removed.
    AdminRemoved { name: String },
    /// A setting was changed.
    SettingChanged { key: String },
    /// The store was found promoted or restored: the tokens minted before are void.
    FenceRaised { epoch: u64 },
    /// An operator said that they know of it.
    FenceAcknowledged { epoch: u64 },
}

impl Event {
    /// Something no operator did.
    #[must_use]
    pub const fn new(at: Timestamp, what: What) -> Self {
        Self { at, actor: None, what }
    }

    /// Something `actor` did.
    #[must_use]
    pub fn by(at: Timestamp, actor: impl Into<String>, what: What) -> Self {
        Self { at, actor: Some(actor.into()), what }
    }
}

/// A second time in an event: as people write it, since an event goes out as it is kept.
mod rfc3339 {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::model::Timestamp;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this form")]
    pub(super) fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&at.to_rfc3339())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(from)?;
        Timestamp::parse_rfc3339(&text).map_err(D::Error::custom)
    }
}

/// An event in the journal, by its place.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a store builds every field")]
pub struct JournalledEvent {
    /// Its place: greater than that of every event journalled before it.
    pub seq: u64,
    /// What happened.
    pub event: Event,
}
