//! The embedded store for `enroll`: one SQLite file carries the tokens, nodes and identities of a
//! site.
//!
//! ```no_run
//! # async fn example() -> Result<(), enroll_store_sqlite::OpenError> {
//! let store = enroll_store_sqlite::SqliteStore::open("fleet.db").await?;
//! # Ok(()) }
//! ```
//!
//! # What holds
//! - **Durable.** An operation is answered after its transaction was synced to the disk
//!   (`synchronous=FULL`). Operations that wait together are synced together.
//! - **Single use.** A use is spent by one conditional `UPDATE` whose row count is the verdict, inside
//!   `BEGIN IMMEDIATE`; a constraint of the table stands behind it.
//! - **Fail closed.** A corrupt, full, locked or read-only database is an error of every operation
//!   that meets it, never an empty answer. What no SQLite of this kind wrote is not opened.
//! - **No secret** is in the file: digests, public halves, certificates. It is created readable by
//!   its owner alone all the same, for it says which machines there are.
//!
//! # One file, how many processes
//! Within a process, share one [`SqliteStore`] (it is a cheap handle). Never open the file there by
//! any other means: closing another handle of it, even one that only read, drops the locks SQLite
//! holds (POSIX advisory locks belong to the process). A second process on the same host may use the
//! file through this crate or through any SQLite, such as its shell; each waits up to
//! [`Options::with_busy_timeout`] for the other's transaction. The file has to be on a local disk:
//! WAL needs shared memory, which network file systems do not have. To copy a database that is in
//! use, let SQLite do it from another process (`.backup`, `VACUUM INTO`), never a copy of the file.

mod commands;
mod connection;
mod error;
mod identities;
mod journal;
mod masters;
mod node_list;
mod nodes;
mod options;
#[cfg(test)]
mod plans;
mod queue;
mod readers;
mod redemptions;
mod rows;
mod scheduling;
mod schema;
mod settings;
#[cfg(feature = "statements")]
#[doc(hidden)]
pub mod statements;
#[cfg(feature = "testing")]
mod temporary;
mod tokens;
mod touched;
mod transaction;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use enroll_core::store::StoreError;
use tokio::sync::{Mutex, oneshot, watch};

pub use error::{OpenError, OpenErrorKind};
pub use options::Options;

use error::Failure;
use readers::Readers;
use transaction::Transaction;
use writer::Writer;

/// A store in one SQLite file, and a handle to it that is cheap to clone.
///
/// When the last handle is dropped, what waits is written and the file is closed; that takes
/// milliseconds, and the dropping thread waits for it.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

/// Dropped from top to bottom: the writer is the last to close the file, because only it may fold
/// the write-ahead log back into it.
struct Inner {
    readers: Readers,
    writer: Writer,
    path: PathBuf,
    /// How often something was changed that others wait for.
    changes: watch::Sender<u64>,
    /// When a write last showed that writing works.
    wrote: Mutex<Option<Instant>>,
    /// Removed after the file in it is closed.
    #[cfg(feature = "testing")]
    directory: Option<tempfile::TempDir>,
}

impl SqliteStore {
    /// Opens the database at `path` with [`Options::default`], and creates it if it is not there.
    ///
    /// # Errors
    /// As [`Self::open_with`].
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::open_with(path, Options::default()).await
    }

    /// Opens the database at `path`, and creates it if it is not there: readable and writable by its
    /// owner alone. Its schema is brought up to date.
    ///
    /// # Errors
    /// [`OpenError`], whose kind says what an operator does about it.
    pub async fn open_with(path: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        let path = path.as_ref().to_owned();
        opened(path.clone(), move || Inner::open(&path, &options)).await
    }

    /// Where the database is, as an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Carries out what writes.
    async fn write<T, W>(&self, operation: &'static str, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: Fn(Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    {
        self.inner.writer.run(operation, work).await
    }

    /// Carries out what reads a few rows by their keys.
    async fn look_up<T, W>(&self, operation: &'static str, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: Fn(Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    {
        self.inner.readers.look_up(operation, work).await
    }

    /// Carries out what only reads.
    async fn read<T, W>(&self, operation: &'static str, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnOnce(Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    {
        self.inner.readers.run(operation, work).await
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

impl Inner {
    fn open(path: &Path, options: &Options) -> Result<Self, OpenError> {
        connection::check_library(path)?;
        let path = connection::create(path)
            .map_err(|error| OpenError::new(OpenErrorKind::Broken, path, error))?;
        let mut writing = connection::open_writer(&path, options)?;
        schema::migrate(&mut writing, &path)?;
        let reading = (0..options.readers.get())
            .map(|_| connection::open_reader(&path, options))
            .collect::<Result<_, _>>()?;
        let unusable = |error| OpenError::new(OpenErrorKind::Unavailable, &path, error);
        Ok(Self {
            readers: Readers::start(reading, options)
                .map_err(|error: std::io::Error| unusable(error))?,
            writer: Writer::start(writing, options).map_err(unusable)?,
            changes: watch::Sender::default(),
            wrote: Mutex::new(None),
            #[cfg(feature = "testing")]
            directory: None,
            path,
        })
    }
}

/// Opens on a thread of its own, because opening waits for the disk and for other processes.
async fn opened(
    path: PathBuf,
    open: impl FnOnce() -> Result<Inner, OpenError> + Send + 'static,
) -> Result<SqliteStore, OpenError> {
    let unusable = |why: &'static str| OpenError::new(OpenErrorKind::Unavailable, &path, why);
    let (reply, answer) = oneshot::channel();
    let opener = thread::Builder::new().name("enroll-open".into());
    opener
        .spawn(move || {
            // Whoever asked may have gone; the file is closed again then.
            let _gone = reply.send(open());
        })
        .map_err(|error| OpenError::new(OpenErrorKind::Unavailable, &path, error))?;
    let inner = answer.await.map_err(|_| unusable("the thread that opens it is gone"))??;
    Ok(SqliteStore { inner: Arc::new(inner) })
}
