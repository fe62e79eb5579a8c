//! What a worker reports of its machine and of the containers there. What runs the containers is a
//! stub that speaks Docker's API over a socket: there is no engine where tests run.

mod harness;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path as InPath, RawQuery, State};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use enroll_core::model::HostEvent;
use enroll_core::worker::Telemetry as _;
use enroll_http::host::HostTelemetry;
use harness::{Machine, Master, at, in_time};
use serde_json::{Value, json};
use tokio::net::UnixListener;

/// A runtime with two containers, one of which runs.
#[derive(Clone, Default)]
struct Engine {
    /// Lines of its stream of events, and what it was asked for.
    told: Arc<Mutex<(Vec<String>, Vec<String>)>>,
}

impl Engine {
    fn listen(socket: &Path) -> Self {
        let engine = Self::default();
        let router = Router::new()
            .route("/containers/json", get(list))
            .route("/containers/{id}/stats", get(stats))
            .route("/events", get(events))
            .with_state(engine.clone());
        let listener = UnixListener::bind(socket).expect("a socket");
        tokio::spawn(async move { axum::serve(listener, router).await });
        engine
    }

    fn told<T>(&self, act: impl FnOnce(&mut (Vec<String>, Vec<String>)) -> T) -> T {
        act(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Something happens to the container web.
    fn happens(&self, action: &str, at: i64) {
        let attributes = json!({"name": "web", "image": "nginx:1", "exitCode": "137",
            "password": "s3cret"});
        let event = json!({"Type": "container", "Action": action, "timeNano": at,
            "Actor": {"ID": "0123456789abcdef", "Attributes": attributes}});
        self.told(|(lines, _)| lines.push(format!("{event}\n")));
    }
}

async fn list(State(engine): State<Engine>) -> Json<Value> {
    engine.told(|(_, asked)| asked.push("list".to_owned()));
    Json(json!([
        {"Id": "0123456789abcdef", "Names": ["/web"], "Image": "nginx:1", "State": "running"},
        {"Id": "fedcba9876543210", "Names": ["/job"], "Image": "job:2", "State": "exited"},
    ]))
}

async fn stats(InPath(id): InPath<String>) -> impl IntoResponse {
    assert_eq!(id, "0123456789abcdef", "what does not run uses nothing");
    Json(json!({
        "cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000_u64}},
        "memory_stats": {"usage": 3000, "limit": 4096, "stats": {"inactive_file": 1000}},
        "networks": {"eth0": {"rx_bytes": 10, "tx_bytes": 20}, "eth1": {"rx_bytes": 1, "tx_bytes": 2}},
    }))
}

/// Gives what there is, once per call, and ends: a real one goes on, and sometimes breaks off.
async fn events(State(engine): State<Engine>, RawQuery(query): RawQuery) -> Body {
    let lines = engine.told(|(lines, asked)| {
        asked.push(query.unwrap_or_default());
        lines.concat()
    });
    Body::from(Bytes::from(lines))
}

fn socket(dir: &tempfile::TempDir) -> std::path::PathBuf {
    dir.path().join("docker.sock")
}

/// What happened to containers: the machine that runs the test may be short of something itself.
async fn of_containers(telemetry: &HostTelemetry) -> Vec<HostEvent> {
    loop {
        let mut events = telemetry.events().await;
        events.retain(|event| event.kind().starts_with("container."));
        if !events.is_empty() {
            return events;
        }
    }
}

#[tokio::test]
async fn a8b_the_machine_and_its_containers_are_measured() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let engine = Engine::listen(&socket(&dir));
    let telemetry = HostTelemetry::new().with_runtime(socket(&dir));
    let (samples, others) = tokio::join!(telemetry.metrics(), telemetry.metrics());
    assert_eq!(samples, others);
    assert_eq!(engine.told(|(_, asked)| asked.len()), 1, "many ask, and it measures once");
    let text = enroll_http::exposition(&samples);
    let value = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| {
            panic!("{name} in {text}");
        });
        line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect("a number")
    };
    let (size, free) = ("node_memory_MemTotal_bytes ", "node_memory_MemAvailable_bytes ");
    assert!(0.0 < value(free) && value(free) <= value(size), "{text}");
    assert!(value("node_uptime_seconds ") > 0.0 && value("node_load1 ") >= 0.0, "{text}");
    assert!(value("node_network_receive_bytes_total{device=\"lo\"}") >= 0.0, "{text}");
    for line in [
        "container_runtime_up 1\n",
        "container_state{image=\"nginx:1\",name=\"web\",state=\"running\"} 1\n",
        "container_state{image=\"job:2\",name=\"job\",state=\"exited\"} 1\n",
        "container_cpu_usage_seconds_total{image=\"nginx:1\",name=\"web\"} 2.5\n",
        "container_memory_working_set_bytes{image=\"nginx:1\",name=\"web\"} 2000\n",
        "container_spec_memory_limit_bytes{image=\"nginx:1\",name=\"web\"} 4096\n",
        "container_network_receive_bytes_total{image=\"nginx:1\",name=\"web\"} 11\n",
        "container_network_transmit_bytes_total{image=\"nginx:1\",name=\"web\"} 22\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
}

#[tokio::test]
async fn a8b_a_runtime_that_is_away_is_said_to_be_and_hides_nothing_else() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let telemetry = HostTelemetry::new().with_runtime(socket(&dir));
    let text = enroll_http::exposition(&telemetry.metrics().await);
    assert!(text.contains("container_runtime_up 0\n") && text.contains("node_load1 "), "{text}");
    // What happens once it is there is told all the same.
    let engine = Engine::listen(&socket(&dir));
    let (at, later) = (4_000_000_000_000_000_001, 4_000_000_000_000_000_002);
    let waiting = tokio::time::timeout(Duration::from_millis(300), of_containers(&telemetry));
    assert!(waiting.await.is_err(), "nothing has happened, and nobody waits for it now");
    engine.happens("die", at);
    engine.happens("exec_create: echo s3cret", later);
    let events = of_containers(&telemetry).await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!((events[0].kind(), events[0].message()), ("container.die", "web: die"));
    assert!(!format!("{events:?}").contains("s3cret"));
    // Its stream ends and is asked for again: from there on, and nothing twice.
    engine.happens("start", later + 1);
    let events = of_containers(&telemetry).await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].kind(), "container.start");
    let asked = engine.told(|(_, asked)| asked.clone());
    assert!(asked.iter().any(|query| query.starts_with("since=4000000000.00000000")), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a8b_b9_a_worker_shows_what_it_measures_and_tells_its_hardware() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let _engine = Engine::listen(&socket(&dir));
    let master = Master::start(&["--heartbeat-interval-secs", "1"]);
    let minted = master.json(&["token", "mint", "--node-name", "worker-1"]);
    let machine = Machine::new();
    let token = machine.put("token", minted["token"].as_str().expect("a token"));
    let socket = socket(&dir);
    let runtime = ["--runtime-socket", socket.to_str().expect("a path in UTF-8")];
    let flags = [&at(&master)[..], &["--token-path", &token], &runtime].concat();
    let _worker = machine.start(&flags);
    let text = machine.metrics();
    for name in ["enroll_worker_heartbeats_total{", "node_load1 ", "container_runtime_up 1"] {
        assert!(text.contains(name), "{name} in {text}");
    }
    assert_eq!(text.matches("# EOF").count(), 1, "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");

    let node = in_time("its hardware", async || {
        let node = master.node("worker-1").await;
        node["facts"]["inventory"].is_object().then_some(node)
    })
    .await;
    let inventory = &node["facts"]["inventory"];
    assert!(inventory["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{inventory}");
    assert!(inventory["cpu"]["threads"].as_u64().is_some_and(|threads| threads > 0));
}
