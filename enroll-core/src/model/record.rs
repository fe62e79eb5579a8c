//! What is stored: records, none of which holds a secret.
//!
//! Their fields are public and their structs exhaustive on purpose: a store builds every field, so a
//! new one must not compile until it is kept.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Reason;
use super::node::{Method, Role, TokenStatus, TrustState};
use super::{
    AttemptId, BearerDigest, ClaimKey, Facts, FuseRecord, IdentityId, NodeId, NodeName,
    RedemptionId, Serial, Sha256, Timestamp, TokenDigest, TokenId,
};

/// A join token on record.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "a store builds every field")]
pub struct TokenRecord {
    /// The public half.
    pub id: TokenId,
    /// SHA-256 of the whole text.
    pub digest: TokenDigest,
    /// The node it may serve, alone.
    pub bound_to: Option<NodeName>,
    /// When it was minted.
    pub created_at: Timestamp,
    /// From this instant on it is no longer good.
    pub expires_at: Timestamp,
    /// Uses in all; 0 is unlimited.
    pub max_uses: u32,
    /// Uses spent.
    pub uses: u64,
    /// The operator who minted it.
    pub created_by: String,
    /// The operator's own note.
    pub description: Option<String>,
    /// When it was withdrawn.
    pub revoked_at: Option<Timestamp>,
    /// When a newer token of its node took its place.
    pub replaced_at: Option<Timestamp>,
}

impl TokenRecord {
    /// How far a master's clock may be behind that of the one which minted a token: 5 minutes.
    pub const CLOCK_LEEWAY: Duration = Duration::from_secs(5 * 60);

    /// Whether its time is over at `at`, or has not come: a clock that was ahead when it minted, and
    /// was then put right, must not give a token a longer life than it was meant to have.
    #[must_use]
    pub fn is_out_of_time(&self, at: Timestamp) -> bool {
        at >= self.expires_at || at.after(Self::CLOCK_LEEWAY) < self.created_at
    }

    /// Whether no use is left.
    #[must_use]
    pub const fn is_spent(&self) -> bool {
        self.max_uses != 0 && self.uses >= self.max_uses as u64
    }

    /// Where it stands at `at`. What an operator did outweighs what was used up, and that the clock.
    #[must_use]
    pub fn status(&self, at: Timestamp) -> TokenStatus {
        if self.replaced_at.is_some() {
            TokenStatus::Replaced
        } else if self.revoked_at.is_some() {
            TokenStatus::Revoked
        } else if self.is_spent() && self.max_uses == 1 {
            TokenStatus::Consumed
        } else if self.is_spent() {
            TokenStatus::Exhausted
        } else if self.is_out_of_time(at) {
            TokenStatus::Expired
        } else {
            TokenStatus::Active
        }
    }
}

/// A node on record.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a store builds every field")]
pub struct NodeRecord {
    /// Its id; kept over re-enrollment, new after a deletion.
    pub id: NodeId,
    /// Its name, unique among nodes that are not deleted.
    pub name: NodeName,
    /// What it is trusted with.
    pub state: TrustState,
    /// Whether new work is kept away.
    pub cordoned: bool,
    /// The operator's labels.
    pub labels: BTreeMap<String, String>,
    /// What it says of itself.
    pub facts: Facts,
    /// How it last became a member; `None` while pending.
    pub method: Option<Method>,
    /// When the name was registered, or first enrolled.
    pub created_at: Timestamp,
    /// When it last became a member; `None` while pending.
    pub enrolled_at: Option<Timestamp>,
    /// Its last heartbeat; `None` since its last enrollment.
    pub last_seen_at: Option<Timestamp>,
    /// The running attempt to fuse it, or the last one since its last enrollment.
    pub fuse: Option<FuseRecord>,
}

/// What kind of credential; the word on the wire.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CredentialKind(std::borrow::Cow<'static, str>);

impl CredentialKind {
    /// An X.509 certificate.
    pub const X509: Self = Self::from_static("x509");
    /// A bearer key.
    pub const API_KEY: Self = Self::from_static("api_key");

    /// A kind an embedder names.
    #[must_use]
    pub const fn from_static(word: &'static str) -> Self {
        Self(std::borrow::Cow::Borrowed(word))
    }

    /// A kind read back from where it was kept.
    #[must_use]
    pub fn from_stored(word: String) -> Self {
        Self(word.into())
    }

    /// The word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CredentialKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CredentialKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What identifies a credential: never the credential itself, unless it is public.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CredentialRecord {
    /// A certificate.
    X509 {
        /// Its serial, unique in the store.
        serial: Serial,
        /// SHA-256 of its SubjectPublicKeyInfo.
        key_digest: Sha256,
        /// The DER of the leaf, so that a retry gets the same one.
        certificate: Vec<u8>,
    },
    /// A bearer key.
    ApiKey {
        /// SHA-256 of its text, unique in the store.
        digest: BearerDigest,
    },
    /// A credential some other system made.
    External {
        /// The issuer's kind.
        kind: CredentialKind,
        /// How that system names it.
        external_id: String,
    },
}

impl CredentialRecord {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> CredentialKind {
        match self {
            Self::X509 { .. } => CredentialKind::X509,
            Self::ApiKey { .. } => CredentialKind::API_KEY,
            Self::External { kind, .. } => kind.clone(),
        }
    }
}

/// One credential of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a store builds every field")]
pub struct IdentityRecord {
    /// Its id.
    pub id: IdentityId,
    /// The node that holds it.
    pub node_id: NodeId,
    /// That node's name.
    pub node_name: NodeName,
    /// The redemption it descends from.
    pub redemption_id: RedemptionId,
    /// The identity it renews; `None` straight from a redemption.
    pub predecessor: Option<IdentityId>,
    /// What identifies it.
    pub credential: CredentialRecord,
    /// When it was made.
    pub issued_at: Timestamp,
    /// When it ends by itself; API keys do not.
    pub expires_at: Option<Timestamp>,
    /// Its first authenticated request.
    pub first_used_at: Option<Timestamp>,
    /// When it was revoked, replaced, or retired by its successor's first use.
    pub revoked_at: Option<Timestamp>,
}

impl IdentityRecord {
    /// Whether its time has elapsed at `at`.
    #[must_use]
    pub fn has_expired(&self, at: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| at >= end)
    }
}

/// The one atomic step that spent a use and bound identities to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a store builds every field")]
pub struct RedemptionRecord {
    /// Its id.
    pub id: RedemptionId,
    /// The token spent; `None` for the method `secret`.
    pub token_id: Option<TokenId>,
    /// How the machine proved itself.
    pub method: Method,
    /// The node that came of it.
    pub node_id: NodeId,
    /// That node's name.
    pub node_name: NodeName,
    /// When.
    pub at: Timestamp,
    /// From where.
    pub source_ip: Option<IpAddr>,
    /// Who may ask again; `None` where nobody may.
    pub claim: Option<ClaimKey>,
    /// When asking again ended: first use, revoke, regenerate, deletion or re-enrollment.
    pub closed_at: Option<Timestamp>,
}

impl RedemptionRecord {
    /// How long a lost answer can be asked for again, at most: 24 h.
    pub const REDELIVERY_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

    /// Whether its answer can be asked for again at `at`.
    #[must_use]
    pub fn is_open(&self, at: Timestamp) -> bool {
        self.closed_at.is_none() && at < self.at.after(Self::REDELIVERY_WINDOW)
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttemptOutcome {
    /// The machine became a member.
    Accepted,
    /// It was given its own answer again.
    Redelivered,
    /// It was refused.
    Refused(Reason),
}

/// A call to enroll, accepted or not, kept for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a store builds every field")]
pub struct AttemptRecord {
    /// Its id.
    pub id: AttemptId,
    /// When.
    pub at: Timestamp,
    /// The name it claimed, or was bound to.
    pub node_name: Option<NodeName>,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// From where.
    pub source_ip: Option<IpAddr>,
    /// The token it presented, by its public half.
    pub token_id: Option<TokenId>,
    /// Whether any proof it presented was valid. Those without share one bounded ring, so that a
    /// stranger cannot push a node's own attempts out.
    pub proven: bool,
}

/// An operator.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a store builds every field")]
pub struct AdminRecord {
    /// Unique among operators.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// SHA-256 of their token.
    pub digest: BearerDigest,
    /// Since when.
    pub created_at: Timestamp,
}
