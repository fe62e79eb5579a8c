//! What a redemption costs: one round trip, and no lock that all users of a fleet token share.

use std::num::NonZeroUsize;

use enroll_core::store::{RedeemOutcome, Redemptions as _};
use enroll_core::testing::Fixtures;
use enroll_store_postgres::testing::{Setup, fresh_url, shared, started};
use enroll_store_postgres::{Options, PostgresStore};

use crate::proxy::Proxy;
use crate::support::{approved, enroll, in_time, minted, open};

/// On one thread, so that what is sent together is seen together.
#[tokio::test]
async fn a_redemption_is_one_round_trip() {
    let (cluster, make) = (shared(), Fixtures::new());
    let url = fresh_url(cluster);
    let proxy = Proxy::to(cluster).await;
    let options = Options::new().with_pool_size(NonZeroUsize::MIN);
    let through = PostgresStore::connect(&proxy.url(&url), options).await.unwrap();
    let token = minted(&through, &make, 0).await;
    // The first one prepares the statements.
    assert!(enroll(&through, &make, &token, "node-0").await.unwrap());
    let mut fewest = usize::MAX;
    // Once in a while the server is asked for the time besides.
    for round in 1..=3 {
        let name = format!("node-{round}");
        let redeem = approved(&through, &make, &token, &name).await.unwrap().unwrap();
        let before = proxy.turns();
        let outcome = through.redeem(redeem).await.unwrap();
        assert!(matches!(outcome, RedeemOutcome::Enrolled(_)));
        fewest = fewest.min(proxy.turns() - before);
    }
    assert_eq!(fewest, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_of_an_unlimited_token_do_not_wait_for_its_row() {
    let cluster = started(Setup::default());
    let url = fresh_url(&cluster);
    let (store, make) = (open(&url).await, Fixtures::new());
    let fleet = minted(&store, &make, 0).await;
    let counted = minted(&store, &make, 100).await;
    let (_, schema) = url.rsplit_once("%3D").unwrap();
    let hold = format!(
        "BEGIN; SELECT id FROM {schema}.enroll_tokens FOR NO KEY UPDATE; SELECT pg_sleep(600)"
    );
    std::thread::scope(|scope| {
        let held = scope.spawn(|| cluster.sql(&hold));
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let sleeps = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
                let pid = in_time("the lock", async || {
                    Some(cluster.sql(sleeps).unwrap()).filter(|pid| !pid.is_empty())
                });
                let pid = pid.await;
                for round in 0..8 {
                    assert!(enroll(&store, &make, &fleet, &format!("f-{round}")).await.unwrap());
                }
                // One that counts has to wait, and is told to come again in the end.
                assert!(enroll(&store, &make, &counted, "c-0").await.is_err());
                assert!(!held.is_finished(), "all the while it was locked");
                cluster.sql(&format!("SELECT pg_terminate_backend({pid})")).unwrap();
                assert!(enroll(&store, &make, &counted, "c-1").await.unwrap());
            });
        });
        assert!(held.join().unwrap().is_err(), "it was ended");
    });
}
