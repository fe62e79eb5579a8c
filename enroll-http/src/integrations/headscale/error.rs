//! What can be wrong with a Headscale.

use crate::tls::TlsError;

/// Why no client can be made. It says which value to correct.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidHeadscale {
    /// The URL is none.
    #[error("the URL of Headscale is not http(s)://host[:port], without a user or a query")]
    Url,
    /// The URL for machines is none.
    #[error("the public URL of Headscale is not http(s)://host[:port], without a user or a query")]
    PublicUrl,
    /// Nobody would own the machines.
    #[error("a key of Headscale needs a user or a tag")]
    NoOwner,
    /// A tag is none.
    #[error("{0:?} is no tag of Headscale: tag:<name>, in lower case, without spaces")]
    Tag(String),
    /// The API key is empty, or holds a character that no key has.
    #[error("the API key of Headscale is empty, or holds a character that no key has")]
    ApiKey,
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Why Headscale did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeadscaleError {
    /// Nobody answered, or not in time.
    #[error("Headscale cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// As many calls as are allowed were under way for as long as a call may take.
    #[error("Headscale is busy with the calls before this one")]
    Busy,
    /// The API key is not accepted.
    #[error("Headscale does not accept the API key: make another one, `headscale apikeys create`")]
    Unauthorized,
    /// It refused.
    #[error("Headscale answered {status}: {message:?}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said, cut short.
        message: String,
    },
    /// There is no such user.
    #[error("Headscale has no user {0:?}: `headscale users create` makes one")]
    NoUser(String),
    /// The answer is not one of Headscale's.
    #[error("what answers is no Headscale of a version that is known here: {0}")]
    Malformed(&'static str),
    /// What the store kept of a key does not say which it is.
    #[error("the key on record is none of Headscale's")]
    ForeignKey,
}
