//! What a node is trusted with, whether it lives, and what may be done to it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::FuseId;
use super::Timestamp;
use super::record::{NodeRecord, TokenRecord};

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident $word:literal)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[expect(clippy::exhaustive_enums, reason = "a match must cover every word of the contract")]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant,)* }

        impl $name {
            /// Every one of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word on the wire and in stores; never renamed.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownWord;
            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                Self::ALL.iter().copied().find(|w| w.as_str() == text).ok_or(UnknownWord)
            }
        }
    )*};
}

pub(super) use words;

/// A word that is none of those the contract knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a word the contract knows")]
#[non_exhaustive]
pub struct UnknownWord;

words! {
    /// What a node is trusted with, as a store keeps it.
    TrustState {
        /// Registered; no identity yet.
        Pending "pending"
        /// Member: may be watched.
        Monitoring "monitoring"
        /// On the way to full control; a watchdog runs.
        Fusing "fusing"
        /// Full control.
        Fused "fused"
    }
    /// Whether a node was heard from.
    Health {
        /// Never heard from.
        Waiting "waiting"
        /// Heard from lately.
        Ready "ready"
        /// Not heard from for the stale threshold, after a first time.
        Degraded "degraded"
    }
    /// The one word for people: cordoned if it is, else the health.
    Status {
        /// Never heard from.
        Waiting "waiting"
        /// Heard from lately.
        Ready "ready"
        /// Not heard from for the stale threshold.
        Degraded "degraded"
        /// Kept from new work.
        Cordoned "cordoned"
    }
    /// What an operator may do with a node.
    Action {
        /// Mint a fresh token and kill the old.
        Regenerate "regenerate"
        /// Remove the node and revoke its identities.
        Delete "delete"
        /// Keep new work away.
        Cordon "cordon"
        /// Let new work in again.
        Uncordon "uncordon"
        /// Begin the step to full control.
        Fuse "fuse"
        /// Queue a command that only looks.
        CommandMonitor "command:monitor"
        /// Queue a command that changes something.
        CommandControl "command:control"
    }
    /// How a machine proved that it may become a member.
    Method {
        /// A join token.
        Token "token"
        /// A join token and the cluster secret.
        TokenAndSecret "token_and_secret"
        /// The enrollment secret alone.
        Secret "secret"
    }
    /// What an operator may do; each may do all the one below may.
    Role {
        /// Reads summaries.
        Viewer "viewer"
        /// Reads summaries.
        Developer "developer"
        /// Reads everything, cordons, commands.
        Operator "operator"
        /// Mints, revokes, deletes, decides who else is an operator.
        Admin "admin"
    }
    /// Where a join token stands.
    TokenStatus {
        /// May be redeemed.
        Active "active"
        /// Its time has elapsed.
        Expired "expired"
        /// One-shot, and spent.
        Consumed "consumed"
        /// Counted, and no use left.
        Exhausted "exhausted"
        /// Withdrawn by an operator.
        Revoked "revoked"
        /// Replaced by a newer token of its node.
        Replaced "replaced"
    }
}

impl NodeRecord {
    /// How far apart the clocks of masters may be: 5 minutes. What is on record from further ahead was
    /// written by a clock that was wrong.
    pub const CLOCK_LEEWAY: Duration = TokenRecord::CLOCK_LEEWAY;

    /// Whether the node was heard from within `stale_after` before `at`. To have been heard from more
    /// than [`CLOCK_LEEWAY`](Self::CLOCK_LEEWAY) after it is no sign of life: a clock was wrong.
    #[must_use]
    pub fn health(&self, at: Timestamp, stale_after: Duration) -> Health {
        match self.last_seen_at {
            None => Health::Waiting,
            Some(seen) if at.since(seen) >= stale_after => Health::Degraded,
            Some(seen) if seen > at.after(Self::CLOCK_LEEWAY) => Health::Degraded,
            Some(_) => Health::Ready,
        }
    }

    /// The attempt to fuse on record, running or ended.
    #[must_use]
    pub fn fuse_attempt(&self) -> Option<FuseId> {
        self.fuse.as_ref().map(|fuse| fuse.attempt)
    }

    /// The one word for people.
    #[must_use]
    pub fn status(&self, at: Timestamp, stale_after: Duration) -> Status {
        if self.cordoned {
            return Status::Cordoned;
        }
        match self.health(at, stale_after) {
            Health::Waiting => Status::Waiting,
            Health::Ready => Status::Ready,
            Health::Degraded => Status::Degraded,
        }
    }

    /// What the node's state allows. A degraded node keeps the state beneath, and commands queue.
    #[must_use]
    pub fn actions(&self, at: Timestamp, stale_after: Duration) -> Vec<Action> {
        let mut actions = vec![Action::Regenerate, Action::Delete];
        actions.push(if self.cordoned { Action::Uncordon } else { Action::Cordon });
        if self.state == TrustState::Pending {
            return actions;
        }
        let degraded = self.health(at, stale_after) == Health::Degraded;
        if self.state == TrustState::Monitoring && !degraded {
            actions.push(Action::Fuse);
        }
        actions.push(Action::CommandMonitor);
        if self.state == TrustState::Fused {
            actions.push(Action::CommandControl);
        }
        actions
    }
}
