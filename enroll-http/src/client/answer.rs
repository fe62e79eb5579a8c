//! One funnel that turns what comes back into a value, or into why there is none.

use std::error::Error as StdError;

use enroll_core::worker::{CallError, Refusal};
use http::StatusCode;
use reqwest::{RequestBuilder, Response};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::tls::{TlsRefusal, tls_refusal};
use crate::wire::Problem;

/// The most bytes of an answer that are read: 1 MiB.
const MAX_ANSWER: usize = 1024 * 1024;

/// Sends a request and reads a JSON answer.
pub(super) async fn json<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, CallError> {
    let body = success(request).await?;
    serde_json::from_slice(&body).map_err(|why| {
        CallError::Malformed(format!("not the JSON that was expected ({})", place(&why)))
    })
}

/// Sends a request and reads the body of a successful answer. It may hold a secret.
pub(super) async fn success(request: RequestBuilder) -> Result<Zeroizing<Vec<u8>>, CallError> {
    let response = request.send().await.map_err(failure)?;
    let status = response.status();
    let problem = is_problem(&response);
    let body = read(response).await?;
    if status.is_success() {
        return Ok(body);
    }
    if problem && let Ok(problem) = serde_json::from_slice::<Problem>(&body) {
        return Err(CallError::Refused(refusal(&problem, status)));
    }
    Err(CallError::Malformed(unexpected(status)))
}

fn unexpected(status: StatusCode) -> String {
    if status.is_redirection() {
        return format!(
            "status {status}: redirects are not followed, give the master's own address"
        );
    }
    format!("status {status} without a reason: something else than the master answered")
}

fn is_problem(response: &Response) -> bool {
    let kind = response.headers().get(http::header::CONTENT_TYPE);
    kind.and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with(Problem::MEDIA_TYPE))
}

async fn read(mut response: Response) -> Result<Zeroizing<Vec<u8>>, CallError> {
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = response.chunk().await.map_err(failure)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(CallError::Malformed("more than 1 MiB".into()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

pub(crate) fn refusal(problem: &Problem, status: StatusCode) -> Refusal {
    let code = match (problem.reason(), problem.code()) {
        (Some(reason), _) => reason.code(),
        (None, Some(code)) => code.as_str(),
        (None, None) => "",
    };
    let refusal = Refusal::new(code, status.as_u16()).with_detail(problem.detail());
    let refusal = match problem.hint() {
        Some(hint) => refusal.with_hint(hint),
        None => refusal,
    };
    match problem.retry_after() {
        Some(span) => refusal.with_retry_after(span),
        None => refusal,
    }
}

fn place(why: &serde_json::Error) -> String {
    format!("line {}, column {}", why.line(), why.column())
}

/// Tells a peer that is not the master from one that is not there.
pub(super) fn failure(error: reqwest::Error) -> CallError {
    let at = error.url().map(listener).unwrap_or_default();
    let source = error.without_url();
    match tls_refusal(&source) {
        Some(refusal) => of_tls(refusal, Box::new(source)),
        None => unanswered(at, source),
    }
}

/// Nobody answered at `at`, `host:port`.
pub(super) fn unanswered(
    at: impl Into<String>,
    source: impl Into<Box<dyn StdError + Send + Sync>>,
) -> CallError {
    CallError::Unreachable(Box::new(Unanswered { at: at.into(), source: source.into() }))
}

/// A call that was not answered, and to whom it was made.
#[derive(Debug, thiserror::Error)]
#[error("no answer from {at}")]
struct Unanswered {
    at: String,
    source: Box<dyn StdError + Send + Sync>,
}

/// What of a URL names a listener.
fn listener(url: &reqwest::Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// What a TLS session that failed says to a worker.
pub(super) fn of_tls(refusal: TlsRefusal, cause: Box<dyn StdError + Send + Sync>) -> CallError {
    match refusal {
        _ if refusal.may_pass() => CallError::Clock(Box::new(refusal)),
        TlsRefusal::RefusedByPeer => CallError::IdentityRefused(cause),
        _ => CallError::Tls(Box::new(refusal)),
    }
}
