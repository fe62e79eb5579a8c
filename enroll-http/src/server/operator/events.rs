//! The audit log.

use axum::Json;
use axum::extract::State;

use super::auth::{As, Operator};
use super::params::Params;
use super::{Answer, App, cursor, refused};
use crate::server::openapi::{Paged, Refused};
use crate::wire::{EventItem, List};

/// The audit log, in order
///
/// To follow it, ask again with `after` set to the `seq` of the last event that was seen.
#[utoipa::path(
    operation_id = "list_events",
    get, path = "/v1/events", tag = "operator", security(("admin_token" = ["operator"])),
    params(
        ("after" = Option<u64>, Query, description = "Only events behind this `seq`."),
        Paged,
    ),
    responses((status = 200, description = "A page of events.", body = List<EventItem>), Refused),
)]
pub(super) async fn list(
    _: As<Operator>,
    State(app): State<App>,
    params: Params,
) -> Answer<Json<List<EventItem>>> {
    let mut paging = params.paging::<u64>(LIST)?;
    let rule = "the `seq` of an event, or a `next_cursor` of this list";
    let after = params
        .read("after", rule, |text| text.parse().ok().or_else(|| cursor::read(LIST, text)))?;
    // A cursor stands behind whatever `after` its first page began with.
    paging.after = paging.after.or(after);
    let rows = app.enroller.events(paging.page()).await.map_err(refused)?;
    Ok(Json(paging.list(rows, |row| row.seq, EventItem::from)))
}

const LIST: &str = "events";
