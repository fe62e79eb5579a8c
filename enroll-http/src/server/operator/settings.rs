//! Settings.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use enroll_core::master::AutoEnrollmentChange;
use enroll_core::model::{NamePattern, SharedSecret};

use super::auth::{Admin, As};
use super::body::Body;
use super::{Answer, App, invalid, refused};
use crate::server::openapi::{Conflict, Refused};
use crate::wire::{AutoEnrollment, AutoEnrollmentWish, SecretText};

/// Auto-enrollment
#[utoipa::path(
    operation_id = "get_auto_enrollment",
    get, path = "/v1/settings/auto-enrollment", tag = "operator",
    security(("admin_token" = ["admin"])),
    responses((status = 200, description = "How it stands.", body = AutoEnrollment), Refused),
)]
pub(super) async fn auto_enrollment(
    _: As<Admin>,
    State(app): State<App>,
) -> Answer<Json<AutoEnrollment>> {
    Ok(Json(app.enroller.auto_enrollment().await.map_err(refused)?.into()))
}

/// Change auto-enrollment
///
/// What is absent stays. It cannot be switched on without a secret.
#[utoipa::path(
    operation_id = "change_auto_enrollment",
    put, path = "/v1/settings/auto-enrollment", tag = "operator",
    security(("admin_token" = ["admin"])),
    request_body = AutoEnrollmentWish,
    responses(
        (status = 200, description = "How it stands now.", body = AutoEnrollment),
        Refused, Conflict,
    ),
)]
pub(super) async fn change_auto_enrollment(
    by: As<Admin>,
    State(app): State<App>,
    Body(wish): Body<AutoEnrollmentWish>,
) -> Answer<Json<AutoEnrollment>> {
    let change = AutoEnrollmentChange {
        enabled: wish.enabled,
        secret: wish.secret.map(secret).transpose()?,
        previous_valid: wish.previous_valid_secs.map(Duration::from_secs),
        replace: wish.replace,
        name_patterns: wish.name_patterns.map(patterns).transpose()?,
    };
    let view = app.enroller.change_auto_enrollment(change, &by.name).await.map_err(refused)?;
    Ok(Json(view.into()))
}

fn secret(text: SecretText) -> Answer<SharedSecret> {
    SharedSecret::configured(text.into_string()).map_err(|why| invalid(format!("`secret`: {why}.")))
}

fn patterns(texts: Vec<String>) -> Answer<Vec<NamePattern>> {
    let pattern = |text: &String| NamePattern::new(text);
    let read: Result<_, _> = texts.iter().map(pattern).collect();
    read.map_err(|why| invalid(format!("`name_patterns`: {why}.")))
}
