//! What a redemption costs: one round trip, alone or with others, and no lock that all users of a fleet
//! token share.

use std::num::NonZeroUsize;

use enroll_core::store::{
    Redeem, RedeemOutcome, Redemptions as _, StoreError, StoreErrorKind, Tokens as _,
};
use enroll_core::testing::Fixtures;
use enroll_store_postgres::testing::{Setup, audit, fresh_url, shared, started};
use enroll_store_postgres::{Options, PostgresStore};

use crate::proxy::{Cut, Proxy};
use crate::support::{approved, enroll, in_time, minted, open, times};

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

/// Redemptions of tokens of their own, whose names begin with `prefix`.
async fn wanted(store: &PostgresStore, make: &Fixtures, prefix: &str, count: usize) -> Vec<Redeem> {
    let mut wanted = Vec::new();
    for place in 0..count {
        let token = minted(store, make, 1).await;
        let name = format!("{prefix}-{place}");
        wanted.push(approved(store, make, &token, &name).await.unwrap().unwrap());
    }
    wanted
}

/// Carries all of them out at once.
async fn all_at_once(
    store: &PostgresStore,
    wanted: Vec<Redeem>,
) -> Vec<Result<RedeemOutcome, StoreError>> {
    let redeem = |redeem| {
        let store = store.clone();
        tokio::spawn(async move { store.redeem(redeem).await })
    };
    let running: Vec<_> = wanted.into_iter().map(redeem).collect();
    let mut outcomes = Vec::new();
    for redeeming in running {
        outcomes.push(redeeming.await.unwrap());
    }
    outcomes
}

#[tokio::test]
async fn those_that_come_while_one_is_under_way_share_its_successor() {
    let (cluster, make) = (shared(), Fixtures::new());
    let url = fresh_url(cluster);
    let proxy = Proxy::to(cluster).await;
    let through = |batch: usize| {
        let options = Options::new()
            .with_pool_size(NonZeroUsize::MIN)
            .with_batch(NonZeroUsize::new(batch).unwrap());
        let url = proxy.url(&url);
        async move { PostgresStore::connect(&url, options).await.unwrap() }
    };
    for (batch, most_turns) in [(64, 8), (1, usize::MAX)] {
        let store = through(batch).await;
        let wanted = wanted(&store, &make, &format!("of-{batch}"), 48).await;
        let before = proxy.turns();
        for outcome in all_at_once(&store, wanted).await {
            assert!(matches!(outcome.unwrap(), RedeemOutcome::Enrolled(_)));
        }
        let turns = proxy.turns() - before;
        assert!(turns <= most_turns, "batches of {batch}: {turns} round trips for 48");
        assert!(batch > 1 || turns >= 48, "each by itself: {turns} round trips for 48");
    }
    assert_eq!(audit(cluster, &url).unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r7_one_that_is_refused_spoils_nobody_elses() {
    let (cluster, make) = (shared(), Fixtures::new());
    let url = fresh_url(cluster);
    let store = open(&url).await;
    let [first] = wanted(&store, &make, "first", 1).await.try_into().unwrap();
    let serial = first.identities[0].clone();
    assert!(matches!(store.redeem(first).await.unwrap(), RedeemOutcome::Enrolled(_)));
    for round in 0..times(4, 200) {
        let mut wanted = wanted(&store, &make, &format!("round-{round}"), 24).await;
        // A serial that is on record already.
        wanted[11].identities[0].credential = serial.credential.clone();
        for (place, outcome) in all_at_once(&store, wanted).await.into_iter().enumerate() {
            match outcome {
                Ok(outcome) => {
                    assert!(matches!(outcome, RedeemOutcome::Enrolled(_)), "{outcome:?}");
                    assert_ne!(place, 11);
                }
                Err(error) => {
                    assert_eq!((place, error.kind()), (11, StoreErrorKind::Collision));
                }
            }
        }
    }
    assert_eq!(audit(cluster, &url).unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_a_batch_cut_at_its_commit_is_read_back_one_by_one() {
    let (cluster, make) = (shared(), Fixtures::new());
    let url = fresh_url(cluster);
    let proxy = Proxy::to(cluster).await;
    let (through, beside) = (open(&proxy.url(&url)).await, open(&url).await);
    for (round, cut) in
        [Cut::Before, Cut::Amid, Cut::After].into_iter().cycle().take(3 * times(2, 100)).enumerate()
    {
        let wanted = wanted(&through, &make, &format!("cut-{round}"), 32).await;
        let tokens: Vec<_> = wanted.iter().map(|redeem| redeem.approval.token_id()).collect();
        proxy.cut_next(cut);
        let outcomes = all_at_once(&through, wanted).await;
        assert!(!proxy.is_armed(), "{cut:?}: it was cut");
        for (token, outcome) in tokens.into_iter().zip(outcomes) {
            let uses = beside.token(token.unwrap()).await.unwrap().unwrap().uses;
            match outcome {
                Ok(RedeemOutcome::Enrolled(_)) => assert_eq!(uses, 1, "{cut:?}"),
                Ok(lost) => panic!("{cut:?}: nobody else has the token: {lost:?}"),
                Err(error) => {
                    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{cut:?}");
                    assert_eq!(uses, 0, "{cut:?}: nothing was spent");
                }
            }
        }
    }
    assert_eq!(audit(cluster, &url).unwrap(), Vec::<String>::new());
}

/// All of a counted token's users at once, more than it has uses, and some under one name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_a_counted_token_in_a_batch_loses_no_use_and_grants_none_too_many() {
    let (cluster, make) = (shared(), Fixtures::new());
    let url = fresh_url(cluster);
    let store = open(&url).await;
    for round in 0..times(6, 300) {
        let token = minted(&store, &make, 10).await;
        let mut wanted = Vec::new();
        for place in 0..24 {
            let name = format!("counted-{round}-{}", place / 2);
            wanted.push(approved(&store, &make, &token, &name).await.unwrap().unwrap());
        }
        let outcomes = all_at_once(&store, wanted).await;
        let won = outcomes
            .into_iter()
            .filter(|outcome| matches!(outcome, Ok(RedeemOutcome::Enrolled(_))))
            .count();
        let uses = store.token(token.record.id).await.unwrap().unwrap().uses;
        assert_eq!((won, uses), (10, 10));
    }
    assert_eq!(audit(cluster, &url).unwrap(), Vec::<String>::new());
}
