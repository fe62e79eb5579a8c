//! The library's worker over gRPC, against the library's master.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use enroll_core::model::{Clock, CommandRecord, CommandStatus, HostEvent, Sample};
use enroll_core::store::Page;
use enroll_core::worker::{
    Command, CommandHandler, CommandOutcome, Credentials, Proofs, StateDir, Telemetry, Worker,
    WorkerError, WorkerEvent, WorkerObserver,
};
use enroll_http::client::{GrpcMaster, HttpMaster};
use enroll_http::server::{Listener, SteadyOptions, steady_router};
use serde_json::json;
use tempfile::TempDir;

use super::support::{counted, journal, last_seen, promptly, until};
use crate::common::Running;
use crate::common::fleet::{DAY, Fleet, START, name, serve_members};
use crate::common::within;

/// Writes down every event, as people would see it.
#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Log {
    fn has(&self, word: &str) -> bool {
        self.0.lock().unwrap().iter().any(|line| line.contains(word))
    }
}

impl WorkerObserver for Log {
    fn note(&self, event: &WorkerEvent<'_>) {
        self.0.lock().unwrap().push(format!("{event:?}"));
    }
}

struct Scene {
    worker: Worker,
    dir: StateDir,
    log: Arc<Log>,
    _place: TempDir,
}

/// A worker that has enrolled, and beats every second from then on.
async fn enrolled(
    fleet: &Fleet,
    steady: &Running,
    with: impl FnOnce(GrpcMaster) -> GrpcMaster,
) -> Scene {
    let place = tempfile::tempdir().unwrap();
    let dir = StateDir::open(place.path().join("state")).unwrap();
    let http = HttpMaster::pinned(&fleet.enroll.url("https", ""), fleet.authority.fingerprint())
        .unwrap()
        .with_steady_addr(steady.addr.to_string())
        .with_clock(Arc::clone(&fleet.clock) as Arc<dyn Clock>);
    let log = Arc::new(Log::default());
    let worker = Worker::new(dir.clone(), with(GrpcMaster::new(http)))
        .with_clock(Arc::clone(&fleet.clock) as Arc<dyn Clock>)
        .with_node_name(name("worker-1"))
        .with_commands(Arc::new(Willing))
        .with_observer(Arc::clone(&log) as _)
        .with_heartbeat_interval(Duration::from_secs(1));
    let token = fleet.mint_one_shot().await;
    worker.bootstrap(Proofs::token(token)).await.unwrap();
    Scene { worker, dir, log, _place: place }
}

struct Willing;

#[async_trait]
impl CommandHandler for Willing {
    async fn execute(&self, _me: &Credentials, command: &Command) -> CommandOutcome {
        CommandOutcome::Done(Some(command.payload.to_string()))
    }
}

/// Lets the worker run for as long as `life` goes on.
async fn live(worker: &Worker, life: impl Future<Output = ()>) {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let life = async {
        life.await;
        drop(stop);
    };
    let (lived, ()) = tokio::join!(worker.run(async { drop(stopped.await) }), life);
    lived.unwrap();
}

async fn heard(fleet: &Fleet) {
    until("the node is heard", async || last_seen(fleet, "worker-1").await.is_some()).await;
}

#[tokio::test]
async fn a_worker_lives_over_two_streams_and_hears_its_commands_at_once() {
    let (fleet, _) = counted().await;
    let scene = enrolled(&fleet, &fleet.steady, |master| master).await;
    // Nothing but the open stream can bring a command in time.
    let worker = scene.worker.with_heartbeat_interval(Duration::from_secs(3600));
    let life = async {
        heard(&fleet).await;
        assert_eq!(fleet.enroller.streams(), 2);
        let node = name("worker-1");
        let queued = fleet.enroller.queue_command(&node, "look", json!([1]), "op").await;
        let id = queued.unwrap().id;
        let finished = async || {
            let commands =
                fleet.enroller.commands(&name("worker-1"), Page::first(1)).await.unwrap();
            assert_eq!(commands[0].id, id);
            commands[0].status == CommandStatus::Done
                && commands[0].output.as_deref() == Some("[1]")
        };
        promptly(until("it is carried out", finished)).await;
    };
    live(&worker, life).await;
    drop(worker);
    until("all streams end", async || fleet.enroller.streams() == 0).await;
}

/// Puts out far more than a message may hold, and what JSON writes six times as long.
struct Talkative;

#[async_trait]
impl CommandHandler for Talkative {
    async fn execute(&self, _me: &Credentials, _command: &Command) -> CommandOutcome {
        CommandOutcome::Done(Some("\u{1}".repeat(300 * 1024)))
    }
}

#[tokio::test]
async fn a_large_output_ends_its_command_and_holds_up_no_other() {
    let (fleet, _) = counted().await;
    let router = steady_router(Arc::clone(&fleet.enroller), SteadyOptions::new());
    let plain = serve_members(&fleet.authority, &fleet.clock, router, |listener| listener).await;
    for (steady, streams) in [(&fleet.steady, 2), (&plain, 0)] {
        let scene = enrolled(&fleet, steady, |master| master).await;
        let worker = scene.worker.with_commands(Arc::new(Talkative));
        let node = name("worker-1");
        let queue = || fleet.enroller.queue_command(&node, "look", json!(null), "op");
        let life = async {
            let queued = [queue().await.unwrap().id, queue().await.unwrap().id];
            until("both are carried out", async || {
                let commands = fleet.enroller.commands(&node, Page::first(2)).await.unwrap();
                commands.iter().all(|command| {
                    assert!(queued.contains(&command.id));
                    let output = command.output.as_ref().map(String::len);
                    command.status == CommandStatus::Done
                        && output == Some(CommandRecord::MAX_OUTPUT)
                })
            })
            .await;
            assert_eq!(fleet.enroller.streams(), streams);
        };
        live(&worker, life).await;
        fleet.enroller.delete_node(&node, true, "admin").await.unwrap();
        fleet.clock.advance(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn an_identity_is_renewed_over_the_open_connection_and_the_next_one_takes_over() {
    let (fleet, _) = counted().await;
    let scene = enrolled(&fleet, &fleet.steady, |master| master).await;
    let before = scene.dir.credentials().unwrap().identity().not_after();
    let life = async {
        heard(&fleet).await;
        let at = fleet.clock.advance(22 * DAY);
        until("it is renewed", async || {
            scene.dir.credentials().unwrap().identity().not_after() > before
        })
        .await;
        until("the successor is in use", async || {
            let seen = last_seen(&fleet, "worker-1").await;
            seen >= Some(at) && fleet.enroller.streams() == 2
        })
        .await;
    };
    live(&scene.worker, life).await;
    assert!(!scene.log.has("IdentityRejected"));
}

#[tokio::test]
async fn a_revoked_worker_ends_between_two_heartbeats() {
    let (fleet, _) = counted().await;
    let scene = enrolled(&fleet, &fleet.steady, |master| master).await;
    let worker = scene.worker.with_heartbeat_interval(Duration::from_secs(3600));
    let life = async {
        heard(&fleet).await;
        fleet.enroller.delete_node(&name("worker-1"), true, "admin").await.unwrap();
    };
    let run = worker.run(std::future::pending());
    let (ended, ()) = within(Duration::from_secs(20), async { tokio::join!(run, life) }).await;
    assert!(matches!(ended, Err(WorkerError::IdentityRejected(_))), "{ended:?}");
}

#[tokio::test]
async fn a_certificate_that_ran_out_is_recovered_and_life_goes_on() {
    let (fleet, _) = counted().await;
    let scene = enrolled(&fleet, &fleet.steady, |master| master).await;
    let at = fleet.clock.advance(40 * DAY);
    let life = async {
        until("it is heard again", async || last_seen(&fleet, "worker-1").await >= Some(at)).await;
        until("over streams", async || fleet.enroller.streams() == 2).await;
    };
    live(&scene.worker, life).await;
    assert!(scene.log.has("IdentityRefused"), "the handshake ended over the certificate");
}

#[tokio::test]
async fn a_master_without_http2_or_without_the_service_is_called_over_rest() {
    let (fleet, _) = counted().await;
    let options = SteadyOptions::new();
    let router = steady_router(Arc::clone(&fleet.enroller), options);
    let plain = serve_members(&fleet.authority, &fleet.clock, router, |listener| listener).await;
    let scene = enrolled(&fleet, &plain, |master| master).await;
    live(&scene.worker, heard(&fleet)).await;
    assert_eq!(fleet.enroller.streams(), 0);

    let strict = enrolled_again(&fleet, &plain).await;
    let told = async { until("it is told", async || strict.log.has("speaks no gRPC")).await };
    live(&strict.worker, told).await;

    let http2 = Listener::with_http2;
    let bare = serve_members(&fleet.authority, &fleet.clock, Router::new(), http2).await;
    let strict = enrolled_again(&fleet, &bare).await;
    let told = async { until("it is told", async || strict.log.has("speaks no gRPC")).await };
    live(&strict.worker, told).await;
}

/// Another machine under the name of the one before, which does without REST.
async fn enrolled_again(fleet: &Fleet, steady: &Running) -> Scene {
    fleet.enroller.delete_node(&name("worker-1"), true, "admin").await.unwrap();
    fleet.clock.advance(Duration::from_secs(1));
    enrolled(fleet, steady, GrpcMaster::without_fallback).await
}

/// Measures one thing, and saw another.
struct Measured(tokio::sync::Mutex<Option<HostEvent>>);

#[async_trait]
impl Telemetry for Measured {
    async fn metrics(&self) -> Vec<Sample> {
        vec![Sample::gauge("node_load1", 0.5)]
    }

    async fn events(&self) -> Vec<HostEvent> {
        match self.0.lock().await.take() {
            Some(event) => vec![event],
            None => std::future::pending().await,
        }
    }
}

#[tokio::test]
async fn what_a_worker_measures_and_sees_reaches_the_master() {
    let (fleet, _) = counted().await;
    let scene = enrolled(&fleet, &fleet.steady, |master| master).await;
    let event = HostEvent::new(START, "disk.full", "It is full.");
    let worker =
        scene.worker.with_telemetry(Arc::new(Measured(tokio::sync::Mutex::new(Some(event)))));
    let life = async {
        until("the values are there", async || {
            let kept = fleet.enroller.node_metrics(&name("worker-1")).await.unwrap();
            kept.is_some_and(|kept| kept.samples == [Sample::gauge("node_load1", 0.5)])
        })
        .await;
        until("the event is", async || {
            journal(&fleet).await.iter().any(|event| event["kind"] == "disk.full")
        })
        .await;
    };
    live(&worker, life).await;
    assert!(!scene.log.has("ReportFailed"));
}
