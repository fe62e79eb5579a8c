//! What can go wrong, classified by SQLSTATE and never by message text.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use deadpool_postgres::PoolError;
use enroll_core::store::{StoreError, StoreErrorKind};
use tokio_postgres::error::{DbError, Severity, SqlState};

/// Why a store could not be opened, as far as it tells an operator what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OpenErrorKind {
    /// The address of the server cannot be understood, or an option does not fit it.
    Address,
    /// The server is not on this host, and TLS to it is switched off or has no roots to trust.
    Insecure,
    /// The server could lose what it acknowledged (`fsync` or `full_page_writes` is off, or
    /// `synchronous_commit` cannot be raised): change its settings.
    Durability,
    /// The server is in recovery, a standby: connect to the primary.
    Recovery,
    /// The server is older than [`PostgresStore::MIN_SERVER`](crate::PostgresStore::MIN_SERVER).
    Version,
    /// The database is in an encoding that cannot hold every text: create one in UTF8.
    Encoding,
    /// The schema is none this version knows, written by a newer one: upgrade this program.
    UnknownSchema,
    /// A migration on record is not the one built in: these are another program's tables, or they
    /// were altered by hand.
    ChangedMigration,
    /// The server cannot be reached, or does not answer in time: try again.
    Unavailable,
    /// The server refused the user, or an operation that every store needs.
    Broken,
}

/// Why a store could not be opened. Its text names no address and no password; the cause stands in
/// `source()`.
#[derive(Debug)]
pub struct OpenError {
    kind: OpenErrorKind,
    source: Box<dyn Error + Send + Sync>,
}

impl OpenError {
    pub(crate) fn new(
        kind: OpenErrorKind,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { kind, source: source.into() }
    }

    /// What an operator does about it.
    #[must_use]
    pub const fn kind(&self) -> OpenErrorKind {
        self.kind
    }
}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> Self {
        let kind = match &failure {
            Failure::Unfit(unfit) => unfit.open_kind(),
            other if other.kind() == StoreErrorKind::Unavailable => OpenErrorKind::Unavailable,
            _ => OpenErrorKind::Broken,
        };
        Self::new(kind, failure)
    }
}

impl From<tokio_postgres::Error> for OpenError {
    fn from(error: tokio_postgres::Error) -> Self {
        Failure::from(error).into()
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot open the PostgreSQL store: ")?;
        f.write_str(match self.kind {
            OpenErrorKind::Address => "its address is not understood",
            OpenErrorKind::Insecure => "the connection would not be secure",
            OpenErrorKind::Durability => "the server may lose what it acknowledged",
            OpenErrorKind::Recovery => "the server is in recovery",
            OpenErrorKind::Version => "the server is too old",
            OpenErrorKind::Encoding => "the database is in another encoding than UTF8",
            OpenErrorKind::UnknownSchema => "its schema is newer than this program",
            OpenErrorKind::ChangedMigration => "its schema is not the one this program made",
            OpenErrorKind::Unavailable => "it is unavailable",
            OpenErrorKind::Broken => "it cannot be read and written",
        })
    }
}

impl Error for OpenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

/// Why a server is not fit to keep a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It is a standby.
    InRecovery,
    /// `fsync` is off.
    NoFsync,
    /// `full_page_writes` is off.
    NoFullPageWrites,
    /// `synchronous_commit` could not be raised.
    NoSynchronousCommit,
    /// It is older than what the statements need.
    TooOld,
    /// Its database cannot hold every text.
    NotUnicode,
}

impl Unfit {
    const fn open_kind(self) -> OpenErrorKind {
        match self {
            Self::InRecovery => OpenErrorKind::Recovery,
            Self::NoFsync | Self::NoFullPageWrites | Self::NoSynchronousCommit => {
                OpenErrorKind::Durability
            }
            Self::TooOld => OpenErrorKind::Version,
            Self::NotUnicode => OpenErrorKind::Encoding,
        }
    }

    /// A standby is promoted or replaced by itself; settings are an operator's.
    const fn store_kind(self) -> StoreErrorKind {
        match self {
            Self::InRecovery => StoreErrorKind::Unavailable,
            _ => StoreErrorKind::Broken,
        }
    }

    const fn why(self) -> &'static str {
        match self {
            Self::InRecovery => {
                "the server is in recovery: a standby cannot spend a token, and what it shows may \
                 be behind; connect to the primary"
            }
            Self::NoFsync => {
                "`fsync` is off: after a crash of the host a spent join token could be good again; \
                 switch it on"
            }
            Self::NoFullPageWrites => {
                "`full_page_writes` is off: a crash in the middle of a write could corrupt what is \
                 stored; switch it on"
            }
            Self::NoSynchronousCommit => {
                "`synchronous_commit` cannot be raised: a redemption could be lost after it was \
                 acknowledged"
            }
            Self::TooOld => "PostgreSQL 14 or later is needed",
            Self::NotUnicode => {
                "the database is not in UTF8: one name or label that it cannot hold would fail all \
                 that is written with it; create it with `ENCODING 'UTF8'`"
            }
        }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.why())
    }
}

/// Why one operation failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server or the connection said so.
    Postgres(tokio_postgres::Error),
    /// No connection was to be had.
    Pool(PoolError),
    /// The server is not fit to be used.
    Unfit(Unfit),
    /// A column holds what this version cannot read.
    Unreadable(String),
    /// A value is of a kind this version cannot keep.
    Unsupported(&'static str),
    /// The server did not answer in time.
    TimedOut,
    /// A row that is always there is not.
    Missing(&'static str),
    /// Others were quicker too many times.
    Contended,
    /// The server was promoted or restored since this store last looked.
    Fenced,
    /// The connection was lost at the commit, and whether that took place cannot be found out.
    Unknown,
    /// What befell a whole batch, to each of its redemptions.
    Shared(Arc<Self>),
}

impl Failure {
    pub(crate) fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Shared(failure) => failure.kind(),
            Self::Postgres(error) => kind_of(error),
            Self::Pool(PoolError::Backend(error)) => kind_of(error),
            Self::Unfit(unfit) => unfit.store_kind(),
            Self::Pool(_) | Self::TimedOut | Self::Contended | Self::Fenced | Self::Unknown => {
                StoreErrorKind::Unavailable
            }
            Self::Unreadable(_) | Self::Unsupported(_) | Self::Missing(_) => StoreErrorKind::Broken,
        }
    }

    /// Whether the whole transaction may succeed when it is run once more: another one was in its
    /// way, and nothing of this one was written.
    pub(crate) fn is_conflict(&self) -> bool {
        if matches!(self, Self::Contended) {
            return true;
        }
        let Some(error) = self.reported() else { return false };
        let again = [&SqlState::T_R_SERIALIZATION_FAILURE, &SqlState::T_R_DEADLOCK_DETECTED];
        // A name is no value that a caller made up: who finds it taken lost a race to it.
        again.contains(&error.code()) || error.constraint() == Some(NODE_NAME)
    }

    /// Whether the connection is gone, or of no use any more.
    pub(crate) fn is_disconnect(&self) -> bool {
        match self {
            Self::Shared(failure) => failure.is_disconnect(),
            Self::TimedOut => true,
            Self::Postgres(error) => match error.as_db_error() {
                Some(reported) => is_farewell(reported),
                None => !error.is_ours(),
            },
            _ => false,
        }
    }

    /// Whether one value of many may be what was refused: nothing was written, and the connection
    /// is good.
    pub(crate) fn is_refusal(&self) -> bool {
        let of_values = matches!(
            self,
            Self::Postgres(_) | Self::Unreadable(_) | Self::Unsupported(_) | Self::Missing(_)
        );
        of_values && !self.is_disconnect()
    }

    fn reported(&self) -> Option<&DbError> {
        match self {
            Self::Shared(failure) => failure.reported(),
            Self::Postgres(error) => error.as_db_error(),
            _ => None,
        }
    }

    /// The error a caller of `operation` gets.
    pub(crate) fn into_store_error(self, operation: &'static str) -> StoreError {
        StoreError::new(self.kind(), operation).with_source(Arc::new(self))
    }
}

/// Tells the driver's own complaints (a value that does not convert) from those of a connection.
trait Ours {
    fn is_ours(&self) -> bool;
}

impl Ours for tokio_postgres::Error {
    fn is_ours(&self) -> bool {
        let of_io = self.source().is_some_and(|source| source.is::<std::io::Error>());
        !self.is_closed() && !of_io
    }
}

/// Whether the connection is closed after this: by the server, or by a pooler that lost the server.
fn is_farewell(reported: &DbError) -> bool {
    match reported.parsed_severity() {
        Some(severity) => matches!(severity, Severity::Fatal | Severity::Panic),
        // A pooler says it in the other field alone.
        None => ["FATAL", "PANIC"].contains(&reported.severity()),
    }
}

/// Trouble that can pass by itself, or that an operator can clear while this process runs, is
/// `Unavailable`; the server has rolled back then. What no waiting mends is `Broken`.
fn kind_of(error: &tokio_postgres::Error) -> StoreErrorKind {
    match error.as_db_error() {
        Some(reported) => kind_of_state(reported.code()),
        None if error.is_ours() => StoreErrorKind::Broken,
        None => StoreErrorKind::Unavailable,
    }
}

fn kind_of_state(code: &SqlState) -> StoreErrorKind {
    if *code == SqlState::UNIQUE_VIOLATION {
        return StoreErrorKind::Collision;
    }
    // Single codes of classes that are otherwise final: a server that became a standby, a lock that
    // was not to be had, a statement that took too long, a failing disk.
    let passing = [
        &SqlState::READ_ONLY_SQL_TRANSACTION,
        &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        &SqlState::LOCK_NOT_AVAILABLE,
        &SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        &SqlState::IO_ERROR,
    ];
    // Whole classes: the connection, a rollback, resources, an operator's intervention.
    match code.code().get(..2) {
        Some("08" | "40" | "53" | "57") => StoreErrorKind::Unavailable,
        _ if passing.contains(&code) => StoreErrorKind::Unavailable,
        _ => StoreErrorKind::Broken,
    }
}

/// The constraint that gives a name to one node.
const NODE_NAME: &str = "enroll_nodes_name";

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        Self::Pool(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres(error) => fmt::Display::fmt(error, f),
            Self::Pool(error) => fmt::Display::fmt(error, f),
            Self::Unfit(unfit) => fmt::Display::fmt(unfit, f),
            Self::Unreadable(column) => write!(f, "the column {column} holds no value known here"),
            Self::Unsupported(what) => write!(f, "{what} is of a kind unknown here"),
            Self::TimedOut => f.write_str("the server did not answer in time"),
            Self::Missing(what) => write!(f, "{what} is missing"),
            Self::Contended => f.write_str("others were quicker, again and again"),
            Self::Fenced => f.write_str("the server was promoted or restored at this moment"),
            Self::Unknown => f.write_str("the connection was lost at the commit"),
            Self::Shared(failure) => fmt::Display::fmt(failure, f),
        }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Postgres(error) => error.source(),
            Self::Pool(error) => error.source(),
            Self::Shared(failure) => failure.source(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_say_what_a_caller_does() {
        for code in [
            "08006", "40001", "40P01", "53100", "53300", "57014", "57P01", "57P02", "57P03",
            "25006", "55000", "55P03", "58030", "25P03",
        ] {
            let kind = kind_of_state(&SqlState::from_code(code));
            assert_eq!(kind, StoreErrorKind::Unavailable, "{code}");
        }
        assert_eq!(kind_of_state(&SqlState::UNIQUE_VIOLATION), StoreErrorKind::Collision);
        for code in
            ["42P01", "42703", "42501", "28P01", "3D000", "23514", "23503", "23502", "XX001"]
        {
            assert_eq!(kind_of_state(&SqlState::from_code(code)), StoreErrorKind::Broken, "{code}");
        }
    }

    #[test]
    fn what_is_unfit_says_why() {
        for unfit in [
            Unfit::InRecovery,
            Unfit::NoFsync,
            Unfit::NoFullPageWrites,
            Unfit::NoSynchronousCommit,
            Unfit::TooOld,
            Unfit::NotUnicode,
        ] {
            let error = OpenError::from(Failure::Unfit(unfit));
            assert_eq!(error.kind(), unfit.open_kind());
            assert_eq!(error.source().unwrap().to_string(), unfit.why());
        }
    }
}
