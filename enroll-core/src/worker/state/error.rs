//! What can be wrong with a state directory.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A state directory that cannot be used as it is. Nothing in it was changed.
#[derive(Debug)]
pub struct StateError {
    kind: StateErrorKind,
    path: PathBuf,
    what: String,
    source: Option<io::Error>,
}

/// What to do about a [`StateError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateErrorKind {
    /// Owner, mode or type of the directory or a file would let somebody else read or replace a
    /// key: correct them.
    Unsafe,
    /// Another process holds the directory: stop it, or wait for it.
    Busy,
    /// A file is there and does not parse, or does not belong to the others: restore it, or
    /// enroll again with force.
    Damaged,
    /// A file was written by another release: use that release.
    Version,
    /// The operating system refused an operation: the cause is in `source`.
    Io,
}

impl StateError {
    pub(crate) fn new(kind: StateErrorKind, path: &Path, what: impl Into<String>) -> Self {
        Self { kind, path: path.to_owned(), what: what.into(), source: None }
    }

    pub(crate) fn io(path: &Path, doing: &str, source: impl Into<io::Error>) -> Self {
        let what = format!("cannot {doing}");
        Self { kind: StateErrorKind::Io, path: path.to_owned(), what, source: Some(source.into()) }
    }

    /// What to do about it.
    #[must_use]
    pub const fn kind(&self) -> StateErrorKind {
        self.kind
    }

    /// The directory or the file it is about.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)
    }
}

impl std::error::Error for StateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}
