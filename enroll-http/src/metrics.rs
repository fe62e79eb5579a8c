//! What happens, counted, for Prometheus (feature `metrics`).
//!
//! [`Metrics`] is an [`Observer`] over a registry of its own: nothing global is installed, and an
//! embedder with another exporter writes an observer instead. No name, address or id is ever a
//! label, so the number of series is known: one per reason, method, source, state.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::IntoResponse;
use axum::routing::get;
use enroll_core::master::{Enroller, Observer};
use enroll_core::model::{Event, FuseFailure, Health, Method, Reason, TrustState, What};
use enroll_core::store::NodeCount;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

type Label = [(&'static str, String); 1];

/// Counters, histograms and gauges of a master, rendered as the text Prometheus scrapes.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    rejections: Family<Label, Counter>,
    accepted: Family<Label, Counter>,
    seconds: Family<Label, Histogram, fn() -> Histogram>,
    served: Family<Label, Histogram, fn() -> Histogram>,
    redelivered: Counter,
    renewed: Counter,
    fuse_failed: Family<Label, Counter>,
    unfamiliar: Counter,
    old_secret: Family<Label, Counter>,
    mismatches: Counter,
    nodes: Family<Label, Gauge>,
    health: Family<Label, Gauge>,
    dropped: Gauge,
    reported: Counter,
    streams: Gauge,
    stream_heartbeats: Gauge,
}

impl Metrics {
    /// The content type of [`render`](Self::render).
    pub const CONTENT_TYPE: &'static str =
        "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// Everything at zero.
    #[must_use]
    pub fn new() -> Self {
        let metrics = Self {
            registry: Registry::default(),
            rejections: Family::default(),
            accepted: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            served: Family::new_with_constructor(histogram),
            redelivered: Counter::default(),
            renewed: Counter::default(),
            fuse_failed: Family::default(),
            unfamiliar: Counter::default(),
            old_secret: Family::default(),
            mismatches: Counter::default(),
            nodes: Family::default(),
            health: Family::default(),
            dropped: Gauge::default(),
            reported: Counter::default(),
            streams: Gauge::default(),
            stream_heartbeats: Gauge::default(),
        };
        metrics.at_zero().registered().streams_registered()
    }

    /// A series that was never counted is a gap in a dashboard: all that can be known beforehand
    /// begin at zero.
    fn at_zero(self) -> Self {
        for reason in Reason::ALL {
            drop(self.rejections.get_or_create(&label("reason", reason.code())));
        }
        for method in Method::ALL {
            drop(self.accepted.get_or_create(&label("method", method.as_str())));
            drop(self.old_secret.get_or_create(&label("method", method.as_str())));
        }
        for source in FUSE_SOURCES {
            drop(self.fuse_failed.get_or_create(&label("source", source)));
        }
        self
    }

    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register(
            "enroll_rejections",
            "Requests to enroll refused",
            self.rejections.clone(),
        );
        registry.register("enroll_accepted", "Requests to enroll accepted", self.accepted.clone());
        registry.register(
            "enroll_seconds",
            "Time to answer a request to enroll",
            self.seconds.clone(),
        );
        registry.register(
            "enroll_request_seconds",
            "Time to answer any request, by listener",
            self.served.clone(),
        );
        registry.register(
            "enroll_redelivered",
            "Lost answers given again",
            self.redelivered.clone(),
        );
        registry.register(
            "enroll_renewed",
            "Identities renewed or recovered",
            self.renewed.clone(),
        );
        registry.register(
            "fuse_failed",
            "Attempts to fuse a node that failed",
            self.fuse_failed.clone(),
        );
        registry.register(
            "enroll_unfamiliar_names",
            "Names that auto-enrollment let in and nobody had registered",
            self.unfamiliar.clone(),
        );
        registry.register(
            "enroll_old_secret_uses",
            "Enrollments by a shared secret that a newer one has replaced",
            self.old_secret.clone(),
        );
        registry.register(
            "enroll_name_mismatches",
            "Messages of members under another name than the identity's",
            self.mismatches.clone(),
        );
        registry.register("enroll_nodes", "Nodes by state", self.nodes.clone());
        registry.register("enroll_nodes_health", "Nodes by health", self.health.clone());
        registry.register(
            "enroll_journal_dropped",
            "Heartbeats, refused attempts and events dropped under load",
            self.dropped.clone(),
        );
        self
    }

    /// What members send over streams that stay open, and what they report.
    fn streams_registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register(
            "enroll_reported_events",
            "Events that nodes reported",
            self.reported.clone(),
        );
        registry.register(
            "enroll_streams",
            "Streams of members that are open on this master",
            self.streams.clone(),
        );
        registry.register(
            "enroll_stream_heartbeats",
            "Heartbeats that came over streams since the master started",
            self.stream_heartbeats.clone(),
        );
        self
    }

    /// Takes over how many streams of members are open, and how many heartbeats came over them.
    pub fn set_streams(&self, streams: usize, heartbeats: u64) {
        self.stream_heartbeats.set(i64::try_from(heartbeats).unwrap_or(i64::MAX));
        self.streams.set(i64::try_from(streams).unwrap_or(i64::MAX));
    }

    /// Takes over how many nodes there are, as counted for this scrape, and how much was dropped.
    pub fn set_gauges(&self, counts: &[NodeCount], dropped: u64) {
        let sum = |wanted: &dyn Fn(&NodeCount) -> bool| {
            let nodes = counts.iter().filter(|count| wanted(count)).map(|count| count.nodes);
            i64::try_from(nodes.sum::<u64>()).unwrap_or(i64::MAX)
        };
        for state in TrustState::ALL {
            let nodes = sum(&|count| count.state == *state);
            self.nodes.get_or_create(&label("state", state.as_str())).set(nodes);
        }
        for health in Health::ALL {
            let nodes = sum(&|count| count.health == *health);
            self.health.get_or_create(&label("health", health.as_str())).set(nodes);
        }
        self.dropped.set(i64::try_from(dropped).unwrap_or(i64::MAX));
    }

    /// The text Prometheus scrapes.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _written = encode(&mut text, &self.registry);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Observer for Metrics {
    fn event(&self, event: &Event) {
        let count = |counter: &Counter| {
            counter.inc();
        };
        match &event.what {
            What::Redelivered { .. } => count(&self.redelivered),
            What::Renewed { .. } => count(&self.renewed),
            What::FuseFailed { source, .. } => {
                count(&self.fuse_failed.get_or_create(&label("source", source)));
            }
            What::UnfamiliarName { .. } => count(&self.unfamiliar),
            What::OldSecretUsed { method, .. } => {
                count(&self.old_secret.get_or_create(&label("method", method.as_str())));
            }
            What::NameMismatch { .. } => count(&self.mismatches),
            What::Reported { .. } => count(&self.reported),
            _ => {}
        }
    }

    fn answered(&self, outcome: Result<Method, Reason>, took: Duration) {
        let word = match outcome {
            Ok(method) => {
                self.accepted.get_or_create(&label("method", method.as_str())).inc();
                "accepted"
            }
            Err(reason) => {
                self.rejections.get_or_create(&label("reason", reason.code())).inc();
                "refused"
            }
        };
        self.seconds.get_or_create(&label("outcome", word)).observe(took.as_secs_f64());
    }
}

fn label(name: &'static str, value: &str) -> Label {
    [(name, value.to_owned())]
}

/// The sources of failures to fuse that are known beforehand; a fuser may have more of its own.
const FUSE_SOURCES: &[&str] = &[
    FuseFailure::WATCHDOG,
    FuseFailure::WORKER,
    #[cfg(feature = "portainer")]
    crate::integrations::portainer::PortainerFuser::SOURCE,
];

/// From half a millisecond to some eight seconds.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.000_5, 2.0, 15))
}

/// `GET /metrics`: what `metrics` counted and how many nodes `enroller` has now, for a router that is
/// merged with it. Who may reach it is the listener's business: it tells no name, but how much there
/// is.
///
/// ```
/// # fn example(store: std::sync::Arc<dyn enroll_core::store::Store>) -> axum::Router {
/// use std::sync::Arc;
///
/// use enroll_core::master::{Enroller, Observer};
/// use enroll_http::metrics::{Metrics, metrics_router};
///
/// let metrics = Arc::new(Metrics::new());
/// let observer: Arc<dyn Observer> = Arc::<Metrics>::clone(&metrics);
/// let enroller = Enroller::with_issuers(store, vec![]).with_observer(observer);
/// metrics_router(Arc::new(enroller), metrics)
/// # }
/// ```
pub fn metrics_router(enroller: impl Into<Arc<Enroller>>, metrics: Arc<Metrics>) -> Router {
    Router::new().route("/metrics", get(scrape)).with_state((enroller.into(), metrics))
}

/// `router`, whose every answer is timed by `metrics` under the name of its `listener`.
pub fn timed(router: Router, metrics: &Arc<Metrics>, listener: &'static str) -> Router {
    let served = metrics.served.get_or_create(&label("listener", listener)).clone();
    router.layer(middleware::from_fn(move |request: Request, next: Next| {
        let served = served.clone();
        async move {
            let began = Instant::now();
            let response = next.run(request).await;
            served.observe(began.elapsed().as_secs_f64());
            response
        }
    }))
}

async fn scrape(
    State((enroller, metrics)): State<(Arc<Enroller>, Arc<Metrics>)>,
) -> impl IntoResponse {
    metrics.set_streams(enroller.streams(), enroller.heard_over_streams());
    match enroller.count_nodes().await {
        Ok(counts) => metrics.set_gauges(&counts, enroller.dropped()),
        // What was counted in memory is wanted all the more while the store is away.
        Err(error) => tracing::warn!(%error, "the nodes could not be counted"),
    }
    ([("content-type", Metrics::CONTENT_TYPE)], metrics.render())
}

#[cfg(test)]
mod tests {
    use super::*;
    use enroll_core::model::Timestamp;

    #[test]
    fn every_reason_and_method_is_a_series_from_the_start() {
        let text = Metrics::new().render();
        for reason in Reason::ALL {
            let line = format!("enroll_rejections_total{{reason=\"{reason}\"}} 0\n");
            assert!(text.contains(&line), "{line}{text}");
        }
        for method in Method::ALL {
            assert!(text.contains(&format!("enroll_accepted_total{{method=\"{method}\"}} 0\n")));
        }
    }

    #[test]
    fn what_happens_is_counted() {
        let metrics = Metrics::new();
        metrics.answered(Ok(Method::Token), Duration::from_millis(3));
        metrics.answered(Err(Reason::Expired), Duration::from_millis(1));
        let what: What = serde_json::from_value(serde_json::json!({
            "type": "fuse_failed", "node_id": "01890a5d-ac96-774b-bcce-b302099a8057",
            "node_name": "worker-1", "attempt": "01890a5d-ac96-774b-bcce-b302099a8057",
            "source": "watchdog_timeout",
        }))
        .expect("a fuse failure");
        metrics.event(&Event::new(Timestamp::from_unix_secs(0), what));
        let counts = [
            NodeCount { state: TrustState::Monitoring, health: Health::Ready, nodes: 2 },
            NodeCount { state: TrustState::Monitoring, health: Health::Degraded, nodes: 1 },
        ];
        metrics.set_gauges(&counts, 4);
        let text = metrics.render();
        for line in [
            "enroll_accepted_total{method=\"token\"} 1\n",
            "enroll_rejections_total{reason=\"expired\"} 1\n",
            "enroll_seconds_count{outcome=\"refused\"} 1\n",
            "fuse_failed_total{source=\"watchdog_timeout\"} 1\n",
            "enroll_nodes{state=\"monitoring\"} 3\n",
            "enroll_nodes{state=\"fused\"} 0\n",
            "enroll_nodes_health{health=\"degraded\"} 1\n",
            "enroll_journal_dropped 4\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        assert!(!text.contains("worker-1"), "no name is a label");
    }
}
