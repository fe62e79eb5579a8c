//! Join tokens, as operators see them.

use std::net::IpAddr;

use enroll_core::master::Minted;
use enroll_core::model::{
    Fingerprint, NodeId, NodeName, RedemptionId, RedemptionRecord, Timestamp, TokenId, TokenRecord,
    TokenStatus,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use utoipa::openapi::schema::Object;

use super::registration::invitation;
use super::schema::words;
use super::{Rfc3339, SecretText};

/// What `POST /v1/tokens` takes. All of it may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[expect(clippy::exhaustive_structs, reason = "a bag of options, built with `..default()`")]
pub struct NewToken {
    /// How long the token lives, in seconds; clamped to 60 to 86 400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(default = 3600)]
    pub ttl_secs: Option<u64>,
    /// For how many machines it is good; 0 is any number within its time. A bound token: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(default = 0)]
    pub max_uses: Option<u32>,
    /// The one node it may serve; registered as `pending` where the name is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "worker-1")]
    pub node_name: Option<String>,
    /// A note for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1024)]
    pub description: Option<String>,
}

/// A token just minted: the one answer that shows its text.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct MintedToken {
    /// Its public half.
    #[schema(value_type = String, pattern = "^[0-9A-Za-z]{12}$")]
    pub id: TokenId,
    /// Its text, shown this once.
    pub token: SecretText,
    /// The root a worker pins, `sha256:<hex>`; null where the master issues no certificates.
    #[schema(value_type = Option<String>, required = true)]
    pub ca_fingerprint: Option<Fingerprint>,
    /// All a worker needs to start but the cluster secret, in one string; null where the master does
    /// not know the address it is reached at.
    #[schema(required = true)]
    pub invitation: Option<SecretText>,
    /// From this instant on it is no longer good.
    pub expires_at: Rfc3339,
    /// How long it lives, after clamping.
    pub ttl_secs: u64,
    /// For how many machines it is good; 0 is any number within its time.
    pub max_uses: u32,
    /// The one node it may serve.
    #[schema(value_type = Option<String>, required = true)]
    pub node_name: Option<NodeName>,
}

impl MintedToken {
    pub(crate) fn of(minted: &Minted, ca_fingerprint: Option<Fingerprint>) -> Self {
        Self {
            id: minted.record.id,
            token: SecretText::new(minted.token.expose()),
            ca_fingerprint,
            invitation: invitation(minted),
            expires_at: minted.record.expires_at.into(),
            ttl_secs: minted.ttl.as_secs(),
            max_uses: minted.record.max_uses,
            node_name: minted.record.bound_to.clone(),
        }
    }
}

/// A token in a list: never its text, nor anything made of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct TokenItem {
    /// Its public half.
    #[schema(value_type = String, pattern = "^[0-9A-Za-z]{12}$")]
    pub id: TokenId,
    /// The one node it may serve.
    #[schema(value_type = Option<String>, required = true)]
    pub node_name: Option<NodeName>,
    /// When it was minted.
    pub created_at: Rfc3339,
    /// From this instant on it is no longer good.
    pub expires_at: Rfc3339,
    /// For how many machines it is good; 0 is any number within its time.
    pub max_uses: u32,
    /// How many machines used it.
    pub uses: u64,
    /// The operator who minted it.
    pub created_by: String,
    /// Where it stands.
    #[schema(schema_with = statuses)]
    pub status: String,
    /// The operator's note.
    #[schema(required = true)]
    pub description: Option<String>,
}

impl TokenItem {
    pub(crate) fn of(record: TokenRecord, at: Timestamp) -> Self {
        Self {
            id: record.id,
            status: record.status(at).as_str().to_owned(),
            node_name: record.bound_to,
            created_at: record.created_at.into(),
            expires_at: record.expires_at.into(),
            max_uses: record.max_uses,
            uses: record.uses,
            created_by: record.created_by,
            description: record.description,
        }
    }
}

/// Who used a token, when, from where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct RedemptionItem {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub id: RedemptionId,
    /// The node that came of it.
    #[schema(value_type = String, format = "uuid")]
    pub node_id: NodeId,
    /// That node's name.
    #[schema(value_type = String)]
    pub node_name: NodeName,
    /// When.
    pub at: Rfc3339,
    /// From where.
    #[schema(value_type = Option<String>, required = true)]
    pub source_ip: Option<IpAddr>,
    /// `sha256:<hex>` of the machine's public key, or of its attempt key where no certificate is
    /// issued; null where it presented neither.
    #[schema(required = true)]
    pub key_fingerprint: Option<String>,
}

impl From<RedemptionRecord> for RedemptionItem {
    fn from(record: RedemptionRecord) -> Self {
        Self {
            id: record.id,
            node_id: record.node_id,
            node_name: record.node_name,
            at: record.at.into(),
            source_ip: record.source_ip,
            key_fingerprint: record.claim.map(|claim| claim.to_string()),
        }
    }
}

fn statuses() -> Object {
    words("Where the token stands.", TokenStatus::ALL.iter().map(|status| status.as_str()))
}
