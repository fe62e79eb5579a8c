//! What comes between two heartbeats: commands at once, the end of the connection, reports.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use enroll_core::model::{HostEvent, Reason, Sample};
use enroll_core::worker::{
    CallError, Command, CommandHandler, CommandOutcome, Credentials, Refusal, Telemetry,
    WorkerError,
};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::sleep;

use super::fake::{Fate, Nature, refused, unreachable_master};
use super::run::{Scene, member, secs};
use super::support::NOW;

/// Does everything at once.
struct Willing;

#[async_trait]
impl CommandHandler for Willing {
    async fn execute(&self, _me: &Credentials, command: &Command) -> CommandOutcome {
        CommandOutcome::Done(Some(command.kind.clone()))
    }
}

fn command(id: &str) -> Command {
    Command { id: id.into(), kind: "look".into(), payload: Value::Null }
}

#[tokio::test(start_paused = true)]
async fn a_command_between_two_heartbeats_is_carried_out_and_reported_at_once() {
    let Scene { master, worker, place: _place, .. } = member(Nature::default()).await;
    let worker = worker.with_commands(Arc::new(Willing));
    let scene = async {
        sleep(secs(5)).await;
        master.tell(Ok(vec![command("1")]));
        master.tell(Ok(vec![command("1"), command("2")]));
        sleep(secs(1)).await;
        let reports = master.reports.lock().unwrap().clone();
        let ids: Vec<_> = reports.iter().map(|report| report.id.as_str()).collect();
        assert_eq!(ids, ["1", "2"], "before the next heartbeat, and each once");
        assert_eq!(master.beats.lock().unwrap().len(), 1);
    };
    worker.run(scene).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_is_made_again_after_a_moment_of_its_own() {
    let Scene { master, worker, place: _place, log, .. } = member(Nature::default()).await;
    let scene = async {
        for _ in 0..50 {
            sleep(secs(2)).await;
            let before = master.beats.lock().unwrap().len();
            master.tell(Err(unreachable_master()));
            sleep(secs(1)).await;
            assert_eq!(master.beats.lock().unwrap().len(), before + 1, "within a second");
        }
    };
    worker.run(scene).await.unwrap();
    assert_eq!(log.count("BeatFailed"), 50);
    let beats = master.beats.lock().unwrap().clone();
    let waits = beats.windows(2).map(|two| (two[1] - two[0]).as_millis() / 100);
    let distinct: std::collections::BTreeSet<_> = waits.collect();
    assert!(distinct.len() > 5, "no jitter: {distinct:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_lost_at_once_again_and_again_is_made_ever_more_seldom() {
    let Scene { master, worker, place: _place, .. } = member(Nature::default()).await;
    let scene = async {
        for _ in 0..3_000 {
            master.tell(Err(unreachable_master()));
            sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    worker.run(scene).await.unwrap();
    let beats = master.beats.lock().unwrap().len();
    assert!((5..=100).contains(&beats), "{beats} connections in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn an_identity_that_is_revoked_on_an_open_connection_ends_the_worker_at_once() {
    let Scene { master, worker, place, .. } = member(Nature::default()).await;
    let before = place.contents();
    master.tell(Err(CallError::Refused(Refusal::new(Refusal::UNAUTHORIZED, 401))));
    let began = tokio::time::Instant::now();
    let ended = worker.run(sleep(secs(1000))).await;
    assert!(matches!(ended, Err(WorkerError::IdentityRejected(_))), "{ended:?}");
    assert!(began.elapsed() < secs(1));
    assert_eq!(place.contents(), before, "nothing is given up");
}

/// Measures how often it was asked, and has what a test sends happen.
struct Measured {
    asked: AtomicUsize,
    events: Mutex<UnboundedReceiver<HostEvent>>,
}

impl Measured {
    fn new() -> (Arc<Self>, UnboundedSender<HostEvent>) {
        let (happen, events) = unbounded_channel();
        (Arc::new(Self { asked: AtomicUsize::new(0), events: Mutex::new(events) }), happen)
    }
}

#[async_trait]
impl Telemetry for Measured {
    async fn metrics(&self) -> Vec<Sample> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        vec![Sample::counter("asked_total", asked as f64), Sample::gauge("not a name", 1.0)]
    }

    async fn events(&self) -> Vec<HostEvent> {
        let mut events = Vec::new();
        self.events.lock().await.recv_many(&mut events, usize::MAX).await;
        events
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_measured_is_reported_again_and_again_and_what_is_malformed_left_out() {
    let Scene { master, worker, place: _place, log, .. } = member(Nature::default()).await;
    let (telemetry, _happen) = Measured::new();
    let worker = worker.with_telemetry(telemetry).with_report_interval(secs(10));
    worker.run(sleep(secs(100))).await.unwrap();
    let samples = master.samples.lock().unwrap().clone();
    assert!((10..=12).contains(&samples.len()), "{}", samples.len());
    for (n, report) in samples.iter().enumerate() {
        assert_eq!(*report, [Sample::counter("asked_total", n as f64)]);
    }
    assert_eq!(log.count("ReportFailed"), 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_reported_before_a_heartbeat_was_heard() {
    let Scene { master, worker, place: _place, .. } = member(Nature::default()).await;
    let (telemetry, happen) = Measured::new();
    let worker = worker.with_telemetry(Arc::clone(&telemetry) as _);
    happen.send(HostEvent::new(NOW, "disk.full", "It is full.")).unwrap();
    master.will((0..5).map(|_| Fate::Fail(unreachable_master())));
    let scene = async {
        while master.calls("heartbeat") == 0 {
            assert_eq!(master.calls("report_metrics") + master.calls("report_events"), 0);
            sleep(secs(1)).await;
        }
        sleep(secs(5)).await;
    };
    worker.run(scene).await.unwrap();
    assert_eq!((master.calls("report_metrics"), master.calls("report_events")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn events_are_told_after_a_trouble_on_the_way_and_never_more_than_a_call_holds() {
    let Scene { master, worker, place: _place, .. } = member(Nature::default()).await;
    let (telemetry, happen) = Measured::new();
    let worker = worker.with_telemetry(telemetry).with_report_interval(secs(100_000));
    let scene = async {
        sleep(secs(1)).await;
        master.will([Fate::Fail(CallError::Tls("another root".into()))]);
        for n in 0..64 {
            let event = HostEvent::new(NOW, "disk.full", "x".repeat(HostEvent::MAX_MESSAGE));
            let text = |name: char| (name.to_string(), "x".repeat(HostEvent::MAX_TEXT));
            let event =
                ('a'..='o').map(text).fold(event, |it, (name, text)| it.with_attribute(name, text));
            happen.send(event.with_attribute("nth", n.to_string())).unwrap();
        }
        sleep(secs(25)).await;
    };
    worker.run(scene).await.unwrap();
    let told = master.events.lock().unwrap().clone();
    let nth: Vec<_> = told.iter().map(|event| event.attributes()["nth"].clone()).collect();
    assert_eq!(nth, (0..64).map(|n| n.to_string()).collect::<Vec<_>>());
    let size: usize = told.iter().map(HostEvent::size).sum();
    let most = 64 * 1024;
    assert!(master.calls("report_events") > size / most, "{size} bytes");
}

#[tokio::test(start_paused = true)]
async fn events_are_told_until_the_master_has_them_unless_it_never_will() {
    let Scene { master, worker, place: _place, log, .. } = member(Nature::default()).await;
    let (telemetry, happen) = Measured::new();
    let worker = worker.with_telemetry(telemetry).with_report_interval(secs(100_000));
    let event = |kind: &str| HostEvent::new(NOW, kind, "So it went.");
    let scene = async {
        sleep(secs(5)).await;
        master.will([Fate::Fail(unreachable_master()), Fate::Fail(unreachable_master())]);
        happen.send(event("first")).unwrap();
        happen.send(event("Malformed")).unwrap();
        sleep(secs(20)).await;
        happen.send(event("second")).unwrap();
        sleep(secs(60)).await;
        master.will([Fate::Fail(refused(Reason::BadRequest))]);
        happen.send(event("refused")).unwrap();
        sleep(secs(2)).await;
        happen.send(event("last")).unwrap();
        sleep(secs(60)).await;
    };
    worker.run(scene).await.unwrap();
    let told = master.events.lock().unwrap().clone();
    let kinds: Vec<_> = told.iter().map(HostEvent::kind).collect();
    assert_eq!(kinds.first(), Some(&"first"), "{kinds:?}");
    assert!(kinds.contains(&"second") && kinds.contains(&"last"), "{kinds:?}");
    assert!(!kinds.contains(&"Malformed"), "{kinds:?}");
    assert!(log.count("ReportFailed") + log.count("BeatFailed") >= 3);
}
