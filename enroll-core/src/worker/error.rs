//! How a worker's work can end.

use std::path::PathBuf;
use std::time::Duration;

use super::accept::AnswerFault;
use super::master::CallError;
use super::refusal::Refusal;
use super::state::StateError;
use crate::model::{Fingerprint, NodeName};

/// Why a worker stopped. Each has an exit code for the process ([`WorkerError::exit_code`]); none of
/// them discards a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// There is neither an identity to start from nor a proof to get one with.
    #[error(
        "there is no identity here and no proof to get one: give a join token, an invitation or \
         the enrollment secret"
    )]
    NoProofs,
    /// The enrollment secret alone does not say who the worker is.
    #[error("enrolling with a secret alone needs a node name")]
    NoName,
    /// The master refused for good.
    #[error("the master refused: {0}")]
    Refused(Refusal),
    /// Who answered is not the master, or cannot prove it.
    #[error("the master cannot be trusted")]
    Tls(#[source] CallError),
    /// The answer is not what was asked for.
    #[error("the master's answer cannot be trusted")]
    Untrusted(#[source] AnswerFault),
    /// The configured fingerprint is not that of the CA this worker enrolled with.
    #[error(
        "the configured CA fingerprint differs from the CA this worker enrolled with ({held}): \
         remove the setting, or enroll again with force"
    )]
    PinDiffers {
        /// The fingerprint of the CA on disk.
        held: Fingerprint,
    },
    /// Nothing but failures that may pass, for as long as they were to be borne.
    #[error("gave up after {} s", tried.as_secs())]
    GaveUp {
        /// How long it was tried.
        tried: Duration,
        /// The last failure.
        #[source]
        last: CallError,
    },
    /// The state directory cannot be used.
    #[error("the state directory cannot be used")]
    State(#[source] StateError),
    /// The state directory holds a part of an identity.
    #[error(
        "{} holds a part of an identity: {} without {}; restore what is missing, delete the rest, \
         or enroll again with force",
        path.display(), present.join(", "), missing.join(", ")
    )]
    Partial {
        /// The directory.
        path: PathBuf,
        /// The files that are there.
        present: Vec<&'static str>,
        /// The files that are not.
        missing: Vec<&'static str>,
    },
    /// No key or no randomness can be had from the system.
    #[error("no key can be made on this machine")]
    NoKey,
    /// The master does not accept the identity: revoked, replaced, or its node is gone.
    #[error(
        "the master does not accept this worker's identity ({0}); it was revoked or replaced: \
         enroll again with a new token and force"
    )]
    IdentityRejected(Refusal),
    /// The worker is configured to be another node than the one it enrolled as.
    #[error(
        "this worker enrolled as {held} and is configured as {configured}: correct the name, or \
         enroll again with force"
    )]
    NameDiffers {
        /// The name of the identity.
        held: NodeName,
        /// The configured name.
        configured: NodeName,
    },
}

impl WorkerError {
    /// The exit code for the process:
    ///
    /// | code | |
    /// |---|---|
    /// | 2 | usage: nothing to start from |
    /// | 3 | refused by the master for good |
    /// | 4 | the master or its answer cannot be trusted |
    /// | 5 | the master was not reached, or retrying was given up |
    /// | 6 | the state directory cannot be used, or holds a part of an identity |
    /// | 7 | the identity was rejected, or is another node's |
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NoProofs | Self::NoName => 2,
            Self::Refused(_) => 3,
            Self::Tls(_) | Self::Untrusted(_) | Self::PinDiffers { .. } => 4,
            Self::GaveUp { .. } => 5,
            Self::State(_) | Self::Partial { .. } | Self::NoKey => 6,
            Self::IdentityRejected(_) | Self::NameDiffers { .. } => 7,
        }
    }
}

impl From<StateError> for WorkerError {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}
