//! What each open stream holds.

use std::sync::Weak;
use std::sync::atomic::Ordering;

use tokio::sync::watch::Receiver;

use super::Shared;
use super::held::Seen;
use crate::master::members::Unauthorized;
use crate::model::{Facts, IdentityId, Timestamp};

/// Why a stream of a member ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchEnd {
    /// The identity is not, or no longer, one of a member.
    Unauthorized(Unauthorized),
    /// The store cannot say any more whether it is.
    Unavailable,
}

/// One open stream of a member. It counts as open until it is dropped.
#[must_use = "a stream that is not watched outlives a revocation"]
pub struct Watch {
    shared: Weak<Shared>,
    id: IdentityId,
    seen: Receiver<Seen>,
    /// The calls that were answered.
    answered: u64,
}

impl Watch {
    pub(super) fn new(shared: Weak<Shared>, id: IdentityId, seen: Receiver<Seen>) -> Self {
        // The first message of a stream looks at what waits by itself.
        let answered = seen.borrow().calls;
        Self { shared, id, seen, answered }
    }

    /// Why the stream has to end, if it has to by now.
    #[must_use]
    pub fn end(&self) -> Option<WatchEnd> {
        self.seen.borrow().ended
    }

    /// Resolves when the stream has to end.
    pub async fn ended(&mut self) -> WatchEnd {
        match self.seen.wait_for(|seen| seen.ended.is_some()).await {
            Ok(seen) => seen.ended.unwrap_or(WatchEnd::Unavailable),
            // The master itself is gone.
            Err(_) => WatchEnd::Unavailable,
        }
    }

    /// Resolves when a command waits for the node that was not looked at yet, or when the stream has
    /// to end.
    ///
    /// # Errors
    /// Why the stream ends.
    pub async fn called(&mut self) -> Result<(), WatchEnd> {
        let answered = self.answered;
        let news = |seen: &Seen| seen.ended.is_some() || seen.calls != answered;
        let Ok(seen) = self.seen.wait_for(news).await.map(|seen| *seen) else {
            return Err(WatchEnd::Unavailable);
        };
        if let Some(why) = seen.ended {
            return Err(why);
        }
        self.answered = seen.calls;
        Ok(())
    }

    /// Takes a heartbeat that came over the stream at `at`. Several before the next look are one.
    pub fn heard(&self, at: Timestamp, facts: Option<Facts>) {
        let Some(shared) = self.shared.upgrade() else { return };
        shared.heard.fetch_add(1, Ordering::Relaxed);
        let mut members = shared.held();
        let Some(held) = members.get_mut(&self.id) else { return };
        held.hear(at, facts);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        let mut members = shared.held();
        if let Some(held) = members.get_mut(&self.id) {
            held.streams = held.streams.saturating_sub(1);
        }
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("id", &self.id).finish_non_exhaustive()
    }
}
