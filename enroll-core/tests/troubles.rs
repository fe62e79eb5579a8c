//! The line when something goes wrong in the middle: nothing is spent that was not answered, and
//! nothing is left behind outside.
#![expect(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use enroll_core::decision::Decision;
use enroll_core::issue::{Grant, IssueError, Issued, Issuer};
use enroll_core::master::{Admission, Enroller, Error, Verdict};
use enroll_core::model::{
    AttemptKey, Credential, CredentialKind, CredentialRecord, EnrollRequest, Entropy,
    MeshCredential, MockClock, MockEntropy, NodeName, Origin, Presented, Reason, SystemEntropy,
};
use enroll_core::store::{Lookup, MemoryStore, Nodes, Redemptions, Store, StoreErrorKind, Tokens};
use enroll_core::testing::{
    Claimant, Fault, FixedClock, Fixtures, FlakyStore, Operation, TestToken, name,
};
use zeroize::Zeroizing;

/// A system outside that makes keys, and takes them back.
struct Outside {
    kind: CredentialKind,
    made: AtomicUsize,
    alive: Mutex<BTreeSet<String>>,
    refuses: bool,
    keeps: bool,
}

impl Outside {
    fn new(kind: &'static str) -> Self {
        Self {
            kind: CredentialKind::from_static(kind),
            made: AtomicUsize::new(0),
            alive: Mutex::default(),
            refuses: false,
            keeps: false,
        }
    }

    fn alive(&self) -> usize {
        self.alive.lock().unwrap().len()
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }

    fn failure(&self) -> IssueError {
        IssueError::new(self.kind.clone(), "out of order").with_reason(Reason::MeshMintFailed)
    }
}

#[async_trait]
impl Issuer for Outside {
    fn kind(&self) -> CredentialKind {
        self.kind.clone()
    }

    fn needs_key(&self) -> bool {
        false
    }

    async fn issue(&self, _grant: &Grant<'_>) -> Result<Issued, IssueError> {
        if self.refuses {
            return Err(self.failure());
        }
        let external_id = self.made.fetch_add(1, Ordering::SeqCst).to_string();
        self.alive.lock().unwrap().insert(external_id.clone());
        let credential = MeshCredential {
            kind: self.kind.clone(),
            authkey: Zeroizing::new(format!("key {external_id}")),
            control_url: "https://mesh.example".into(),
            expires_at: Fixtures::at(3_600),
        };
        Ok(Issued {
            credential: Credential::Mesh(credential),
            record: CredentialRecord::External { kind: self.kind.clone(), external_id },
            expires_at: None,
        })
    }

    fn again(&self, _record: &CredentialRecord) -> Option<Credential> {
        None
    }

    async fn undo(&self, record: &CredentialRecord) -> Result<(), IssueError> {
        let CredentialRecord::External { external_id, .. } = record else {
            panic!("not of this system: {record:?}");
        };
        if self.keeps {
            return Err(self.failure());
        }
        self.alive.lock().unwrap().remove(external_id);
        Ok(())
    }
}

type Flaky = FlakyStore<MemoryStore>;

/// A store that fails on demand, a system outside, and one one-shot token.
struct Scene {
    store: Arc<Flaky>,
    outside: Arc<Outside>,
    make: Fixtures,
    token: TestToken,
}

impl Scene {
    async fn new() -> Self {
        let (store, make) = (Arc::new(FlakyStore::new(MemoryStore::new())), Fixtures::new());
        let token = make.token(Fixtures::START).uses(1);
        let _minted = store.mint(make.mint(&token)).await.unwrap();
        Self { store, outside: Arc::new(Outside::new("mesh")), make, token }
    }

    fn master(&self) -> Enroller {
        self.master_with(vec![Arc::clone(&self.outside) as Arc<dyn Issuer>])
    }

    fn master_with(&self, issuers: Vec<Arc<dyn Issuer>>) -> Enroller {
        let store = Arc::clone(&self.store) as Arc<dyn Store>;
        Enroller::with_issuers(store, issuers).with_clock(Arc::new(FixedClock::at(Fixtures::at(1))))
    }

    fn request(&self) -> EnrollRequest {
        let presented = Presented::from_parts(Some(self.token.token.expose().into()), None);
        EnrollRequest::new(presented.unwrap())
            .with_node_name(worker())
            .with_attempt_key(AttemptKey::parse("c29tZSBieXRlcyBhIHdvcmtlciBrZWVwcw").unwrap())
    }

    async fn ask(&self, master: &Enroller) -> Result<Verdict, Error> {
        master.enroll(self.request(), Origin::default()).await
    }

    async fn uses(&self) -> u64 {
        self.store.token(self.token.record.id).await.unwrap().unwrap().uses
    }

    /// Holds that nothing was spent, nobody enrolled, and nothing is alive outside.
    async fn untouched(&self, when: &str) {
        assert_eq!(self.uses().await, 0, "{when}: spent");
        assert_eq!(self.store.node(&worker()).await.unwrap(), None, "{when}: enrolled");
        assert_eq!(self.outside.alive(), 0, "{when}: left behind outside");
    }
}

fn worker() -> NodeName {
    name("worker-1")
}

#[track_caller]
fn admitted(verdict: Verdict) -> Admission {
    match verdict {
        Verdict::Admitted(admission) => *admission,
        other => panic!("not admitted: {other:?}"),
    }
}

#[track_caller]
fn refused(verdict: Verdict) -> Reason {
    match verdict {
        Verdict::Refused(rejection) => rejection.reason(),
        other => panic!("not refused: {other:?}"),
    }
}

/// Entropy that fails at call `nth`, and not before.
fn failing_at(nth: usize) -> MockEntropy {
    let mut entropy = MockEntropy::new();
    let mut calls = 0;
    entropy.expect_fill().returning(move |buffer| {
        calls += 1;
        if calls == nth {
            Err(std::io::Error::other("none left"))
        } else {
            SystemEntropy::new().fill(buffer)
        }
    });
    entropy
}

#[tokio::test]
async fn wherever_entropy_fails_nothing_is_spent_and_nothing_is_left_outside() {
    let scene = Scene::new().await;
    for nth in 1.. {
        let master = scene.master().with_entropy(Arc::new(failing_at(nth)));
        match scene.ask(&master).await {
            Ok(verdict) => {
                assert!(!admitted(verdict).redelivered);
                assert!(nth > 3, "an enrollment draws more than {nth} times");
                break;
            }
            Err(_) => scene.untouched(&format!("call {nth} failed")).await,
        }
    }
    assert_eq!((scene.uses().await, scene.outside.alive()), (1, 1));
}

#[tokio::test]
async fn wherever_entropy_fails_an_answer_given_again_is_given_whole_or_not_at_all() {
    let scene = Scene::new().await;
    admitted(scene.ask(&scene.master()).await.unwrap());
    for nth in 1.. {
        let before = scene.outside.made();
        let master = scene.master().with_entropy(Arc::new(failing_at(nth)));
        match scene.ask(&master).await {
            Ok(verdict) => {
                assert!(admitted(verdict).redelivered);
                break;
            }
            Err(_) => {
                assert!(scene.outside.made() > before, "it failed after the key was made");
                assert_eq!(scene.outside.alive(), 0, "call {nth} failed: left behind outside");
            }
        }
    }
    assert_eq!((scene.uses().await, scene.outside.alive()), (1, 1));
}

#[tokio::test]
async fn a_request_is_judged_by_one_reading_of_the_clock() {
    let scene = Scene::new().await;
    let last = scene.token.record.expires_at.before(Duration::from_millis(1));
    let mut clock = MockClock::new();
    let mut reading = last.before(Duration::from_secs(3_600));
    // A clock that leaps an hour between any two looks at it.
    clock.expect_now().returning(move || {
        reading = reading.after(Duration::from_secs(3_600));
        reading
    });
    let master = scene.master().with_clock(Arc::new(clock));
    let admission = admitted(scene.ask(&master).await.unwrap());
    assert_eq!(admission.node.enrolled_at, Some(last));
}

#[tokio::test]
async fn an_issuer_that_fails_has_the_others_undone_and_nothing_spent() {
    let scene = Scene::new().await;
    let broken = Arc::new(Outside { refuses: true, ..Outside::new("broken") });
    let master = scene.master_with(vec![Arc::clone(&scene.outside) as _, broken]);
    assert_eq!(refused(scene.ask(&master).await.unwrap()), Reason::MeshMintFailed);
    assert_eq!(scene.outside.made(), 1);
    scene.untouched("the second issuer failed").await;
}

#[tokio::test]
async fn a_lost_race_undoes_what_was_made_outside() {
    let scene = Scene::new().await;
    let rival = Claimant::new(&scene.token, "rival");
    let redeem = {
        let lookup = Lookup {
            token_id: Some(scene.token.record.id),
            node_name: rival.node_name(),
            claim: rival.claim(),
        };
        let seen = scene.store.look_up(lookup).await.unwrap();
        let decision = scene.make.decide(&rival, &seen, Fixtures::at(1));
        let Ok(Decision::Approved(approval)) = decision else {
            panic!("{decision:?}");
        };
        scene.make.redeem(approval, Fixtures::at(1))
    };
    let first = async move |store: Arc<MemoryStore>| {
        let _won = store.redeem(redeem).await.unwrap();
    };
    scene.store.script(Operation::Redeem, [Fault::rival(first)]);
    assert_eq!(refused(scene.ask(&scene.master()).await.unwrap()), Reason::RaceConsumed);
    assert_eq!((scene.outside.made(), scene.outside.alive()), (1, 0));
    assert_eq!(scene.store.node(&worker()).await.unwrap(), None);
}

#[tokio::test]
async fn what_cannot_be_undone_changes_no_answer() {
    let mut scene = Scene::new().await;
    scene.outside = Arc::new(Outside { keeps: true, ..Outside::new("mesh") });
    scene.store.script(Operation::Redeem, [Fault::Before(StoreErrorKind::Unavailable)]);
    assert!(scene.ask(&scene.master()).await.is_err());
    assert_eq!((scene.uses().await, scene.outside.alive()), (0, 1));
    admitted(scene.ask(&scene.master()).await.unwrap());
}

#[tokio::test]
async fn a_store_that_fails_before_it_writes_costs_nothing() {
    for kind in [StoreErrorKind::Unavailable, StoreErrorKind::Collision, StoreErrorKind::Broken] {
        for operation in [Operation::LookUp, Operation::Redeem] {
            let scene = Scene::new().await;
            scene.store.script(operation, [Fault::Before(kind)]);
            assert!(scene.ask(&scene.master()).await.is_err(), "{operation:?}");
            scene.untouched(&format!("{operation:?} failed")).await;
            assert!(!admitted(scene.ask(&scene.master()).await.unwrap()).redelivered);
        }
    }
}

#[tokio::test]
async fn an_answer_lost_after_the_write_is_given_again_with_a_new_key() {
    let scene = Scene::new().await;
    scene.store.script(Operation::Redeem, [Fault::After(StoreErrorKind::Unavailable)]);
    assert!(scene.ask(&scene.master()).await.is_err());
    assert_eq!((scene.uses().await, scene.outside.alive()), (1, 0), "it cannot know, and undoes");
    let node = scene.store.node(&worker()).await.unwrap();
    scene.store.script(Operation::Redeliver, [Fault::After(StoreErrorKind::Unavailable)]);
    assert!(scene.ask(&scene.master()).await.is_err());
    let admission = admitted(scene.ask(&scene.master()).await.unwrap());
    assert!(admission.redelivered);
    assert_eq!(Some(admission.node), node);
    assert_eq!((scene.uses().await, scene.outside.alive()), (1, 1), "one key works outside");
}
