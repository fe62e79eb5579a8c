//! The schema, as numbered migrations that are only ever appended to.
//!
//! Each is recorded with its SHA-256 in the transaction that runs it. A database whose record does
//! not begin like the list here is not opened: it was written by a newer version, by another
//! program, or altered.

use std::path::Path;

use enroll_core::model::Sha256;
use rusqlite::{Connection, TransactionBehavior, named_params};

use crate::error::{Failure, OpenError, OpenErrorKind};
use crate::settings;

/// Every migration, oldest first; its number is its place, from 1.
pub(crate) const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_initial.sql"),
    include_str!("migrations/0002_duties.sql"),
    include_str!("migrations/0003_external_identities.sql"),
    include_str!("migrations/0004_local_redemptions.sql"),
    include_str!("migrations/0005_touched.sql"),
    include_str!("migrations/0006_held_since.sql"),
];

/// Brings the schema up to date and writes one row, in one transaction; others that open the same file wait for it.
pub(crate) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |error: rusqlite::Error| OpenError::from_failure(path, Failure::from(error));
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    transaction.execute_batch(CREATE_RECORD).map_err(failed)?;
    let done = recorded(&transaction).map_err(failed)?;
    check(&done).map_err(|(kind, why)| OpenError::new(kind, path, why))?;
    for (number, sql) in (1..).zip(MIGRATIONS).skip(done.len()) {
        transaction.execute_batch(sql).map_err(failed)?;
        let values = named_params! { ":number": number, ":checksum": checksum(sql) };
        transaction.execute(RECORD, values).map_err(failed)?;
    }
    // SQLite opens what it may not write as read-only, and says so at the first write.
    transaction.execute(settings::WRITE_PROBE, []).map_err(failed)?;
    transaction.commit().map_err(failed)
}

/// Numbers and checksums of the migrations that were run, in order.
fn recorded(connection: &Connection) -> Result<Vec<(i64, String)>, rusqlite::Error> {
    let mut statement = connection.prepare(RECORDED)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// Whether what was run is the beginning of what is built in.
fn check(done: &[(i64, String)]) -> Result<(), (OpenErrorKind, String)> {
    for (place, (number, checksum_then)) in (1..).zip(done) {
        let Some(sql) = usize::try_from(place - 1).ok().and_then(|at| MIGRATIONS.get(at)) else {
            let why = format!("migration {number} is unknown here; {} are known", MIGRATIONS.len());
            return Err((OpenErrorKind::UnknownSchema, why));
        };
        if place != *number || checksum(sql) != *checksum_then {
            let why = format!("migration {number} on record is not migration {place} built in");
            return Err((OpenErrorKind::ChangedMigration, why));
        }
    }
    Ok(())
}

fn checksum(sql: &str) -> String {
    Sha256::of(sql.as_bytes()).to_hex()
}

const CREATE_RECORD: &str = "CREATE TABLE IF NOT EXISTS enroll_migrations (
    number   INTEGER PRIMARY KEY,
    checksum TEXT NOT NULL
) STRICT";

const RECORDED: &str = "SELECT number, checksum FROM enroll_migrations ORDER BY number";

const RECORD: &str = "INSERT INTO enroll_migrations (number, checksum) VALUES (:number, :checksum)";

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, Path::new("test")).unwrap();
        connection
    }

    fn kind(connection: &mut Connection) -> OpenErrorKind {
        migrate(connection, Path::new("test")).unwrap_err().kind()
    }

    #[test]
    fn a_migrated_database_is_left_as_it_is() {
        let mut connection = fresh();
        let before = recorded(&connection).unwrap();
        migrate(&mut connection, Path::new("test")).unwrap();
        assert_eq!(recorded(&connection).unwrap(), before);
        assert_eq!(before.len(), MIGRATIONS.len());
    }

    /// What was released is frozen: whoever edits a migration has to face this line.
    #[test]
    fn no_released_migration_was_edited() {
        let sums: Vec<String> = MIGRATIONS.iter().map(|sql| checksum(sql)).collect();
        assert_eq!(sums, FROZEN);
    }

    const FROZEN: &[&str] = &[
        "652b75d63236512ec1f251f16ada7813c1c329809b57f80c2edd4c55939d465d",
        "fdc9e4d8d443488519983017ef758230168a2b4d3b770cabdfa4cabe92cfaa56",
        "0274b3031bb6a4f51f5195b326de0045d8e7ee236d7192713aa5c5af4753246e",
        "abecadf5a9a6dceadb5382767bebe6a7315dbea4502852143ae7ab38ea4ef1a7",
        "a9e89602096e20876062c8fc858b52008c5abb72211ec64218108a4e1ab0ecc6",
        "0a0a557b009347e89af2a8d370c7491d6c0a1faf2703ac55111ae226477646f9",
    ];

    #[test]
    fn a_newer_schema_is_refused_and_left_alone() {
        let mut connection = fresh();
        connection.execute("INSERT INTO enroll_migrations VALUES (99, 'x')", []).unwrap();
        assert_eq!(kind(&mut connection), OpenErrorKind::UnknownSchema);
    }

    #[test]
    fn another_checksum_is_refused() {
        let mut connection = fresh();
        connection.execute("UPDATE enroll_migrations SET checksum = 'x'", []).unwrap();
        assert_eq!(kind(&mut connection), OpenErrorKind::ChangedMigration);
    }

    #[test]
    fn a_gap_in_the_record_is_refused() {
        let mut connection = fresh();
        connection.execute("UPDATE enroll_migrations SET number = 7 WHERE number = 1", []).unwrap();
        assert_eq!(kind(&mut connection), OpenErrorKind::ChangedMigration);
    }

    /// A redemption's attempt was a row of its own once, and is read from the redemption's now.
    #[test]
    fn an_attempt_from_before_its_redemption_held_it_is_there_once() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(&MIGRATIONS[..3].concat()).unwrap();
        connection.execute_batch(CREATE_RECORD).unwrap();
        for (number, sql) in (1_i64..).zip(&MIGRATIONS[..3]) {
            connection.execute(RECORD, (number, checksum(sql))).unwrap();
        }
        // The node is there, an earlier one of its name is not.
        let earlier =
            "INSERT INTO enroll_nodes (id, name, state, cordoned, created_at, labels, facts)
            VALUES (x'01', 'a', 'monitoring', 0, 1, '{}', '{}');
            INSERT INTO enroll_redemptions (id, method, node_id, node_name, at) VALUES
            (x'02', 'secret', x'01', 'a', 20), (x'03', 'secret', x'99', 'a', 10);
            INSERT INTO enroll_attempts (id, at, node_name, outcome) VALUES
            (x'04', 20, 'a', 'accepted'), (x'05', 10, 'a', 'accepted'),
            (x'06', 20, 'a', 'redelivered'), (x'07', 20, 'b', 'accepted');";
        connection.execute_batch(earlier).unwrap();
        migrate(&mut connection, Path::new("test")).unwrap();
        let left: String = connection
            .query_row("SELECT group_concat(hex(id)) FROM enroll_attempts", [], |row| row.get(0))
            .unwrap();
        assert_eq!(left, "05,06,07");
    }

    #[test]
    fn every_table_and_index_has_the_prefix() {
        let connection = fresh();
        let strangers: i64 = connection
            .query_row(
                "SELECT count(*) FROM sqlite_schema
                 WHERE name NOT LIKE 'enroll\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(strangers, 0);
    }
}
