//! Connections that break, at the commit above all: the outcome is read back, never guessed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use enroll_core::model::Entropy as _;
use enroll_core::store::{
    Lookup, RedeemOutcome, Redemptions as _, Settings as _, StoreErrorKind, Tokens as _,
};
use enroll_core::testing::{Claimant, Fixtures, TestToken};
use enroll_store_postgres::PostgresStore;
use enroll_store_postgres::testing::{Setup, audit, fresh_url, shared, started};
use tokio::task::JoinSet;

use crate::proxy::{Cut, Proxy};
use crate::support::{PATIENCE, approved, enroll, event, minted, open, times};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_a_redemption_cut_at_its_commit_is_read_back() {
    let (cluster, make) = (shared(), Fixtures::new());
    let url = fresh_url(cluster);
    let proxy = Proxy::to(cluster).await;
    let (through, beside) = (open(&proxy.url(&url)).await, open(&url).await);
    let cuts = [Cut::Before, Cut::Amid, Cut::After, Cut::AfterWithWords];
    for (round, cut) in cuts.into_iter().cycle().take(4 * times(3, 100)).enumerate() {
        let token = minted(&beside, &make, 1).await;
        let name = format!("node-{round}");
        let redeem = approved(&through, &make, &token, &name).await.unwrap().unwrap();
        proxy.cut_next(cut);
        let outcome = through.redeem(redeem).await;
        assert!(!proxy.is_armed(), "{cut:?}: it was cut");
        let uses = beside.token(token.record.id).await.unwrap().unwrap().uses;
        match outcome {
            Ok(RedeemOutcome::Enrolled(node)) => {
                assert_eq!((node.name.as_str(), uses), (name.as_str(), 1), "{cut:?}");
            }
            Ok(lost) => panic!("{cut:?}: nobody else has the token: {lost:?}"),
            Err(error) => {
                assert!(!is_after(cut), "it was committed: {error:?}");
                assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{cut:?}");
                assert_eq!(uses, 0, "{cut:?}: nothing was spent");
                let another = format!("another-{round}");
                assert!(enroll(&beside, &make, &token, &another).await.unwrap(), "{cut:?}");
            }
        }
    }
    assert_eq!(audit(cluster, &url).unwrap(), Vec::<String>::new());
}

fn is_after(cut: Cut) -> bool {
    matches!(cut, Cut::After | Cut::AfterWithWords)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_a_setting_cut_at_its_commit_is_written_once_or_not_at_all() {
    let cluster = shared();
    let url = fresh_url(cluster);
    let proxy = Proxy::to(cluster).await;
    let (through, beside) = (open(&proxy.url(&url)).await, open(&url).await);
    let mut version = 0;
    for cut in [Cut::After, Cut::Before, Cut::Amid, Cut::AfterWithWords] {
        proxy.cut_next(cut);
        let outcome = through.put_setting("k", format!("{cut:?}"), version, event()).await;
        assert!(!proxy.is_armed(), "{cut:?}: it was cut");
        match outcome {
            Ok(written) => {
                assert!(written, "{cut:?}: nobody else wrote it");
                version += 1;
            }
            Err(error) => {
                assert!(!is_after(cut), "it was committed: {error:?}");
                assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{cut:?}");
            }
        }
        let kept = beside.setting("k").await.unwrap().unwrap();
        assert_eq!(kept.version, version, "{cut:?}: once, or not at all");
    }
    assert!(version >= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_backends_ended_under_load_lose_and_double_nothing() {
    let cluster = Arc::new(started(Setup::default()));
    let url = fresh_url(&cluster);
    let (store, beside) = (open(&url).await, open(&url).await);
    let ending = tokio::spawn({
        let cluster = Arc::clone(&cluster);
        async move {
            loop {
                tokio::time::sleep(Duration::from_millis(40)).await;
                let cluster = Arc::clone(&cluster);
                let ended = tokio::task::spawn_blocking(move || {
                    cluster.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'enroll' AND random() < 0.5")
                });
                ended.await.unwrap().unwrap();
            }
        }
    });
    let mut callers = JoinSet::new();
    let each = times(40, 2_000);
    for caller in 0..8_u64 {
        let (store, beside) = (store.clone(), beside.clone());
        callers.spawn(async move {
            let make = fixtures(caller);
            let (mut done, mut failed) = (0, 0);
            for round in 0..each {
                // Each in a millisecond of its own, and none by a clock that is far ahead.
                let place = caller * each as u64 + round as u64;
                let minted = Fixtures::START.after(Duration::from_millis(place));
                let token = make.token(minted).uses(1);
                if beside.mint(make.mint(&token)).await.is_err() {
                    failed += 1;
                    continue;
                }
                let name = format!("node-{caller}-{round}");
                match enroll(&store, &make, &token, &name).await {
                    Ok(won) => {
                        assert!(won, "nobody else has the token");
                        done += 1;
                        assert!(is_on_record(&beside, &token, &name).await, "I4: {name}");
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
                        failed += 1;
                    }
                }
            }
            (done, failed)
        });
    }
    let (mut done, mut failed) = (0, 0);
    while let Some(caller) = callers.join_next().await {
        let (theirs_done, theirs_failed) = caller.unwrap();
        (done, failed) = (done + theirs_done, failed + theirs_failed);
    }
    ending.abort();
    eprintln!("{done} redeemed, {failed} told to try again");
    assert!(done > 0, "somebody got through");
    assert_eq!(audit(&cluster, &url).unwrap(), Vec::<String>::new());
}

/// Whether the redemption is there; the store may have to be asked again.
async fn is_on_record(store: &PostgresStore, token: &TestToken, name: &str) -> bool {
    let claimant = Claimant::new(token, name);
    let lookup = Lookup {
        token_id: Some(token.record.id),
        node_name: claimant.node_name(),
        claim: claimant.claim(),
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        match store.look_up(lookup).await {
            Ok(seen) => return seen.prior.is_some(),
            Err(error) => assert!(Instant::now() < deadline, "no answer: {error:?}"),
        }
    }
}

/// Makers that no other caller shares a value with.
fn fixtures(caller: u64) -> Fixtures {
    let make = Fixtures::new();
    let mut skipped = vec![0; 32 * 100_000 * usize::try_from(caller).unwrap()];
    make.entropy().fill(&mut skipped).unwrap();
    make
}
