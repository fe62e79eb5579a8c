//! The operator API's part of the OpenAPI document.

use axum::response::IntoResponse;
use http::header::CONTENT_TYPE;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;

use super::{admins, commands, events, mesh, metrics, nodes, settings, state, tokens};
use crate::server::OPENAPI;

/// The calls of the operator API.
pub(in crate::server) fn document() -> OpenApi {
    Operator::openapi()
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(
    tokens::mint,
    tokens::list,
    tokens::revoke,
    tokens::redemptions,
    nodes::register,
    nodes::regenerate,
    nodes::list,
    nodes::get,
    nodes::attempts,
    nodes::cordon,
    nodes::uncordon,
    nodes::delete,
    commands::fuse,
    commands::queue,
    commands::list,
    mesh::nodes,
    metrics::of_node,
    settings::auto_enrollment,
    settings::change_auto_enrollment,
    admins::add,
    admins::list,
    admins::remove,
    events::list,
    state::fence,
    state::acknowledge_fence,
    state::diagnose,
    serve,
))]
struct Operator;

/// This document
#[utoipa::path(
    operation_id = "openapi",
    get, path = "/openapi.json", tag = "operator",
    responses((status = 200, description = "OpenAPI 3.1.", content_type = "application/json",
        body = serde_json::Value)),
)]
pub(super) async fn serve() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], OPENAPI)
}
