//! What the masters that share a file do one at a time, and how they hear of each other.

use std::time::Duration;

use async_trait::async_trait;
use enroll_core::model::{Event, MasterId, Timestamp};
use enroll_core::store::{Fence, Masters, StoreError, StoreErrorKind};
use rusqlite::named_params;

use crate::SqliteStore;

#[async_trait]
impl Masters for SqliteStore {
    async fn take_duty(
        &self,
        duty: &str,
        holder: MasterId,
        span: Duration,
    ) -> Result<bool, StoreError> {
        let duty = duty.to_owned();
        self.write("take a duty", move |transaction| {
            let values = named_params! {
                ":duty": duty,
                ":holder": holder.as_bytes(),
                ":span": i64::try_from(span.as_millis()).unwrap_or(LONGEST).min(LONGEST),
            };
            Ok(transaction.execute(TAKE_DUTY, values)? == 1)
        })
        .await
    }

    /// Hears of changes made in this process.
    async fn next_change(&self, seen: u64) -> Result<u64, StoreError> {
        let mut changes = self.inner.changes.subscribe();
        let next = changes.wait_for(|count| *count != seen).await;
        // Nobody closes it while the store is there.
        next.map(|count| *count)
            .map_err(|_| StoreError::new(StoreErrorKind::Unavailable, "wait for a change"))
    }

    /// A file that was restored from a backup looks like any other: there is no fence to raise.
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

impl SqliteStore {
    /// Tells who waits that something was changed.
    pub(crate) fn changed(&self) {
        self.inner.changes.send_modify(|count| *count += 1);
    }
}

/// A year, in milliseconds: no duty is taken for longer.
const LONGEST: i64 = 31_536_000_000;

/// `take_duty` writes one row of `enroll_duties`, and only if the duty is free, over, or the asker's.
/// The time is read as it runs, after it was its turn to write.
pub(crate) const TAKE_DUTY: &str = "INSERT INTO enroll_duties (duty, holder, held_until)
    VALUES (:duty, :holder, CAST(unixepoch('subsec') * 1000 AS INTEGER) + :span)
    ON CONFLICT (duty) DO UPDATE
    SET holder = excluded.holder, held_until = excluded.held_until
    WHERE enroll_duties.holder = excluded.holder
        OR enroll_duties.held_until <= CAST(unixepoch('subsec') * 1000 AS INTEGER)";
