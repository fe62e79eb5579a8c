//! A server that is away, and one that is too busy: told at once, and over when it is over.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use enroll_core::store::{Probe as _, StoreErrorKind};
use enroll_core::testing::Fixtures;
use enroll_store_postgres::testing::{Setup, Stop, fresh_url, started};
use enroll_store_postgres::{Options, PostgresStore};

use crate::support::{enroll, in_time, minted, open};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_unavailable_and_when_it_is_back_so_is_the_store() {
    let cluster = started(Setup::default());
    let (store, make) = (open(&fresh_url(&cluster)).await, Fixtures::new());
    let token = minted(&store, &make, 0).await;
    for (round, how) in [Stop::Immediate, Stop::Fast].into_iter().enumerate() {
        cluster.stop(how).unwrap();
        let began = Instant::now();
        let error = enroll(&store, &make, &token, &format!("away-{round}")).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
        assert_eq!(store.probe().await.unwrap_err().kind(), StoreErrorKind::Unavailable);
        assert!(began.elapsed() < Duration::from_secs(30), "bounded: {:?}", began.elapsed());
        cluster.resume().unwrap();
        in_time("the store", async || store.probe().await.ok()).await;
        assert!(enroll(&store, &make, &token, &format!("back-{round}")).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_finds_no_connection_waits_so_long_and_no_longer() {
    let cluster = started(Setup::default());
    let url = fresh_url(&cluster);
    let options = Options::new()
        .with_pool_size(NonZeroUsize::MIN)
        .with_wait_timeout(Duration::from_millis(200));
    let store = PostgresStore::connect(&url, options).await.unwrap();
    let make = Fixtures::new();
    let token = minted(&store, &make, 0).await;
    let (_, schema) = url.rsplit_once("%3D").unwrap();
    let lock = format!("BEGIN; LOCK TABLE {schema}.enroll_tokens; SELECT pg_sleep(3); COMMIT");
    std::thread::scope(|scope| {
        let locked = scope.spawn(|| cluster.sql(&lock));
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let waits = format!("SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = '{schema}.enroll_tokens'::regclass");
                in_time("the lock", async || (cluster.sql(&waits).unwrap() == "1").then_some(())).await;
                // This one has the only connection, and waits for the lock.
                let holder = tokio::spawn({
                    let store = store.clone();
                    async move { enroll(&store, &Fixtures::new(), &token, "holder").await.is_ok() }
                });
                tokio::time::sleep(Duration::from_millis(300)).await;
                let began = Instant::now();
                let error = store.probe().await.unwrap_err();
                assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
                assert!(began.elapsed() < Duration::from_millis(2_500), "{:?}", began.elapsed());
                assert!(holder.await.unwrap(), "who had it was served");
            });
        });
        locked.join().unwrap().unwrap();
    });
    in_time("the store", async || store.probe().await.ok()).await;
}
