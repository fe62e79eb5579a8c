//! Join tokens, as an operator handles them.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{Page, StoreError};
use crate::model::{
    Event, NodeId, NodeRecord, RedemptionId, RedemptionRecord, Timestamp, TokenId, TokenRecord,
};

/// What must hold of the name a token is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameRule {
    /// Nothing: an unknown or deleted name is registered.
    Any,
    /// No identity holds it; an unknown or deleted name is registered.
    NotHeld,
    /// A node has it already.
    Exists,
}

/// One token to mint.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "a store reads every field")]
pub struct Mint {
    /// The token.
    pub token: TokenRecord,
    /// What must hold of the name it is bound to; unread without one.
    pub rule: NameRule,
    /// The id of the node, if the name has to be registered.
    pub new_node_id: NodeId,
    /// The operator's labels for the node; `None` leaves them as they are.
    pub labels: Option<BTreeMap<String, String>>,
    /// The events to journal with it.
    pub events: Vec<Event>,
}

/// Whether the token was minted.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub enum MintOutcome {
    /// It was; the node it is bound to, where it is.
    Minted(Option<Box<NodeRecord>>),
    /// An identity holds the name: nothing was written.
    NameHeld,
    /// No node has the name: nothing was written.
    NoSuchNode,
}

/// What became of a wish to revoke.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "a store builds every field")]
pub struct RevokeOutcome {
    /// The token as it stands now.
    pub token: TokenRecord,
    /// Whether this call revoked it.
    pub revoked_now: bool,
}

/// Minting, listing and revoking join tokens.
///
/// # Contract
/// - **T1** `mint` with a bound token, in one step: registers the name as `pending` (with a new id)
///   where it is unknown or deleted; marks every token bound to it that has spent no use and is
///   neither revoked nor replaced as replaced; closes the open redemptions of its node.
/// - **T2** `mint` refused by its [`NameRule`] wrote nothing.
/// - **T3** `revoke` sets `revoked_at` if and only if the token is neither revoked nor replaced, not
///   past its time at `at`, and not spent; and journals `event` if it did.
/// - **T4** `revoke` closes every open redemption of the token, whatever else it does.
/// - **T5** Lists are newest first by id, and stable under concurrent inserts.
#[async_trait]
pub trait Tokens: Send + Sync {
    /// Stores one token.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was written then.
    async fn mint(&self, mint: Mint) -> Result<MintOutcome, StoreError>;

    /// The token of this id.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn token(&self, id: TokenId) -> Result<Option<TokenRecord>, StoreError>;

    /// Tokens, newest first; `live_at` leaves out those past their time at that instant.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn tokens(
        &self,
        page: Page<TokenId>,
        live_at: Option<Timestamp>,
    ) -> Result<Vec<TokenRecord>, StoreError>;

    /// Revokes one token; `None` when there is none of this id.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was written then.
    async fn revoke(
        &self,
        id: TokenId,
        at: Timestamp,
        event: Event,
    ) -> Result<Option<RevokeOutcome>, StoreError>;

    /// The redemptions of one token, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn redemptions(
        &self,
        id: TokenId,
        page: Page<RedemptionId>,
    ) -> Result<Vec<RedemptionRecord>, StoreError>;
}
