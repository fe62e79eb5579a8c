//! What attempts to fuse left outside that came to nothing: undone at once, and where that fails or is
//! cut off, again and again for as long as this master runs.
//!
//! Nothing is undone of an attempt that still runs, or that the node is fused by: what the store says
//! at that moment counts, not what led here.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::enroller::Enroller;
use crate::model::{Event, FuseFailure, FuseRecord, NodeRecord, Timestamp, TrustState, What};

/// Attempts whose undoing is tried again, at most.
const MOST_OWED: usize = 1024;

/// The attempts that could not be undone outside yet, the one that has waited longest first.
#[derive(Default)]
pub(super) struct Owed(Mutex<VecDeque<(NodeRecord, FuseRecord)>>);

impl Owed {
    /// Begins to undo: what is not settled is owed, whatever became of the call.
    pub(super) fn begin(&self, node: &NodeRecord, fuse: &FuseRecord) -> Undoing<'_> {
        Undoing { owed: self, node: node.clone(), fuse: fuse.clone(), settled: false }
    }

    fn next(&self) -> Option<Undoing<'_>> {
        let (node, fuse) = self.attempts().pop_front()?;
        Some(Undoing { owed: self, node, fuse, settled: false })
    }

    fn push(&self, node: &NodeRecord, fuse: &FuseRecord) {
        let mut attempts = self.attempts();
        if attempts.iter().any(|(_, other)| other.attempt == fuse.attempt) {
            return;
        }
        if attempts.len() < MOST_OWED {
            attempts.push_back((node.clone(), fuse.clone()));
            return;
        }
        let ticket = fuse.ticket.as_deref();
        tracing::error!(node = %node.id, attempt = %fuse.attempt, ticket, "too many fuses could not be undone outside: this one is not tried again, undo it there yourself");
    }

    fn attempts(&self) -> MutexGuard<'_, VecDeque<(NodeRecord, FuseRecord)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt that is being undone. A call may be dropped at any moment, and no other master knows of
/// what it was about; so it is owed once this is dropped, unless it was settled before.
pub(super) struct Undoing<'a> {
    owed: &'a Owed,
    node: NodeRecord,
    fuse: FuseRecord,
    settled: bool,
}

impl Undoing<'_> {
    fn settle(mut self) {
        self.settled = true;
    }
}

impl Drop for Undoing<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.owed.push(&self.node, &self.fuse);
        }
    }
}

impl Enroller {
    /// Undoes outside what a node that was replaced or deleted at `at` had there, and says what
    /// became of an attempt that was still running.
    pub(super) async fn unfuse(&self, before: &NodeRecord, at: Timestamp) {
        let Some(fuse) = &before.fuse else { return };
        match before.state {
            TrustState::Fusing => self.note(Event::new(
                at,
                What::FuseFailed {
                    node_id: before.id,
                    node_name: before.name.clone(),
                    attempt: fuse.attempt,
                    source: FuseFailure::OVERTAKEN.to_owned(),
                },
            )),
            TrustState::Fused => {}
            _ => return,
        }
        self.undo_fuse(self.owed.begin(before, fuse)).await;
    }

    pub(super) async fn undo_fuse(&self, undoing: Undoing<'_>) {
        let (node, attempt) = (undoing.node.id, undoing.fuse.attempt);
        if let Err(FuseFailure { source, detail }) = self.undo(undoing).await {
            tracing::warn!(%node, %attempt, source, detail, "a fuse could not be undone outside; it is tried again");
        }
    }

    async fn undo(&self, undoing: Undoing<'_>) -> Result<(), FuseFailure> {
        let (node, fuse) = (&undoing.node, &undoing.fuse);
        match self.state_of(node, fuse).await? {
            Some(TrustState::Fused) => {}
            // Whether it was ended is not known yet.
            Some(TrustState::Fusing) => return Ok(()),
            _ => self.abort(node, fuse).await?,
        }
        undoing.settle();
        Ok(())
    }

    /// The state that the attempt has brought the node to; `None` where it is the node's no more.
    async fn state_of(
        &self,
        node: &NodeRecord,
        fuse: &FuseRecord,
    ) -> Result<Option<TrustState>, FuseFailure> {
        let now = self.store.node(&node.name).await.map_err(|cause| FuseFailure {
            source: "store_error".to_owned(),
            detail: cause.to_string(),
        })?;
        let its_own = now.filter(|now| now.fuse_attempt() == Some(fuse.attempt));
        Ok(its_own.map(|now| now.state))
    }

    async fn abort(&self, node: &NodeRecord, fuse: &FuseRecord) -> Result<(), FuseFailure> {
        if let Some((fuser, _)) = &self.fuser {
            return fuser.abort(node, fuse).await;
        }
        let ticket = fuse.ticket.as_deref();
        tracing::warn!(node = %node.id, attempt = %fuse.attempt, ticket, "this master has no fuser and cannot undo a fuse outside: look there yourself");
        Ok(())
    }

    /// Tries once more to undo the one that has waited longest. One at a time: what is away makes
    /// each of them wait, and the deadlines of others with them.
    pub(super) async fn undo_what_is_owed(&self) {
        if let Some(undoing) = self.owed.next() {
            // Why not was said the first time.
            let _undone = self.undo(undoing).await;
        }
    }

    /// Tries each of them once more.
    pub(super) async fn undo_all_that_is_owed(&self) {
        let owed = self.owed.attempts().len();
        for _ in 0..owed {
            self.undo_what_is_owed().await;
        }
    }
}
