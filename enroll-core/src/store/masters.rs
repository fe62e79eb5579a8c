//! What the masters of one store share.

use std::time::Duration;

use async_trait::async_trait;

use super::StoreError;
use crate::model::{Event, MasterId, Timestamp};

/// That the store was taken back to an earlier state: its server failed over to a copy that may have
/// been behind, or was restored from a backup. The tokens minted before are void.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a store builds every field")]
pub struct Fence {
    /// How often it happened so far.
    pub epoch: u64,
    /// When it was noticed last.
    pub raised_at: Timestamp,
    /// When an operator said that they know of it; `None` while nobody did.
    pub acknowledged_at: Option<Timestamp>,
}

/// What the masters of one store share: duties that one of them does at a time, word of changes, and
/// the fence.
///
/// # Contract
/// - **M1** `take_duty` gives a duty to whoever asks if nobody holds it, or the asker does, and says
///   whether. It is held for `span` from then on by the store's own clock; of two masters, both never
///   hold it at once.
/// - **M2** A duty whose holder does not ask again within its span is given to the next who asks; so
///   is one whose holder asked for no time at all, and one that is held since a time to come, by a
///   clock that went back since.
/// - **M3** `next_change` returns as soon as the number of changes heard of is not `seen`, with that
///   number. Heard of are a setting that was put, a node that was deleted, identities that were
///   revoked by another enrollment, a command that was queued: through this store by the time that
///   the operation returned, or soon after; through another master's as word of it comes, which may
///   be never. Who waits also looks now and then.
/// - **M4** `fence` is absent where the store was never taken back, or cannot know.
///   `acknowledge_fence` writes, and journals `event`, if and only if the fence has this epoch and is
///   not acknowledged yet.
#[async_trait]
pub trait Masters: Send + Sync {
    /// Asks for a duty, or to keep it.
    ///
    /// # Errors
    /// [`StoreError`]; whoever gets one does not hold it.
    async fn take_duty(
        &self,
        duty: &str,
        holder: MasterId,
        span: Duration,
    ) -> Result<bool, StoreError>;

    /// Waits until more changes, or fewer, were heard of than `seen`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn next_change(&self, seen: u64) -> Result<u64, StoreError>;

    /// Whether the store was taken back.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn fence(&self) -> Result<Option<Fence>, StoreError>;

    /// Notes that an operator knows of the fence of this epoch; says whether that was news.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was written then.
    async fn acknowledge_fence(
        &self,
        epoch: u64,
        at: Timestamp,
        event: Event,
    ) -> Result<bool, StoreError>;
}
