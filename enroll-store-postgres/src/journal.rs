//! Attempts and events, kept for people, in bounds.
//!
//! Events get their places after they were committed: from whoever reads, or from a writer every
//! [`PLACE_EVERY`] operations, one at a time. A place given at the time of writing would be passed
//! by a reader while its transaction is still open; giving places under a lock of all writers would
//! make them wait for each other's commits.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use enroll_core::model::{AttemptId, AttemptRecord, Event, JournalledEvent, NodeName};
use enroll_core::store::{ATTEMPTS_PER_NAME, EVENTS, Journal, Page, StoreError, UNPROVEN_ATTEMPTS};
use uuid::Uuid;

use crate::error::Failure;
use crate::rows::attempt_columns;
use crate::transaction::Transaction;
use crate::{PostgresStore, rows, touched};

/// After how many operations of one store its events are given their places, if nobody read them.
const PLACE_EVERY: usize = 256;

#[async_trait]
impl Journal for PostgresStore {
    async fn record_attempts(&self, attempts: Vec<AttemptRecord>) -> Result<(), StoreError> {
        self.write("record attempts", &attempts, |transaction, attempts| {
            Box::pin(insert_attempts(transaction, attempts))
        })
        .await
    }

    async fn attempts(
        &self,
        name: &NodeName,
        page: Page<AttemptId>,
    ) -> Result<Vec<AttemptRecord>, StoreError> {
        self.read("list attempts", &(name, page), |transaction, (name, page)| {
            Box::pin(async move {
                let before = rows::before(page.after.as_ref().map(AttemptId::as_bytes));
                let (limit, proven) = (i64::from(page.limit), i64::from(ATTEMPTS_PER_NAME));
                let unproven = i64::from(UNPROVEN_ATTEMPTS);
                let values = crate::values![name.as_str(), before, limit, proven, unproven];
                transaction.list(LIST_ATTEMPTS, values, rows::attempt).await
            })
        })
        .await
    }

    async fn record_events(&self, events: Vec<Event>) -> Result<(), StoreError> {
        self.write("record events", &events, |transaction, events| {
            Box::pin(insert_events(transaction, events))
        })
        .await?;
        self.journalled(events.len()).await;
        Ok(())
    }

    async fn events(&self, page: Page<u64>) -> Result<Vec<JournalledEvent>, StoreError> {
        const OPERATION: &str = "list events";
        let unplaced = self
            .read(OPERATION, &(), |transaction, ()| {
                Box::pin(async move {
                    Ok(transaction.find(ANY_UNPLACED, &[], |_| Ok(())).await?.is_some())
                })
            })
            .await?;
        if unplaced {
            self.place_events(OPERATION).await?;
        }
        self.read(OPERATION, &page, |transaction, page| {
            Box::pin(async move {
                let after = page.after.map_or(0, |seq| i64::try_from(seq).unwrap_or(i64::MAX));
                let values = crate::values![after, i64::from(page.limit), i64::from(EVENTS)];
                transaction.list(LIST_EVENTS, values, rows::event).await
            })
        })
        .await
    }
}

impl PostgresStore {
    /// Counts what was journalled, and gives places to it every so often. That it could not is no
    /// failure of the operation that happened to be the one: the next tries again.
    pub(crate) async fn journalled(&self, events: usize) {
        let before = self.inner.journalled.fetch_add(events, Ordering::Relaxed);
        if before / PLACE_EVERY == before.wrapping_add(events) / PLACE_EVERY {
            return;
        }
        if let Err(error) = self.place_events("order the journal").await {
            tracing::warn!(%error, "events wait for their places");
        }
    }

    async fn place_events(&self, operation: &'static str) -> Result<(), StoreError> {
        self.transact(operation, &(), |transaction, ()| {
            Box::pin(async move {
                let last: i64 = transaction
                    .find(LOCK_JOURNAL, &[], |row| row.get())
                    .await?
                    .ok_or(Failure::Missing("the journal's row"))?;
                transaction.execute(PLACE_EVENTS, crate::values![last]).await?;
                transaction.execute(TRIM_EVENTS, crate::values![i64::from(EVENTS)]).await?;
                touched::trim(transaction).await
            })
        })
        .await
    }
}

/// Attempts as columns.
#[derive(Default)]
struct Columns<'a> {
    ids: Vec<Uuid>,
    instants: Vec<i64>,
    names: Vec<&'a str>,
    outcomes: Vec<&'static str>,
    addresses: Vec<Option<String>>,
    tokens: Vec<Option<String>>,
}

impl<'a> Columns<'a> {
    fn of(attempts: impl Iterator<Item = &'a AttemptRecord>) -> Result<Self, Failure> {
        let mut columns = Self::default();
        for attempt in attempts {
            columns.ids.push(rows::uuid(attempt.id.as_bytes()));
            columns.instants.push(attempt.at.unix_millis());
            columns.names.push(name_of(attempt));
            columns.outcomes.push(rows::outcome_word(attempt.outcome)?);
            columns.addresses.push(attempt.source_ip.map(|ip| ip.to_string()));
            columns.tokens.push(attempt.token_id.map(|id| id.to_string()));
        }
        Ok(columns)
    }

    async fn insert(
        &self,
        transaction: Transaction<'_>,
        statement: &'static str,
    ) -> Result<(), Failure> {
        let Self { ids, instants, names, outcomes, addresses, tokens } = self;
        let values = crate::values![ids, instants, names, outcomes, addresses, tokens];
        transaction.execute(statement, values).await.map(drop)
    }
}

/// The name of an attempt as it is kept: the empty one where it claimed none.
pub(crate) fn name_of(attempt: &AttemptRecord) -> &str {
    attempt.node_name.as_ref().map_or("", NodeName::as_str)
}

/// Writes attempts, and trims what they pushed out.
pub(crate) async fn insert_attempts(
    transaction: Transaction<'_>,
    attempts: &[AttemptRecord],
) -> Result<(), Failure> {
    let proven = Columns::of(attempts.iter().filter(|attempt| attempt.proven))?;
    let unproven = Columns::of(attempts.iter().filter(|attempt| !attempt.proven))?;
    if !proven.ids.is_empty() {
        proven.insert(transaction, INSERT_ATTEMPTS).await?;
        // Two transactions that trim the same rings do so in the same order.
        let names: Vec<_> =
            proven.names.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        for name in names {
            let values = crate::values![name, i64::from(ATTEMPTS_PER_NAME)];
            transaction.execute(TRIM_ATTEMPTS, values).await?;
        }
    }
    if !unproven.ids.is_empty() {
        unproven.insert(transaction, INSERT_UNPROVEN).await?;
        let values = crate::values![i64::from(UNPROVEN_ATTEMPTS)];
        transaction.execute(TRIM_UNPROVEN, values).await?;
    }
    Ok(())
}

/// Writes events, in their order.
pub(crate) async fn insert_events(
    transaction: Transaction<'_>,
    events: &[Event],
) -> Result<(), Failure> {
    let events = events.iter().map(rows::json).collect::<Result<Vec<_>, _>>()?;
    transaction.execute(INSERT_EVENTS, crate::values![events]).await.map(drop)
}

/// Writes one event.
pub(crate) async fn insert_event(
    transaction: Transaction<'_>,
    event: &Event,
) -> Result<(), Failure> {
    insert_events(transaction, std::slice::from_ref(event)).await
}

/// `insert_attempts` writes new rows of `enroll_attempts`.
pub(crate) const INSERT_ATTEMPTS: &str = concat!(
    "INSERT INTO enroll_attempts (",
    attempt_columns!(),
    ") SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[],
        $6::text[])"
);

/// `trim_attempts` removes what lies behind the newest of one name; it reads no more than those, and
/// locks what it removes.
pub(crate) const TRIM_ATTEMPTS: &str = "DELETE FROM enroll_attempts
    WHERE node_name = $1 AND id <= (SELECT id FROM enroll_attempts
        WHERE node_name = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)";

/// `insert_unproven` writes new rows at the end of `enroll_unproven_attempts`.
pub(crate) const INSERT_UNPROVEN: &str = concat!(
    "INSERT INTO enroll_unproven_attempts (",
    attempt_columns!(),
    ") SELECT ",
    attempt_columns!(),
    " FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[])
        WITH ORDINALITY AS given (id, at, node_name, outcome, source_ip, token_id, nth)
    ORDER BY nth"
);

/// `trim_unproven` removes rows at the front of `enroll_unproven_attempts`, and locks them.
pub(crate) const TRIM_UNPROVEN: &str = "DELETE FROM enroll_unproven_attempts
    WHERE place <= (SELECT place FROM enroll_unproven_attempts
        ORDER BY place DESC LIMIT 1 OFFSET $1)";

/// `list_attempts` reads one page of one name's, merged from both tables; it locks nothing.
pub(crate) const LIST_ATTEMPTS: &str = concat!(
    "SELECT ",
    attempt_columns!(),
    ", true AS proven FROM enroll_attempts
    WHERE node_name = $1 AND id < $2 AND id > coalesce((SELECT id FROM enroll_attempts
        WHERE node_name = $1 ORDER BY id DESC LIMIT 1 OFFSET $4), '00000000-0000-0000-0000-000000000000')
    UNION ALL SELECT ",
    attempt_columns!(),
    ", false AS proven FROM enroll_unproven_attempts
    WHERE node_name = $1 AND id < $2 AND place > coalesce((SELECT place
        FROM enroll_unproven_attempts ORDER BY place DESC LIMIT 1 OFFSET $5), 0)
    ORDER BY id DESC LIMIT $3"
);

/// `insert_events` writes new rows of `enroll_unplaced_events`.
pub(crate) const INSERT_EVENTS: &str = "INSERT INTO enroll_unplaced_events (event)
    SELECT event FROM unnest($1::text[]) WITH ORDINALITY AS given (event, nth) ORDER BY nth";

/// `any_unplaced` reads one row at most; it locks nothing.
pub(crate) const ANY_UNPLACED: &str = "SELECT 1 FROM enroll_unplaced_events LIMIT 1";

/// `lock_journal` locks the one row of `enroll_journal`, which none but those who give places do.
pub(crate) const LOCK_JOURNAL: &str =
    "SELECT last_seq FROM enroll_journal WHERE one = 1 FOR UPDATE";

/// `place_events` moves rows of `enroll_unplaced_events` to the end of `enroll_events`, under the
/// lock of the journal's row. What is not committed is not seen, and comes after.
pub(crate) const PLACE_EVENTS: &str = "WITH taken AS (
        DELETE FROM enroll_unplaced_events RETURNING id, event
    ), placed AS (
        INSERT INTO enroll_events (seq, event)
        SELECT $1::bigint + row_number() OVER (ORDER BY id), event FROM taken
        RETURNING seq
    )
    UPDATE enroll_journal SET last_seq = (SELECT coalesce(max(seq), $1::bigint) FROM placed)
    WHERE one = 1";

/// `trim_events` removes rows at the front of `enroll_events`, under the lock of the journal's row.
pub(crate) const TRIM_EVENTS: &str = "DELETE FROM enroll_events
    WHERE seq <= (SELECT last_seq FROM enroll_journal WHERE one = 1) - $1::bigint";

/// `list_events` reads one page in order; it locks nothing.
pub(crate) const LIST_EVENTS: &str = "SELECT seq, event FROM enroll_events
    WHERE seq > greatest($1::bigint,
        (SELECT last_seq FROM enroll_journal WHERE one = 1) - $3::bigint)
    ORDER BY seq LIMIT $2";
