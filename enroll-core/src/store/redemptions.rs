//! The hot path, and the only place where a use is spent.

use async_trait::async_trait;

use super::StoreError;
use crate::decision::{Approval, Redelivery, Take};
use crate::model::{
    AttemptId, AttemptOutcome, AttemptRecord, ClaimKey, Event, Facts, IdentityRecord, NodeId,
    NodeName, NodeRecord, Origin, RedemptionId, Snapshot, Timestamp, TokenId, TrustState, What,
};

/// What to look up for a decision.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "a store reads every field")]
pub struct Lookup<'a> {
    /// The token presented; `None` for the method `secret`.
    pub token_id: Option<TokenId>,
    /// The name asked for.
    pub node_name: Option<&'a NodeName>,
    /// Who asks.
    pub claim: Option<ClaimKey>,
}

/// One redemption to carry out.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "a store reads every field")]
pub struct Redeem {
    /// The right to it.
    pub approval: Approval,
    /// Its id.
    pub id: RedemptionId,
    /// The instant it happens at.
    pub at: Timestamp,
    /// The id of the node if the name is free; else the node keeps its own.
    pub new_node_id: NodeId,
    /// Identities made for it. Their `node_id` is set by the store to the node's.
    pub identities: Vec<IdentityRecord>,
    /// What the node says of itself.
    pub facts: Facts,
    /// Where the request came from.
    pub origin: Origin,
}

impl Redeem {
    /// The id the node has afterwards.
    #[must_use]
    pub const fn node_id(&self) -> NodeId {
        match self.approval.take() {
            Take::Free => self.new_node_id,
            Take::Pending(id) | Take::Held(id) => id,
        }
    }

    /// The node as it is afterwards; `before` is as it was, where there was one.
    #[must_use]
    pub fn node(&self, before: Option<&NodeRecord>) -> NodeRecord {
        NodeRecord {
            id: self.node_id(),
            name: self.approval.node_name().clone(),
            state: TrustState::Monitoring,
            cordoned: before.is_some_and(|node| node.cordoned),
            labels: before.map(|node| node.labels.clone()).unwrap_or_default(),
            facts: self.facts.clone(),
            method: Some(self.approval.method()),
            created_at: before.map_or(self.at, |node| node.created_at),
            enrolled_at: Some(self.at),
            last_seen_at: None,
            fuse: None,
        }
    }

    /// The attempt to journal with it. It has the id of the redemption, so that a store which keeps
    /// the redemption has kept the attempt.
    #[must_use]
    pub fn attempt(&self) -> AttemptRecord {
        AttemptRecord {
            id: AttemptId::from_bytes(*self.id.as_bytes()),
            at: self.at,
            node_name: Some(self.approval.node_name().clone()),
            outcome: AttemptOutcome::Accepted,
            source_ip: self.origin.source_ip,
            token_id: self.approval.token_id(),
            proven: true,
        }
    }

    /// The event to journal with it.
    #[must_use]
    pub fn event(&self) -> Event {
        let what = What::Enrolled {
            node_id: self.node_id(),
            node_name: self.approval.node_name().clone(),
            method: self.approval.method(),
            token_id: self.approval.token_id(),
            redemption_id: self.id,
            source_ip: self.origin.source_ip,
            replaced: matches!(self.approval.take(), Take::Held(_)),
        };
        Event::new(self.at, what)
    }
}

/// Who won.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub enum RedeemOutcome {
    /// This redemption: the use is spent, and this is the node.
    Enrolled(Box<NodeRecord>),
    /// Another: nothing was written, and this is what the store held when it lost.
    Lost(Box<Snapshot>),
}

/// One answer to give again.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "a store reads every field")]
pub struct Redeliver {
    /// The right to it.
    pub redelivery: Box<Redelivery>,
    /// The instant it happens at.
    pub at: Timestamp,
    /// Bearer credentials made anew; each takes the place of the earlier one of its kind.
    pub replacements: Vec<IdentityRecord>,
    /// The attempt to journal with it.
    pub attempt: AttemptRecord,
    /// The event to journal with it.
    pub event: Event,
}

/// Whether the answer may still be given again.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub enum RedeliverOutcome {
    /// It may; what it replaced is revoked.
    Redelivered(Box<NodeRecord>),
    /// The window closed meanwhile: nothing was written, and this is what the store holds now.
    Closed(Box<Snapshot>),
}

/// Looking up what a decision needs, and carrying the decision out in one atomic step.
///
/// # Contract
/// - **R1** `look_up` sees token, name and prior redemption as of one instant. The name is the one
///   asked for, else the one the token is bound to. The prior redemption is the newest of the node
///   that has the name, with the same token (for `secret`: no token and the method `secret`) and
///   claim, and absent when no claim is given; its identities are those not revoked.
/// - **R2** `redeem` spends exactly one use if and only if the token, at that instant, is neither
///   revoked nor replaced, not past `expires_at` at [`Redeem::at`], and has a use left. Per token,
///   uses never exceed `max_uses`.
/// - **R3** In the same step the name is taken as [`Approval::take`] says, or the redemption is
///   lost: *free* only if no node has the name and it was not deleted at or after
///   [`Approval::minted_at`]; *pending* only if that node is still pending; *held* only if that node
///   still has the name, with the attempt to fuse it was seen with ([`Approval::fuse`]), and for the
///   method `secret` only if that method last enrolled it.
/// - **R4** In the same step the node becomes `monitoring`, never heard from, never fused, not losing its id,
///   labels or cordon; its earlier identities are revoked, earlier redemptions closed; identities,
///   redemption, [`Redeem::attempt`] and [`Redeem::event`] are written.
/// - **R5** A redemption that lost wrote nothing, and its snapshot is as of the instant it lost.
/// - **R6** `redeliver` writes only while the redemption is open and the node still holds the name;
///   of each kind among the replacements, the earlier identity of that redemption is revoked.
/// - **R7** A serial, digest or id already there is a
///   [`Collision`](super::StoreErrorKind::Collision), and nothing was written.
#[async_trait]
pub trait Redemptions: Send + Sync {
    /// Reads what a decision needs.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn look_up(&self, lookup: Lookup<'_>) -> Result<Snapshot, StoreError>;

    /// Carries out one redemption, or says that it was lost.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was written then.
    async fn redeem(&self, redeem: Redeem) -> Result<RedeemOutcome, StoreError>;

    /// Allows one answer to be given again, or says that it may not.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was written then.
    async fn redeliver(&self, redeliver: Redeliver) -> Result<RedeliverOutcome, StoreError>;
}
