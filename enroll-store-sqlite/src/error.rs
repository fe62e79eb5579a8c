//! What can go wrong, classified by SQLite's result codes and never by message text.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use enroll_core::store::{StoreError, StoreErrorKind};
use rusqlite::{ErrorCode, ffi};

/// Why a database could not be opened, as far as it tells an operator what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OpenErrorKind {
    /// The SQLite library that was linked is too old, or one of those that can corrupt a database in
    /// WAL mode: link another, or switch the feature `bundled` on.
    Library,
    /// The schema is none this version knows, written by a newer one: upgrade this program.
    UnknownSchema,
    /// A migration on record is not the one built in: this is another program's database, or was
    /// altered by hand.
    ChangedMigration,
    /// A setting that durability or integrity rests on did not take, e.g. WAL on a file system
    /// without shared memory: put the file on a local disk.
    Setting,
    /// It is locked by another process, the disk is full, or reading or writing failed: try again.
    Unavailable,
    /// It is no database, corrupt, read-only, or may not be opened.
    Broken,
}

/// Why a database could not be opened. Its text names the file; the cause stands in `source()`.
#[derive(Debug)]
pub struct OpenError {
    kind: OpenErrorKind,
    path: PathBuf,
    source: Box<dyn Error + Send + Sync>,
}

impl OpenError {
    pub(crate) fn new(
        kind: OpenErrorKind,
        path: &Path,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { kind, path: path.to_owned(), source: source.into() }
    }

    pub(crate) fn from_failure(path: &Path, failure: Failure) -> Self {
        let kind = match failure.kind() {
            StoreErrorKind::Unavailable => OpenErrorKind::Unavailable,
            _ => OpenErrorKind::Broken,
        };
        Self::new(kind, path, failure)
    }

    /// What an operator does about it.
    #[must_use]
    pub const fn kind(&self) -> OpenErrorKind {
        self.kind
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            OpenErrorKind::Library => "the SQLite library is not safe to use",
            OpenErrorKind::UnknownSchema => "its schema is newer than this program",
            OpenErrorKind::ChangedMigration => "its schema is not the one this program made",
            OpenErrorKind::Setting => "a setting that it needs did not take",
            OpenErrorKind::Unavailable => "it is unavailable",
            OpenErrorKind::Broken => "it cannot be read and written",
        };
        write!(f, "cannot open the database {}: {what}", self.path.display())
    }
}

impl Error for OpenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

/// Why one operation, or a whole batch of them, failed. Shared by all that a failed commit hit.
#[derive(Debug)]
pub(crate) enum Failure {
    /// SQLite said so.
    Sqlite(rusqlite::Error),
    /// A column holds what this version cannot read.
    Unreadable(String),
    /// A value is of a kind this version cannot keep.
    Unsupported(&'static str),
    /// As many operations are waiting as may.
    Overloaded,
    /// The thread that carries operations out is gone.
    Stopped,
    /// The operation has to be undone, and has no savepoint yet.
    Unguarded,
    /// The operation panicked and was rolled back.
    Panicked,
    /// A row that is always there is not.
    Missing(&'static str),
}

impl Failure {
    pub(crate) fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Sqlite(error) => kind_of(error),
            Self::Overloaded => StoreErrorKind::Unavailable,
            Self::Unreadable(_)
            | Self::Unsupported(_)
            | Self::Stopped
            | Self::Unguarded
            | Self::Panicked
            | Self::Missing(_) => StoreErrorKind::Broken,
        }
    }
}

/// The error a caller of `operation` gets for `failure`.
pub(crate) fn store_error(operation: &'static str, failure: &Arc<Failure>) -> StoreError {
    StoreError::new(failure.kind(), operation).with_source(Arc::clone(failure))
}

/// Trouble that can pass by itself, or that an operator can clear while the process runs (a full
/// disk, a lock), is `Unavailable`; SQLite has rolled back then. What no waiting mends is `Broken`.
fn kind_of(error: &rusqlite::Error) -> StoreErrorKind {
    let Some(error) = error.sqlite_error() else { return StoreErrorKind::Broken };
    match error.extended_code {
        ffi::SQLITE_CONSTRAINT_PRIMARYKEY
        | ffi::SQLITE_CONSTRAINT_UNIQUE
        | ffi::SQLITE_CONSTRAINT_ROWID => return StoreErrorKind::Collision,
        // These two say that what lies on the disk is wrong, not that the disk is busy.
        ffi::SQLITE_IOERR_DATA | ffi::SQLITE_IOERR_CORRUPTFS => return StoreErrorKind::Broken,
        _ => {}
    }
    match error.code {
        ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::DiskFull
        | ErrorCode::SystemIoFailure
        | ErrorCode::OutOfMemory
        | ErrorCode::OperationInterrupted
        | ErrorCode::OperationAborted
        | ErrorCode::FileLockingProtocolFailed => StoreErrorKind::Unavailable,
        _ => StoreErrorKind::Broken,
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(error) => fmt::Display::fmt(error, f),
            Self::Unreadable(column) => write!(f, "the column {column} holds no value known here"),
            Self::Unsupported(what) => write!(f, "{what} is of a kind unknown here"),
            Self::Overloaded => f.write_str("too many operations are waiting"),
            Self::Stopped => f.write_str("the thread that carries operations out is gone"),
            Self::Unguarded => f.write_str("the operation has to be undone and has no savepoint"),
            Self::Panicked => f.write_str("the operation panicked and was rolled back"),
            Self::Missing(what) => write!(f, "{what} is missing"),
        }
    }
}

impl Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(code: i32) -> StoreErrorKind {
        Failure::from(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)).kind()
    }

    #[test]
    fn result_codes_say_what_a_caller_does() {
        for code in [
            ffi::SQLITE_BUSY,
            ffi::SQLITE_BUSY_SNAPSHOT,
            ffi::SQLITE_LOCKED,
            ffi::SQLITE_FULL,
            ffi::SQLITE_IOERR_WRITE,
            ffi::SQLITE_NOMEM,
        ] {
            assert_eq!(kind(code), StoreErrorKind::Unavailable, "{code}");
        }
        for code in [ffi::SQLITE_CONSTRAINT_UNIQUE, ffi::SQLITE_CONSTRAINT_PRIMARYKEY] {
            assert_eq!(kind(code), StoreErrorKind::Collision, "{code}");
        }
        for code in [
            ffi::SQLITE_CORRUPT,
            ffi::SQLITE_NOTADB,
            ffi::SQLITE_READONLY,
            ffi::SQLITE_READONLY_DBMOVED,
            ffi::SQLITE_CANTOPEN,
            ffi::SQLITE_IOERR_CORRUPTFS,
            ffi::SQLITE_CONSTRAINT_FOREIGNKEY,
            ffi::SQLITE_CONSTRAINT_CHECK,
            ffi::SQLITE_CONSTRAINT_NOTNULL,
            ffi::SQLITE_ERROR,
        ] {
            assert_eq!(kind(code), StoreErrorKind::Broken, "{code}");
        }
        assert_eq!(
            Failure::from(rusqlite::Error::QueryReturnedNoRows).kind(),
            StoreErrorKind::Broken
        );
    }
}
