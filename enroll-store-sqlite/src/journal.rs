//! Attempts and events, kept for people, in bounds.
//!
//! The attempt that a redemption made is no row of its own while its node is there: it is read from
//! the redemption's.
//!
//! What leaves a ring is not deleted row by row: readers leave out what is past the bound, and every
//! [`TRIM_EVERY`] rows the writer removes it. A ring thus holds that many rows above its bound at
//! most, and an insert touches the end of its table alone.

use async_trait::async_trait;
use enroll_core::model::{AttemptId, AttemptRecord, Event, JournalledEvent, NodeName, NodeRecord};
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
                ":keep_proven": ATTEMPTS_PER_NAME,
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
        return trim_attempts(transaction, node_name);
    }
    let seq = transaction.insert(INSERT_UNPROVEN, values)?;
    trim(transaction, TRIM_UNPROVEN, seq, UNPROVEN_ATTEMPTS)
}

/// Writes the attempts that were read from redemptions as rows under the name of a node that goes.
pub(crate) fn keep_attempts_of(
    transaction: Transaction<'_>,
    node: &NodeRecord,
) -> Result<(), Failure> {
    let values = named_params! { ":node_id": node.id.as_bytes(), ":keep": ATTEMPTS_PER_NAME };
    transaction.execute(KEEP_ATTEMPTS, values)?;
    trim_attempts(transaction, Some(node.name.as_str()))
}

fn trim_attempts(transaction: Transaction<'_>, node_name: Option<&str>) -> Result<(), Failure> {
    let values = named_params! { ":node_name": node_name, ":keep": ATTEMPTS_PER_NAME };
    transaction.execute(TRIM_ATTEMPTS, values).map(drop)
}

pub(crate) fn insert_events(transaction: Transaction<'_>, events: &[Event]) -> Result<(), Failure> {
    events.iter().try_for_each(|event| insert_event(transaction, event))
}

/// Writes one event at the end of the journal.
pub(crate) fn insert_event(transaction: Transaction<'_>, event: &Event) -> Result<(), Failure> {
    let values = named_params! { ":event": rows::json(event)? };
    let seq = transaction.insert(INSERT_EVENT, values)?;
    trim(transaction, TRIM_EVENTS, seq, EVENTS)
}

/// Removes what lies further back than `keep` from the place just written, every so often.
fn trim(
    transaction: Transaction<'_>,
    statement: &'static str,
    seq: i64,
    keep: u32,
) -> Result<(), Failure> {
    let last = seq - i64::from(keep);
    if seq % TRIM_EVERY != 0 || last <= 0 {
        return Ok(());
    }
    transaction.execute(statement, named_params! { ":last": last }).map(drop)
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
    ") VALUES (:id, :at, :node_name, :outcome, :source_ip, :token_id)"
);

/// `trim_unproven` removes rows at the front of `enroll_unproven_attempts`.
pub(crate) const TRIM_UNPROVEN: &str = "DELETE FROM enroll_unproven_attempts WHERE seq <= :last";

/// The attempt that a redemption made, as columns of its row.
macro_rules! redeemed_columns {
    () => {
        "id, at, node_name, 'accepted', source_ip, token_id"
    };
}

/// `keep_attempts` writes the attempts of the newest redemptions of one node.
pub(crate) const KEEP_ATTEMPTS: &str = concat!(
    "INSERT INTO enroll_attempts (",
    attempt_columns!(),
    ") SELECT ",
    redeemed_columns!(),
    " FROM enroll_redemptions WHERE node_id = :node_id ORDER BY id DESC LIMIT :keep"
);

/// `list_attempts` reads one page of one name's: of the proven ones, some of which are redemptions,
/// the newest, and of the others those in the ring.
pub(crate) const LIST_ATTEMPTS: &str = concat!(
    "WITH node AS (SELECT id FROM enroll_nodes WHERE name = :node_name),
        kept AS (SELECT id FROM enroll_attempts WHERE node_name = :node_name
            UNION ALL SELECT id FROM enroll_redemptions WHERE node_id = (SELECT id FROM node)
            ORDER BY id DESC LIMIT :keep_proven),
        oldest AS (SELECT coalesce(min(id), x'') AS id FROM kept)
    SELECT ",
    attempt_columns!(),
    ", 1 AS proven FROM enroll_attempts WHERE node_name = :node_name AND id < :after
        AND id >= (SELECT id FROM oldest)
    UNION ALL SELECT ",
    redeemed_columns!(),
    ", 1 AS proven FROM enroll_redemptions WHERE node_id = (SELECT id FROM node)
        AND id < :after AND id >= (SELECT id FROM oldest)
    UNION ALL SELECT ",
    attempt_columns!(),
    ", 0 AS proven FROM enroll_unproven_attempts WHERE node_name = :node_name AND id < :after
        AND seq > (SELECT max(seq) FROM enroll_unproven_attempts) - :keep
    ORDER BY id DESC LIMIT :limit"
);

/// `insert_event` writes one row at the end of `enroll_events`.
pub(crate) const INSERT_EVENT: &str = "INSERT INTO enroll_events (event) VALUES (:event)";

/// `trim_events` removes rows at the front of `enroll_events`.
pub(crate) const TRIM_EVENTS: &str = "DELETE FROM enroll_events WHERE seq <= :last";

/// `list_events` reads one page in order.
pub(crate) const LIST_EVENTS: &str = "SELECT seq, event FROM enroll_events
    WHERE seq > max(:after, (SELECT max(seq) FROM enroll_events) - :keep)
    ORDER BY seq LIMIT :limit";

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    use enroll_core::model::{AttemptOutcome, Reason, Timestamp, What};
    use rusqlite::Connection;

    const AT: Timestamp = Timestamp::from_unix_millis(1_000_000);

    fn fresh() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        crate::schema::migrate(&mut connection, Path::new("test")).unwrap();
        connection
    }

    fn count(connection: &Connection, sql: &str) -> i64 {
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    fn attempt(place: u32, proven: bool) -> AttemptRecord {
        let mut id = [0; 16];
        id[12..].copy_from_slice(&place.to_be_bytes());
        AttemptRecord {
            id: AttemptId::from_bytes(id),
            at: AT,
            node_name: NodeName::new("one").ok(),
            outcome: AttemptOutcome::Refused(Reason::InvalidToken),
            source_ip: None,
            token_id: None,
            proven,
        }
    }

    fn seen(connection: &Connection) -> usize {
        let values = named_params! {
            ":node_name": "one", ":after": rows::before(None), ":limit": u32::MAX,
            ":keep_proven": ATTEMPTS_PER_NAME, ":keep": UNPROVEN_ATTEMPTS,
        };
        Transaction::new(connection).list(LIST_ATTEMPTS, values, rows::attempt).unwrap().len()
    }

    /// The ring is exact for who reads it, at every fill, and bounded on the disk.
    #[test]
    fn the_ring_of_unproven_attempts_is_bounded_on_the_disk_too() {
        let connection = fresh();
        connection.execute_batch("BEGIN").unwrap();
        for place in 1..=UNPROVEN_ATTEMPTS + 1000 {
            insert_attempt(Transaction::new(&connection), &attempt(place, false)).unwrap();
            if place % 250 == 0 {
                assert_eq!(seen(&connection), place.min(UNPROVEN_ATTEMPTS) as usize, "{place}");
            }
        }
        let kept = count(&connection, "SELECT count(*) FROM enroll_unproven_attempts");
        assert!(kept < i64::from(UNPROVEN_ATTEMPTS) + TRIM_EVERY, "{kept} are kept");
    }

    #[test]
    fn proven_attempts_of_one_name_are_bounded_on_the_disk_too() {
        let connection = fresh();
        for place in 1..=ATTEMPTS_PER_NAME + 50 {
            insert_attempt(Transaction::new(&connection), &attempt(place, true)).unwrap();
        }
        let kept = count(&connection, "SELECT count(*) FROM enroll_attempts");
        assert_eq!(kept, i64::from(ATTEMPTS_PER_NAME));
    }

    #[test]
    fn the_events_are_bounded_on_the_disk_too() {
        let connection = fresh();
        let event = Event::new(AT, What::SettingChanged { key: "key".into() });
        let json = rows::json(&event).unwrap();
        let fill = "INSERT INTO enroll_events (event)
            WITH RECURSIVE place (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM place WHERE n < ?2)
            SELECT ?1 FROM place";
        connection.execute(fill, (json, EVENTS)).unwrap();
        for more in 1..=1000_i64 {
            insert_event(Transaction::new(&connection), &event).unwrap();
            let values = named_params! { ":after": 0, ":limit": 1, ":keep": EVENTS };
            let oldest = Transaction::new(&connection).list(LIST_EVENTS, values, rows::event);
            assert_eq!(oldest.unwrap()[0].seq, more.unsigned_abs() + 1);
        }
        let kept = count(&connection, "SELECT count(*) FROM enroll_events");
        assert!(kept < i64::from(EVENTS) + TRIM_EVERY, "{kept} are kept");
    }
}
