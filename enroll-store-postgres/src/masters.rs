//! What the masters that share a database do one at a time, how they hear of each other, and what
//! they tell of the fence.

use std::time::Duration;

use async_trait::async_trait;
use enroll_core::model::{Event, MasterId, Timestamp};
use enroll_core::store::{Fence, Masters, StoreError, StoreErrorKind};

use crate::error::Failure;
use crate::transaction::Transaction;
use crate::{PostgresStore, journal, rows, values};

#[async_trait]
impl Masters for PostgresStore {
    async fn take_duty(
        &self,
        duty: &str,
        holder: MasterId,
        span: Duration,
    ) -> Result<bool, StoreError> {
        let millis = i64::try_from(span.as_millis()).unwrap_or(LONGEST).min(LONGEST);
        self.transact("take a duty", &(duty, holder, millis), |transaction, given| {
            Box::pin(async move {
                let (duty, holder, millis) = given;
                let values = values![*duty, rows::uuid(holder.as_bytes()), millis];
                Ok(transaction.execute(TAKE_DUTY, values).await? == 1)
            })
        })
        .await
    }

    /// Hears of the changes of all masters, where the server can be listened to.
    async fn next_change(&self, seen: u64) -> Result<u64, StoreError> {
        let mut changes = self.inner.changes.subscribe();
        let next = changes.wait_for(|count| *count != seen).await;
        // Nobody closes it while the store is there.
        next.map(|count| *count)
            .map_err(|_| StoreError::new(StoreErrorKind::Unavailable, "wait for a change"))
    }

    async fn fence(&self) -> Result<Option<Fence>, StoreError> {
        self.read("read the fence", &(), |transaction, ()| {
            Box::pin(async move {
                let fence = transaction.find(READ_FENCE, &[], |row| {
                    let epoch = row.get::<i64>()?;
                    Ok((epoch, row.maybe_instant()?, row.maybe_instant()?))
                });
                let (epoch, raised_at, acknowledged_at) =
                    fence.await?.ok_or(Failure::Missing("the fence"))?;
                let Some(raised_at) = raised_at else { return Ok(None) };
                // It counts up from one.
                let epoch = u64::try_from(epoch).map_err(|_| Failure::Missing("the epoch"))?;
                Ok(Some(Fence { epoch, raised_at, acknowledged_at }))
            })
        })
        .await
    }

    async fn acknowledge_fence(
        &self,
        epoch: u64,
        at: Timestamp,
        event: Event,
    ) -> Result<bool, StoreError> {
        // An epoch that does not fit was never given out.
        let Ok(epoch) = i64::try_from(epoch) else { return Ok(false) };
        let given = (epoch, at.unix_millis(), event);
        self.write("acknowledge the fence", &given, |transaction, (epoch, at, event)| {
            Box::pin(acknowledge(transaction, *epoch, *at, event))
        })
        .await
    }
}

async fn acknowledge(
    transaction: Transaction<'_>,
    epoch: i64,
    at: i64,
    event: &Event,
) -> Result<bool, Failure> {
    let written = transaction.execute(ACKNOWLEDGE_FENCE, values![epoch, at]).await? == 1;
    if written {
        journal::insert_event(transaction, event).await?;
    }
    Ok(written)
}

impl PostgresStore {
    /// Tells who waits in this process that something was changed.
    pub(crate) fn changed(&self) {
        self.inner.changes.send_modify(|count| *count += 1);
    }

    /// Tells who waits, here and in other masters, that something was changed. That it could not is
    /// no failure: who waits also looks now and then.
    pub(crate) async fn tell(&self) {
        self.changed();
        let told =
            self.read("tell other masters", &(), |transaction, ()| Box::pin(notify(transaction)));
        if let Err(error) = told.await {
            tracing::debug!(%error, "other masters were not told of a change");
        }
    }
}

/// Tells every master that listens that something was changed, when the transaction is committed.
pub(crate) async fn notify(transaction: Transaction<'_>) -> Result<(), Failure> {
    transaction.rows(NOTIFY, values![CHANNEL]).await.map(drop)
}

/// On what masters are told that something was changed.
pub(crate) const CHANNEL: &str = "enroll_changes";

/// `notify` writes no row. Its transaction commits one after the other with all others that notify,
/// so only what operators do may do it, and never what machines do.
pub(crate) const NOTIFY: &str = "SELECT pg_notify($1, '')";

/// A year, in milliseconds: no duty is taken for longer.
const LONGEST: i64 = 31_536_000_000;

/// `take_duty` locks and writes one row of `enroll_duties`, and writes only if the duty is free, over,
/// the asker's, or held since a time to come: by a clock that went back since. The time is read when the row is, not when the transaction began.
pub(crate) const TAKE_DUTY: &str =
    "INSERT INTO enroll_duties AS duty (duty, holder, held_since, held_until)
    VALUES ($1, $2, clock_timestamp(), clock_timestamp() + $3::bigint * interval '1 millisecond')
    ON CONFLICT (duty) DO UPDATE
    SET holder = excluded.holder, held_since = clock_timestamp(),
        held_until = clock_timestamp() + $3::bigint * interval '1 millisecond'
    WHERE duty.holder = excluded.holder OR duty.held_until <= clock_timestamp()
        OR duty.held_since > clock_timestamp() + interval '1 second'";

/// `read_fence` reads one row.
pub(crate) const READ_FENCE: &str =
    "SELECT epoch, raised_at, acknowledged_at FROM enroll_fence WHERE one = 1";

/// `acknowledge_fence` locks and writes the one row, and only if it was raised, is the one that is
/// meant, and nobody acknowledged it.
pub(crate) const ACKNOWLEDGE_FENCE: &str = "UPDATE enroll_fence SET acknowledged_at = $2
    WHERE one = 1 AND epoch = $1 AND raised_at IS NOT NULL AND acknowledged_at IS NULL";
