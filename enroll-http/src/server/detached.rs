//! What changes something is carried out to its end, whether or not the caller waits for it.
//!
//! A handler lives as long as its connection: without this a caller who hangs up ends it between what
//! it has begun outside and the record of that.

use std::future::Future;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use enroll_core::model::Reason;
use tracing::Instrument as _;

use crate::wire::Problem;

/// Carries `work` out to its end. Give it boxed where it is large: the caller then has no second room
/// for it.
pub(super) async fn detached<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Problem> {
    tokio::spawn(work.in_current_span()).await.map_err(|panicked| {
        tracing::error!(%panicked, "a call failed");
        Reason::Unavailable.into()
    })
}

/// Carries calls out to their end that are not safe (RFC 9110, section 9.2.1). What they still read
/// ends with the connection.
pub(super) async fn detach_changes(request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    match detached(Box::pin(next.run(request))).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}
