//! A standby that was behind is promoted: what was spent must not be good again.

use std::time::Duration;

use enroll_core::model::{Event, TokenStatus, What};
use enroll_core::store::{Journal as _, Masters as _, Page, Probe as _, Tokens as _};
use enroll_core::testing::{Fixtures, TestToken};
use enroll_store_postgres::testing::{Cluster, Setup, Stop, fresh_url, started};
use enroll_store_postgres::{OpenErrorKind, Options, PostgresStore};

use crate::proxy::Proxy;
use crate::support::{AT, approved, enroll, in_time, minted, open, times};

/// A fleet whose primary is lost at a moment when its standby was behind.
struct Failover {
    url: String,
    proxy: Proxy,
    store: PostgresStore,
    make: Fixtures,
    primary: Cluster,
}

impl Failover {
    async fn start() -> Self {
        let primary = started(Setup::default());
        let url = fresh_url(&primary);
        let proxy = Proxy::to(&primary).await;
        let store = open(&proxy.url(&url)).await;
        Self { url, proxy, store, make: Fixtures::new(), primary }
    }

    /// Spends a token on the primary that the standby does not hear of, and promotes the standby. The
    /// store goes on, led to the new primary; the token is given back, spent once.
    async fn fail_over(&mut self, round: usize) -> TestToken {
        let token = minted(&self.store, &self.make, 1).await;
        let standby = self.primary.standby().unwrap();
        standby.stop(Stop::Fast).unwrap();
        let won = enroll(&self.store, &self.make, &token, &format!("first-{round}")).await;
        assert!(won.unwrap(), "it is the first");
        self.primary.stop(Stop::Immediate).unwrap();
        standby.resume().unwrap();
        standby.promote().unwrap();
        self.proxy.lead_to(&standby);
        self.primary = standby;
        token
    }

    /// Whether somebody else gets in with a token that was spent already.
    async fn is_redeemed_again(&self, token: &TestToken, round: usize) -> bool {
        let name = format!("second-{round}");
        in_time("an answer", async || enroll(&self.store, &self.make, token, &name).await.ok())
            .await
    }

    fn sql(&self, statement: &str) {
        let (_, schema) = self.url.rsplit_once("%3D").unwrap();
        self.primary.sql(&statement.replace("{s}", schema)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_a_token_that_was_spent_before_a_promotion_is_not_good_after_it() {
    let mut failover = Failover::start().await;
    let (rounds, mut twice) = (times(2, 20), 0);
    for round in 0..rounds {
        let spent = failover.fail_over(round).await;
        twice += usize::from(failover.is_redeemed_again(&spent, round).await);
        let kept = failover.store.token(spent.record.id).await.unwrap().unwrap();
        assert_eq!((kept.uses, kept.status(AT)), (0, TokenStatus::Revoked), "as operators see it");

        // What is minted from now on is good.
        let fresh = minted(&failover.store, &failover.make, 1).await;
        let name = format!("fresh-{round}");
        assert!(enroll(&failover.store, &failover.make, &fresh, &name).await.unwrap());
    }
    assert_eq!(twice, 0, "I1: with the fence, of {rounds} promotions");
    eprintln!("{rounds} promotions, {twice} double redemptions");
}

/// What a dump restores lacks what was spent since, on the same server too, and while masters run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_a_token_that_was_spent_after_a_dump_is_not_good_in_what_is_restored_from_it() {
    let cluster = started(Setup::default());
    let (url, make) = (fresh_url(&cluster), Fixtures::new());
    let (_, schema) = url.rsplit_once("%3D").unwrap();
    let (store, again) = (open(&url).await, open(&url).await);
    let (early, late) = (minted(&store, &make, 1).await, minted(&store, &make, 1).await);
    let dump = dump(&cluster, schema);
    assert!(enroll(&store, &make, &early, "first").await.unwrap());
    assert!(enroll(&store, &make, &late, "second").await.unwrap());
    cluster.sql(&format!("DROP SCHEMA {schema} CASCADE; {dump}")).unwrap();
    let twice = in_time("an answer", async || enroll(&again, &make, &early, "third").await.ok());
    assert!(!twice.await, "by a master that ran on");
    let store = open(&url).await;
    assert!(!enroll(&store, &make, &late, "fourth").await.unwrap(), "by one that starts");
    assert_eq!(store.fence().await.unwrap().unwrap().epoch, 2, "raised once");
}

/// The statements that make what is in `schema` anew.
fn dump(cluster: &Cluster, schema: &str) -> String {
    let mut command = cluster.program("pg_dump");
    let dumped = command.args(["--inserts", "-n", schema, "-d", &cluster.url()]).output().unwrap();
    assert!(dumped.status.success(), "{dumped:?}");
    let text = String::from_utf8(dumped.stdout).unwrap();
    // Lines for psql itself are no statements.
    text.lines().filter(|line| !line.starts_with('\\')).collect::<Vec<_>>().join("\n")
}

/// The guard, broken once: without the fence the same promotion gives a token twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_fence_a_promotion_gives_a_token_twice() {
    let mut failover = Failover::start().await;
    let spent = failover.fail_over(0).await;
    in_time("the store", async || failover.store.probe().await.ok()).await;
    assert!(!failover.is_redeemed_again(&spent, 0).await, "the fence holds");
    failover.sql("UPDATE {s}.enroll_fence SET floor = previous_floor");
    assert!(failover.is_redeemed_again(&spent, 1).await, "and nothing else does");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redemption_approved_before_the_promotion_is_lost_after_it() {
    let mut failover = Failover::start().await;
    let token = minted(&failover.store, &failover.make, 1).await;
    let late = approved(&failover.store, &failover.make, &token, "late").await.unwrap().unwrap();
    failover.fail_over(0).await;
    use enroll_core::store::{RedeemOutcome, Redemptions as _};
    let outcome = failover.store.redeem(late).await;
    assert!(!matches!(outcome, Ok(RedeemOutcome::Enrolled(_))), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m4_the_fence_is_told_and_acknowledged_once() {
    let mut failover = Failover::start().await;
    assert_eq!(failover.store.fence().await.unwrap(), None);
    failover.fail_over(0).await;
    let fence = in_time("the fence", async || failover.store.fence().await.ok().flatten()).await;
    assert_eq!((fence.epoch, fence.acknowledged_at), (2, None));
    let events = failover.store.events(Page::first(500)).await.unwrap();
    let raised = events.iter().filter(|event| event.event.what == What::FenceRaised { epoch: 2 });
    assert_eq!(raised.count(), 1, "on record once");

    let event = || Event::by(AT, "ann", What::FenceAcknowledged { epoch: 2 });
    assert!(!failover.store.acknowledge_fence(3, AT, event()).await.unwrap(), "another epoch");
    assert!(failover.store.acknowledge_fence(2, AT, event()).await.unwrap());
    assert!(!failover.store.acknowledge_fence(2, AT, event()).await.unwrap(), "known already");
    let fence = failover.store.fence().await.unwrap().unwrap();
    assert_eq!(fence.acknowledged_at, Some(AT));

    // The next promotion is news again.
    failover.fail_over(1).await;
    let again = in_time("the next fence", async || {
        failover.store.fence().await.ok().flatten().filter(|fence| fence.epoch == 3)
    });
    assert_eq!(again.await.acknowledged_at, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_refused_until_it_is_promoted() {
    let primary = started(Setup::default());
    let url = fresh_url(&primary);
    let store = open(&url).await;
    let token = minted(&store, &Fixtures::new(), 1).await;
    let standby = primary.standby().unwrap();
    let there = format!("{}?{}", standby.url(), url.split_once('?').unwrap().1);
    let error = PostgresStore::connect(&there, Options::new()).await.unwrap_err();
    assert_eq!(error.kind(), OpenErrorKind::Recovery, "{error:?}");
    standby.promote().unwrap();
    let store = open(&there).await;
    let fence = store.fence().await.unwrap().unwrap();
    assert_eq!(fence.epoch, 2, "found at the start too");
    assert!(fence.raised_at > AT.before(Duration::from_secs(1)));
    let kept = store.token(token.record.id).await.unwrap().unwrap();
    assert_eq!(kept.status(AT), TokenStatus::Revoked);
}
