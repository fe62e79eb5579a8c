//! More than the writer can take: bounded, told at once, nothing lost that was acknowledged.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use enroll_core::store::{Probe as _, Settings as _, StoreErrorKind, Tokens as _};
use enroll_core::testing::Fixtures;
use enroll_store_sqlite::{Options, SqliteStore};

use crate::support::{AT, block_on, event};

/// A store whose writer waits for a lock that the returned connection holds.
async fn blocked(
    directory: &tempfile::TempDir,
    options: Options,
) -> (SqliteStore, rusqlite::Connection) {
    let path = directory.path().join("enroll.db");
    let store = SqliteStore::open_with(&path, options).await.unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    (store, other)
}

#[test]
fn what_no_longer_fits_is_unavailable_at_once_and_the_rest_is_written() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let bound = NonZeroUsize::new(4).unwrap();
        let options = Options::new().with_queue_bound(bound);
        let (store, other) = blocked(&directory, options).await;
        let make = Fixtures::new();
        let tokens: Vec<_> = (0..12).map(|_| make.token(AT)).collect();
        let asked: Vec<_> = tokens
            .iter()
            .map(|token| {
                let (store, mint) = (store.clone(), make.mint(token));
                tokio::spawn(async move { store.mint(mint).await })
            })
            .collect();
        // All but those that wait are answered while the lock is held.
        while asked.iter().filter(|one| one.is_finished()).count() < 12 - 4 - 1 {
            tokio::task::yield_now().await;
        }
        other.execute_batch("COMMIT").unwrap();
        let mut written = 0;
        for (token, one) in tokens.iter().zip(asked) {
            let there = store.token(token.record.id).await.unwrap().is_some();
            match one.await.unwrap() {
                Ok(_) => written += 1,
                Err(error) => {
                    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
                    assert!(!there, "a refused token was written");
                }
            }
        }
        // Four in the queue, and the one that the writer may have had in hand.
        assert!((4..=5).contains(&written), "{written} of 12 were written");
    });
}

#[test]
fn a_lock_that_stays_is_unavailable_and_passes() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let options = Options::new().with_busy_timeout(Duration::from_millis(20));
        let (store, other) = blocked(&directory, options).await;
        let started = Instant::now();
        let put = store.put_setting("key", "value".into(), 0, event()).await;
        assert_eq!(put.unwrap_err().kind(), StoreErrorKind::Unavailable);
        assert!(started.elapsed() >= Duration::from_millis(20), "nobody waited for the lock");
        assert_eq!(store.probe().await.unwrap_err().kind(), StoreErrorKind::Unavailable);
        // Who only reads waits for nobody.
        assert_eq!(store.setting("key").await.unwrap(), None);
        other.execute_batch("COMMIT").unwrap();
        store.probe().await.unwrap();
        assert!(store.put_setting("key", "value".into(), 0, event()).await.unwrap());
    });
}

#[test]
fn an_operation_nobody_waits_for_any_more_is_not_carried_out() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let (store, other) = blocked(&directory, Options::new()).await;
        let first = tokio::spawn({
            let store = store.clone();
            async move { store.put_setting("first", "value".into(), 0, event()).await }
        });
        let dropped = store.put_setting("second", "value".into(), 0, event());
        assert!(tokio::time::timeout(Duration::from_millis(20), dropped).await.is_err());
        other.execute_batch("COMMIT").unwrap();
        assert!(first.await.unwrap().unwrap());
        assert!(store.put_setting("third", "value".into(), 0, event()).await.unwrap());
        assert_eq!(store.setting("second").await.unwrap(), None);
    });
}

#[test]
fn a_read_sees_all_that_was_acknowledged_before() {
    block_on(async {
        let store = SqliteStore::open_temp().await.unwrap();
        for version in 0..200 {
            assert!(store.put_setting("key", version.to_string(), version, event()).await.unwrap());
            let seen = store.setting("key").await.unwrap().unwrap();
            assert_eq!((seen.version, seen.value), (version + 1, version.to_string()));
        }
    });
}
