//! The step to full control, and commands.

use axum::Json;
use axum::extract::State;
use http::StatusCode;

use super::auth::{Admin, As, Operator};
use super::body::Body;
use super::params::Params;
use super::path::NodePath;
use super::{Answer, App, refused};
use crate::server::openapi::{Conflict, NotFound, Paged, Refused};
use crate::wire::{CommandItem, List, NewCommand, NodeView, QueuedCommand};

/// Fuse a node
///
/// Begins the step from monitoring to full control. The answer shows how far it got by then; the
/// node's `fuse` tells how it ends, by its deadline at the latest.
#[utoipa::path(
    operation_id = "fuse_node",
    post, path = "/v1/nodes/{name}/fuse", tag = "operator", security(("admin_token" = ["admin"])),
    params(("name" = String, Path, description = "The node's name.")),
    responses(
        (status = 202, description = "The node, fusing.", body = NodeView),
        Refused, NotFound, Conflict,
    ),
)]
pub(super) async fn fuse(
    by: As<Admin>,
    State(app): State<App>,
    NodePath(name): NodePath,
) -> Answer<(StatusCode, Json<NodeView>)> {
    let node = app.enroller.fuse(&name, &by.name).await.map_err(refused)?;
    Ok((StatusCode::ACCEPTED, Json(app.view(&node, app.enroller.clock().now()))))
}

/// Queue a command for a node
///
/// It is handed over when the node next listens, and judged again then.
#[utoipa::path(
    operation_id = "queue_command",
    post, path = "/v1/nodes/{name}/commands", tag = "operator",
    security(("admin_token" = ["operator"])),
    params(("name" = String, Path, description = "The node's name.")),
    request_body = NewCommand,
    responses(
        (status = 202, description = "It is queued.", body = QueuedCommand),
        Refused, NotFound, Conflict,
    ),
)]
pub(super) async fn queue(
    by: As<Operator>,
    State(app): State<App>,
    NodePath(name): NodePath,
    Body(wish): Body<NewCommand>,
) -> Answer<(StatusCode, Json<QueuedCommand>)> {
    let queued = app.enroller.queue_command(&name, &wish.kind, wish.payload, &by.name);
    let command = queued.await.map_err(refused)?;
    Ok((StatusCode::ACCEPTED, Json(QueuedCommand::of(&command))))
}

/// The commands of a node, newest first
#[utoipa::path(
    operation_id = "list_commands",
    get, path = "/v1/nodes/{name}/commands", tag = "operator",
    security(("admin_token" = ["operator"])),
    params(("name" = String, Path, description = "The node's name."), Paged),
    responses(
        (status = 200, description = "A page of commands.", body = List<CommandItem>),
        Refused, NotFound,
    ),
)]
pub(super) async fn list(
    _: As<Operator>,
    State(app): State<App>,
    NodePath(name): NodePath,
    params: Params,
) -> Answer<Json<List<CommandItem>>> {
    let paging = params.paging("commands")?;
    let rows = app.enroller.commands(&name, paging.page()).await.map_err(refused)?;
    Ok(Json(paging.list(rows, |row| row.id, CommandItem::from)))
}
