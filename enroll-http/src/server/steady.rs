//! The router members call.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRef, Path, Request, State};
use axum::middleware::from_fn;
use axum::response::Response;
use axum::routing::{get, post};
use enroll_core::master::{
    AuthenticatedNode, BeatVerdict, Enroller, HandOverVerdict, RenewVerdict,
};
use enroll_core::model::{FuseFailure, NodeName, Reason, Rejection};
use http::StatusCode;

use super::answer::{json, trouble, with_fallbacks};
use super::detached::detach_changes;
use super::gate::{Gate, read_object, read_optional_object, read_report};
use super::member::{Member, unauthorized};
use super::{AddressLimiter, Proxies, health};
use crate::wire::{
    CommandReport, ErrorCode, EventsReport, FuseTaskBody, HeartbeatAnswer, HeartbeatBody,
    MetricsReport, NodeView, Problem, RecoverBody, RenewAnswer, RenewBody, ReportAnswer,
};

/// The router of a master's steady listener: what a member calls for as long as it is one.
///
/// Every call but the recovery is authorised from the store ([`Member`]), before its body is read.
/// With the feature `grpc` it answers `enroll.v1.Fleet` too, over HTTP/2.
pub fn steady_router(enroller: impl Into<Arc<Enroller>>, options: SteadyOptions) -> Router {
    let enroller = enroller.into();
    let SteadyOptions { limiter, proxies } = options;
    let steady = Steady { gate: Gate { enroller: Arc::clone(&enroller), limiter, proxies } };
    let router = Router::new()
        .route("/v1/self", get(self_view))
        .route("/v1/self/fuse", get(fuse_task))
        .route("/v1/self/heartbeat", post(heartbeat))
        .route("/v1/self/renew", post(renew).layer(from_fn(detach_changes)))
        .route("/v1/self/commands/{id}", post(acknowledge).layer(from_fn(detach_changes)))
        .route("/v1/self/metrics", post(report_metrics))
        .route("/v1/self/events", post(report_events))
        .route("/v1/recover", post(recover).layer(from_fn(detach_changes)))
        .with_state(steady)
        .merge(health::routes(Arc::clone(&enroller)));
    #[cfg(feature = "grpc")]
    let router = router.merge(super::fleet::routes(enroller));
    with_fallbacks(router)
}

/// How members are served.
///
/// # Defaults
/// An [`AddressLimiter`] of its own for recoveries, and no proxies. Share the limiter of the enroll
/// router, so that an address has one bucket for all that it asks without an identity.
#[derive(Debug, Clone, Default)]
pub struct SteadyOptions {
    limiter: Arc<AddressLimiter>,
    proxies: Arc<Proxies>,
}

impl SteadyOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts recoveries in `limiter`.
    #[must_use]
    pub fn with_limiter(mut self, limiter: Arc<AddressLimiter>) -> Self {
        self.limiter = limiter;
        self
    }

    /// Believes what `proxies` say of where a recovery came from.
    #[must_use]
    pub fn with_proxies(mut self, proxies: Arc<Proxies>) -> Self {
        self.proxies = proxies;
        self
    }
}

#[derive(Clone)]
pub(super) struct Steady {
    gate: Gate,
}

impl FromRef<Steady> for Arc<Enroller> {
    fn from_ref(steady: &Steady) -> Self {
        Self::clone(&steady.gate.enroller)
    }
}

/// Says that the worker lives, and hears what it is to do.
#[utoipa::path(post, path = "/v1/self/heartbeat", tag = "steady", request_body = HeartbeatBody,
    security(("node_certificate" = []), ("node_api_key" = [])), responses(
    (status = 200, description = "It counts.", body = HeartbeatAnswer),
    (status = 400, description = "`bad_request`", body = Problem,
        content_type = "application/problem+json"),
    (status = 401, description = "`unauthorized`", body = Problem,
        content_type = "application/problem+json"),
    (status = 403, description = "`name_mismatch`", body = Problem,
        content_type = "application/problem+json"),
    (status = 503, description = "`unavailable`", body = Problem,
        content_type = "application/problem+json")))]
pub(super) async fn heartbeat(
    State(enroller): State<Arc<Enroller>>,
    Member(member): Member,
    body: Body,
) -> Result<Response, Problem> {
    let (name, facts) = read_object::<HeartbeatBody>(body).await?.into_parts()?;
    match enroller.heartbeat(&member, &name, facts).await {
        Ok(BeatVerdict::Recorded(reply)) => Ok(json(StatusCode::OK, &HeartbeatAnswer::of(&reply))),
        Ok(BeatVerdict::NameMismatch) => Err(another_name().into()),
        Ok(_) => Err(Reason::Unavailable.into()),
        Err(error) => Err(trouble(&error)),
    }
}

/// Makes the successor of the identity that calls.
///
/// The identity stays good until it expires or the successor is first used. The same certificate
/// request again is given the same certificate; another one replaces a successor that was not used.
#[utoipa::path(post, path = "/v1/self/renew", tag = "steady", request_body = Option<RenewBody>,
    security(("node_certificate" = []), ("node_api_key" = [])), responses(
    (status = 200, description = "The successor.", body = RenewAnswer),
    (status = 400, description = "`bad_request`, `bad_csr`", body = Problem,
        content_type = "application/problem+json"),
    (status = 401, description = "`unauthorized`", body = Problem,
        content_type = "application/problem+json"),
    (status = 502, description = "`issue_failed`", body = Problem,
        content_type = "application/problem+json"),
    (status = 503, description = "`not_configured`, `unavailable`", body = Problem,
        content_type = "application/problem+json")))]
pub(super) async fn renew(
    State(enroller): State<Arc<Enroller>>,
    Member(member): Member,
    body: Body,
) -> Result<Response, Problem> {
    let body = read_optional_object::<RenewBody>(body).await?;
    match enroller.renew(&member, body.csr.as_deref()).await {
        Ok(verdict) => renewed(verdict),
        Err(error) => Err(trouble(&error)),
    }
}

/// Says what became of a command, which then is delivered no more. To say it again changes nothing.
#[utoipa::path(post, path = "/v1/self/commands/{id}", tag = "steady", request_body = CommandReport,
    params(("id" = String, Path, description = "The id the command was delivered with.")),
    security(("node_certificate" = []), ("node_api_key" = [])), responses(
    (status = 204, description = "It is on record."),
    (status = 400, description = "`bad_request`", body = Problem,
        content_type = "application/problem+json"),
    (status = 401, description = "`unauthorized`", body = Problem,
        content_type = "application/problem+json"),
    (status = 404, description = "`not_found`: this node has no such command.", body = Problem,
        content_type = "application/problem+json"),
    (status = 503, description = "`unavailable`", body = Problem,
        content_type = "application/problem+json")))]
pub(super) async fn acknowledge(
    State(enroller): State<Arc<Enroller>>,
    Member(member): Member,
    id: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<StatusCode, Problem> {
    let (done, output) = read_report::<CommandReport>(body).await?.into_parts()?;
    let unknown = || Problem::error(ErrorCode::NotFound, "This node has no such command.");
    let id = id.ok().and_then(|Path(id)| id.parse().ok()).ok_or_else(unknown)?;
    match enroller.acknowledge(&member, id, done, output).await {
        Ok(true) => Ok(StatusCode::NO_CONTENT),
        Ok(false) => Err(unknown()),
        Err(error) => Err(trouble(&error)),
    }
}

/// Takes what the machine measures now, in place of what it measured before.
#[utoipa::path(post, path = "/v1/self/metrics", tag = "steady", request_body = MetricsReport,
    security(("node_certificate" = []), ("node_api_key" = [])), responses(
    (status = 200, description = "How much was taken.", body = ReportAnswer),
    (status = 400, description = "`bad_request`", body = Problem,
        content_type = "application/problem+json"),
    (status = 401, description = "`unauthorized`", body = Problem,
        content_type = "application/problem+json"),
    (status = 403, description = "`name_mismatch`", body = Problem,
        content_type = "application/problem+json"),
    (status = 503, description = "`unavailable`", body = Problem,
        content_type = "application/problem+json")))]
pub(super) async fn report_metrics(
    State(enroller): State<Arc<Enroller>>,
    Member(member): Member,
    body: Body,
) -> Result<Response, Problem> {
    let (name, samples) = read_report::<MetricsReport>(body).await?.into_parts()?;
    pin(&enroller, &member, &name)?;
    let taken = enroller.report_metrics(&member, samples);
    Ok(json(StatusCode::OK, &ReportAnswer::of(taken)))
}

/// Takes what happened on the machine, for the journal.
#[utoipa::path(post, path = "/v1/self/events", tag = "steady", request_body = EventsReport,
    security(("node_certificate" = []), ("node_api_key" = [])), responses(
    (status = 200, description = "How much was taken.", body = ReportAnswer),
    (status = 400, description = "`bad_request`", body = Problem,
        content_type = "application/problem+json"),
    (status = 401, description = "`unauthorized`", body = Problem,
        content_type = "application/problem+json"),
    (status = 403, description = "`name_mismatch`", body = Problem,
        content_type = "application/problem+json"),
    (status = 503, description = "`unavailable`", body = Problem,
        content_type = "application/problem+json")))]
pub(super) async fn report_events(
    State(enroller): State<Arc<Enroller>>,
    Member(member): Member,
    body: Body,
) -> Result<Response, Problem> {
    let (name, events) = read_report::<EventsReport>(body).await?.into_parts()?;
    pin(&enroller, &member, &name)?;
    let taken = enroller.report_events(&member, events);
    Ok(json(StatusCode::OK, &ReportAnswer::of(taken)))
}

fn pin(enroller: &Enroller, member: &AuthenticatedNode, name: &NodeName) -> Result<(), Rejection> {
    if enroller.is_pinned(member, name) { Ok(()) } else { Err(another_name()) }
}

/// The answer to a member that runs under another name than its identity's.
pub(super) fn another_name() -> Rejection {
    let words = "`node_name` is not the name of the identity that was presented.";
    Rejection::new(Reason::NameMismatch).with_detail(words)
}

/// The node that calls, as it stands.
#[utoipa::path(get, path = "/v1/self", tag = "steady",
    security(("node_certificate" = []), ("node_api_key" = [])), responses(
    (status = 200, description = "The node.", body = NodeView),
    (status = 401, description = "`unauthorized`", body = Problem,
        content_type = "application/problem+json"),
    (status = 503, description = "`unavailable`", body = Problem,
        content_type = "application/problem+json")))]
pub(super) async fn self_view(
    State(enroller): State<Arc<Enroller>>,
    Member(member): Member,
) -> Response {
    let stale_after = enroller.config().stale_after;
    json(StatusCode::OK, &NodeView::of(&member.node, member.at, stale_after))
}

/// What the worker needs to do its part of the attempt to fuse it, while that runs. It comes from
/// the fuser at this moment, and the master keeps nothing of it.
#[utoipa::path(get, path = "/v1/self/fuse", tag = "steady",
    security(("node_certificate" = []), ("node_api_key" = [])), responses(
    (status = 200, description = "What is handed over.", body = FuseTaskBody),
    (status = 401, description = "`unauthorized`", body = Problem,
        content_type = "application/problem+json"),
    (status = 404, description = "`not_found`: no attempt to fuse this node runs.", body = Problem,
        content_type = "application/problem+json"),
    (status = 503, description = "`unavailable`: the fuser cannot say at the moment.",
        body = Problem, content_type = "application/problem+json")))]
pub(super) async fn fuse_task(
    State(enroller): State<Arc<Enroller>>,
    Member(member): Member,
) -> Result<Response, Problem> {
    match enroller.hand_over(&member).await {
        HandOverVerdict::Given { fuse, handover } => {
            Ok(json(StatusCode::OK, &FuseTaskBody::of(&fuse, &handover)))
        }
        HandOverVerdict::Later(FuseFailure { source, detail }) => {
            tracing::warn!(node = %member.node.id, source, detail, "nothing can be handed over");
            let words = "The fuser cannot say at the moment what this worker needs.";
            Err(Rejection::new(Reason::Unavailable).with_detail(words).into())
        }
        _ => Err(Problem::error(ErrorCode::NotFound, "No attempt to fuse this node runs.")),
    }
}

/// Makes the successor of a certificate that ran out while its machine was off, for who holds its
/// key. Present no certificate on the connection: an expired one ends the handshake.
#[utoipa::path(post, path = "/v1/recover", tag = "steady", request_body = RecoverBody, responses(
    (status = 200, description = "The successor.", body = RenewAnswer),
    (status = 400, description = "`bad_request`, `bad_csr`", body = Problem,
        content_type = "application/problem+json"),
    (status = 401, description = "`unauthorized`", body = Problem,
        content_type = "application/problem+json"),
    (status = 429, description = "`rate_limited`", body = Problem,
        content_type = "application/problem+json",
        headers(("Retry-After" = u64, description = "Seconds to wait."))),
    (status = 502, description = "`issue_failed`", body = Problem,
        content_type = "application/problem+json"),
    (status = 503, description = "`not_configured`, `unavailable`", body = Problem,
        content_type = "application/problem+json")))]
pub(super) async fn recover(
    State(steady): State<Steady>,
    request: Request,
) -> Result<Response, Problem> {
    let gate = &steady.gate;
    let _counted = gate.admit(&request)?;
    let wish = read_object::<RecoverBody>(request.into_body()).await?.into_request()?;
    match gate.enroller.recover(&wish).await {
        Ok(verdict) => renewed(verdict),
        Err(error) => Err(trouble(&error)),
    }
}

fn renewed(verdict: RenewVerdict) -> Result<Response, Problem> {
    match verdict {
        RenewVerdict::Renewed(made) => Ok(json(StatusCode::OK, &RenewAnswer::of(&made))),
        RenewVerdict::Refused(rejection) => Err(rejection.into()),
        RenewVerdict::Unauthorized(why) => {
            tracing::debug!(%why, "an identity is not renewed");
            Err(unauthorized())
        }
        _ => Err(Reason::Unavailable.into()),
    }
}
