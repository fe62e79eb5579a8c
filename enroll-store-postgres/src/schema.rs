//! The schema, as numbered migrations that are only ever appended to.
//!
//! Each is recorded with its SHA-256 in the transaction that runs it. A schema whose record does not
//! begin like the list here is not opened: it was written by a newer version, by another program, or
//! altered. Masters that start at the same moment migrate one after the other.

use deadpool_postgres::Object;
use enroll_core::model::Sha256;
use tokio_postgres::error::SqlState;

use crate::connection::{Server, made};
use crate::error::{OpenError, OpenErrorKind};

/// Every migration, oldest first; its number is its place, from 1.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_initial.sql"),
    include_str!("migrations/0002_duties.sql"),
    include_str!("migrations/0003_external_identities.sql"),
    include_str!("migrations/0004_touched.sql"),
    include_str!("migrations/0005_restored.sql"),
];

/// The number under which a schema is locked while it is migrated: the bytes of "enroll m".
const LOCK: i64 = i64::from_be_bytes(*b"enroll m");

/// Brings the schema up to date, in one transaction, and makes `server` the first one it knows.
pub(crate) async fn migrate(
    client: &Object,
    begin: &str,
    server: &Server,
) -> Result<(), OpenError> {
    client.batch_execute(begin).await?;
    let migrated = within(client, server).await;
    let end = if migrated.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = client.batch_execute(end).await;
    migrated?;
    Ok(ended?)
}

async fn within(client: &Object, server: &Server) -> Result<(), OpenError> {
    // A migration of a large table may take longer than any other statement.
    client.batch_execute("SET LOCAL statement_timeout = 0").await?;
    client.query("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    let done = recorded(client).await?;
    check(&done).map_err(|(kind, why)| OpenError::new(kind, why))?;
    if done.len() < MIGRATIONS.len() {
        client.batch_execute(CREATE_RECORD).await?;
    }
    for (number, sql) in (1_i64..).zip(MIGRATIONS).skip(done.len()) {
        client.batch_execute(sql).await?;
        client.execute(RECORD, &[&number, &checksum(sql)]).await?;
    }
    client.execute(FIRST_SERVER, &[&server.system_id, &server.timeline]).await?;
    Ok(())
}

/// Numbers and checksums of the migrations that were run, in order; none where there is no record.
async fn recorded(client: &Object) -> Result<Vec<(i64, String)>, OpenError> {
    if !client.query_one(IS_RECORDED, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(Vec::new());
    }
    let rows = match client.query(RECORDED, &[]).await {
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_COLUMN) => {
            let why = "the table enroll_migrations is another program's";
            return Err(OpenError::new(OpenErrorKind::ChangedMigration, why));
        }
        rows => rows?,
    };
    Ok(rows
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect::<Result<_, tokio_postgres::Error>>()?)
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

const IS_RECORDED: &str = "SELECT to_regclass('enroll_migrations') IS NOT NULL";

const CREATE_RECORD: &str = "CREATE TABLE IF NOT EXISTS enroll_migrations (
    number   bigint PRIMARY KEY,
    checksum text   NOT NULL
)";

const RECORDED: &str = "SELECT number, checksum FROM enroll_migrations ORDER BY number";

const RECORD: &str = "INSERT INTO enroll_migrations (number, checksum) VALUES ($1, $2)";

/// `first_server` writes the one row of `enroll_fence`, if it is not there.
const FIRST_SERVER: &str = concat!(
    "INSERT INTO enroll_fence (one, system_id, timeline, made, epoch, floor, previous_floor)
    VALUES (1, $1, $2, ",
    made!(),
    ", 1, 1, 1)
    ON CONFLICT (one) DO NOTHING"
);

#[cfg(test)]
mod tests {
    use super::*;

    fn done() -> Vec<(i64, String)> {
        (1..).zip(MIGRATIONS.iter().map(|sql| checksum(sql))).collect()
    }

    fn kind(done: &[(i64, String)]) -> Option<OpenErrorKind> {
        check(done).err().map(|(kind, _)| kind)
    }

    #[test]
    fn only_a_record_that_begins_like_the_list_is_accepted() {
        assert_eq!((kind(&[]), kind(&done())), (None, None));
        let mut newer = done();
        newer.push((99, "x".into()));
        assert_eq!(kind(&newer), Some(OpenErrorKind::UnknownSchema));
        let mut other = done();
        other[0].1 = "x".into();
        assert_eq!(kind(&other), Some(OpenErrorKind::ChangedMigration));
        let mut gap = done();
        gap[0].0 = 7;
        assert_eq!(kind(&gap), Some(OpenErrorKind::ChangedMigration));
    }

    /// What was released is frozen: whoever edits a migration has to face this line.
    #[test]
    fn no_released_migration_was_edited() {
        let sums: Vec<String> = MIGRATIONS.iter().map(|sql| checksum(sql)).collect();
        assert_eq!(sums, FROZEN);
    }

    const FROZEN: &[&str] = &[
        "b8dd8ac382cece18319bcd9ccea17c0eb36e9a16739c4957e928f9b0db6d83ce",
        "ad62f9129077503db0290a85cc44987877be6222aebec874efd2a52cc45eaeb9",
        "0274b3031bb6a4f51f5195b326de0045d8e7ee236d7192713aa5c5af4753246e",
        "c5695be3cc699c31d3cce67cadc85990e98808671d6127d749e36acd2efbca5d",
        "a7bab0ab2849b499eec7e3acbd932c8fd9485a5fada8c73285b3c26fe53b5065",
    ];

    #[test]
    fn every_table_and_index_has_the_prefix() {
        for sql in MIGRATIONS {
            let made = sql.lines().filter_map(|line| line.strip_prefix("CREATE "));
            for line in made {
                let mut words = line.split_whitespace().skip_while(|word| {
                    ["UNIQUE", "TABLE", "INDEX", "VIEW", "FUNCTION", "TRIGGER"].contains(word)
                });
                assert!(words.next().is_some_and(|name| name.starts_with("enroll_")), "{line}");
            }
        }
    }
}
