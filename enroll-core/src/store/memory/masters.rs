use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::MemoryStore;
use crate::model::{Event, MasterId, Timestamp};
use crate::store::{Fence, Masters, StoreError, StoreErrorKind};

#[async_trait]
impl Masters for MemoryStore {
    async fn take_duty(
        &self,
        duty: &str,
        holder: MasterId,
        span: Duration,
    ) -> Result<bool, StoreError> {
        let now = Instant::now();
        let mut state = self.state();
        let taken = state.duties.get(duty).is_some_and(|(by, until)| *by != holder && *until > now);
        if !taken {
            state.duties.insert(duty.to_owned(), (holder, now + span));
        }
        Ok(!taken)
    }

    async fn next_change(&self, seen: u64) -> Result<u64, StoreError> {
        let mut changes = self.changes.subscribe();
        let next = changes.wait_for(|count| *count != seen).await;
        // Nobody closes it while the store is there.
        next.map(|count| *count)
            .map_err(|_| StoreError::new(StoreErrorKind::Unavailable, "wait for a change"))
    }

    /// What is in memory is never taken back to an earlier state.
    async fn fence(&self) -> Result<Option<Fence>, StoreError> {
        Ok(None)
    }

    async fn acknowledge_fence(
        &self,
        _epoch: u64,
        _at: Timestamp,
        _event: Event,
    ) -> Result<bool, StoreError> {
        Ok(false)
    }
}

impl MemoryStore {
    /// Tells who waits that something was changed.
    pub(super) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}
