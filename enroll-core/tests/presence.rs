//! Members with open streams: what the store is asked about them, and what ends a stream.
#![expect(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::sync::Arc;
use std::time::Duration;

use enroll_core::issue::Issuer;
use enroll_core::master::{AuthenticatedNode, Caller, Enroller, Unauthorized, WatchEnd};
use enroll_core::model::{CredentialRecord, Event, What};
use enroll_core::store::{
    Identities as _, IdentityKey, Lookup, MemoryStore, Nodes as _, Redemptions as _, Store,
    StoreErrorKind, Tokens as _,
};
use enroll_core::testing::{Claimant, Fault, FixedClock, Fixtures, FlakyStore, Operation, name};
use tokio::time::{Instant, sleep, timeout};

/// How soon a master knows what happened in its store.
const SOON: Duration = Duration::from_secs(1);
/// More heartbeats than a master lets wait.
const MORE_THAN_CAN_WAIT: usize = 70_000;
/// How long one may rest before everybody is looked at, whatever the store names.
const WHOLE: Duration = Duration::from_secs(30);

/// A master, its store, and members by name.
struct Scene {
    store: Arc<FlakyStore<MemoryStore>>,
    master: Enroller,
    make: Fixtures,
}

impl Scene {
    fn new() -> Self {
        let store = Arc::new(FlakyStore::new(MemoryStore::new()));
        let issuers: Vec<Arc<dyn Issuer>> = Vec::new();
        let master = Enroller::with_issuers(Arc::clone(&store) as Arc<dyn Store>, issuers)
            .with_clock(Arc::new(FixedClock::at(Fixtures::at(10))));
        Self { store, master, make: Fixtures::new() }
    }

    /// Lets `text` in, and looks it up by its certificate.
    async fn member(&self, text: &str) -> AuthenticatedNode {
        let token = self.make.token(Fixtures::START).uses(1);
        let _minted = self.store.mint(self.make.mint(&token)).await.unwrap();
        let claimant = Claimant::new(&token, text);
        let lookup = Lookup {
            token_id: Some(token.record.id),
            node_name: claimant.node_name(),
            claim: claimant.claim(),
        };
        let seen = self.store.look_up(lookup).await.unwrap();
        let decision = self.make.decide(&claimant, &seen, Fixtures::at(1)).unwrap();
        let enroll_core::decision::Decision::Approved(approval) = decision else {
            panic!("nothing stands against it")
        };
        let redeem = self.make.redeem(approval, Fixtures::at(1));
        let serial = redeem.identities.iter().find_map(|identity| match identity.credential {
            CredentialRecord::X509 { serial, .. } => Some(serial),
            _ => None,
        });
        let serial = serial.unwrap();
        let _enrolled = self.store.redeem(redeem).await.unwrap();
        assert!(self.store.member(IdentityKey::Serial(serial)).await.unwrap().is_some());
        let caller = Caller::Certificate { serial, node_name: name(text) };
        self.master.authenticate(&caller).await.unwrap().unwrap()
    }

    async fn delete(&self, text: &str) {
        let event = Event::new(Fixtures::at(5), What::SettingChanged { key: "key".into() });
        let _deleted = self.store.delete_node(&name(text), Fixtures::at(5), event).await.unwrap();
    }

    fn calls(&self) -> [usize; 2] {
        [Operation::Touched, Operation::Standing].map(|operation| self.store.calls(operation))
    }
}

const REVOKED: WatchEnd = WatchEnd::Unauthorized(Unauthorized::Revoked);

#[tokio::test(start_paused = true)]
async fn who_was_revoked_before_the_stream_was_known_is_found_out() {
    let scene = Scene::new();
    let _other = scene.master.attend(&scene.member("other").await).unwrap();
    let member = scene.member("gone").await;
    scene.delete("gone").await;
    // Looks that come meanwhile see the deletion, and know nobody whom it concerns.
    sleep(SOON).await;
    let mut watch = scene.master.attend(&member).unwrap();
    assert_eq!(timeout(SOON, watch.ended()).await, Ok(REVOKED));
}

#[tokio::test(start_paused = true)]
async fn the_store_is_asked_about_whom_it_names_and_nobody_else() {
    let scene = Scene::new();
    let mut watches = Vec::new();
    for place in 0..100 {
        let member = scene.member(&format!("worker-{place}")).await;
        watches.push(scene.master.attend(&member).unwrap());
    }
    sleep(SOON).await;
    let [looks, questions] = scene.calls();
    sleep(5 * SOON).await;
    let [more_looks, more_questions] = scene.calls();
    assert!((5..=15).contains(&(more_looks - looks)), "{looks} to {more_looks}");
    assert_eq!(more_questions, questions, "nothing happened");
    scene.delete("worker-7").await;
    assert_eq!(timeout(SOON, watches[7].ended()).await, Ok(REVOKED));
    assert_eq!(scene.calls()[1], questions + 1, "it was asked once, about one");
}

#[tokio::test(start_paused = true)]
async fn now_and_then_it_is_asked_about_everybody() {
    let scene = Scene::new();
    let _watch = scene.master.attend(&scene.member("worker-1").await).unwrap();
    sleep(SOON).await;
    let questions = scene.calls()[1];
    sleep(3 * WHOLE + SOON).await;
    assert_eq!(scene.calls()[1], questions + 3);
}

/// A call that takes so long.
fn slow(time: Duration) -> Fault<MemoryStore> {
    Fault::rival(move |_| sleep(time))
}

#[tokio::test(start_paused = true)]
async fn a_write_that_takes_long_holds_no_stream_open_and_loses_no_heartbeat() {
    let scene = Scene::new();
    let slept = scene.master.attend(&scene.member("worker-1").await).unwrap();
    let mut watch = scene.master.attend(&scene.member("worker-2").await).unwrap();
    scene.store.script(Operation::RecordBeats, [slow(10 * SOON)]);
    slept.heard(Fixtures::at(10), None);
    sleep(SOON).await;
    slept.heard(Fixtures::at(11), None);
    scene.delete("worker-2").await;
    assert_eq!(timeout(SOON, watch.ended()).await, Ok(REVOKED));
    assert_eq!(scene.store.calls(Operation::RecordBeats), 1, "one at a time");
    scene.master.flush().await;
    assert_eq!(scene.store.calls(Operation::RecordBeats), 2);
    let node = scene.store.node(&name("worker-1")).await.unwrap().unwrap();
    assert_eq!(node.last_seen_at, Some(Fixtures::at(11)));
}

#[tokio::test(start_paused = true)]
async fn i11_of_one_node_one_heartbeat_waits_however_often_it_calls() {
    let scene = Scene::new();
    let mut member = scene.member("worker-1").await;
    scene.master.hear(&member, None).await.unwrap();
    member.node.last_seen_at = Some(member.at);
    scene.store.script(Operation::RecordBeats, [slow(10 * SOON)]);
    scene.master.hear(&member, None).await.unwrap();
    sleep(SOON).await;
    for _ in 0..MORE_THAN_CAN_WAIT {
        scene.master.hear(&member, None).await.unwrap();
    }
    scene.master.flush().await;
    assert_eq!(scene.master.dropped(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_confirms_nobody() {
    let scene = Scene::new();
    let mut watch = scene.master.attend(&scene.member("worker-1").await).unwrap();
    sleep(SOON).await;
    scene.store.script(Operation::Touched, (0..1000).map(|_| slow(3600 * SOON)));
    let began = Instant::now();
    assert_eq!(timeout(10 * SOON, watch.ended()).await, Ok(WatchEnd::Unavailable));
    assert!((4 * SOON..=6 * SOON).contains(&began.elapsed()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn after_the_store_was_silent_it_is_asked_about_everybody() {
    let scene = Scene::new();
    let mut watch = scene.master.attend(&scene.member("worker-1").await).unwrap();
    sleep(SOON).await;
    let questions = scene.calls()[1];
    let silent = || Fault::Before(StoreErrorKind::Unavailable);
    scene.store.script(Operation::Touched, [silent(), silent()]);
    sleep(2 * SOON).await;
    assert_eq!(scene.calls()[1], questions + 1);
    let began = Instant::now();
    scene.store.script(Operation::Touched, (0..1000).map(|_| silent()));
    assert_eq!(watch.ended().await, WatchEnd::Unavailable);
    assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
}
