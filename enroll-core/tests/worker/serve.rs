//! From a machine that is nobody to a member, and on.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use enroll_core::model::Reason;
use enroll_core::worker::{Proofs, Status, Worker};
use tokio::time::{Instant, sleep};

use super::fake::{FakeMaster, Fate, Nature, refused, unreachable_master};
use super::support::{Log, Place, again, chmod, token};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn worker(place: &Place, master: &Arc<FakeMaster>) -> Worker {
    Worker::new(place.open(), Arc::clone(master)).with_clock(Arc::clone(&master.clock) as _)
}

#[tokio::test(start_paused = true)]
async fn with_proofs_it_enrolls_and_lives() {
    let (place, master) = (Place::new(), FakeMaster::new(Nature::default()));
    worker(&place, &master).serve(Proofs::token(token()), sleep(secs(100))).await.unwrap();
    assert_eq!(master.calls("enroll"), 1);
    assert!(master.calls("heartbeat") >= 3);
    let began = Instant::now();
    master.beats.lock().unwrap().clear();
    worker(&place, &master).serve(None, sleep(secs(10))).await.unwrap();
    assert_eq!(master.beats.lock().unwrap()[0], began, "it starts from what it holds");
}

#[tokio::test(start_paused = true)]
async fn a_master_that_is_not_up_yet_is_waited_for_without_end() {
    let (place, master) = (Place::new(), FakeMaster::new(Nature::default()));
    master.will((0..500).map(|_| Fate::Fail(unreachable_master())));
    worker(&place, &master).serve(Proofs::token(token()), sleep(secs(5 * 3600))).await.unwrap();
    assert!(master.calls("heartbeat") > 0);
}

#[tokio::test(start_paused = true)]
async fn a_final_refusal_ends_it() {
    let (place, master) = (Place::new(), FakeMaster::new(Nature::default()));
    master.will([Fate::Fail(refused(Reason::Revoked))]);
    let proofs = Proofs::token(token());
    let error = worker(&place, &master).serve(proofs, sleep(secs(100))).await.unwrap_err();
    assert_eq!(error.exit_code(), 3);
}

#[tokio::test(start_paused = true)]
async fn without_proofs_it_takes_up_what_a_bootstrap_beside_it_makes() {
    let (place, master, log) = (Place::new(), FakeMaster::new(Nature::default()), Log::new());
    let waiting = worker(&place, &master).with_observer(Arc::clone(&log) as _);
    let began = Instant::now();
    let shutdown = async {
        sleep(secs(17)).await;
        assert_eq!(log.count("Waiting"), 1, "told once");
        // A waiting worker holds no lock.
        worker(&place, &master).bootstrap(Proofs::token(token())).await.unwrap();
        sleep(secs(20)).await;
    };
    waiting.serve(None, shutdown).await.unwrap();
    let first = master.beats.lock().unwrap()[0];
    assert_eq!(first - began, secs(20), "it looks every 5 s");
}

#[tokio::test(start_paused = true)]
async fn it_waits_on_a_part_and_on_damage_with_and_without_proofs() {
    for (proofs, damage) in [(true, true), (true, false), (false, true), (false, false)] {
        let (place, master) = (Place::new(), FakeMaster::new(Nature::default()));
        worker(&place, &master).bootstrap(Proofs::token(token())).await.unwrap();
        let whole = fs::read(place.file("agent.key")).unwrap();
        match damage {
            true => fs::write(place.file("agent.key"), "damage").unwrap(),
            false => fs::remove_file(place.file("agent.key")).unwrap(),
        }
        let log = Log::new();
        let waiting = worker(&place, &master).with_observer(Arc::clone(&log) as _);
        let restore = async {
            sleep(secs(60)).await;
            assert_eq!(log.count("Waiting"), 1);
            assert_eq!(master.calls("heartbeat"), 0);
            fs::write(place.file("agent.key"), &whole).unwrap();
            chmod(&place.file("agent.key"), 0o600);
            sleep(secs(20)).await;
        };
        let proofs = proofs.then(|| Proofs::token(token()));
        waiting.serve(proofs, restore).await.unwrap();
        assert_eq!(master.calls("enroll"), 1);
        assert!(master.calls("heartbeat") > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_is_not_safe_ends_it() {
    let (place, master) = (Place::new(), FakeMaster::new(Nature::default()));
    worker(&place, &master).bootstrap(Proofs::token(token())).await.unwrap();
    chmod(&place.file("agent.key"), 0o644);
    let error = worker(&place, &master).serve(None, sleep(secs(100))).await.unwrap_err();
    assert_eq!(error.exit_code(), 6);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_without_an_answer_goes_on_with_proofs_and_is_waited_on_without() {
    let (place, master, token) = (Place::new(), FakeMaster::new(Nature::default()), token());
    master.will([Fate::Lose]);
    let first = worker(&place, &master).with_retry_for(Duration::ZERO);
    first.bootstrap(again(&token)).await.unwrap_err();
    worker(&place, &master).serve(None, sleep(secs(60))).await.unwrap();
    assert!(matches!(place.open().status().unwrap(), Status::Open { .. }));
    worker(&place, &master).serve(again(&token), sleep(secs(60))).await.unwrap();
    assert_eq!(master.record().redemptions.len(), 1);
    assert!(master.calls("heartbeat") > 0);
}

#[tokio::test(start_paused = true)]
async fn a_refused_replacement_does_not_keep_a_member_from_living() {
    let (place, master) = (Place::new(), FakeMaster::new(Nature::default()));
    worker(&place, &master).bootstrap(Proofs::token(token())).await.unwrap();
    master.will([Fate::Fail(refused(Reason::Expired))]);
    worker(&place, &master).replace(Proofs::token(token())).await.unwrap_err();
    worker(&place, &master).serve(Proofs::token(token()), sleep(secs(60))).await.unwrap();
    assert_eq!(master.calls("enroll"), 2);
    assert!(master.calls("heartbeat") > 0);
}

#[tokio::test(start_paused = true)]
async fn a_second_worker_on_the_same_directory_ends_with_an_error() {
    let (place, master) = (Place::new(), FakeMaster::new(Nature::default()));
    let (one, two) = (worker(&place, &master), worker(&place, &master));
    let other = async {
        sleep(secs(10)).await;
        assert_eq!(two.serve(None, sleep(secs(60))).await.unwrap_err().exit_code(), 6);
    };
    one.serve(Proofs::token(token()), other).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_it_wherever_it_is() {
    let (place, master) = (Place::new(), FakeMaster::new(Nature::default()));
    let began = Instant::now();
    worker(&place, &master).serve(None, sleep(secs(7))).await.unwrap();
    master.will((0..500).map(|_| Fate::Fail(unreachable_master())));
    worker(&place, &master).serve(Proofs::token(token()), sleep(secs(7))).await.unwrap();
    assert_eq!(began.elapsed(), secs(14));
    assert_eq!(place.files(), ["attempt.json"]);
    assert!(place.open().lock().is_ok(), "the lock is free again");
}
