//! Clocks that jump: forward and back, the master's and the worker's, across the years in which
//! dates change their form.
#![expect(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

mod direct;

use std::time::Duration;

use direct::{Direct, Pair, again, name};
use enroll_core::master::{MintRequest, Verdict};
use enroll_core::model::{Clock as _, EnrollRequest, Health, JoinToken, Origin, Reason, Timestamp};
use enroll_core::store::Page;
use enroll_core::worker::Proofs;

const START: Timestamp = Timestamp::from_unix_secs(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3_600);
const A_WHILE: Duration = Duration::from_secs(20 * 60);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);
/// After so long without a heartbeat a node is degraded.
const STALE: Duration = Duration::from_secs(90);
/// The second after which 32 bits no longer hold the time.
const Y2038: Timestamp = Timestamp::from_unix_secs(2_147_483_648);
/// The instant from which certificates write their years with four digits.
const Y2050: Timestamp = Timestamp::from_unix_secs(2_524_608_000);

/// Where a clock can be thrown to from [`START`].
fn elsewhere() -> [Timestamp; 6] {
    [START.after(HOUR), START.before(HOUR), START.after(YEAR), START.before(YEAR), Y2038, Y2050]
}

async fn ask(master: &Direct, token: &JoinToken, node: &str) -> Result<(), Reason> {
    let mut request = EnrollRequest::new(again(token));
    request.node_name = Some(enroll_core::model::NodeName::new(node).unwrap());
    request.csr = Some(csr());
    match master.enroller.enroll(request, Origin::default()).await.unwrap() {
        Verdict::Admitted(_) => Ok(()),
        Verdict::Refused(why) => Err(why.reason()),
        other => panic!("{other:?}"),
    }
}

fn csr() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap()
}

#[tokio::test]
async fn no_token_outlives_its_time_wherever_the_clock_was_when_it_was_minted() {
    for there in elsewhere() {
        let master = Direct::new(START.before(YEAR));
        master.clock.danger_set_back(there);
        let wish = MintRequest::new().with_ttl(HOUR / 2);
        let token = master.enroller.mint(wish, "admin").await.unwrap().token;
        master.clock.danger_set_back(START);
        assert_eq!(ask(&master, &token, "worker-1").await, Err(Reason::Expired), "{there:?}");
        let kept = &master.enroller.tokens(Page::first(1), true).await.unwrap()[0];
        assert_eq!(kept.status(START).as_str(), "expired", "{there:?}");
    }
}

#[tokio::test]
async fn no_token_is_good_wherever_else_the_clock_is_thrown_to() {
    for there in elsewhere() {
        let master = Direct::new(START.before(YEAR));
        master.clock.danger_set_back(START);
        let wish = MintRequest::new().with_ttl(HOUR / 2);
        let token = master.enroller.mint(wish, "admin").await.unwrap().token;
        master.clock.danger_set_back(there);
        assert_eq!(ask(&master, &token, "worker-1").await, Err(Reason::Expired), "{there:?}");
        master.clock.danger_set_back(START);
        assert_eq!(ask(&master, &token, "worker-1").await, Ok(()), "put right, it is as it was");
    }
}

#[tokio::test]
async fn masters_whose_clocks_are_a_little_apart_take_each_others_tokens() {
    let master = Direct::new(START);
    let token = master.mint().await;
    master.clock.danger_set_back(START.before(Duration::from_secs(299)));
    assert_eq!(ask(&master, &token, "worker-1").await, Ok(()));
}

/// Whose clock jumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Both,
    Masters,
    Workers,
}

impl Pair {
    fn set(&self, whose: Whose, at: Timestamp) {
        if whose != Whose::Workers {
            self.master.clock.danger_set_back(at);
        }
        if whose != Whose::Masters {
            self.clock.danger_set_back(at);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoevers_clock_jumps_no_worker_loops_and_none_loses_its_identity() {
    for whose in [Whose::Both, Whose::Masters, Whose::Workers] {
        for there in elsewhere() {
            let case = format!("{whose:?} {there:?}");
            let pair = Pair::at(START).await;
            let node = pair.master.enroller.node(&name()).await.unwrap();
            pair.set(whose, there);
            let (ended, calls) = pair.live_for(A_WHILE).await;
            let most = |verb: &str, most: usize| {
                let made = calls.get(verb).copied().unwrap_or(0);
                assert!(made <= most, "{case}: {verb} {made} times: {calls:?} {ended:?}");
            };
            // One in 27 s, and what fails ever more seldom: a worker that loops makes thousands.
            most("heartbeat", 100);
            most("renew", 20);
            most("recover", 20);
            most("enroll", 0);
            // Who was told that its time is over for good ends, and keeps what it has.
            assert!(ended.is_ok() || ended.unwrap_err().exit_code() == 7, "{case}");
            assert!(pair.file("agent.key").contains("PRIVATE KEY"), "{case}");

            pair.set(Whose::Both, START.after(A_WHILE));
            let (ended, calls) = pair.live_for(A_WHILE).await;
            ended.unwrap_or_else(|why| panic!("{case}: {why}"));
            assert!(calls["heartbeat"] >= 30, "{case}: {calls:?}");
            let after = pair.master.enroller.node(&name()).await.unwrap();
            assert_eq!(after.id, node.id, "{case}");
            let (seen, now) = (after.last_seen_at.unwrap(), pair.clock.now());
            assert!(seen <= now, "{case}: {seen:?} {now:?}");
            assert_eq!(after.health(now, STALE), Health::Ready, "{case}: {seen:?} {now:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_from_a_clock_that_was_ahead_is_replaced_once_it_is_right() {
    let pair = Pair::at(START).await;
    pair.set(Whose::Both, START.after(YEAR));
    // It is an operator who has the machine enroll anew meanwhile.
    let token = pair.master.enroller.regenerate(name(), "admin").await.unwrap().minted.token;
    pair.worker.replace(Proofs::token(token)).await.unwrap();
    let node = pair.master.enroller.node(&name()).await.unwrap();
    let leaf = pair.file("agent.crt");

    pair.set(Whose::Both, START.after(A_WHILE));
    let (lived, calls) = pair.live_for(A_WHILE).await;
    lived.unwrap();
    assert_eq!((calls["recover"], calls.get("renew")), (1, None), "{calls:?}");
    assert!(calls["heartbeat"] >= 30, "{calls:?}");
    assert_ne!(pair.file("agent.crt"), leaf);
    let (after, now) = (pair.master.enroller.node(&name()).await.unwrap(), pair.clock.now());
    assert_eq!((after.id, after.health(now, STALE)), (node.id, Health::Ready));
    assert!(after.last_seen_at <= Some(now), "{after:?} {now:?}");
}

#[tokio::test(start_paused = true)]
async fn a_fleet_lives_across_the_years_in_which_dates_change_their_form() {
    for edge in [Y2038, Y2050] {
        let pair = Pair::at(edge.before(HOUR)).await;
        let node = pair.master.enroller.node(&name()).await.unwrap();
        let late = pair.master.mint().await;
        let (lived, calls) = pair.live_for(2 * HOUR).await;
        lived.unwrap();
        assert!((230..=280).contains(&calls["heartbeat"]), "{calls:?}");
        assert_eq!(ask(&pair.master, &late, "late").await, Err(Reason::Expired));
        let fresh = pair.master.mint().await;
        assert_eq!(ask(&pair.master, &fresh, "fresh").await, Ok(()));

        for clock in [&pair.clock, &pair.master.clock] {
            clock.advance(Duration::from_secs(21 * 24 * 3_600));
        }
        let leaf = pair.file("agent.crt");
        let (lived, calls) = pair.live_for(HOUR).await;
        lived.unwrap();
        assert_eq!(calls["renew"], 1, "{calls:?}");
        assert_ne!(pair.file("agent.crt"), leaf);
        assert_eq!(pair.master.enroller.node(&name()).await.unwrap().id, node.id);
    }
}
