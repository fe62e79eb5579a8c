//! Life as a member, by the runtime's paused clock: a minute of it takes no time.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use enroll_core::model::{Facts, Reason};
use enroll_core::worker::{CallError, Proofs, Refusal, Worker, WorkerError};
use tokio::time::{Instant, sleep};

use super::fake::{FakeMaster, Fate, Nature, not_after, refused, unreachable_master};
use super::support::{Log, NOW, Place, name, token};

pub(crate) const NO_TIME: Duration = Duration::from_millis(1);

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) struct Scene {
    pub(crate) place: Place,
    pub(crate) master: Arc<FakeMaster>,
    pub(crate) log: Arc<Log>,
    pub(crate) worker: Worker,
}

pub(crate) async fn member(nature: Nature) -> Scene {
    let (place, master, log) = (Place::new(), FakeMaster::new(nature), Log::new());
    let worker = Worker::new(place.open(), Arc::clone(&master))
        .with_clock(Arc::clone(&master.clock) as _)
        .with_observer(Arc::clone(&log) as _);
    worker.bootstrap(Proofs::token(token())).await.unwrap();
    Scene { place, master, log, worker }
}

impl Scene {
    pub(crate) async fn live_for(&self, span: Duration) -> Result<(), WorkerError> {
        self.worker.run(sleep(span)).await
    }

    fn beats(&self) -> Vec<Instant> {
        self.master.beats.lock().unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_beat_goes_out_at_once_and_none_is_late() {
    let scene = member(Nature::default()).await;
    let began = Instant::now();
    scene.live_for(secs(3000)).await.unwrap();
    let beats = scene.beats();
    assert_eq!(beats[0], began);
    let pauses: Vec<_> = beats.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(pauses.iter().all(|pause| (secs(27)..=secs(30) + NO_TIME).contains(pause)));
    let distinct: std::collections::BTreeSet<_> =
        pauses.iter().map(|pause| pause.as_millis() / 100).collect();
    assert!(distinct.len() > 5, "no jitter: {distinct:?}");
}

#[tokio::test(start_paused = true)]
async fn the_interval_is_the_masters_unless_the_operator_set_one() {
    let scene = member(Nature::default()).await;
    scene.master.nature.lock().unwrap().interval = secs(100);
    scene.live_for(secs(1000)).await.unwrap();
    assert!((10..=12).contains(&scene.beats().len()), "{}", scene.beats().len());
    scene.master.beats.lock().unwrap().clear();
    let Scene { master, worker, .. } = scene;
    let worker = worker.with_heartbeat_interval(secs(10));
    worker.run(sleep(secs(1000))).await.unwrap();
    assert!((100..=112).contains(&master.beats.lock().unwrap().len()));
}

#[tokio::test(start_paused = true)]
async fn facts_are_told_when_they_change() {
    let Scene { master, worker, place: _place, .. } = member(Nature::default()).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&calls);
    let worker = worker.with_facts_from(move || {
        let version = told.fetch_add(1, Ordering::SeqCst) / 3;
        Facts { version: Some(version.to_string()), ..Facts::default() }
    });
    worker.run(sleep(secs(30 * 8))).await.unwrap();
    let told = master.facts.lock().unwrap().clone();
    assert_eq!(told[..7], [true, false, false, true, false, false, true]);
}

#[tokio::test(start_paused = true)]
async fn a_master_that_is_away_is_tried_for_ever_and_nothing_is_given_up() {
    let scene = member(Nature::default()).await;
    let before = scene.place.contents();
    scene.master.will((0..200).map(|_| Fate::Fail(unreachable_master())));
    scene.live_for(secs(3 * 3600)).await.unwrap();
    assert!(scene.master.fates.lock().unwrap().is_empty());
    assert!(scene.log.count("BeatSent") > 10);
    assert_eq!(scene.log.count("BeatFailed"), 200);
    assert_eq!(scene.place.contents(), before);
    let beats = scene.beats();
    let longest = beats.windows(2).map(|two| two[1] - two[0]).max().unwrap();
    assert!(longest <= secs(60), "{longest:?}");
    let mean = (beats[200] - beats[0]).as_secs_f64() / 200.0;
    assert!((22.0..36.0).contains(&mean), "full jitter below a minute: {mean}");
}

#[tokio::test(start_paused = true)]
async fn a_busy_master_is_left_alone_for_as_long_as_it_asks() {
    let scene = member(Nature::default()).await;
    let busy = Refusal::new("unavailable", 503).with_retry_after(secs(50));
    scene.master.will([Fate::Fail(CallError::Refused(busy))]);
    scene.live_for(secs(100)).await.unwrap();
    let beats = scene.beats();
    assert!(beats[1] - beats[0] >= secs(50));
}

#[tokio::test(start_paused = true)]
async fn an_identity_that_is_not_accepted_ends_the_worker_and_stays_on_disk() {
    for refusal in [Refusal::new("unauthorized", 401), Refusal::new("name_mismatch", 403)] {
        let scene = member(Nature::default()).await;
        let before = scene.place.contents();
        scene.master.will([Fate::Fail(CallError::Refused(refusal))]);
        let error = scene.live_for(secs(100)).await.unwrap_err();
        assert!(matches!(error, WorkerError::IdentityRejected(_)));
        assert_eq!(error.exit_code(), 7);
        assert_eq!(scene.place.contents(), before);
    }
    for other in [Reason::Denied, Reason::BadRequest, Reason::Unavailable] {
        let scene = member(Nature::default()).await;
        scene.master.will([Fate::Fail(refused(other))]);
        scene.live_for(secs(100)).await.unwrap();
        assert!(scene.log.count("BeatSent") > 0, "{other}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_imposter_on_the_way_is_waited_out() {
    let scene = member(Nature::default()).await;
    scene.master.will([Fate::Fail(CallError::Tls("another root".into()))]);
    scene.live_for(secs(100)).await.unwrap();
    assert!(scene.log.count("BeatSent") > 0);
}

#[tokio::test(start_paused = true)]
async fn files_lost_mid_run_are_a_failed_beat_and_no_way_back() {
    let scene = member(Nature::default()).await;
    let (path, aside) = (scene.place.file("agent.crt"), scene.place.file("aside"));
    let lose = async {
        sleep(secs(100)).await;
        fs::rename(&path, &aside).unwrap();
        let heard = scene.beats().len();
        sleep(secs(100)).await;
        assert_eq!(scene.beats().len(), heard, "nothing is sent");
        assert!(scene.log.count("BeatFailed { cause: Local") >= 3);
        fs::rename(&aside, &path).unwrap();
        sleep(secs(100)).await;
        assert!(scene.beats().len() > heard);
    };
    scene.worker.run(lose).await.unwrap();
    assert_eq!(scene.master.calls("enroll"), 1);
}

/// Lives, the clock of certificates going along with the runtime's.
async fn live_by_the_clock(scene: &Scene, span: Duration) -> Result<(), WorkerError> {
    let walk = async {
        let until = Instant::now() + span;
        while Instant::now() < until {
            sleep(secs(1)).await;
            scene.master.clock.advance(secs(1));
        }
    };
    scene.worker.run(walk).await
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_renewed_in_time_with_a_new_key_and_again() {
    let scene = member(Nature { api_key: true, mesh: true, ..Nature::default() }).await;
    let (key, api_key) = (scene.place.read("agent.key"), scene.place.read("api_key"));
    live_by_the_clock(&scene, secs(1990)).await.unwrap();
    assert_eq!(scene.master.calls("renew"), 0);
    live_by_the_clock(&scene, secs(150)).await.unwrap();
    assert_eq!(scene.master.calls("renew"), 1);
    assert_ne!(scene.place.read("agent.key"), key);
    assert_eq!(scene.place.read("api_key"), api_key, "the other credential stays");
    assert!(scene.place.file("mesh.json").exists());
    assert_eq!(scene.master.record().current, Some(scene.place.read("agent.crt")));
    live_by_the_clock(&scene, secs(10_000)).await.unwrap();
    assert!((4..=6).contains(&scene.master.calls("renew")), "{}", scene.master.calls("renew"));
    assert_eq!(scene.log.count("BeatFailed"), 0);
    assert!(!scene.place.file("attempt.json").exists());
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_ends_with_its_ca_is_not_renewed_without_pause() {
    // So long that every leaf is cut to the end of the root.
    let lifetime = secs(20 * 365 * 24 * 3600);
    let scene = member(Nature { lifetime, ..Nature::default() }).await;
    let end = not_after(&scene.place.read("agent.crt"));
    scene.master.clock.advance(end.since(NOW).saturating_sub(secs(20 * 24 * 3600)));
    live_by_the_clock(&scene, secs(100)).await.unwrap();
    assert_eq!(scene.master.calls("renew"), 1);
    assert_eq!(not_after(&scene.place.read("agent.crt")), end);
    live_by_the_clock(&scene, secs(8 * 24 * 3600)).await.unwrap();
    assert!((2..=6).contains(&scene.master.calls("renew")), "{}", scene.master.calls("renew"));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_keeps_its_key_and_the_identity() {
    let scene = member(Nature::default()).await;
    let old = scene.place.read("agent.crt");
    scene.master.clock.advance(secs(2500));
    let lost =
        [CallError::Malformed("html".into()), unreachable_master(), refused(Reason::IssueFailed)];
    for error in lost {
        // A beat that is heard, then a renewal that is not; a restart before it is repeated.
        scene.master.will([Fate::Pass, Fate::Fail(error)]);
        scene.live_for(NO_TIME).await.unwrap();
        assert_eq!(scene.place.read("agent.crt"), old);
    }
    let attempt: serde_json::Value =
        serde_json::from_str(&scene.place.read("attempt.json")).unwrap();
    scene.live_for(NO_TIME).await.unwrap();
    assert_eq!(Some(scene.place.read("agent.key").as_str()), attempt["key"].as_str());
    assert_eq!(scene.master.record().issued.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_successor_whose_writing_was_cut_short_is_made_whole_when_there_is_room() {
    let scene = member(Nature::default()).await;
    scene.master.clock.advance(secs(2500));
    // The certificate cannot be written; the key, which comes before it, can.
    let in_the_way = scene.place.file(".agent.crt.tmp");
    let make_room = async {
        sleep(NO_TIME).await;
        fs::create_dir(&in_the_way).unwrap();
        sleep(secs(300)).await;
        assert!(scene.log.count("CallFailed { purpose: Renew, cause: Local") == 1);
        assert!(scene.log.count("BeatFailed { cause: Local") > 1);
        fs::remove_dir(&in_the_way).unwrap();
        sleep(secs(100)).await;
    };
    scene.master.will([Fate::Fail(unreachable_master())]);
    scene.worker.run(make_room).await.unwrap();
    assert_eq!(scene.master.calls("renew"), 1);
    assert_eq!(scene.master.record().current, Some(scene.place.read("agent.crt")));
    assert!(!scene.place.file("attempt.json").exists());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_is_not_repeated_without_pause() {
    let scene = member(Nature::default()).await;
    scene.master.clock.advance(secs(2100));
    let pairs = (0..1000).flat_map(|_| [Fate::Pass, Fate::Fail(refused(Reason::BadCsr))]);
    scene.master.will(pairs);
    scene.live_for(secs(3000)).await.unwrap();
    let tried = scene.log.count("CallFailed { purpose: Renew");
    assert!((4..40).contains(&tried), "{tried}");
}

#[tokio::test(start_paused = true)]
async fn a_master_may_ask_for_a_renewal() {
    let scene = member(Nature::default()).await;
    *scene.master.renew.lock().unwrap() = true;
    scene.live_for(secs(100)).await.unwrap();
    assert_eq!(scene.master.calls("renew"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_api_key_is_renewed_by_itself_when_the_master_asks() {
    let scene = member(Nature { x509: false, api_key: true, ..Nature::default() }).await;
    let old = scene.place.read("api_key");
    *scene.master.renew.lock().unwrap() = true;
    scene.live_for(secs(100)).await.unwrap();
    assert_ne!(scene.place.read("api_key"), old);
    assert_eq!(scene.place.files(), ["api_key", "ca.crt", "identity.json"]);
    assert_eq!(scene.log.count("BeatFailed"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_ran_out_is_recovered() {
    let scene = member(Nature::default()).await;
    scene.master.clock.advance(secs(20 * 24 * 3600));
    scene.live_for(secs(100)).await.unwrap();
    assert_eq!(scene.master.calls("recover"), 1);
    assert_eq!(scene.master.record().current, Some(scene.place.read("agent.crt")));
    assert!(scene.log.count("BeatSent") > 1);
}

#[tokio::test(start_paused = true)]
async fn what_ran_out_on_an_open_connection_is_recovered_too() {
    let scene = member(Nature::default()).await;
    scene.master.clock.advance(secs(3000));
    scene.master.will([Fate::Fail(CallError::Refused(Refusal::new("unauthorized", 401)))]);
    scene.live_for(secs(100)).await.unwrap();
    assert_eq!(scene.master.calls("recover"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_recovery_that_is_refused_ends_the_worker() {
    let scene = member(Nature::default()).await;
    scene.master.clock.advance(secs(5000));
    *scene.master.revoked.lock().unwrap() = true;
    let error = scene.live_for(secs(100)).await.unwrap_err();
    assert_eq!(error.exit_code(), 7);
    assert!(scene.place.file("agent.key").exists());
}

#[tokio::test(start_paused = true)]
async fn a_master_that_is_away_while_the_certificate_runs_out_is_no_end() {
    let scene = member(Nature::default()).await;
    scene.master.clock.advance(secs(5000));
    scene.master.will((0..40).map(|_| Fate::Fail(unreachable_master())));
    scene.live_for(secs(3600)).await.unwrap();
    assert_eq!(scene.master.record().current, Some(scene.place.read("agent.crt")));
}

#[tokio::test(start_paused = true)]
async fn another_worker_on_the_same_directory_is_refused() {
    let scene = member(Nature::default()).await;
    let other = Worker::new(scene.place.open(), Arc::clone(&scene.master));
    let try_it = async {
        sleep(secs(10)).await;
        assert_eq!(other.run(sleep(secs(1))).await.unwrap_err().exit_code(), 6);
    };
    scene.worker.run(try_it).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_configured_as_somebody_else_does_not_start() {
    let Scene { worker, place: _place, .. } = member(Nature::default()).await;
    let worker = worker.with_node_name(name("worker-2"));
    assert_eq!(worker.run(sleep(secs(1))).await.unwrap_err().exit_code(), 7);
}

#[tokio::test]
async fn a_directory_without_an_identity_is_nothing_to_run_from() {
    let place = Place::new();
    let worker = Worker::new(place.open(), FakeMaster::new(Nature::default()));
    assert_eq!(worker.run(sleep(secs(1))).await.unwrap_err().exit_code(), 2);
}
