//! How a connection is opened: which library, which flags, which settings, each read back.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::types::FromSql;
use rusqlite::{Connection, OpenFlags};

use crate::error::{OpenError, OpenErrorKind};
use crate::options::Options;

/// More statements than this crate has.
const STATEMENTS: usize = 128;

/// How many pages the log collects before they are folded into the file: 16 MiB. A page that many
/// commits wrote is folded in once, so fewer, larger rounds cost less; opening after a crash reads
/// this much at most.
const CHECKPOINT_PAGES: &str = "4096";

/// How long to wait before the switch to WAL is tried again.
const BETWEEN_TRIES: Duration = Duration::from_millis(5);

/// Held while a file is created, so that no connection of this process is opened on it meanwhile:
/// closing any handle of a file drops all locks a process holds on it (POSIX), SQLite's too.
static CREATING: Mutex<()> = Mutex::new(());

/// Makes sure that the file is there, readable by nobody else if it was not, and gives its absolute
/// path. A file that is there is not opened, and keeps the permissions it has.
pub(crate) fn create(path: &Path) -> std::io::Result<PathBuf> {
    let _creating = CREATING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(file) => made(path, &file)?,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    // An absolute path is neither a URI nor `:memory:`, whatever the file is called.
    path.canonicalize()
}

/// Gives a new file its permissions, whatever the umask left of them, and its place in the directory
/// for good.
fn made(path: &Path, file: &File) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or_else(|| Path::new(".")))?.sync_all()?;
    }
    file.sync_all()
}

/// Opens the connection that writes; the file is there already.
pub(crate) fn open_writer(path: &Path, options: &Options) -> Result<Connection, OpenError> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE, options, options.cache_kib)?;
    enter_wal(&connection, path, options.busy_timeout)?;
    // `synchronous=FULL` syncs the write-ahead log at every commit: what was acknowledged is on the
    // disk. `fullfsync` makes that true on macOS too, where a plain fsync stops at the drive's cache.
    for (pragma, value, shown) in [
        ("synchronous", "FULL", "2"),
        ("foreign_keys", "ON", "1"),
        ("fullfsync", "ON", "1"),
        ("checkpoint_fullfsync", "ON", "1"),
        ("wal_autocheckpoint", CHECKPOINT_PAGES, CHECKPOINT_PAGES),
    ] {
        set(&connection, path, pragma, value, shown)?;
    }
    Ok(connection)
}

/// Switches to WAL, where the file is not yet. Of several processes that do so at once SQLite tells
/// some that the file is busy without waiting, and has nothing to wait on.
fn enter_wal(connection: &Connection, path: &Path, timeout: Duration) -> Result<(), OpenError> {
    let started = Instant::now();
    loop {
        match set(connection, path, "journal_mode", "WAL", "wal") {
            Err(busy)
                if busy.kind() == OpenErrorKind::Unavailable && started.elapsed() < timeout =>
            {
                thread::sleep(BETWEEN_TRIES);
            }
            done => return done,
        }
    }
}

/// Opens one connection that reads.
pub(crate) fn open_reader(path: &Path, options: &Options) -> Result<Connection, OpenError> {
    // SQLite empties the cache of a reader at every commit of another connection: it is worth as much
    // as is read between two of them.
    let cache_kib = options.cache_kib / 8;
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY, options, cache_kib)?;
    set(&connection, path, "query_only", "ON", "1")?;
    Ok(connection)
}

fn open(
    path: &Path,
    access: OpenFlags,
    options: &Options,
    cache_kib: u32,
) -> Result<Connection, OpenError> {
    // One thread at a time uses a connection, so SQLite needs no lock of its own around it.
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let failed = |error: rusqlite::Error| OpenError::from_failure(path, error.into());
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    let timeout = bounded(options.busy_timeout);
    connection.busy_timeout(timeout).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Plans that do not depend on what is bound: else SQLite prepares every statement with an equality
    // anew each time another value is bound, in the hope of a better one.
    let stable = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true);
    if !stable.map_err(failed)? {
        return Err(OpenError::new(OpenErrorKind::Setting, path, "plans cannot be made stable"));
    }
    for (pragma, value, shown) in [
        ("busy_timeout", timeout.as_millis().to_string(), timeout.as_millis().to_string()),
        ("cache_size", format!("-{cache_kib}"), format!("-{cache_kib}")),
        // Savepoints keep their undo pages in memory, not in a file.
        ("temp_store", "MEMORY".into(), "2".into()),
        // A schema that somebody altered runs no function of the application's.
        ("trusted_schema", "OFF".into(), "0".into()),
    ] {
        set(&connection, path, pragma, &value, &shown)?;
    }
    Ok(connection)
}

/// The timeout as SQLite can hold it, in whole milliseconds.
pub(crate) fn bounded(timeout: Duration) -> Duration {
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    Duration::from_millis(u64::from(millis.unsigned_abs()))
}

/// Sets one pragma and reads it back: SQLite ignores what it does not know.
fn set(
    connection: &Connection,
    path: &Path,
    pragma: &str,
    value: &str,
    shown: &str,
) -> Result<(), OpenError> {
    let failed = |error: rusqlite::Error| OpenError::from_failure(path, error.into());
    connection.execute_batch(&format!("PRAGMA {pragma} = {value}")).map_err(failed)?;
    let now = read(connection, pragma).map_err(failed)?;
    if now == shown {
        return Ok(());
    }
    let why = format!("PRAGMA {pragma} is {now} where {shown} is needed");
    Err(OpenError::new(OpenErrorKind::Setting, path, why))
}

fn read(connection: &Connection, pragma: &str) -> Result<String, rusqlite::Error> {
    connection.query_row(&format!("PRAGMA {pragma}"), [], |row| {
        let value = row.get_ref(0)?;
        Ok(i64::column_result(value).map_or_else(
            |_| String::column_result(value).unwrap_or_default(),
            |number| number.to_string(),
        ))
    })
}

/// Refuses a library that can corrupt a database, or that cannot keep the schema.
pub(crate) fn check_library(path: &Path) -> Result<(), OpenError> {
    if is_safe(rusqlite::version_number()) {
        return Ok(());
    }
    let why = format!(
        "SQLite {} can corrupt a database in WAL mode; 3.51.3, 3.50.7, 3.44.6 or later is needed",
        rusqlite::version()
    );
    Err(OpenError::new(OpenErrorKind::Library, path, why))
}

/// Whether a library of this version may be used. From 3.7.0 to 3.51.2 a checkpoint that raced a
/// writer could reset the log too early and lose or corrupt committed pages (sqlite.org/wal.html,
/// "the WAL-reset bug"); two branches got the fix too. What is older than WAL has no `STRICT` either.
const fn is_safe(version: i32) -> bool {
    matches!(version, 3_044_006..=3_044_999 | 3_050_007..=3_050_999 | 3_051_003..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_that_corrupt_are_refused() {
        for bad in [3_006_023, 3_007_000, 3_044_005, 3_045_003, 3_050_006, 3_051_000, 3_051_002] {
            assert!(!is_safe(bad), "{bad}");
        }
        for good in [3_044_006, 3_050_007, 3_051_003, 3_052_000, 3_054_001, 4_000_000] {
            assert!(is_safe(good), "{good}");
        }
    }

    /// Written a second time on purpose: what durability and integrity rest on is not weakened
    /// unseen.
    #[test]
    fn the_settings_durability_rests_on_are_in_force() {
        let directory = tempfile::tempdir().unwrap();
        let path = create(&directory.path().join("enroll.db")).unwrap();
        let options = Options::new().with_busy_timeout(Duration::from_millis(1234));
        let writer = open_writer(&path, &options).unwrap();
        let reader = open_reader(&path, &options).unwrap();
        for (pragma, value) in [
            ("journal_mode", "wal"),
            ("synchronous", "2"),
            ("foreign_keys", "1"),
            ("fullfsync", "1"),
            ("checkpoint_fullfsync", "1"),
            ("busy_timeout", "1234"),
            ("locking_mode", "normal"),
            ("trusted_schema", "0"),
        ] {
            assert_eq!(read(&writer, pragma).unwrap(), value, "{pragma}");
        }
        assert!(reader.execute_batch("CREATE TABLE a (b)").is_err());
        assert_eq!(read(&reader, "query_only").unwrap(), "1");
    }

    #[test]
    fn a_setting_that_does_not_take_is_refused() {
        let connection = Connection::open_in_memory().unwrap();
        let refused = set(&connection, Path::new("test"), "journal_mode", "WAL", "wal");
        assert_eq!(refused.unwrap_err().kind(), OpenErrorKind::Setting);
    }

    #[test]
    fn no_timeout_is_longer_than_sqlite_can_hold() {
        assert_eq!(bounded(Duration::MAX).as_millis(), 2_147_483_647);
        assert_eq!(bounded(Duration::from_micros(1_999)).as_millis(), 1);
    }
}
