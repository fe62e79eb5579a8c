//! What the worker of a fusing node is handed.

use super::enroller::Enroller;
use super::members::AuthenticatedNode;
use crate::model::{FuseFailure, FuseRecord, Handover, TrustState};

/// What became of a worker's question for what it is to be fused with.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub enum HandOverVerdict {
    /// Here it is.
    Given {
        /// The attempt it is for.
        fuse: FuseRecord,
        /// What the fuser hands over.
        handover: Handover,
    },
    /// No attempt to fuse the node runs.
    NotFusing,
    /// It cannot be said at the moment, or not by this master: ask again.
    Later(FuseFailure),
}

impl Enroller {
    /// Hands the worker that asks what it needs to do its part of the attempt that runs, and only
    /// while it runs. It comes from the fuser at this moment, and goes into this answer alone.
    pub async fn hand_over(&self, caller: &AuthenticatedNode) -> HandOverVerdict {
        let node = &caller.node;
        let running = node
            .fuse
            .as_ref()
            .filter(|fuse| node.state == TrustState::Fusing && caller.at < fuse.deadline);
        let Some(fuse) = running else { return HandOverVerdict::NotFusing };
        let Some((fuser, _)) = &self.fuser else {
            return later("no_fuser", "This master has no fuser; another one began it.");
        };
        // The worker may hear of it before what was begun is on record.
        if fuse.ticket.is_none() {
            return later("not_begun", "It is being begun.");
        }
        match fuser.hand_over(node, fuse).await {
            Ok(handover) => HandOverVerdict::Given { fuse: fuse.clone(), handover },
            Err(failure) => HandOverVerdict::Later(failure),
        }
    }
}

fn later(source: &str, detail: &str) -> HandOverVerdict {
    HandOverVerdict::Later(FuseFailure { source: source.to_owned(), detail: detail.to_owned() })
}
