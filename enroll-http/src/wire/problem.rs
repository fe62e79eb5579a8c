//! Refusals and errors as `application/problem+json` (RFC 9457).

use std::fmt;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use enroll_core::master::{Error, OperatorError};
use enroll_core::model::{Reason, Rejection};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;

use super::schema::words;

/// An error of the operator API, the steady listener, or HTTP itself, that is no rejection of a new
/// machine.
///
/// The enum is closed on purpose: who matches on it must be told by the compiler when one is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a match must cover every code of the contract")]
pub enum ErrorCode {
    /// 400: a member or parameter is missing, malformed or out of its range.
    ValidationFailed,
    /// 401: no valid credential was presented.
    Unauthorized,
    /// 403: the credential is valid and its role does not allow this.
    Forbidden,
    /// 404: there is no such thing.
    NotFound,
    /// 405: it is there, and does not know this method.
    MethodNotAllowed,
    /// 409: it stands otherwise than the request supposes.
    Conflict,
    /// 502: the control plane of the mesh did not do what it was asked.
    MeshUnavailable,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: &'static [Self] = &[
        Self::ValidationFailed,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::MeshUnavailable,
    ];

    /// The word on the wire; never renamed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ValidationFailed => "validation_failed",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Conflict => "conflict",
            Self::MeshUnavailable => "mesh_unavailable",
        }
    }

    /// The code that is this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == word)
    }

    /// The HTTP status code.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::ValidationFailed => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict => StatusCode::CONFLICT,
            Self::MeshUnavailable => StatusCode::BAD_GATEWAY,
        }
    }

    /// One short sentence for people: what happened.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::ValidationFailed => "The request is not valid",
            Self::Unauthorized => "No valid credential was presented",
            Self::Forbidden => "The credential does not allow this",
            Self::NotFound => "There is no such thing here",
            Self::MethodNotAllowed => "The method is not known here",
            Self::Conflict => "The request does not fit how things stand",
            Self::MeshUnavailable => "The control plane of the mesh did not do what it was asked",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refusal or an error as it goes over the wire, on either side.
///
/// A rejection of the closed taxonomy has `reason` and `hint`, any other error has `code`; `type` is
/// `urn:enroll:reason:<reason>` or `urn:enroll:error:<code>`.
// Read, all but `status` may be missing: what stands before a master answers in its own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A URN that names the kind of problem.
    #[serde(rename = "type", default)]
    #[schema(value_type = String, required = true, example = "urn:enroll:reason:expired")]
    uri: Box<str>,
    /// What happened, the same for each of a kind.
    #[serde(default)]
    #[schema(value_type = String, required = true)]
    title: Box<str>,
    /// The HTTP status code.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What it was in this case.
    #[serde(default)]
    #[schema(value_type = String, required = true)]
    detail: Box<str>,
    /// The stable code of a rejection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false, schema_with = reasons)]
    reason: Option<Box<str>>,
    /// What the operator does next; with `reason`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    hint: Option<Box<str>>,
    /// When asking again may help, in seconds; the `Retry-After` header says the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false, minimum = 1)]
    retry_after_secs: Option<u64>,
    /// The stable code of an error that is no rejection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false, schema_with = codes)]
    code: Option<Box<str>>,
}

impl Problem {
    /// The media type.
    pub const MEDIA_TYPE: &'static str = "application/problem+json";

    /// An error. `detail` is a sentence that holds no secret and no unescaped text from the network.
    #[must_use]
    pub fn error(code: ErrorCode, detail: impl Into<Box<str>>) -> Self {
        Self {
            uri: format!("urn:enroll:error:{code}").into(),
            title: code.title().into(),
            status: code.status().as_u16(),
            detail: detail.into(),
            reason: None,
            hint: None,
            retry_after_secs: None,
            code: Some(code.as_str().into()),
        }
    }

    /// The reason, if this is a rejection this version knows.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        self.reason.as_deref().and_then(Reason::from_code)
    }

    /// The code, if this is an error this version knows.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        self.code.as_deref().and_then(ErrorCode::from_word)
    }

    /// The HTTP status code.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// What happened, the same for each of a kind.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// What it was in this case.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// What the operator does next.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// When asking again may help, in whole seconds.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after_secs.map(Duration::from_secs)
    }

    /// The rejection this is, in the domain's terms; `None` where it is none this version knows.
    #[must_use]
    pub fn rejection(&self) -> Option<Rejection> {
        let mut rejection = Rejection::new(self.reason()?);
        if !self.detail.is_empty() {
            rejection = rejection.with_detail(&*self.detail);
        }
        Some(match self.retry_after() {
            Some(span) => rejection.with_retry_after(span),
            None => rejection,
        })
    }
}

impl From<&Rejection> for Problem {
    fn from(rejection: &Rejection) -> Self {
        let reason = rejection.reason();
        Self {
            uri: format!("urn:enroll:reason:{reason}").into(),
            title: reason.title().into(),
            status: reason.status(),
            detail: rejection.detail().into(),
            reason: Some(reason.code().into()),
            hint: Some(reason.hint().into()),
            retry_after_secs: rejection.retry_after().map(whole_secs),
            code: None,
        }
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        Self::from(&rejection)
    }
}

impl From<Reason> for Problem {
    fn from(reason: Reason) -> Self {
        Self::from(Rejection::new(reason))
    }
}

impl From<&Error> for Problem {
    /// Whatever the trouble is, a caller hears that the master cannot decide; the cause is for the
    /// master's log.
    fn from(_: &Error) -> Self {
        Self::from(Reason::Unavailable)
    }
}

impl From<&OperatorError> for Problem {
    fn from(error: &OperatorError) -> Self {
        let code = match error {
            OperatorError::NotFound(_) | OperatorError::NoMesh => ErrorCode::NotFound,
            OperatorError::Mesh(_) => {
                let detail =
                    "Check the mesh control plane and its API key; the master's log has the cause.";
                return Self::error(ErrorCode::MeshUnavailable, detail);
            }
            OperatorError::Conflict(_) => ErrorCode::Conflict,
            OperatorError::Invalid(_) => ErrorCode::ValidationFailed,
            // Kinds of error to come are the master's own trouble until they are told apart here.
            _ => return Self::from(Reason::Unavailable),
        };
        Self::error(code, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // Strings and numbers always serialise.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (self.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(Self::MEDIA_TYPE));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(secs) = self.retry_after_secs {
            headers.insert(RETRY_AFTER, HeaderValue::from(secs));
        }
        if self.status() == StatusCode::UNAUTHORIZED {
            // RFC 9110, 15.5.2: a 401 names a scheme. What was missing is a bearer's secret.
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Seconds of `span`, rounded up: who waits so long does not come too early.
fn whole_secs(span: Duration) -> u64 {
    (span.as_secs() + u64::from(span.subsec_nanos() > 0)).max(1)
}

fn reasons() -> Object {
    words("The stable code of a rejection.", Reason::ALL.iter().map(|reason| reason.code()))
}

fn codes() -> Object {
    let codes = ErrorCode::ALL.iter().map(|code| code.as_str());
    words("The stable code of an error that is no rejection.", codes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    async fn parts(problem: Problem) -> (http::response::Parts, Value) {
        let (parts, body) = problem.into_response().into_parts();
        let body = axum::body::to_bytes(body, 64 * 1024).await.unwrap();
        (parts, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_rejection_has_the_members_of_the_contract_and_no_other() {
        let (parts, body) = parts(Reason::Expired.into()).await;
        assert_eq!(parts.status, 410);
        assert_eq!(parts.headers[CONTENT_TYPE], "application/problem+json");
        assert!(!parts.headers.contains_key(RETRY_AFTER));
        assert_eq!(
            body,
            json!({
                "type": "urn:enroll:reason:expired",
                "title": Reason::Expired.title(),
                "status": 410,
                "detail": "The join token has expired.",
                "reason": "expired",
                "hint": Reason::Expired.hint(),
            })
        );
    }

    #[tokio::test]
    async fn the_time_to_wait_is_rounded_up_and_the_same_in_header_and_body() {
        let wait = Duration::from_millis(4001);
        let problem = Rejection::new(Reason::RateLimited).with_retry_after(wait).into();
        let (parts, body) = parts(problem).await;
        assert_eq!(parts.status, 429);
        assert_eq!(parts.headers[RETRY_AFTER], "5");
        assert_eq!(body["retry_after_secs"], 5);
        assert_eq!(whole_secs(Duration::ZERO), 1);
        assert_eq!(whole_secs(Duration::from_secs(6)), 6);
    }

    #[tokio::test]
    async fn every_401_names_a_scheme() {
        for reason in [Reason::BadSecret, Reason::InvalidToken] {
            assert_eq!(parts(reason.into()).await.0.headers[WWW_AUTHENTICATE], "Bearer");
        }
        assert!(!parts(Reason::Denied.into()).await.0.headers.contains_key(WWW_AUTHENTICATE));
    }

    #[tokio::test]
    async fn an_error_has_a_code_in_place_of_a_reason() {
        let problem = Problem::error(ErrorCode::Unauthorized, "Present a credential.");
        let (parts, body) = parts(problem).await;
        assert_eq!(parts.status, 401);
        assert_eq!(parts.headers[WWW_AUTHENTICATE], "Bearer");
        assert_eq!(
            body,
            json!({
                "type": "urn:enroll:error:unauthorized",
                "title": ErrorCode::Unauthorized.title(),
                "status": 401,
                "detail": "Present a credential.",
                "code": "unauthorized",
            })
        );
    }

    #[test]
    fn every_problem_reads_back_as_what_it_was() {
        for reason in Reason::ALL {
            let rejection = Rejection::new(*reason).with_detail("So it was.");
            let text = serde_json::to_string(&Problem::from(&rejection)).unwrap();
            let read: Problem = serde_json::from_str(&text).unwrap();
            assert_eq!(read.rejection(), Some(rejection));
            assert_eq!((read.code(), read.status().as_u16()), (None, reason.status()));
        }
        for code in ErrorCode::ALL {
            let text = serde_json::to_string(&Problem::error(*code, "x")).unwrap();
            let read: Problem = serde_json::from_str(&text).unwrap();
            assert_eq!((read.code(), read.rejection()), (Some(*code), None));
        }
    }

    #[test]
    fn what_a_newer_master_or_a_proxy_says_is_read_as_far_as_it_goes() {
        let newer = r#"{"type":"urn:enroll:reason:x","status":418,"reason":"x","more":[1]}"#;
        let read: Problem = serde_json::from_str(newer).unwrap();
        assert_eq!((read.reason(), read.rejection()), (None, None));
        assert_eq!(read.status(), StatusCode::IM_A_TEAPOT);
        let odd: Problem = serde_json::from_str(r#"{"status":7}"#).unwrap();
        assert_eq!(odd.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[test]
    fn trouble_of_the_master_is_unavailable_and_an_operators_own_a_code() {
        let told = |error: &OperatorError| {
            let problem = Problem::from(error);
            (problem.reason(), problem.code())
        };
        let missing = OperatorError::NotFound("node");
        assert_eq!(told(&missing), (None, Some(ErrorCode::NotFound)));
        assert_eq!(Problem::from(&missing).detail(), "there is no node of this name or id");
        let held = OperatorError::Conflict("It is held.".into());
        assert_eq!(told(&held), (None, Some(ErrorCode::Conflict)));
        let wrong = OperatorError::Invalid("It is wrong.".into());
        assert_eq!(told(&wrong), (None, Some(ErrorCode::ValidationFailed)));
        let failed = OperatorError::from(std::io::Error::other("s3cret"));
        assert_eq!(told(&failed), (Some(Reason::Unavailable), None));
        assert!(!format!("{:?}", Problem::from(&failed)).contains("s3cret"));
    }
}
