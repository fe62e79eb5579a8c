//! What can go wrong in a store.

use std::error::Error;
use std::fmt;

/// What a caller does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The store is away or overloaded: nothing was written; try again later.
    Unavailable,
    /// A value the caller made up collides with one that is there (a serial, an id): nothing was
    /// written; make another and try again.
    Collision,
    /// What is stored cannot be read, or cannot be written for good: an operator has to look.
    Broken,
}

/// Trouble in a store. Its text names the operation; the cause stands in `source()`.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    operation: &'static str,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// Trouble of `kind` in `operation`, a short verb phrase: "redeem a token".
    #[must_use]
    pub const fn new(kind: StoreErrorKind, operation: &'static str) -> Self {
        Self { kind, operation, source: None }
    }

    /// Keeps the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What a caller does about it.
    #[must_use]
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            StoreErrorKind::Unavailable => "the store is unavailable",
            StoreErrorKind::Collision => "the store already holds such a value",
            StoreErrorKind::Broken => "the store is broken",
        };
        write!(f, "cannot {}: {what}", self.operation)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}
