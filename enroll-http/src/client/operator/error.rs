//! Why a call to the operator API gave no answer.

use std::error::Error as StdError;

use crate::tls::{TlsRefusal, tls_refusal};
use crate::wire::{ErrorCode, Problem};

/// Why a call to the operator API gave no answer. The text says what happened and what to do next;
/// the cause, where there is one, stands in `source()`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The master refused, and says why.
    #[error("{}", refusal(.0))]
    Problem(Problem),
    /// Nobody answered, or not in time.
    #[error(
        "the master cannot be reached at {at}: check that it runs, and that this is the address of its operator listener"
    )]
    Unreachable {
        /// The address that was called.
        at: String,
        /// What the network said.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Somebody answered who is not the master; nothing was sent to them.
    #[error("who answers at {at} cannot be trusted: {}", next_for(source))]
    Tls {
        /// The address that was called.
        at: String,
        /// What is wrong with them.
        source: TlsRefusal,
    },
    /// Somebody trusted answered, and not as a master of this version does.
    #[error(
        "what answers at {at} is no operator API ({what}): check the address, and that the versions of both ends fit"
    )]
    Malformed {
        /// The address that was called.
        at: String,
        /// How the answer differs.
        what: String,
    },
    /// A name or id is empty, `.` or `..`, which no path can hold: nothing was sent.
    #[error("a name or id is missing: it cannot be empty, `.` or `..`")]
    Name,
}

impl ApiError {
    /// What the master refused with.
    #[must_use]
    pub const fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// Tells a peer that is not the master from one that is not there.
    pub(super) fn of_transport(at: String, error: reqwest::Error) -> Self {
        let cause = Box::new(error.without_url());
        match tls_refusal(&*cause) {
            Some(source) => Self::Tls { at, source },
            None => Self::Unreachable { at, source: cause },
        }
    }
}

fn refusal(problem: &Problem) -> String {
    let detail = match problem.detail() {
        "" => problem.title(),
        detail => detail,
    };
    let detail = detail.trim_end_matches('.');
    match next(problem) {
        Some(next) => format!("the master refused: {detail}. {next}"),
        None => format!("the master refused: {detail}"),
    }
}

fn next(problem: &Problem) -> Option<&str> {
    match problem.code() {
        Some(ErrorCode::Unauthorized) => Some(
            "Give the token of an operator of this master; its first one is in its data directory.",
        ),
        Some(ErrorCode::Forbidden) => Some("An operator of a higher role can do it."),
        Some(ErrorCode::MethodNotAllowed) => Some("Check that the versions of both ends fit."),
        _ => problem.hint(),
    }
}

fn next_for(refusal: &TlsRefusal) -> &'static str {
    match refusal {
        TlsRefusal::NotYetValid | TlsRefusal::Expired => {
            "look at the clocks of this machine and of the master"
        }
        TlsRefusal::Protocol => "check that this is the address of its operator listener",
        _ => "give the root of this very master, its `ca.crt`, and check the address",
    }
}
