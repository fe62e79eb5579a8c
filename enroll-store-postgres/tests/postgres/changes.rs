//! Masters hear of each other.

use std::time::Duration;

use enroll_core::model::MasterId;
use enroll_core::store::{Masters as _, Settings as _};
use enroll_core::testing::Fixtures;
use enroll_store_postgres::PostgresStore;
use enroll_store_postgres::testing::{Setup, Stop, fresh_url, shared, started};
use tokio::time::timeout;

use crate::support::{AT, PATIENCE, event, in_time, open};

/// The changes heard of, once no more come.
async fn settled(store: &PostgresStore) -> u64 {
    let mut seen = 0;
    while let Ok(next) = timeout(Duration::from_millis(500), store.next_change(seen)).await {
        seen = next.unwrap();
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m3_what_one_master_changes_another_hears() {
    let url = fresh_url(shared());
    let (one, other) = (open(&url).await, open(&url).await);
    let seen = settled(&other).await;
    assert!(one.put_setting("k", "v".into(), 0, event()).await.unwrap());
    let heard = timeout(PATIENCE, other.next_change(seen)).await.expect("it is heard of").unwrap();
    assert_ne!(heard, seen);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m3_who_was_cut_off_listens_again() {
    let cluster = started(Setup::default());
    let url = fresh_url(&cluster);
    let (one, other) = (open(&url).await, open(&url).await);
    settled(&other).await;
    cluster.stop(Stop::Immediate).unwrap();
    cluster.resume().unwrap();
    in_time("both listen again", async || {
        (cluster
            .sql("SELECT count(*) FROM pg_stat_activity WHERE query = 'LISTEN enroll_changes'")
            .ok()?
            == "2")
            .then_some(())
    })
    .await;
    let seen = settled(&other).await;
    assert!(one.put_setting("k", "v".into(), 0, event()).await.unwrap());
    timeout(PATIENCE, other.next_change(seen)).await.expect("it is heard of").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m1_a_duty_is_one_masters_over_all_stores() {
    let url = fresh_url(shared());
    let make = Fixtures::new();
    let master = || MasterId::generate(AT, make.entropy()).unwrap();
    let (one, other) = (open(&url).await, open(&url).await);
    let (here, there) = (master(), master());
    let span = Duration::from_secs(600);
    assert!(one.take_duty("d", here, span).await.unwrap());
    assert!(!other.take_duty("d", there, span).await.unwrap());
    assert!(one.take_duty("d", here, Duration::ZERO).await.unwrap());
    assert!(other.take_duty("d", there, span).await.unwrap());
}
