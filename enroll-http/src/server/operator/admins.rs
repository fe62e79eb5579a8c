//! Operators.

use axum::Json;
use axum::extract::State;
use enroll_core::model::Role;
use http::StatusCode;

use super::auth::{Admin, As};
use super::body::Body;
use super::params::Params;
use super::path::AdminPath;
use super::{Answer, App, invalid, refused};
use crate::server::openapi::{Conflict, NotFound, Paged, Refused};
use crate::wire::{AddedAdmin, AdminItem, List, NewAdmin, SecretText};

/// Add an operator
///
/// The answer is the only one that ever shows their token.
#[utoipa::path(
    operation_id = "add_admin",
    post, path = "/v1/admins", tag = "operator", security(("admin_token" = ["admin"])),
    request_body = NewAdmin,
    responses(
        (status = 201, description = "The operator and their token.", body = AddedAdmin),
        Refused, Conflict,
    ),
)]
pub(super) async fn add(
    by: As<Admin>,
    State(app): State<App>,
    Body(wish): Body<NewAdmin>,
) -> Answer<(StatusCode, Json<AddedAdmin>)> {
    let role: Role = wish.role.parse().map_err(|_| {
        invalid("`role` must be one of `viewer`, `developer`, `operator`, `admin`.")
    })?;
    let token = app.enroller.add_admin(&wish.name, role, &by.name).await.map_err(refused)?;
    let added = AddedAdmin {
        name: wish.name,
        role: role.as_str().to_owned(),
        token: SecretText::new(token.expose()),
    };
    Ok((StatusCode::CREATED, Json(added)))
}

/// List operators, by name
#[utoipa::path(
    operation_id = "list_admins",
    get, path = "/v1/admins", tag = "operator", security(("admin_token" = ["admin"])),
    params(Paged),
    responses((status = 200, description = "A page of operators.", body = List<AdminItem>), Refused),
)]
pub(super) async fn list(
    _: As<Admin>,
    State(app): State<App>,
    params: Params,
) -> Answer<Json<List<AdminItem>>> {
    let paging = params.paging::<String>("admins")?;
    let mut rows = app.enroller.admins().await.map_err(refused)?;
    // A store may sort by the rules of a language; a page goes on by the bytes.
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    rows.retain(|row| paging.after.as_ref().is_none_or(|after| row.name > *after));
    Ok(Json(paging.list(rows, |row| row.name.clone(), AdminItem::from)))
}

/// Remove an operator
///
/// Their token is refused from the next request on. The last one with the role `admin` stays.
#[utoipa::path(
    operation_id = "remove_admin",
    delete, path = "/v1/admins/{name}", tag = "operator", security(("admin_token" = ["admin"])),
    params(("name" = String, Path, description = "The operator's name.")),
    responses((status = 204, description = "They are gone."), Refused, NotFound, Conflict),
)]
pub(super) async fn remove(
    by: As<Admin>,
    State(app): State<App>,
    AdminPath(name): AdminPath,
) -> Answer<StatusCode> {
    app.enroller.remove_admin(&name, &by.name).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}
