//! What every router answers in the same way.

use std::error::Error as _;

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use enroll_core::master::{Error, ErrorKind};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use crate::wire::{ErrorCode, Problem};

/// A JSON answer that nobody on the way keeps: it may carry a credential.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => {
            let headers = [
                (CONTENT_TYPE, HeaderValue::from_static("application/json")),
                (CACHE_CONTROL, HeaderValue::from_static("no-store")),
            ];
            (status, headers, body).into_response()
        }
        // Only a map whose keys are no texts, which no answer has.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The answer to trouble of the master's own, whose cause goes to its log alone.
pub(super) fn trouble(error: &Error) -> Problem {
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    match error.kind() {
        ErrorKind::Unavailable => tracing::warn!(cause, "{error}"),
        _ => tracing::error!(cause, "{error}"),
    }
    Problem::from(error)
}

/// Answers what `router` does not know in the form of everything else.
pub(super) fn with_fallbacks(router: Router) -> Router {
    router.method_not_allowed_fallback(method_not_allowed).fallback(not_found)
}

async fn not_found() -> Problem {
    Problem::error(ErrorCode::NotFound, "There is nothing at this path.")
}

async fn method_not_allowed() -> Problem {
    Problem::error(ErrorCode::MethodNotAllowed, "This path does not know the method.")
}
