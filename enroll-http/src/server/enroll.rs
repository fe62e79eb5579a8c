//! The router by which machines become members.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use enroll_core::master::{Enroller, Verdict};
use enroll_core::model::{EnrollRequest, Origin, Reason, Rejection};
use http::StatusCode;
use tokio::sync::Semaphore;

use super::answer::{json, trouble, with_fallbacks};
use super::backlog::Backlog;
use super::detached::detached;
use super::gate::{Gate, read_object};
use super::{AddressLimiter, Proxies, ca, health};
use crate::wire::{EnrollAnswer, EnrollBody, Problem};

/// The router of a master's enroll listener, with every default of [`EnrollOptions`].
///
/// It can stand in any axum application, under any prefix:
/// ```
/// # use enroll_core::master::Enroller;
/// fn fleet(enroller: Enroller) -> axum::Router {
///     axum::Router::new().nest("/fleet", enroll_http::server::router(enroller))
/// }
/// ```
/// It answers unknown paths below that prefix itself, so nest it and do not merge it. Where the
/// application is not served by this crate's [`Listener`](super::Listener), serve it with axum's
/// `into_make_service_with_connect_info::<SocketAddr>()`: else the router knows no addresses, and all
/// callers together have the attempts of one.
pub fn router(enroller: impl Into<Arc<Enroller>>) -> Router {
    enroll_router(enroller, EnrollOptions::new())
}

/// The router of a master's enroll listener: `POST /v1/enroll`, `GET /v1/ca`, `/healthz`, `/readyz`.
///
/// A call is counted in the bucket of its address before its body is read; the body is bounded in
/// size and time; only then is the master asked. Whatever comes in, the answer is one of the
/// contract's, and never an error of the server's own but for trouble behind it.
pub fn enroll_router(enroller: impl Into<Arc<Enroller>>, options: EnrollOptions) -> Router {
    let enroller = enroller.into();
    let EnrollOptions { path, limiter, proxies, concurrency } = options;
    let gate = Gate { enroller: Arc::clone(&enroller), limiter, proxies };
    let places = Arc::new(Semaphore::new(concurrency));
    let door = Arc::new(Door { gate, places, backlog: Arc::default() });
    let router = Router::new()
        .route(&path, post(enroll))
        .with_state(door)
        .merge(ca::routes(Arc::clone(&enroller)))
        .merge(health::routes(enroller));
    with_fallbacks(router)
}

/// How machines become members over HTTP.
///
/// # Defaults
/// | what | default | because |
/// |---|---|---|
/// | path | [`Self::PATH`] | the contract's |
/// | limiter | [`AddressLimiter::default`] | a person who mistypes a token five times gets through, a guesser nowhere |
/// | proxies | [`Proxies::none`] | anyone can write a header |
/// | concurrency | [`Self::CONCURRENCY`] | what waits for the store stays below some 300 MiB, whatever the facts are |
#[derive(Debug, Clone)]
pub struct EnrollOptions {
    path: String,
    limiter: Arc<AddressLimiter>,
    proxies: Arc<Proxies>,
    concurrency: usize,
}

/// A text that cannot be the path of a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} cannot be the path to enroll at: it begins with `/`, has no empty part, no part of dots, only `A-Za-z0-9-._~`, and is not taken"
)]
#[non_exhaustive]
pub struct PathError(String);

impl EnrollOptions {
    /// `/v1/enroll`.
    pub const PATH: &'static str = "/v1/enroll";
    /// 1,024.
    pub const CONCURRENCY: usize = 1024;

    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self {
            path: Self::PATH.to_owned(),
            limiter: Arc::new(AddressLimiter::default()),
            proxies: Arc::new(Proxies::none()),
            concurrency: Self::CONCURRENCY,
        }
    }

    /// Machines call `path`, such as `/api/enroll`.
    ///
    /// # Errors
    /// [`PathError`] if it is no plain path, or another call of the router has it.
    pub fn with_path(mut self, path: &str) -> Result<Self, PathError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        let part = |part: &str| part.bytes().all(plain) && part.bytes().any(|b| b != b'.');
        let good = path.strip_prefix('/').is_some_and(|parts| parts.split('/').all(part));
        if !good || TAKEN.contains(&path) {
            return Err(PathError(path.to_owned()));
        }
        path.clone_into(&mut self.path);
        Ok(self)
    }

    /// Counts attempts in `limiter`, which other routers may share.
    #[must_use]
    pub fn with_limiter(mut self, limiter: Arc<AddressLimiter>) -> Self {
        self.limiter = limiter;
        self
    }

    /// Believes what `proxies` say of where a call came from.
    #[must_use]
    pub fn with_proxies(mut self, proxies: Arc<Proxies>) -> Self {
        self.proxies = proxies;
        self
    }

    /// Judges at most so many calls at the same time; the rest are answered `unavailable` at once,
    /// each with a time of its own to come back at: one after the other, as fast as the master gets
    /// through them, the first in 5 s and none later than in 5 minutes.
    #[must_use]
    pub const fn with_concurrency(mut self, calls: usize) -> Self {
        self.concurrency =
            if calls < Semaphore::MAX_PERMITS { calls } else { Semaphore::MAX_PERMITS };
        self
    }
}

impl Default for EnrollOptions {
    fn default() -> Self {
        Self::new()
    }
}

pub(super) struct Door {
    gate: Gate,
    places: Arc<Semaphore>,
    backlog: Arc<Backlog>,
}

impl Door {
    /// Judges a request to its end, whether or not the caller waits for it: a credential that was
    /// made outside must be recorded or undone even where the connection breaks meanwhile.
    async fn judge(&self, request: EnrollRequest, origin: Origin) -> Result<Response, Problem> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let busy = Rejection::new(Reason::Unavailable)
                .with_detail("The master is overloaded.")
                .with_retry_after(self.backlog.turn_away(Instant::now()));
            return Err(self.gate.refuse(busy).into());
        };
        let (enroller, backlog) = (Arc::clone(&self.gate.enroller), Arc::clone(&self.backlog));
        let judged = detached(Box::pin(async move {
            let verdict = enroller.enroll(request, origin).await;
            drop(place);
            backlog.carried_out();
            verdict
        }));
        match judged.await? {
            Ok(verdict) => self.render(&verdict),
            Err(error) => Err(trouble(&error)),
        }
    }

    fn render(&self, verdict: &Verdict) -> Result<Response, Problem> {
        let enroller = &self.gate.enroller;
        match verdict {
            Verdict::Admitted(admission) => {
                let now = enroller.clock().now();
                let answer = EnrollAnswer::of(admission, enroller.config(), now);
                Ok(json(StatusCode::OK, &answer))
            }
            Verdict::Refused(rejection) => Err(rejection.into()),
            // Verdicts to come have to be told apart here before a master gives them.
            _ => Err(Reason::Unavailable.into()),
        }
    }
}

/// Becomes a member.
///
/// The same call again, with the same proof, key and name, is given the same answer until the
/// identity is first used. A body whose `Content-Type` is not `application/json` is read all the
/// same.
#[utoipa::path(post, path = "/v1/enroll", tag = "enroll", request_body = EnrollBody, responses(
    (status = 200, description = "The machine is a member.", body = EnrollAnswer),
    (status = 400, description = "`bad_request`, `bad_csr`", body = Problem,
        content_type = "application/problem+json"),
    (status = 401, description = "`bad_secret`, `invalid_token`", body = Problem,
        content_type = "application/problem+json"),
    (status = 403, description = "`name_mismatch`, `enrollment_disabled`, `denied`", body = Problem,
        content_type = "application/problem+json"),
    (status = 409, description = "`name_taken`", body = Problem,
        content_type = "application/problem+json"),
    (status = 410, description = "`expired`, `revoked`, `already_consumed`, `exhausted`, `race_consumed`",
        body = Problem, content_type = "application/problem+json"),
    (status = 429, description = "`rate_limited`", body = Problem,
        content_type = "application/problem+json",
        headers(("Retry-After" = u64, description = "Seconds to wait."))),
    (status = 502, description = "`mesh_mint_failed`, `issue_failed`", body = Problem,
        content_type = "application/problem+json",
        headers(("Retry-After" = u64, description = "Seconds to wait."))),
    (status = 503, description = "`not_configured`, `unavailable`", body = Problem,
        content_type = "application/problem+json",
        headers(("Retry-After" = u64, description = "Seconds to wait.")))))]
pub(super) async fn enroll(State(door): State<Arc<Door>>, request: Request) -> Response {
    let answer = async {
        let origin = door.gate.admit(&request)?;
        let body = read_object::<EnrollBody>(request.into_body()).await;
        let request =
            body.and_then(EnrollBody::into_request).map_err(|why| door.gate.refuse(why))?;
        door.judge(request, origin).await
    };
    answer.await.unwrap_or_else(Problem::into_response)
}

/// Paths that other calls of the router have.
const TAKEN: [&str; 3] = [ca::PATH, "/healthz", "/readyz"];
