//! Attempts and events, kept for people, in bounds.
//!
//! What leaves a ring is not deleted row by row: readers leave out what is past the bound, and every
//! [`TRIM_EVERY`] rows the writer removes it. A ring thus holds that many rows above its bound at
//! most, and an insert touches the end of its table alone.

use async_trait::async_trait;
use enroll_core::model::{AttemptId, AttemptRecord, Event, JournalledEvent, NodeName};
use enroll_core::store::{ATTEMPTS_PER_NAME, EVENTS, Journal, Page, StoreError, UNPROVEN_ATTEMPTS};
use rusqlite::named_params;

use crate::error::Failure;
use crate::rows::attempt_columns;
use crate::transaction::Transaction;
use crate::{SqliteStore, rows};

/// How many rows are written to a ring between two trimmings.
pub(crate) const TRIM_EVERY: i64 = 256;

#[async_trait]
impl Journal for SqliteStore {
    async fn record_attempts(&self, attempts: Vec<AttemptRecord>) -> Result<(), StoreError> {
        self.write("record attempts", move |transaction| {
            attempts.iter().try_for_each(|attempt| insert_attempt(transaction, attempt))
        })
        .await
    }

    async fn attempts(
        &self,
        name: &NodeName,
        page: Page<AttemptId>,
    ) -> Result<Vec<AttemptRecord>, StoreError> {
        let name = name.clone();
        self.read("list attempts", move |transaction| {
            let values = named_params! {
                ":node_name": name.as_str(),
                ":after": rows::before(page.after.as_ref().map(AttemptId::as_bytes)),
                ":limit": page.limit,
                ":keep": UNPROVEN_ATTEMPTS,
            };
            transaction.list(LIST_ATTEMPTS, values, rows::attempt)
        })
        .await
    }

    async fn record_events(&self, events: Vec<Event>) -> Result<(), StoreError> {
        self.write("record events", move |transaction| insert_events(transaction, &events)).await
    }

    async fn events(&self, page: Page<u64>) -> Result<Vec<JournalledEvent>, StoreError> {
        self.read("list events", move |transaction| {
            let after = page.after.map_or(0, |seq| i64::try_from(seq).unwrap_or(i64::MAX));
            let values = named_params! { ":after": after, ":limit": page.limit, ":keep": EVENTS };
            transaction.list(LIST_EVENTS, values, rows::event)
        })
        .await
    }
}

/// Writes one attempt, and trims what it pushed out.
pub(crate) fn insert_attempt(
    transaction: Transaction<'_>,
    attempt: &AttemptRecord,
) -> Result<(), Failure> {
    let node_name = attempt.node_name.as_ref().map(NodeName::as_str);
    let values = named_params! {
        ":id": attempt.id.as_bytes(),
        ":at": attempt.at.unix_millis(),
        ":node_name": node_name,
        ":outcome": rows::outcome_word(attempt.outcome)?,
        ":source_ip": attempt.source_ip.map(|ip| ip.to_string()),
        ":token_id": attempt.token_id.map(|id| id.to_string()),
    };
    if attempt.proven {
        transaction.execute(INSERT_ATTEMPT, values)?;
        let values = named_params! { ":node_name": node_name, ":keep": ATTEMPTS_PER_NAME };
        return transaction.execute(TRIM_ATTEMPTS, values).map(drop);
    }
    let seq = transaction.find(INSERT_UNPROVEN, values, |row| row.get())?;
    trim(transaction, TRIM_UNPROVEN, seq, UNPROVEN_ATTEMPTS)
}

pub(crate) fn insert_events(transaction: Transaction<'_>, events: &[Event]) -> Result<(), Failure> {
    events.iter().try_for_each(|event| insert_event(transaction, event))
}

/// Writes one event at the end of the journal.
pub(crate) fn insert_event(transaction: Transaction<'_>, event: &Event) -> Result<(), Failure> {
    let values = named_params! { ":event": rows::json(event)? };
    let seq = transaction.find(INSERT_EVENT, values, |row| row.get())?;
    trim(transaction, TRIM_EVENTS, seq, EVENTS)
}

/// Removes what lies further back than `keep` from the place just written, every so often.
fn trim(
    transaction: Transaction<'_>,
    statement: &'static str,
    seq: Option<i64>,
    keep: u32,
) -> Result<(), Failure> {
    match seq.map(|seq| (seq % TRIM_EVERY, seq - i64::from(keep))) {
        Some((0, last)) if last > 0 => {
            transaction.execute(statement, named_params! { ":last": last }).map(drop)
        }
        _ => Ok(()),
    }
}

/// `insert_attempt` writes one row of `enroll_attempts`.
pub(crate) const INSERT_ATTEMPT: &str = concat!(
    "INSERT INTO enroll_attempts (",
    attempt_columns!(),
    ") VALUES (:id, :at, :node_name, :outcome, :source_ip, :token_id)"
);

/// `trim_attempts` removes what lies behind the newest of one name; it reads no more than those.
pub(crate) const TRIM_ATTEMPTS: &str = "DELETE FROM enroll_attempts
    WHERE node_name IS :node_name AND id <= (SELECT id FROM enroll_attempts
        WHERE node_name IS :node_name ORDER BY id DESC LIMIT 1 OFFSET :keep)";

/// `insert_unproven` writes one row at the end of `enroll_unproven_attempts`.
pub(crate) const INSERT_UNPROVEN: &str = concat!(
    "INSERT INTO enroll_unproven_attempts (",
    attempt_columns!(),
    ") VALUES (:id, :at, :node_name, :outcome, :source_ip, :token_id) RETURNING seq"
);

/// `trim_unproven` removes rows at the front of `enroll_unproven_attempts`.
pub(crate) const TRIM_UNPROVEN: &str = "DELETE FROM enroll_unproven_attempts WHERE seq <= :last";

/// `list_attempts` reads one page of one name's, merged from both tables.
pub(crate) const LIST_ATTEMPTS: &str = concat!(
    "SELECT ",
    attempt_columns!(),
    ", 1 AS proven FROM enroll_attempts WHERE node_name = :node_name AND id < :after
    UNION ALL SELECT ",
    attempt_columns!(),
    ", 0 AS proven FROM enroll_unproven_attempts WHERE node_name = :node_name AND id < :after
        AND seq > (SELECT max(seq) FROM enroll_unproven_attempts) - :keep
    ORDER BY id DESC LIMIT :limit"
);

/// `insert_event` writes one row at the end of `enroll_events`.
pub(crate) const INSERT_EVENT: &str =
    "INSERT INTO enroll_events (event) VALUES (:event) RETURNING seq";

/// `trim_events` removes rows at the front of `enroll_events`.
pub(crate) const TRIM_EVENTS: &str = "DELETE FROM enroll_events WHERE seq <= :last";

/// `list_events` reads one page in order.
pub(crate) const LIST_EVENTS: &str = "SELECT seq, event FROM enroll_events
    WHERE seq > max(:after, (SELECT max(seq) FROM enroll_events) - :keep)
    ORDER BY seq LIMIT :limit";
