//! The mesh.

use axum::Json;
use axum::extract::State;
use enroll_core::master::{MeshMember, mesh_place};

use super::auth::{As, Operator};
use super::params::Params;
use super::{Answer, App, refused};
use crate::server::openapi::{MeshTrouble, NotFound, Paged, Refused};
use crate::wire::{List, MeshNodeItem};

/// Who is in the mesh, as its control plane says now
///
/// Both sides: the master and the workers, each matched to its node here. The oldest come first.
#[utoipa::path(
    operation_id = "list_mesh_nodes",
    get, path = "/v1/mesh/nodes", tag = "operator", security(("admin_token" = ["operator"])),
    params(Paged),
    responses(
        (status = 200, description = "A page of the mesh.", body = List<MeshNodeItem>),
        Refused, NotFound, MeshTrouble,
    ),
)]
pub(super) async fn nodes(
    _: As<Operator>,
    State(app): State<App>,
    params: Params,
) -> Answer<Json<List<MeshNodeItem>>> {
    let paging = params.paging::<String>("mesh")?;
    let page = paging.page();
    let is_behind = |member: &MeshMember| {
        page.after.as_ref().is_none_or(|after| mesh_place(&member.node.id) > mesh_place(after))
    };
    let found = app.enroller.mesh_members().await.map_err(refused)?;
    let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
    let rows = found.into_iter().filter(is_behind).take(limit).collect();
    Ok(Json(paging.list(rows, |member| member.node.id.clone(), MeshNodeItem::from)))
}
