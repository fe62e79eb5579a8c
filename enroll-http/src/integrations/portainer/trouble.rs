//! A call to Portainer that brought no answer.

use enroll_core::model::FuseFailure;
use http::StatusCode;

use super::PortainerFuser;

/// Why a call brought nothing. None of it is text from the network, which might hold a key.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("Portainer answered {status} to {call}{}", hint(*.status))]
    Refused { call: &'static str, status: StatusCode },
    #[error("Portainer gave no answer to {call}: {why}")]
    Away { call: &'static str, why: &'static str },
    #[error("Portainer's answer to {call} cannot be understood: {why}")]
    Malformed { call: &'static str, why: &'static str },
    #[error("Portainer has an environment of another kind under the name of this attempt")]
    Foreign,
}

impl Trouble {
    /// Whether the same call may succeed later, or may have succeeded already.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Refused { status, .. } => {
                status.is_server_error()
                    || matches!(
                        *status,
                        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
                    )
            }
            Self::Away { .. } => true,
            Self::Malformed { .. } | Self::Foreign => false,
        }
    }

    pub(super) const fn is(&self, wanted: StatusCode) -> bool {
        matches!(self, Self::Refused { status, .. } if status.as_u16() == wanted.as_u16())
    }
}

impl From<Trouble> for FuseFailure {
    fn from(trouble: Trouble) -> Self {
        Self { source: PortainerFuser::SOURCE.to_owned(), detail: format!("{trouble}.") }
    }
}

/// What an operator looks at first.
const fn hint(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => ": is its URL one that agents can reach? localhost is refused",
        401 => ": it does not accept the API key",
        403 => ": the API key is not an administrator's",
        404 => ": the endpoint is not there, or it is no Portainer",
        409 => ": the name is taken",
        300..400 => ": redirects are not followed, give Portainer's own address",
        _ => "",
    }
}

/// Why nothing came back, in words of ours.
pub(super) fn away(call: &'static str, error: &reqwest::Error) -> Trouble {
    let why = if error.is_timeout() {
        "it took too long"
    } else if crate::tls::tls_refusal(error).is_some() {
        "its certificate is not one to be trusted"
    } else if error.is_connect() {
        "it cannot be reached"
    } else {
        "the connection was lost"
    };
    Trouble::Away { call, why }
}
