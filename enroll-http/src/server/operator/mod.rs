//! The operator API: tokens, nodes, operators, and reading what happened.
//!
//! - **The role comes first**: a handler's first argument is the proof that the caller may make the
//!   call, so that whoever may not learns nothing of paths, parameters or bodies.
//! - **A token's text is shown once**, in the answer that made it. Lists are made of types that have
//!   no place for one.
//! - **What changes something is carried out to its end**, whether or not the operator waits for it.
//! - **No answer is kept**: each says `Cache-Control: no-store`.

mod admins;
mod auth;
mod body;
mod commands;
mod cursor;
mod events;
mod install;
mod mesh;
mod metrics;
mod nodes;
mod openapi;
mod params;
mod path;
mod settings;
mod state;
mod tokens;

use std::error::Error as _;
use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, map_response};
use axum::response::Response;
use axum::routing::{delete, get, post};
use enroll_core::master::{Enroller, OperatorError};
use http::HeaderValue;
use http::header::CACHE_CONTROL;

pub use install::{InstallOptions, InvalidInstall};
pub(super) use openapi::document;

use super::answer::{trouble, with_fallbacks};
use super::detached::detach_changes;
use super::{ca, health};
use crate::wire::{ErrorCode, Problem};

/// What an operator API is told beside its master.
///
/// # Defaults
/// [`InstallOptions::new`].
#[derive(Debug, Default)]
pub struct OperatorOptions {
    install: InstallOptions,
}

impl OperatorOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What the snippets for new machines say.
    #[must_use]
    pub fn with_install(mut self, install: InstallOptions) -> Self {
        self.install = install;
        self
    }
}

/// The operator API of `enroller`, with `/v1/ca`, `/healthz`, `/readyz` and `/openapi.json`.
///
/// Every call but those four needs `Authorization: Bearer <admin token>`. What it does not know it
/// answers itself, with 404 or 405: a router it is merged with has no fallback of its own.
///
/// ```no_run
/// # async fn example(enroller: std::sync::Arc<enroll_core::master::Enroller>) -> std::io::Result<()> {
/// use enroll_http::server::{Listener, OperatorOptions, operator_router};
///
/// let tcp = tokio::net::TcpListener::bind("127.0.0.1:7482").await?;
/// let router = operator_router(enroller, OperatorOptions::new());
/// # let shutdown = std::future::ready(());
/// Listener::new(tcp, router).serve(shutdown).await;
/// # Ok(())
/// # }
/// ```
pub fn operator_router(enroller: impl Into<Arc<Enroller>>, options: OperatorOptions) -> Router {
    let enroller = enroller.into();
    let public = ca::routes(Arc::clone(&enroller))
        .merge(health::routes(Arc::clone(&enroller)))
        .route("/openapi.json", get(openapi::serve));
    let calls = calls()
        .layer(from_fn(detach_changes))
        .layer(map_response(unkept))
        .with_state(App { enroller, options: Arc::new(options) });
    with_fallbacks(calls.merge(public))
}

fn calls() -> Router<App> {
    Router::new()
        .route("/v1/tokens", post(tokens::mint).get(tokens::list))
        .route("/v1/tokens/{id}", delete(tokens::revoke))
        .route("/v1/tokens/{id}/redemptions", get(tokens::redemptions))
        .route("/v1/nodes", post(nodes::register).get(nodes::list))
        .route("/v1/nodes/{name}", get(nodes::get).delete(nodes::delete))
        .route("/v1/nodes/{name}/token", post(nodes::regenerate))
        .route("/v1/nodes/{name}/attempts", get(nodes::attempts))
        .route("/v1/nodes/{name}/cordon", post(nodes::cordon))
        .route("/v1/nodes/{name}/uncordon", post(nodes::uncordon))
        .route("/v1/nodes/{name}/fuse", post(commands::fuse))
        .route("/v1/nodes/{name}/commands", post(commands::queue).get(commands::list))
        .route("/v1/mesh/nodes", get(mesh::nodes))
        .route("/v1/nodes/{name}/metrics", get(metrics::of_node))
        .route(
            "/v1/settings/auto-enrollment",
            get(settings::auto_enrollment).put(settings::change_auto_enrollment),
        )
        .route("/v1/admins", post(admins::add).get(admins::list))
        .route("/v1/admins/{name}", delete(admins::remove))
        .route("/v1/events", get(events::list))
        .route("/v1/fence", get(state::fence))
        .route("/v1/fence/acknowledge", post(state::acknowledge_fence))
        .route("/v1/diagnosis", get(state::diagnose))
}

/// What every call has at hand.
#[derive(Clone)]
struct App {
    enroller: Arc<Enroller>,
    options: Arc<OperatorOptions>,
}

type Answer<T> = Result<T, Problem>;

/// A request that makes no sense as it stands.
fn invalid(detail: impl Into<Box<str>>) -> Problem {
    Problem::error(ErrorCode::ValidationFailed, detail)
}

/// Why an operator's wish is not fulfilled, for the operator; the cause, for the log.
fn refused(error: OperatorError) -> Problem {
    match &error {
        OperatorError::Failed(error) => trouble(error),
        OperatorError::Mesh(failure) => {
            let cause = failure.source().map(ToString::to_string).unwrap_or_default();
            tracing::warn!(cause, "{failure}");
            Problem::from(&error)
        }
        _ => Problem::from(&error),
    }
}

async fn unkept(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
