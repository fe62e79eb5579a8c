//! One clock per store: the server's.

use std::time::{Duration, Instant};

use enroll_core::model::{Clock as _, MasterId};
use enroll_core::store::Masters as _;
use enroll_store_postgres::testing::{Setup, Stop, fresh_url, shared, started};

use crate::support::{in_time, open};

/// A holder that is gone keeps a duty by a clock that went back since: nobody could wait that long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m2_a_duty_that_is_held_since_a_time_to_come_is_free() {
    let cluster = shared();
    let url = fresh_url(cluster);
    let (_, schema) = url.rsplit_once("%3D").unwrap();
    let (store, span) = (open(&url).await, Duration::from_secs(5));
    let ids = [1, 2].map(|id| MasterId::from_bytes([id; 16]));
    assert!(store.take_duty("watch", ids[0], span).await.unwrap());
    assert!(!store.take_duty("watch", ids[1], span).await.unwrap());
    let ahead =
        "held_since = held_since + interval '1 hour', held_until = held_until + interval '1 hour'";
    cluster.sql(&format!("UPDATE {schema}.enroll_duties SET {ahead}")).unwrap();
    assert!(store.take_duty("watch", ids[1], span).await.unwrap());
    assert!(!store.take_duty("watch", ids[0], span).await.unwrap(), "for as long as it is held");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_masters_go_by_the_servers_clock() {
    let cluster = shared();
    let url = fresh_url(cluster);
    let (one, other) = (open(&url).await, open(&url).await);
    let before = Instant::now();
    let (here, there) = (one.clock().now(), other.clock().now());
    let shown =
        cluster.sql("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint").unwrap();
    let shown = enroll_core::model::Timestamp::from_unix_millis(shown.parse().unwrap());
    let slack = before.elapsed() + Duration::from_secs(2);
    for clock in [here, there] {
        let apart = clock.since(shown).max(shown.since(clock));
        assert!(apart < slack, "{apart:?} apart");
    }
    assert!(one.clock().now() >= here, "it goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_goes_on_while_the_server_is_away() {
    use enroll_core::store::Probe as _;
    let cluster = started(Setup::default());
    let store = open(&fresh_url(&cluster)).await;
    let before = store.clock().now();
    cluster.stop(Stop::Immediate).unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(store.clock().now() > before);
    cluster.resume().unwrap();
    in_time("the store", async || store.probe().await.ok()).await;
    assert!(store.clock().now() > before);
}
