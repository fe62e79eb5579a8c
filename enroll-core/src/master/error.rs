//! What can go wrong in a master that is nobody's refusal.

use std::error::Error as StdError;
use std::fmt;

use crate::store::{StoreError, StoreErrorKind};

/// What a caller does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The store is away or the master overloaded; nothing was spent: answer `unavailable`.
    Unavailable,
    /// The master cannot go on by itself: no randomness, a broken store. Answer `unavailable`, and
    /// an operator has to look.
    Broken,
}

/// Trouble in a master. Its text names what was being done; the cause stands in `source()`.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    source: Box<dyn StdError + Send + Sync>,
}

impl Error {
    pub(crate) fn broken(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { kind: ErrorKind::Broken, source: source.into() }
    }

    pub(crate) fn contended(what: &'static str) -> Self {
        Self { kind: ErrorKind::Unavailable, source: what.into() }
    }

    /// What a caller does about it.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl From<StoreError> for Error {
    fn from(cause: StoreError) -> Self {
        let kind = match cause.kind() {
            StoreErrorKind::Unavailable | StoreErrorKind::Collision => ErrorKind::Unavailable,
            StoreErrorKind::Broken => ErrorKind::Broken,
        };
        Self { kind, source: Box::new(cause) }
    }
}

impl From<std::io::Error> for Error {
    /// Only the source of randomness gives such an error here.
    fn from(cause: std::io::Error) -> Self {
        Self::broken(cause)
    }
}

/// All that stands behind an error, for the log, from the nearest to the last.
pub(super) fn causes(error: &dyn StdError) -> String {
    let mut causes: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes.join(": ")
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            ErrorKind::Unavailable => "the master cannot decide at the moment",
            ErrorKind::Broken => "the master is not able to go on",
        })
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.source)
    }
}
