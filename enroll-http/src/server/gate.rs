//! What a call passes that carries no identity: the bucket of its address, then its body.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use enroll_core::master::Enroller;
use enroll_core::model::{Origin, Reason, Rejection};
use serde::de::DeserializeOwned;

use super::{AddressLimiter, BODY_DEADLINE, BodyError, MAX_BODY, Proxies, read_body};
use crate::wire::read_json;

/// Counts calls by where they come from, before anything of them is read.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) enroller: Arc<Enroller>,
    pub(super) limiter: Arc<AddressLimiter>,
    pub(super) proxies: Arc<Proxies>,
}

impl Gate {
    /// Counts a call in the bucket of its address.
    ///
    /// # Errors
    /// `rate_limited`.
    pub(super) fn admit(&self, request: &Request) -> Result<Origin, Rejection> {
        let origin = self.proxies.origin(request.extensions(), request.headers());
        match self.limiter.admit(origin.source_ip, self.enroller.clock().now()) {
            Ok(()) => Ok(origin),
            Err(wait) => {
                Err(self.refuse(Rejection::new(Reason::RateLimited).with_retry_after(wait)))
            }
        }
    }

    /// Counts a refusal that reaches the facade in no other way.
    pub(super) fn refuse(&self, rejection: Rejection) -> Rejection {
        self.enroller.count_refusal(rejection.reason());
        rejection
    }
}

/// Reads a body as a JSON object, within the bounds of size and time that hold for all of them.
///
/// # Errors
/// `bad_request`, or `unavailable` where it did not come in time.
pub(super) async fn read_object<T: DeserializeOwned>(body: Body) -> Result<T, Rejection> {
    let bytes = read(body).await?;
    read_json(&bytes).map_err(|why| bad(why.to_string()))
}

/// The same, for a report of many things, or of a text that JSON may write six times as long: of four
/// times the size.
///
/// # Errors
/// `bad_request`, or `unavailable` where it did not come in time.
pub(super) async fn read_report<T: DeserializeOwned>(body: Body) -> Result<T, Rejection> {
    let bytes = read_at_most(body, 4 * MAX_BODY).await?;
    read_json(&bytes).map_err(|why| bad(why.to_string()))
}

/// The same, with nothing at all, or `null`, for an object without members.
///
/// # Errors
/// `bad_request`, or `unavailable` where it did not come in time.
pub(super) async fn read_optional_object<T>(body: Body) -> Result<T, Rejection>
where
    T: DeserializeOwned + Default,
{
    let bytes = read(body).await?;
    if matches!(bytes.trim_ascii(), b"" | b"null") {
        return Ok(T::default());
    }
    read_json(&bytes).map_err(|why| bad(why.to_string()))
}

async fn read(body: Body) -> Result<bytes::Bytes, Rejection> {
    read_at_most(body, MAX_BODY).await
}

async fn read_at_most(body: Body, most: usize) -> Result<bytes::Bytes, Rejection> {
    read_body(body, most, BODY_DEADLINE).await.map_err(unread)
}

/// Who sent too slowly may come again: it is the line that was bad, not the request.
pub(super) fn unread(why: BodyError) -> Rejection {
    let reason = match why {
        BodyError::TooSlow(_) => Reason::Unavailable,
        BodyError::TooLarge(_) | BodyError::Broken => Reason::BadRequest,
    };
    Rejection::new(reason).with_detail(format!("The request was not read: {why}."))
}

fn bad(detail: String) -> Rejection {
    Rejection::new(Reason::BadRequest).with_detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::body::Stalled;
    use crate::server::{EnrollOptions, SteadyOptions, enroll_router, steady_router};
    use axum::Router;
    use enroll_core::store::MemoryStore;
    use serde_json::Value;
    use tower::Service as _;

    async fn stalled_at(mut router: Router, path: &str) -> (u16, Value) {
        let request = Request::post(path).body(Body::new(Stalled)).unwrap();
        let answer = router.call(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = read_body(answer.into_body(), MAX_BODY, BODY_DEADLINE).await.unwrap();
        let problem: Value = serde_json::from_slice(&body).unwrap();
        (status, problem["reason"].clone())
    }

    /// A machine ends for good over a final refusal, and the line may be better the next time.
    #[tokio::test(start_paused = true)]
    async fn a_body_that_comes_too_slowly_is_refused_for_now() {
        let enroller = || Enroller::with_issuers(Arc::new(MemoryStore::new()), Vec::new());
        let enroll = enroll_router(enroller(), EnrollOptions::new());
        assert_eq!(stalled_at(enroll, EnrollOptions::PATH).await, (503, "unavailable".into()));
        let steady = steady_router(enroller(), SteadyOptions::new());
        assert_eq!(stalled_at(steady, "/v1/recover").await, (503, "unavailable".into()));
    }
}
