//! Join tokens.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use enroll_core::master::{MintRequest, RevokeVerdict};
use enroll_core::model::NodeName;
use http::StatusCode;

use super::auth::{Admin, As, Operator};
use super::body::Body;
use super::params::Params;
use super::path::TokenPath;
use super::{Answer, App, invalid, refused};
use crate::server::openapi::{Conflict, NotFound, Paged, Refused};
use crate::wire::{ErrorCode, List, MintedToken, NewToken, Problem, RedemptionItem, TokenItem};

/// Mint a join token
///
/// The answer is the only one that ever shows the token's text. A bound token registers its node as
/// `pending` where the name is new, and takes the place of that name's unspent tokens.
#[utoipa::path(
    operation_id = "mint_token",
    post, path = "/v1/tokens", tag = "operator", security(("admin_token" = ["admin"])),
    request_body = NewToken,
    responses((status = 201, description = "The token.", body = MintedToken), Refused),
)]
pub(super) async fn mint(
    by: As<Admin>,
    State(app): State<App>,
    Body(wish): Body<NewToken>,
) -> Answer<(StatusCode, Json<MintedToken>)> {
    let mut mint = MintRequest::new().with_max_uses(wish.max_uses.unwrap_or(0));
    if let Some(secs) = wish.ttl_secs {
        mint = mint.with_ttl(Duration::from_secs(secs));
    }
    if let Some(name) = &wish.node_name {
        mint = mint.with_node_name(node_name("node_name", name)?);
    }
    if let Some(text) = wish.description {
        mint = mint.with_description(text);
    }
    let minted = app.enroller.mint(mint, &by.name).await.map_err(refused)?;
    let fingerprint = app.enroller.ca().map(|(_, fingerprint)| fingerprint);
    Ok((StatusCode::CREATED, Json(MintedToken::of(&minted, fingerprint))))
}

/// List join tokens, newest first
#[utoipa::path(
    operation_id = "list_tokens",
    get, path = "/v1/tokens", tag = "operator", security(("admin_token" = ["operator"])),
    params(
        ("include_expired" = Option<bool>, Query, description = "Also those past their time."),
        Paged,
    ),
    responses((status = 200, description = "A page of tokens.", body = List<TokenItem>), Refused),
)]
pub(super) async fn list(
    _: As<Operator>,
    State(app): State<App>,
    params: Params,
) -> Answer<Json<List<TokenItem>>> {
    let paging = params.paging("tokens")?;
    let all = params.flag("include_expired")?;
    let at = app.enroller.clock().now();
    let rows = app.enroller.tokens(paging.page(), all).await.map_err(refused)?;
    Ok(Json(paging.list(rows, |token| token.id, |token| TokenItem::of(token, at))))
}

/// Revoke a join token
///
/// Also ends the redelivery of answers it was already used for, whatever else is answered. Again,
/// or of a replaced one: 204 as well.
#[utoipa::path(
    operation_id = "revoke_token",
    delete, path = "/v1/tokens/{id}", tag = "operator", security(("admin_token" = ["admin"])),
    params(("id" = String, Path, description = "The token's public half.")),
    responses(
        (status = 204, description = "It is of no use any more."),
        Refused, NotFound, Conflict,
    ),
)]
pub(super) async fn revoke(
    by: As<Admin>,
    State(app): State<App>,
    TokenPath(id): TokenPath,
) -> Answer<StatusCode> {
    match app.enroller.revoke(id, &by.name).await.map_err(refused)? {
        RevokeVerdict::Revoked => Ok(StatusCode::NO_CONTENT),
        RevokeVerdict::AlreadyOver(status) => Err(over(status.as_str())),
        _ => Err(over("of no use")),
    }
}

fn over(how: &str) -> Problem {
    let detail = format!(
        "The token is {how} already, so there is nothing to revoke. An answer it was used for is not given again from now on."
    );
    Problem::error(ErrorCode::Conflict, detail)
}

/// Who used a join token, newest first
#[utoipa::path(
    operation_id = "list_redemptions",
    get, path = "/v1/tokens/{id}/redemptions", tag = "operator",
    security(("admin_token" = ["operator"])),
    params(("id" = String, Path, description = "The token's public half."), Paged),
    responses(
        (status = 200, description = "A page of redemptions.", body = List<RedemptionItem>),
        Refused, NotFound,
    ),
)]
pub(super) async fn redemptions(
    _: As<Operator>,
    State(app): State<App>,
    TokenPath(id): TokenPath,
    params: Params,
) -> Answer<Json<List<RedemptionItem>>> {
    let paging = params.paging("redemptions")?;
    let rows = app.enroller.redemptions(id, paging.page()).await.map_err(refused)?;
    Ok(Json(paging.list(rows, |row| row.id, RedemptionItem::from)))
}

/// The node name in the member `member` of a body.
pub(super) fn node_name(member: &str, text: &str) -> Answer<NodeName> {
    NodeName::new(text).map_err(|why| invalid(format!("`{member}` is no node name: {why}.")))
}
