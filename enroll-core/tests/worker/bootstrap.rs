//! Getting an identity, once: what is repeated, what stops, what is never kept.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use enroll_core::issue::x509::Authority;
use enroll_core::model::{
    Credential, Fingerprint, Reason, SystemEntropy, Timestamp, TrustDomain, X509Credential,
};
use enroll_core::worker::{
    Answer, CallError, MockMaster, Outcome, Proofs, Purpose, Refusal, Status, Worker, WorkerError,
};

use super::fake::{FakeMaster, Fate, Nature, not_after, refused, unreachable_master};
use super::support::{Log, NOW, Place, again, chmod, clock, mode, name, secret, token};

pub(crate) fn worker(place: &Place, master: &Arc<FakeMaster>) -> Worker {
    Worker::new(place.open(), Arc::clone(master)).with_clock(Arc::clone(&master.clock) as _)
}

pub(crate) fn plain() -> Arc<FakeMaster> {
    FakeMaster::new(Nature::default())
}

#[tokio::test]
async fn a_token_becomes_an_identity() {
    let (place, master, log) = (Place::new(), plain(), Log::new());
    let worker = worker(&place, &master).with_observer(Arc::clone(&log) as _);
    let outcome = worker.bootstrap(Proofs::token(token())).await.unwrap();
    let Outcome::Enrolled { identity, redelivered: false } = outcome else { panic!() };
    assert_eq!(identity.node_name(), &name("worker-1"), "a bound token knows the name");
    assert_eq!(identity.ca(), Some(master.authority.fingerprint()));
    assert_eq!(identity.master_addr(), Some("master:7481"));
    assert_eq!(identity.heartbeat_interval(), Duration::from_secs(30));
    let chain = place.read("agent.crt");
    assert_eq!(identity.not_after(), Some(not_after(&chain)));
    assert_eq!(identity.renew_after(), Some(not_after(&chain).before(Duration::from_secs(1000))));
    assert_eq!(place.read("ca.crt"), master.authority.root_pem());
    assert_eq!(place.files(), ["agent.crt", "agent.key", "ca.crt", "identity.json"]);
    assert_eq!(log.count("Enrolled"), 1);
}

#[tokio::test]
async fn a_second_start_calls_nobody_with_or_without_proofs() {
    let (place, master) = (Place::new(), plain());
    let token = token();
    worker(&place, &master).bootstrap(again(&token)).await.unwrap();
    let before = place.contents();
    for proofs in [Some(again(&token)), None] {
        let outcome = worker(&place, &master).bootstrap(proofs).await.unwrap();
        assert!(matches!(outcome, Outcome::AlreadyBootstrapped(_)));
    }
    assert_eq!(master.calls("enroll"), 1);
    assert_eq!(place.contents(), before);
}

#[tokio::test(start_paused = true)]
async fn what_fails_on_the_way_is_repeated_with_the_same_request() {
    let (place, token) = (Place::new(), token());
    let mut master = MockMaster::new();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let requests = Arc::clone(&seen);
    master.expect_enroll().times(3).returning(move |call| {
        let request = (call.csr(), call.expose_attempt_key(), call.token().unwrap().id());
        requests.lock().unwrap().push(format!("{request:?}"));
        match requests.lock().unwrap().len() {
            1 => Err(unreachable_master()),
            2 => Err(CallError::Malformed("no JSON".into())),
            _ => Err(refused(Reason::Denied)),
        }
    });
    let worker = Worker::new(place.open(), master);
    assert_eq!(worker.bootstrap(again(&token)).await.unwrap_err().exit_code(), 3);
    let seen = seen.lock().unwrap().clone();
    assert!(seen.iter().all(|request| *request == seen[0]), "{seen:?}");
}

#[tokio::test]
async fn an_api_key_alone_is_an_identity() {
    let master = FakeMaster::new(Nature { x509: false, api_key: true, ..Nature::default() });
    let place = Place::new();
    let worker = worker(&place, &master).with_node_name(name("ingest-1"));
    let outcome = worker.bootstrap(Proofs::secret(secret())).await.unwrap();
    assert_eq!(outcome.identity().not_after(), None);
    assert_eq!(place.files(), ["api_key", "ca.crt", "identity.json"]);
    assert_eq!(Some(place.read("api_key")), master.record().api_key);
}

#[tokio::test]
async fn without_an_identity_and_a_proof_there_is_nothing_to_start_from() {
    let (place, master) = (Place::new(), plain());
    let error = worker(&place, &master).bootstrap(None).await.unwrap_err();
    assert!(matches!(error, WorkerError::NoProofs));
    assert_eq!(error.exit_code(), 2);
    let error = worker(&place, &master).bootstrap(Proofs::secret(secret())).await.unwrap_err();
    assert!(matches!(error, WorkerError::NoName));
    assert_eq!(error.exit_code(), 2);
    assert!(place.files().is_empty());
    assert_eq!(master.calls("enroll"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_costs_no_token() {
    let (place, master) = (Place::new(), plain());
    master.will([Fate::Lose, Fate::Lose]);
    let outcome = worker(&place, &master).bootstrap(Proofs::token(token())).await.unwrap();
    assert!(matches!(outcome, Outcome::Enrolled { redelivered: true, .. }));
    assert_eq!(master.calls("enroll"), 3);
    assert_eq!(master.record().redemptions.len(), 1);
    assert_eq!(master.record().issued.len(), 1);
}

#[tokio::test]
async fn another_start_repeats_a_lost_call_with_the_same_key() {
    for nature in [
        Nature::default(),
        Nature { x509: false, api_key: true, ..Nature::default() },
        Nature { api_key: true, mesh: true, ..Nature::default() },
    ] {
        let (place, master, token) = (Place::new(), FakeMaster::new(nature), token());
        master.will([Fate::Lose]);
        let first = worker(&place, &master).with_retry_for(Duration::ZERO);
        let error = first.bootstrap(again(&token)).await.unwrap_err();
        assert_eq!(error.exit_code(), 5);
        assert_eq!(place.files(), ["attempt.json"]);
        let outcome = worker(&place, &master).bootstrap(again(&token)).await.unwrap();
        assert!(matches!(outcome, Outcome::Enrolled { redelivered: true, .. }));
        assert_eq!(master.record().redemptions.len(), 1);
        assert!(!place.files().contains(&"attempt.json".into()));
    }
}

#[tokio::test]
async fn every_final_refusal_stops_and_keeps_the_key() {
    for reason in Reason::ALL.iter().filter(|reason| reason.status() < 500) {
        if *reason == Reason::RateLimited {
            continue;
        }
        let (place, master) = (Place::new(), plain());
        master.will([Fate::Fail(refused(*reason))]);
        let error = worker(&place, &master).bootstrap(Proofs::token(token())).await.unwrap_err();
        let WorkerError::Refused(refusal) = &error else { panic!("{error:?}") };
        assert_eq!(refusal.reason(), Some(*reason));
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().contains(reason.code()), "{error}");
        assert_eq!(master.calls("enroll"), 1);
        let key = key_of_attempt(&place);
        worker(&place, &master).bootstrap(Proofs::token(token())).await.unwrap();
        assert_eq!(place.read("agent.key"), key, "another token, the same key");
    }
}

pub(crate) fn key_of_attempt(place: &Place) -> String {
    let attempt: serde_json::Value = serde_json::from_str(&place.read("attempt.json")).unwrap();
    attempt["key"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_retried_and_then_given_up() {
    for reason in Reason::ALL.iter().filter(|reason| reason.status() >= 500) {
        let (place, master) = (Place::new(), plain());
        master.will([Fate::Fail(refused(*reason)), Fate::Fail(unreachable_master())]);
        worker(&place, &master).bootstrap(Proofs::token(token())).await.unwrap();
        assert_eq!(master.calls("enroll"), 3, "{reason}");
    }
    let (place, master) = (Place::new(), plain());
    master.will((0..10_000).map(|_| Fate::Fail(unreachable_master())));
    let began = tokio::time::Instant::now();
    let error = worker(&place, &master).bootstrap(Proofs::token(token())).await.unwrap_err();
    assert!(matches!(error, WorkerError::GaveUp { .. }));
    assert_eq!(error.exit_code(), 5);
    assert_eq!(began.elapsed().as_secs(), 60, "the time is used to its end");
    assert!(master.calls("enroll") < 60, "{}", master.calls("enroll"));
}

#[tokio::test(start_paused = true)]
async fn a_time_to_come_back_is_waited_out() {
    let (place, master) = (Place::new(), plain());
    let soon = Refusal::new("rate_limited", 429).with_retry_after(Duration::from_secs(6));
    let later = Refusal::new("denied", 403).with_retry_after(Duration::from_secs(20));
    master.will([Fate::Fail(CallError::Refused(soon)), Fate::Fail(CallError::Refused(later))]);
    let began = tokio::time::Instant::now();
    worker(&place, &master).bootstrap(Proofs::token(token())).await.unwrap();
    assert!((26..=34).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    let (place, master) = (Place::new(), plain());
    let long = Refusal::new("denied", 403).with_retry_after(Duration::from_secs(61));
    master.will([Fate::Fail(CallError::Refused(long))]);
    let began = tokio::time::Instant::now();
    let error = worker(&place, &master).bootstrap(Proofs::token(token())).await.unwrap_err();
    assert_eq!(error.exit_code(), 5);
    assert_eq!(began.elapsed(), Duration::ZERO, "no wait that cannot help");
}

#[tokio::test]
async fn a_master_that_cannot_prove_itself_is_final_and_gets_nothing_kept() {
    let (place, master) = (Place::new(), plain());
    master.will([Fate::Fail(CallError::Tls("another pin".into()))]);
    let error = worker(&place, &master).bootstrap(Proofs::token(token())).await.unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert_eq!(place.files(), ["attempt.json"]);
}

#[tokio::test(start_paused = true)]
async fn a_clock_complaint_is_retried_and_keeps_the_key() {
    let (place, master) = (Place::new(), plain());
    master.will([Fate::Fail(CallError::Clock("not yet valid".into()))]);
    worker(&place, &master).bootstrap(Proofs::token(token())).await.unwrap();
    let place = Place::new();
    let (slow, token) = (clock(NOW.before(Duration::from_secs(3600))), token());
    let late = worker(&place, &master).with_clock(Arc::clone(&slow) as _);
    let error = late.bootstrap(again(&token)).await.unwrap_err();
    assert_eq!(error.exit_code(), 5);
    let WorkerError::GaveUp { last, .. } = &error else { panic!("{error:?}") };
    assert!(last.to_string().contains("clock"), "{last}");
    let key = key_of_attempt(&place);
    slow.advance(Duration::from_secs(3600));
    late.bootstrap(again(&token)).await.unwrap();
    assert_eq!(place.read("agent.key"), key);
}

type Twist = Box<dyn Fn(&mut Answer) + Send>;

fn x509(answer: &mut Answer) -> &mut X509Credential {
    match &mut answer.credentials[0] {
        Credential::X509(it) => it,
        other => panic!("{other:?}"),
    }
}

/// Answers an imposter, or a master gone wrong, might give.
fn twists() -> Vec<(&'static str, Twist)> {
    let stranger =
        Authority::in_memory(&TrustDomain::default(), NOW, &SystemEntropy::new()).unwrap();
    let (root_pem, root_der) = (stranger.root_pem().to_owned(), stranger.root_der().to_vec());
    vec![
        ("no certificate", Box::new(|answer| answer.credentials.clear())),
        ("no PEM", Box::new(|answer| x509(answer).certificate = "text".into())),
        ("a root for a leaf", Box::new(move |answer| x509(answer).certificate = root_pem.clone())),
        ("another root", Box::new(move |answer| answer.ca = Some(root_der.clone()))),
        ("no root", Box::new(|answer| answer.ca = None)),
        ("a root that is none", Box::new(|answer| answer.ca = Some(vec![1, 2, 3]))),
        ("another name", Box::new(|answer| answer.node_name = name("worker-2"))),
        ("an address that is none", Box::new(|answer| answer.master_addr = Some("a\nb".into()))),
        (
            "two certificates",
            Box::new(|answer| {
                let twice = Credential::X509(x509(answer).clone());
                answer.credentials.push(twice);
            }),
        ),
    ]
}

#[tokio::test]
async fn an_answer_that_is_not_what_was_asked_for_is_not_kept() {
    for (what, twist) in twists() {
        let (place, master) = (Place::new(), plain());
        master.will([Fate::Twist(twist)]);
        let error = worker(&place, &master).bootstrap(Proofs::token(token())).await.unwrap_err();
        assert!(matches!(error, WorkerError::Untrusted(_)), "{what}: {error:?}");
        assert_eq!(error.exit_code(), 4, "{what}");
        assert_eq!(place.files(), ["attempt.json"], "{what}");
        assert!(!place.read("attempt.json").contains("BEGIN CERTIFICATE-"), "{what}");
    }
}

#[tokio::test]
async fn a_certificate_for_another_key_or_name_is_not_kept() {
    // Two workers, each of which gets what was made for the other.
    let (place, other, master) = (Place::new(), Place::new(), plain());
    master.will([Fate::Lose]);
    let token = token();
    let one = worker(&other, &master).with_retry_for(Duration::ZERO);
    one.bootstrap(again(&token)).await.unwrap_err();
    let theirs = master.record().current.unwrap();
    let swap = theirs.clone();
    master.will([Fate::Twist(Box::new(move |answer| x509(answer).certificate = swap.clone()))]);
    let error = worker(&place, &master)
        .with_node_name(name("worker-2"))
        .bootstrap(Proofs::token(super::support::token()))
        .await
        .unwrap_err();
    assert_eq!(error.exit_code(), 4, "{error:?}");
}

#[tokio::test]
async fn an_answer_under_another_name_than_was_asked_for_is_not_kept() {
    let (place, master) = (Place::new(), plain());
    let worker = worker(&place, &master).with_node_name(name("worker-9"));
    master.will([Fate::Twist(Box::new(|answer| answer.node_name = name("worker-1")))]);
    let error = worker.bootstrap(Proofs::token(token())).await.unwrap_err();
    assert_eq!(error.exit_code(), 4);
}

#[tokio::test]
async fn a_pin_is_held_against_the_answer_and_against_the_disk() {
    let (place, master) = (Place::new(), plain());
    let other = Fingerprint::of_der(b"another root");
    let wrong = worker(&place, &master).with_pins([other]);
    let error = wrong.bootstrap(Proofs::token(token())).await.unwrap_err();
    assert_eq!(error.exit_code(), 4);
    let right = worker(&place, &master).with_pins([other, master.authority.fingerprint()]);
    right.bootstrap(Proofs::token(token())).await.unwrap();
    right.bootstrap(None).await.unwrap();
    let error = wrong.bootstrap(None).await.unwrap_err();
    assert!(matches!(error, WorkerError::PinDiffers { .. }));
    assert_eq!(error.exit_code(), 4);
}

#[tokio::test]
async fn an_identity_of_another_name_is_not_taken_up() {
    let (place, master) = (Place::new(), plain());
    worker(&place, &master).bootstrap(Proofs::token(token())).await.unwrap();
    let other = worker(&place, &master).with_node_name(name("worker-2"));
    let error = other.bootstrap(None).await.unwrap_err();
    assert_eq!(error.exit_code(), 7);
    assert!(error.to_string().contains("worker-1") && error.to_string().contains("worker-2"));
}

#[tokio::test]
async fn times_a_master_gives_are_kept_within_reason() {
    for (told, kept) in [(0, 1), (30, 30), (1 << 40, 3600)] {
        let interval = Duration::from_secs(told);
        let master = FakeMaster::new(Nature { interval, ..Nature::default() });
        let past = |answer: &mut Answer| x509(answer).renew_after = Timestamp::from_unix_secs(0);
        master.will([Fate::Twist(Box::new(past))]);
        let place = Place::new();
        let outcome = worker(&place, &master).bootstrap(Proofs::token(token())).await.unwrap();
        let identity = outcome.identity();
        assert_eq!(identity.heartbeat_interval(), Duration::from_secs(kept));
        assert_eq!(identity.renew_after(), Some(NOW.after(Duration::from_secs(300))));
    }
}

#[tokio::test]
async fn another_name_is_another_request_with_the_same_key() {
    let (place, master) = (Place::new(), plain());
    master.will([Fate::Fail(refused(Reason::NameTaken))]);
    let first = worker(&place, &master).with_node_name(name("worker-1"));
    first.bootstrap(Proofs::token(token())).await.unwrap_err();
    let key = key_of_attempt(&place);
    let second = worker(&place, &master).with_node_name(name("worker-2"));
    second.bootstrap(Proofs::token(token())).await.unwrap();
    assert_eq!(place.read("agent.key"), key);
    assert_eq!(master.record().redemptions[0].name, "worker-2");
}

#[tokio::test]
async fn a_directory_in_use_is_not_touched() {
    let (place, master) = (Place::new(), plain());
    let dir = place.open();
    let _held = dir.lock().unwrap();
    let error = worker(&place, &master).bootstrap(Proofs::token(token())).await.unwrap_err();
    assert_eq!(error.exit_code(), 6);
    assert_eq!(master.calls("enroll"), 0);
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_spends_no_token() {
    if rustix::process::geteuid().is_root() {
        // Nothing is closed to root but a file system; a directory of this name will do.
        let (place, master) = (Place::new(), plain());
        place.open();
        fs::create_dir(place.file(".attempt.json.tmp")).unwrap();
        let error = worker(&place, &master).bootstrap(Proofs::token(token())).await.unwrap_err();
        assert_eq!(error.exit_code(), 6);
        assert_eq!(master.calls("enroll"), 0);
        return;
    }
    let (place, master) = (Place::new(), plain());
    drop(place.open().lock().unwrap());
    chmod(&place.path(), 0o500);
    let error = worker(&place, &master).bootstrap(Proofs::token(token())).await.unwrap_err();
    assert_eq!(error.exit_code(), 6);
    assert_eq!(master.calls("enroll"), 0);
    assert_eq!(mode(&place.path()), 0o500);
    chmod(&place.path(), 0o700);
}

#[tokio::test]
async fn a_bootstrap_beside_the_worker_that_lives_here_finds_nothing_to_do() {
    let (place, master) = (Place::new(), plain());
    worker(&place, &master).bootstrap(Proofs::token(token())).await.unwrap();
    let living = place.open().lock().unwrap();
    let outcome = worker(&place, &master).bootstrap(Proofs::token(token())).await.unwrap();
    assert!(matches!(outcome, Outcome::AlreadyBootstrapped(_)));
    drop(living);
}

#[tokio::test(start_paused = true)]
async fn so_does_one_while_that_worker_s_renewal_is_open_or_refused() {
    for trouble in [unreachable_master(), refused(Reason::BadCsr)] {
        let (place, master) = (Place::new(), plain());
        let living = worker(&place, &master);
        living.bootstrap(Proofs::token(token())).await.unwrap();
        master.clock.advance(Duration::from_secs(2500));
        master.will([Fate::Pass, Fate::Fail(trouble)]);
        let beside = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let status = place.open().status().unwrap();
            assert!(status.is_enrolled() && !status.asks_with(&Proofs::token(token())));
            let Status::Open { attempt, .. } = status else { panic!() };
            assert_eq!(attempt.purpose(), Purpose::Renew);
            worker(&place, &master).bootstrap(Proofs::token(token())).await.unwrap()
        };
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let beside = async {
            let outcome = beside.await;
            drop(stop);
            outcome
        };
        let ended = async {
            let _dropped: Result<(), _> = stopped.await;
        };
        let (lived, outcome) = tokio::join!(living.run(ended), beside);
        lived.unwrap();
        assert!(matches!(outcome, Outcome::AlreadyBootstrapped(_)));
    }
}
