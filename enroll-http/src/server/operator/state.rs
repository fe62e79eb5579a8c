//! How the store and the master stand.

use axum::Json;
use axum::extract::State;

use super::auth::{Admin, As, Operator};
use super::body::Body;
use super::{Answer, App, refused};
use crate::server::openapi::{Conflict, Refused};
use crate::wire::{Check, Diagnosis, FenceView, FenceWish};

/// Whether the store was promoted or restored
#[utoipa::path(
    operation_id = "get_fence",
    get, path = "/v1/fence", tag = "operator",
    security(("admin_token" = ["operator"])),
    responses((status = 200, description = "How it stands.", body = FenceView), Refused),
)]
pub(super) async fn fence(_: As<Operator>, State(app): State<App>) -> Answer<Json<FenceView>> {
    Ok(Json(app.enroller.fence().await.map_err(refused)?.into()))
}

/// Say that one knows of it
///
/// Once is enough. The tokens that were minted before stay void.
#[utoipa::path(
    operation_id = "acknowledge_fence",
    post, path = "/v1/fence/acknowledge", tag = "operator",
    security(("admin_token" = ["admin"])),
    request_body = FenceWish,
    responses(
        (status = 200, description = "How it stands now.", body = FenceView),
        Refused, Conflict,
    ),
)]
pub(super) async fn acknowledge_fence(
    by: As<Admin>,
    State(app): State<App>,
    Body(wish): Body<FenceWish>,
) -> Answer<Json<FenceView>> {
    let fence = app.enroller.acknowledge_fence(wish.epoch, &by.name).await.map_err(refused)?;
    Ok(Json(Some(fence).into()))
}

/// Look whether all is well with the store, its durability, the clock and the fence
#[utoipa::path(
    operation_id = "diagnose",
    get, path = "/v1/diagnosis", tag = "operator",
    security(("admin_token" = ["operator"])),
    responses((status = 200, description = "What was found.", body = Diagnosis), Refused),
)]
pub(super) async fn diagnose(_: As<Operator>, State(app): State<App>) -> Json<Diagnosis> {
    let findings = app.enroller.diagnose().await;
    Json(findings.iter().map(Check::from).collect::<Vec<_>>().into())
}
