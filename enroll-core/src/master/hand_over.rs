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
    /// The fuser cannot say at the moment: ask again.
    Later(FuseFailure),
}

impl Enroller {
    /// Hands the worker that asks what it needs to do its part of the attempt that runs, and only
    /// while it runs. It comes from the fuser at this moment, and goes into this answer alone.
    pub async fn hand_over(&self, caller: &AuthenticatedNode) -> HandOverVerdict {
        let node = &caller.node;
        let running = node.fuse.as_ref().filter(|fuse| {
            node.state == TrustState::Fusing && fuse.ticket.is_some() && caller.at < fuse.deadline
        });
        let (Some((fuser, _)), Some(fuse)) = (&self.fuser, running) else {
            return HandOverVerdict::NotFusing;
        };
        match fuser.hand_over(node, fuse).await {
            Ok(handover) => HandOverVerdict::Given { fuse: fuse.clone(), handover },
            Err(failure) => HandOverVerdict::Later(failure),
        }
    }
}
