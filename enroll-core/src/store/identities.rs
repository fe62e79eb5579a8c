//! Identities, as requests present them.

use async_trait::async_trait;

use super::StoreError;
use crate::model::{
    BearerDigest, CredentialKind, Event, IdentityId, IdentityRecord, NodeId, NodeRecord, Serial,
    Sha256, Timestamp,
};

/// By what a presented credential is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityKey {
    /// The serial of a certificate that chains to the root.
    Serial(Serial),
    /// The digest of an API key.
    ApiKey(BearerDigest),
}

/// An identity and the node that holds it, as of one instant.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a store builds every field")]
pub struct Member {
    /// The identity.
    pub identity: IdentityRecord,
    /// The node; `None` when it is gone.
    pub node: Option<NodeRecord>,
    /// Whether the node is there, and a command for it is neither done nor failed.
    pub has_open_commands: bool,
}

/// An identity that holds, as of one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a store builds every field")]
pub struct Standing {
    /// The identity.
    pub id: IdentityId,
    /// Whether a command for its node is queued.
    pub called: bool,
}

/// How far a store was looked at; a number that only the store which gave it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a store makes it")]
pub struct Mark(pub u64);

/// What [`touched`](Identities::touched) found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a store builds every field")]
pub struct Touched {
    /// What to ask with the next time.
    pub mark: Mark,
    /// The nodes, in any order; `None` where the store cannot tell, so that any may be one.
    pub nodes: Option<Vec<NodeId>>,
}

/// Whether a first use was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum UseOutcome {
    /// This was the first, and it is durable.
    First,
    /// It was used before.
    Again,
    /// It is revoked, or gone.
    Revoked,
}

/// One renewal to carry out.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "a store reads every field")]
pub struct Renewal {
    /// The new identity; its `predecessor` is the one renewed.
    pub successor: IdentityRecord,
    /// The instant it happens at.
    pub at: Timestamp,
    /// The event to journal with it.
    pub event: Event,
}

/// Whether the identity was renewed.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub enum RenewOutcome {
    /// It was.
    Renewed,
    /// It is revoked, or its node is gone: nothing was written.
    Revoked,
}

/// Identities.
///
/// # Contract
/// - **I1** `member` reads the present state: a revocation that was acknowledged is seen, and a command
///   that was queued.
/// - **I2** `mark_used`, in one step and only if the identity is not revoked: records its first use,
///   revokes its predecessor, closes the redemption it descends from. Later calls change nothing.
/// - **I3** `renew`, in one step and only if the predecessor is not revoked and its node is there:
///   revokes an unused successor of the same predecessor and kind, inserts the new one, journals.
/// - **I4** `successor` finds the unrevoked successor with this key, so that the same request gets
///   the same certificate.
/// - **I5** `external` finds every identity of this kind whose external id is one of those given,
///   revoked or not, as it stands now, and no other.
/// - **I6** `standing` reads the present state, as `member` does: of the identities asked about it
///   names exactly those that are not revoked and whose node is there, each once.
/// - **I7** `touched` names every node of which, since the call that returned the mark, an identity was
///   revoked or a command was queued; it may name more. What it does not name because it happened
///   before the mark was given, a `standing` that is asked after sees. Where it cannot tell, because
///   there is no mark or too much has happened since, it says so, and never leaves a node out.
#[async_trait]
pub trait Identities: Send + Sync {
    /// The identity of this key, revoked or not, and its node.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn member(&self, key: IdentityKey) -> Result<Option<Member>, StoreError>;

    /// Which of many identities hold, in any order, and whose nodes have commands queued.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn standing(&self, ids: Vec<IdentityId>) -> Result<Vec<Standing>, StoreError>;

    /// Where something may have changed in what `standing` says since a mark was given; without a
    /// mark, only a mark to begin with.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn touched(&self, since: Option<Mark>) -> Result<Touched, StoreError>;

    /// Records a first use.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was written then.
    async fn mark_used(&self, id: IdentityId, at: Timestamp) -> Result<UseOutcome, StoreError>;

    /// The unrevoked certificate that renews `predecessor` and has this public key.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn successor(
        &self,
        predecessor: IdentityId,
        key_digest: Sha256,
    ) -> Result<Option<IdentityRecord>, StoreError>;

    /// Identities that another system made, by the names it has for them; in no order.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn external(
        &self,
        kind: CredentialKind,
        external_ids: Vec<String>,
    ) -> Result<Vec<IdentityRecord>, StoreError>;

    /// Renews one identity.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was written then.
    async fn renew(&self, renewal: Renewal) -> Result<RenewOutcome, StoreError>;
}
