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

/// `take_duty` writes one row of `enroll_duties`, and only if the duty is free, over, the asker's, or
/// held since a time to come: by a clock that went back since.
/// The time is read as it runs, after it was its turn to write.
pub(crate) const TAKE_DUTY: &str =
    "INSERT INTO enroll_duties (duty, holder, held_since, held_until)
    VALUES (:duty, :holder, CAST(unixepoch('subsec') * 1000 AS INTEGER),
        CAST(unixepoch('subsec') * 1000 AS INTEGER) + :span)
    ON CONFLICT (duty) DO UPDATE SET holder = excluded.holder,
        held_since = excluded.held_since, held_until = excluded.held_until
    WHERE enroll_duties.holder = excluded.holder
        OR enroll_duties.held_until <= excluded.held_since
        OR enroll_duties.held_since > excluded.held_since + 1000";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rusqlite::Connection;

    use super::*;

    /// A holder that is gone keeps a duty by a clock that went back since: nobody could wait that long.
    #[test]
    fn m2_a_duty_that_is_held_since_a_time_to_come_is_free() {
        let mut connection = Connection::open_in_memory().unwrap();
        crate::schema::migrate(&mut connection, Path::new("test")).unwrap();
        let take = |holder: u8| {
            let values = named_params! { ":duty": "watch", ":holder": [holder; 16], ":span": 5000 };
            connection.execute(TAKE_DUTY, values).unwrap() == 1
        };
        assert!(take(1) && !take(2));
        let ahead = "UPDATE enroll_duties
            SET held_since = held_since + 3600000, held_until = held_until + 3600000";
        connection.execute(ahead, []).unwrap();
        assert!(take(2), "whoever held it has it by another clock");
        assert!(!take(1), "for as long as it is held");
    }
}
