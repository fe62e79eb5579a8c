//! What a store holds about one request, as of one instant.

use super::{IdentityRecord, NodeRecord, RedemptionRecord, Timestamp, TokenRecord};

/// Where a name stands.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "who may take a name is decided by matching on it")]
pub enum NameState {
    /// Nobody ever had it, or no name was asked for.
    Unknown,
    /// Its last holder was deleted.
    Deleted {
        /// When.
        at: Timestamp,
    },
    /// It is registered and has no identity yet.
    Pending(NodeRecord),
    /// It is held by an identity, valid or not.
    Held(NodeRecord),
}

/// A redemption the claimant may have made before, and what it made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a store builds every field")]
pub struct Prior {
    /// The newest with the same proof, claim and name.
    pub redemption: RedemptionRecord,
    /// Identities straight from it that are not revoked.
    pub identities: Vec<IdentityRecord>,
}

/// All a decision needs, read at one instant.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "a store builds every field")]
pub struct Snapshot {
    /// The token of the id asked for.
    pub token: Option<TokenRecord>,
    /// Where the name stands: the one asked for, else the one the token is bound to.
    pub name: NameState,
    /// The claimant's earlier redemption.
    pub prior: Option<Prior>,
}
