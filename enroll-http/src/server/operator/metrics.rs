//! What a node measured last, as Prometheus reads it.

use axum::extract::State;
use axum::response::IntoResponse;
use enroll_core::master::NodeMetrics;
use enroll_core::model::{NodeName, Sample};
use http::header::CONTENT_TYPE;

use super::auth::{As, Operator};
use super::path::NodePath;
use super::{Answer, App, refused};
use crate::exposition;
use crate::server::openapi::{NotFound, Refused};

/// What a node measured last
///
/// The values the node reported to this master last, as OpenMetrics text. Each has the label
/// `node`, so that those of several nodes can be put together. `enroll_node_reported_at_seconds` says
/// when the report came; where there is none, the node has reported nothing to this master since it
/// started.
#[utoipa::path(
    operation_id = "node_metrics",
    get, path = "/v1/nodes/{name}/metrics", tag = "operator",
    security(("admin_token" = ["operator"])),
    params(("name" = String, Path, description = "The node's name.")),
    responses(
        (status = 200, description = "The values.", body = String,
            content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        Refused, NotFound,
    ),
)]
pub(super) async fn of_node(
    _: As<Operator>,
    State(app): State<App>,
    NodePath(name): NodePath,
) -> Answer<impl IntoResponse> {
    let reported = app.enroller.node_metrics(&name).await.map_err(refused)?;
    Ok(([(CONTENT_TYPE, TEXT)], rendered(&name, reported)))
}

const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn rendered(name: &NodeName, reported: Option<NodeMetrics>) -> String {
    let mut samples = Vec::new();
    if let Some(reported) = reported {
        let at = reported.at.unix_millis() as f64 / 1000.0;
        samples.push(Sample::gauge("enroll_node_reported_at_seconds", at));
        samples.extend(reported.samples);
    }
    let whose = |sample: Sample| sample.with_label(Sample::NODE_LABEL, name.as_str());
    let samples: Vec<Sample> = samples.into_iter().map(whose).collect();
    exposition(&samples) + "# EOF\n"
}
