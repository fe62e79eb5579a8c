//! A refusal as gRPC has it: one table, both ways.

use enroll_core::worker::Refusal;
use http::StatusCode;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

use crate::client::refusal_of;
use crate::wire::Problem;

/// The key in the trailing metadata that holds the stable code of a refusal.
pub const REASON: &str = "enroll-reason";
/// The key in the trailing metadata that holds the problem document of a refusal, as REST has it.
pub const PROBLEM: &str = "enroll-problem-bin";
const RETRY_AFTER: &str = "retry-after";

/// A refusal as gRPC has it.
#[must_use]
pub fn status(problem: &Problem) -> Status {
    let mut metadata = MetadataMap::new();
    let word = match (problem.reason(), problem.code()) {
        (Some(reason), _) => reason.code(),
        (None, Some(code)) => code.as_str(),
        (None, None) => "",
    };
    metadata.insert(REASON, MetadataValue::from_static(word));
    if let Ok(document) = serde_json::to_vec(problem) {
        metadata.insert_bin(PROBLEM, MetadataValue::from_bytes(&document));
    }
    if let Some(wait) = problem.retry_after() {
        metadata.insert(RETRY_AFTER, wait.as_secs().max(1).into());
    }
    Status::with_metadata(code(problem.status()), problem.detail(), metadata)
}

const fn code(status: StatusCode) -> Code {
    match status.as_u16() {
        400 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        409 | 410 => Code::FailedPrecondition,
        429 => Code::ResourceExhausted,
        502..=504 => Code::Unavailable,
        _ => Code::Internal,
    }
}

/// The refusal that a status is; `None` for one that no master gave.
pub(crate) fn refusal(status: &Status) -> Option<Refusal> {
    let document = status.metadata().get_bin(PROBLEM)?.to_bytes().ok()?;
    let problem: Problem = serde_json::from_slice(&document).ok()?;
    Some(refusal_of(&problem, problem.status()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ErrorCode;
    use enroll_core::model::{Reason, Rejection};
    use std::time::Duration;

    #[test]
    fn every_reason_has_a_status_and_comes_back_whole() {
        for reason in Reason::ALL {
            let wait = Duration::from_secs(7);
            let rejection =
                Rejection::new(*reason).with_detail("So it is — really.").with_retry_after(wait);
            let status = status(&rejection.into());
            assert!(!matches!(status.code(), Code::Ok | Code::Internal), "{reason}");
            assert_eq!(status.metadata().get(REASON).unwrap(), reason.code());
            let read = refusal(&status).unwrap();
            assert_eq!((read.reason(), read.status()), (Some(*reason), reason.status()));
            assert_eq!(read.detail(), "So it is — really.");
            assert_eq!(read.hint(), reason.hint());
            let told = status.metadata().get(RETRY_AFTER).is_some();
            assert_eq!(read.retry_after().is_some(), told, "{reason}");
        }
    }

    #[test]
    fn an_identity_that_is_not_accepted_is_told_apart() {
        let problem = Problem::error(ErrorCode::Unauthorized, "Who?");
        let status = status(&problem);
        assert_eq!(status.code(), Code::Unauthenticated);
        assert!(refusal(&status).unwrap().rejects_identity());
        assert_eq!(refusal(&Status::unauthenticated("a proxy's own")), None);
    }
}
