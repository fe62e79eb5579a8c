//! What is at the path: nothing, a database, something else.

use std::path::Path;

use enroll_core::store::{Settings as _, StoreErrorKind};
use enroll_store_sqlite::{OpenErrorKind, SqliteStore};

use crate::support::{being_child, block_on, check_integrity, child_after, event};

/// The kind of error that opening `path` ends in.
fn refusal(path: &Path) -> OpenErrorKind {
    let error = block_on(SqliteStore::open(path)).unwrap_err();
    assert!(error.to_string().contains(path.file_name().unwrap().to_str().unwrap()), "{error}");
    error.kind()
}

/// A database that was closed, changed by `sql` since.
fn altered(directory: &tempfile::TempDir, sql: &str) -> std::path::PathBuf {
    let path = directory.path().join("enroll.db");
    drop(block_on(SqliteStore::open(&path)).unwrap());
    rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    path
}

#[test]
fn the_library_that_was_linked_is_one_without_the_reset_bug() {
    let number = rusqlite::version_number();
    assert!(number >= 3_051_003, "{}", rusqlite::version());
    let linked = rusqlite::Connection::open_in_memory()
        .unwrap()
        .query_row("SELECT sqlite_version()", [], |row| row.get::<_, String>(0))
        .unwrap();
    assert_eq!(linked, rusqlite::version());
}

#[test]
fn the_settings_durability_rests_on_are_in_the_file_or_verified() {
    let directory = tempfile::tempdir().unwrap();
    let path = altered(&directory, "PRAGMA journal_mode = DELETE");
    let store = block_on(SqliteStore::open(&path)).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    let mode: String = other.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
    drop((store, other));
}

#[test]
fn what_was_closed_is_one_whole_file() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("enroll.db");
        let store = SqliteStore::open(&path).await.unwrap();
        let handle = store.clone();
        assert!(store.put_setting("key", "value".into(), 0, event()).await.unwrap());
        drop(store);
        assert!(handle.setting("key").await.unwrap().is_some());
        drop(handle);
        let left: Vec<_> =
            directory.path().read_dir().unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(left, [path.canonicalize().unwrap()]);
        check_integrity(&path);
        let store = SqliteStore::open(&path).await.unwrap();
        assert_eq!(store.setting("key").await.unwrap().unwrap().value, "value");
    });
}

#[test]
fn a_newer_schema_and_a_changed_one_are_refused() {
    let newer = tempfile::tempdir().unwrap();
    let path = altered(&newer, "INSERT INTO enroll_migrations VALUES (99, 'unknown')");
    assert_eq!(refusal(&path), OpenErrorKind::UnknownSchema);
    let changed = tempfile::tempdir().unwrap();
    let path = altered(&changed, "UPDATE enroll_migrations SET checksum = 'other'");
    assert_eq!(refusal(&path), OpenErrorKind::ChangedMigration);
}

#[test]
fn tables_of_others_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = altered(&directory, "CREATE TABLE theirs (a); INSERT INTO theirs VALUES (7)");
    drop(block_on(SqliteStore::open(&path)).unwrap());
    let theirs = rusqlite::Connection::open(&path).unwrap();
    let seven: i64 = theirs.query_row("SELECT a FROM theirs", [], |row| row.get(0)).unwrap();
    assert_eq!(seven, 7);
}

#[test]
fn what_is_no_database_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notes.txt");
    let text = "nothing that SQLite knows\n".repeat(1000);
    std::fs::write(&path, &text).unwrap();
    assert_eq!(refusal(&path), OpenErrorKind::Broken);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    assert_eq!(refusal(&directory.path().join("no/such/directory.db")), OpenErrorKind::Broken);
    let folder = directory.path().join("folder.db");
    std::fs::create_dir(&folder).unwrap();
    assert_eq!(refusal(&folder), OpenErrorKind::Broken);
}

#[test]
fn names_that_mean_something_to_sqlite_are_names_of_files() {
    let directory = tempfile::tempdir().unwrap();
    for name in [":memory:", "file:enroll.db?mode=memory", "a%41b"] {
        let path = directory.path().join(name);
        let store = block_on(SqliteStore::open(&path)).unwrap();
        assert_eq!(store.path(), path.canonicalize().unwrap());
        drop(store);
        check_integrity(&path);
    }
}

#[cfg(unix)]
#[test]
fn the_files_are_the_owners_alone_whatever_the_umask() {
    use std::os::unix::fs::PermissionsExt as _;
    const THIS: &str = "files::the_files_are_the_owners_alone_whatever_the_umask";
    if let Some((path, _)) = being_child() {
        let store = block_on(SqliteStore::open(&path)).unwrap();
        assert!(block_on(store.put_setting("key", "value".into(), 0, event())).unwrap());
        for entry in path.parent().unwrap().read_dir().unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
            println!("mode {mode:o} of {}", entry.file_name().display());
        }
        return;
    }
    for umask in ["0000", "0022", "0277"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("enroll.db");
        let out = child_after(&format!("umask {umask}"), THIS, &path).output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let mut modes: Vec<_> = text.lines().filter(|line| line.starts_with("mode ")).collect();
        modes.sort_unstable();
        let all = ["enroll.db", "enroll.db-shm", "enroll.db-wal"];
        assert_eq!(modes, all.map(|file| format!("mode 600 of {file}")), "{umask}: {text}");
    }
}

/// Root may write what is read-only, so the child gives that power up first.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_cannot_be_written_is_refused() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    const THIS: &str = "files::a_file_that_cannot_be_written_is_refused";
    if let Some((path, _)) = being_child() {
        println!("refused as {:?}", refusal(&path));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = altered(&directory, "");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
    let before = std::fs::read(&path).unwrap();
    let root = directory.path().metadata().unwrap().uid() == 0;
    let unprivileged = if root {
        "exec setpriv --bounding-set -all --inh-caps -all \"$0\" --exact \
         --nocapture \"$1\""
    } else {
        ":"
    };
    let out = child_after(unprivileged, THIS, &path).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains("refused as Broken"), "{text} {}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

/// A limit on the size of files stands in for a disk that fills up.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fills_up_loses_nothing_that_was_acknowledged() {
    const THIS: &str = "files::a_disk_that_fills_up_loses_nothing_that_was_acknowledged";
    if let Some((path, _)) = being_child() {
        println!("acknowledged {}", block_on(fill(&path)));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("enroll.db");
    // Blocks of 512 bytes: one MiB. Without the trap the signal would end the process.
    let limited = "trap '' XFSZ; ulimit -f 2048";
    let out = child_after(limited, THIS, &path).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let said = text.lines().find_map(|line| line.split_once("acknowledged "));
    let acknowledged: u64 = said.unwrap_or_else(|| panic!("{text}")).1.trim().parse().unwrap();
    assert!(acknowledged > 0);
    block_on(async {
        let store = SqliteStore::open(&path).await.unwrap();
        let kept = store.setting("key").await.unwrap().unwrap();
        assert_eq!(kept.version, acknowledged);
        assert!(
            store.put_setting("key", "room again".into(), kept.version, event()).await.unwrap()
        );
    });
    check_integrity(&path);
}

/// Writes until it no longer can, and says how much was acknowledged.
#[cfg(target_os = "linux")]
async fn fill(path: &Path) -> u64 {
    let store = SqliteStore::open(path).await.unwrap();
    let mut acknowledged = 0;
    loop {
        let value = "x".repeat(30_000);
        match store.put_setting("key", value, acknowledged, event()).await {
            Ok(put) => assert!(put),
            Err(error) => {
                assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
                break;
            }
        }
        acknowledged += 1;
    }
    // What is there can still be read, and writing goes on failing closed.
    assert_eq!(store.setting("key").await.unwrap().unwrap().version, acknowledged);
    let again = store.put_setting("key", "x".repeat(30_000), acknowledged, event()).await;
    assert_eq!(again.unwrap_err().kind(), StoreErrorKind::Unavailable);
    acknowledged
}
