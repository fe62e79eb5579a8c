//! `/metrics` of the worker.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use enroll_core::worker::{Telemetry, WorkerEvent, WorkerObserver};
use enroll_http::exposition;
use enroll_http::server::Listener;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::exit::Exit;

type Label = [(&'static str, &'static str); 1];

/// What happens to this worker, counted.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    beats: Family<Label, Counter>,
    calls: Family<Label, Counter>,
    renewals: Counter,
    enrolled: Gauge,
    not_after: Gauge,
}

impl Metrics {
    pub(super) fn new() -> Arc<Self> {
        let mut metrics = Self {
            registry: Registry::default(),
            beats: Family::default(),
            calls: Family::default(),
            renewals: Counter::default(),
            enrolled: Gauge::default(),
            not_after: Gauge::default(),
        };
        for outcome in ["ok", "failed"] {
            drop(metrics.beats.get_or_create(&[("outcome", outcome)]));
            drop(metrics.calls.get_or_create(&[("outcome", outcome)]));
        }
        let registry = &mut metrics.registry;
        registry.register(
            "enroll_worker_heartbeats",
            "Heartbeats the master heard, and those it did not",
            metrics.beats.clone(),
        );
        registry.register(
            "enroll_worker_enroll_calls",
            "Calls to enroll, renew or recover",
            metrics.calls.clone(),
        );
        registry.register("enroll_worker_renewals", "Identities renewed", metrics.renewals.clone());
        registry.register(
            "enroll_worker_enrolled",
            "1 once this machine is a member",
            metrics.enrolled.clone(),
        );
        registry.register(
            "enroll_worker_certificate_not_after_seconds",
            "When the certificate ends, in Unix time; 0 where there is none",
            metrics.not_after.clone(),
        );
        Arc::new(metrics)
    }

    pub(super) fn identity(&self, identity: &enroll_core::worker::Identity) {
        self.enrolled.set(1);
        self.not_after.set(identity.not_after().map_or(0, |end| end.unix_secs()));
    }

    fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _written = encode(&mut text, &self.registry);
        text
    }
}

impl WorkerObserver for Metrics {
    fn note(&self, event: &WorkerEvent<'_>) {
        let count = |family: &Family<Label, Counter>, outcome| {
            family.get_or_create(&[("outcome", outcome)]).inc();
        };
        match event {
            WorkerEvent::CallFailed { .. } => count(&self.calls, "failed"),
            WorkerEvent::Enrolled { identity, .. } => {
                count(&self.calls, "ok");
                self.identity(identity);
            }
            WorkerEvent::Renewed { identity, .. } => {
                count(&self.calls, "ok");
                self.renewals.inc();
                self.identity(identity);
            }
            WorkerEvent::BeatSent { .. } => count(&self.beats, "ok"),
            WorkerEvent::BeatFailed { .. } => count(&self.beats, "failed"),
            _ => {}
        }
    }
}

/// Opens the listener, which also shows what `machine` measures; a port in use is the operator's to
/// know at once.
pub(super) async fn listener(
    port: u16,
    metrics: Arc<Metrics>,
    machine: Arc<dyn Telemetry>,
) -> Result<Listener, Exit> {
    let address = SocketAddr::from(([0, 0, 0, 0], port));
    let tcp = tokio::net::TcpListener::bind(address).await.map_err(|why| {
        Exit::usage(format!(
            "Port {port} for /metrics cannot be opened: {why}. Is a node exporter running here? Stop it, or set ENROLL_METRICS_PORT (--metrics-port) to another port, or to 0 for any."
        ))
    })?;
    let render = move || async move {
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        let (own, measured) = (metrics.render(), exposition(&machine.metrics().await));
        // One text has one end.
        let own = own.strip_suffix(END).unwrap_or(&own);
        ([(CONTENT_TYPE, kind)], [own, &measured, END].concat())
    };
    let router = Router::new().route("/metrics", get(render));
    Ok(Listener::new(tcp, router))
}

/// What OpenMetrics wants last.
const END: &str = "# EOF\n";
