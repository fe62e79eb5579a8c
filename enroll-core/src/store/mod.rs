//! Storage, as traits by noun. A store is mechanism: it finds, it writes in one atomic step, it says
//! who won. It decides nothing, and no secret is ever an argument or a result of it.
//!
//! # What holds for every operation
//! - **S1 Atomic.** It happens as a whole or not at all, whatever dies in between.
//! - **S2 Durable.** When it returned, no crash undoes it.
//! - **S3 Linearisable.** What it saw and wrote stands at one instant between call and return.
//! - **S4 Fail closed.** Trouble is an error, never an empty answer.
//!
//! Each trait adds numbered clauses; the conformance suite in [`testing`](crate::testing) has a law
//! for each. No method has a default: a store must think about every one of them.

mod commands;
mod error;
mod identities;
mod journal;
mod masters;
mod memory;
mod nodes;
mod redemptions;
mod settings;
mod stale;
mod tokens;

pub use commands::{Commands, Finish, QueueOutcome};
pub use error::{StoreError, StoreErrorKind};
pub use identities::{
    Identities, IdentityKey, Mark, Member, RenewOutcome, Renewal, Standing, Touched, UseOutcome,
};
pub use journal::{ATTEMPTS_PER_NAME, EVENTS, Journal, UNPROVEN_ATTEMPTS};
pub use masters::{Fence, Masters};
pub use memory::MemoryStore;
pub use nodes::{Beat, DeleteOutcome, NodeCount, NodeFilter, Nodes, Transition};
pub use redemptions::{Lookup, Redeem, RedeemOutcome, Redeliver, RedeliverOutcome, Redemptions};
pub use settings::{Admins, Finding, Probe, Setting, Settings};
pub use stale::Stale;
pub use tokens::{Mint, MintOutcome, NameRule, RevokeOutcome, Tokens};

/// One page of a list: `limit` rows at most, in the list's order, that come after `after`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "two values that belong together")]
pub struct Page<K> {
    /// The key of the last row already seen; `None` begins at the front.
    pub after: Option<K>,
    /// The most rows wanted.
    pub limit: u32,
}

impl<K> Page<K> {
    /// The first `limit` rows.
    #[must_use]
    pub const fn first(limit: u32) -> Self {
        Self { after: None, limit }
    }
}

/// Everything a master keeps: the sum of the traits by noun.
pub trait Store:
    Redemptions + Tokens + Nodes + Identities + Commands + Admins + Settings + Journal + Masters + Probe
{
}

impl<S> Store for S where
    S: Redemptions
        + Tokens
        + Nodes
        + Identities
        + Commands
        + Admins
        + Settings
        + Journal
        + Masters
        + Probe
        + ?Sized
{
}
