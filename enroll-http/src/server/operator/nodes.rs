//! Nodes.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use enroll_core::master::{RegisterRequest, Registered};
use enroll_core::model::{NodeRecord, Role, Status, Timestamp, TrustState};
use enroll_core::store::NodeFilter;
use http::StatusCode;

use super::auth::{Admin, As, Operator, Viewer};
use super::body::Body;
use super::params::Params;
use super::path::NodePath;
use super::tokens::node_name;
use super::{Answer, App, refused};
use crate::server::openapi::{Conflict, NotFound, Paged, Refused};
use crate::wire::{AttemptItem, List, NewNode, NodeSummary, NodeView, RegisteredNode, ShownNode};

/// Register a node and mint its token
///
/// A name that is `pending` already gets a fresh token, and keeps its labels unless others are
/// given. The answer is the only one that ever shows
/// the token's text.
#[utoipa::path(
    operation_id = "register_node",
    post, path = "/v1/nodes", tag = "operator", security(("admin_token" = ["admin"])),
    request_body = NewNode,
    responses(
        (status = 201, description = "The node and its token.", body = RegisteredNode),
        Refused, Conflict,
    ),
)]
pub(super) async fn register(
    by: As<Admin>,
    State(app): State<App>,
    Body(wish): Body<NewNode>,
) -> Answer<(StatusCode, Json<RegisteredNode>)> {
    let mut register = RegisterRequest::new(node_name("name", &wish.name)?);
    register.labels = wish.labels;
    register.token_ttl = wish.token_ttl_secs.map(Duration::from_secs);
    let registered = app.enroller.register(register, &by.name).await.map_err(refused)?;
    Ok((StatusCode::CREATED, Json(app.registered(&registered))))
}

/// Mint a fresh token for a node
///
/// Earlier unspent tokens of the node are of no use from now on. A machine that holds the name keeps
/// its identity until another one redeems the token.
#[utoipa::path(
    operation_id = "regenerate_token",
    post, path = "/v1/nodes/{name}/token", tag = "operator", security(("admin_token" = ["admin"])),
    params(("name" = String, Path, description = "The node's name.")),
    responses(
        (status = 201, description = "The node and its token.", body = RegisteredNode),
        Refused, NotFound,
    ),
)]
pub(super) async fn regenerate(
    by: As<Admin>,
    State(app): State<App>,
    NodePath(name): NodePath,
) -> Answer<(StatusCode, Json<RegisteredNode>)> {
    let registered = app.enroller.regenerate(name, &by.name).await.map_err(refused)?;
    Ok((StatusCode::CREATED, Json(app.registered(&registered))))
}

/// List nodes, by name
#[utoipa::path(
    operation_id = "list_nodes",
    get, path = "/v1/nodes", tag = "operator", security(("admin_token" = ["viewer"])),
    params(
        ("status" = Option<String>, Query,
            description = "Only of this status: `waiting`, `ready`, `degraded` or `cordoned`."),
        ("state" = Option<String>, Query,
            description = "Only in this state: `pending`, `monitoring`, `fusing`, `fused` or `degraded`."),
        ("arch" = Option<String>, Query, description = "Only of this CPU architecture."),
        Paged,
    ),
    responses((status = 200, description = "A page of nodes.", body = List<ShownNode>), Refused),
)]
pub(super) async fn list(
    by: As<Viewer>,
    State(app): State<App>,
    params: Params,
) -> Answer<Json<List<ShownNode>>> {
    let paging = params.paging("nodes")?;
    let at = app.enroller.clock().now();
    let filter = filter(&params, at, app.stale_after())?;
    let rows = app.enroller.nodes(paging.page(), filter).await.map_err(refused)?;
    let shown = |node| app.shown(node, by.role, at);
    Ok(Json(paging.list(rows, |node| node.name.clone(), shown)))
}

fn filter(params: &Params, at: Timestamp, stale_after: Duration) -> Answer<NodeFilter> {
    let words = one_of(Status::ALL.iter().map(|status| status.as_str()));
    let status = params.read("status", words, |text| text.parse().ok())?;
    let states = TrustState::ALL.iter().map(|state| state.as_str());
    let state = params.read("state", one_of(states.chain([DEGRADED])), shown_state)?;
    let degraded = match state {
        None | Some(ShownState::Kept(TrustState::Pending)) => None,
        Some(ShownState::Kept(_)) => Some(false),
        Some(ShownState::Degraded) => Some(true),
    };
    Ok(NodeFilter {
        status: status.map(|status| (status, at, stale_after)),
        state: state.and_then(ShownState::kept),
        degraded: degraded.map(|degraded| (degraded, at, stale_after)),
        arch: params.text("arch")?.map(str::to_owned),
    })
}

/// A state as it is shown: `degraded` in place of what a silent member is trusted with.
#[derive(Clone, Copy)]
enum ShownState {
    Kept(TrustState),
    Degraded,
}

impl ShownState {
    const fn kept(self) -> Option<TrustState> {
        match self {
            Self::Kept(state) => Some(state),
            Self::Degraded => None,
        }
    }
}

fn shown_state(text: &str) -> Option<ShownState> {
    if text == DEGRADED {
        return Some(ShownState::Degraded);
    }
    text.parse().ok().map(ShownState::Kept)
}

fn one_of<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<_> = words.map(|word| format!("`{word}`")).collect();
    format!("one of {}", words.join(", "))
}

const DEGRADED: &str = "degraded";

/// One node
#[utoipa::path(
    operation_id = "get_node",
    get, path = "/v1/nodes/{name}", tag = "operator", security(("admin_token" = ["viewer"])),
    params(("name" = String, Path, description = "The node's name; its id is refused.")),
    responses((status = 200, description = "The node.", body = ShownNode), Refused, NotFound),
)]
pub(super) async fn get(
    by: As<Viewer>,
    State(app): State<App>,
    NodePath(name): NodePath,
) -> Answer<Json<ShownNode>> {
    let at = app.enroller.clock().now();
    let node = app.enroller.node(&name).await.map_err(refused)?;
    Ok(Json(app.shown(node, by.role, at)))
}

/// Attempts to enroll under a name, newest first
///
/// The name needs no node: an attempt that was refused is kept under the name it claimed.
#[utoipa::path(
    operation_id = "list_attempts",
    get, path = "/v1/nodes/{name}/attempts", tag = "operator",
    security(("admin_token" = ["operator"])),
    params(("name" = String, Path, description = "The name that was claimed."), Paged),
    responses(
        (status = 200, description = "A page of attempts.", body = List<AttemptItem>), Refused,
    ),
)]
pub(super) async fn attempts(
    _: As<Operator>,
    State(app): State<App>,
    NodePath(name): NodePath,
    params: Params,
) -> Answer<Json<List<AttemptItem>>> {
    let paging = params.paging("attempts")?;
    let rows = app.enroller.attempts(&name, paging.page()).await.map_err(refused)?;
    Ok(Json(paging.list(rows, |row| row.id, AttemptItem::from)))
}

/// Keep new work away from a node
#[utoipa::path(
    operation_id = "cordon_node",
    post, path = "/v1/nodes/{name}/cordon", tag = "operator",
    security(("admin_token" = ["operator"])),
    params(("name" = String, Path, description = "The node's name.")),
    responses(
        (status = 200, description = "The node, cordoned now or before.", body = NodeView),
        Refused, NotFound,
    ),
)]
pub(super) async fn cordon(
    by: As<Operator>,
    State(app): State<App>,
    NodePath(name): NodePath,
) -> Answer<Json<NodeView>> {
    let node = app.enroller.set_cordon(&name, true, &by.name).await.map_err(refused)?;
    Ok(Json(app.view(&node, app.enroller.clock().now())))
}

/// Let new work in again
#[utoipa::path(
    operation_id = "uncordon_node",
    post, path = "/v1/nodes/{name}/uncordon", tag = "operator",
    security(("admin_token" = ["operator"])),
    params(("name" = String, Path, description = "The node's name.")),
    responses(
        (status = 200, description = "The node, not cordoned.", body = NodeView),
        Refused, NotFound,
    ),
)]
pub(super) async fn uncordon(
    by: As<Operator>,
    State(app): State<App>,
    NodePath(name): NodePath,
) -> Answer<Json<NodeView>> {
    let node = app.enroller.set_cordon(&name, false, &by.name).await.map_err(refused)?;
    Ok(Json(app.view(&node, app.enroller.clock().now())))
}

/// Delete a node
///
/// Its identities are refused from the next request on, its unspent tokens are revoked.
#[utoipa::path(
    operation_id = "delete_node",
    delete, path = "/v1/nodes/{name}", tag = "operator", security(("admin_token" = ["admin"])),
    params(
        ("name" = String, Path, description = "The node's name."),
        ("force" = Option<bool>, Query, description = "Even while it is in use."),
    ),
    responses((status = 204, description = "It is gone."), Refused, NotFound, Conflict),
)]
pub(super) async fn delete(
    by: As<Admin>,
    State(app): State<App>,
    NodePath(name): NodePath,
    params: Params,
) -> Answer<StatusCode> {
    let forced = params.flag("force")?;
    app.enroller.delete_node(&name, forced, &by.name).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

impl App {
    fn stale_after(&self) -> Duration {
        self.enroller.config().stale_after
    }

    pub(super) fn view(&self, node: &NodeRecord, at: Timestamp) -> NodeView {
        NodeView::of(node, at, self.stale_after())
    }

    fn shown(&self, node: NodeRecord, role: Role, at: Timestamp) -> ShownNode {
        if role >= Role::Operator {
            ShownNode::Full(Box::new(self.view(&node, at)))
        } else {
            ShownNode::Summary(NodeSummary::of(&node, at, self.stale_after()))
        }
    }

    fn registered(&self, registered: &Registered) -> RegisteredNode {
        let minted = &registered.minted;
        let node = self.view(&registered.node, minted.record.created_at);
        let install = self.options.install.render(&self.enroller, &node.name, &minted.token);
        RegisteredNode::of(registered, node, install)
    }
}
