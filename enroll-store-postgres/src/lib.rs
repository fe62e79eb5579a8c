//! The store for `enroll` that many masters share, on PostgreSQL.
//!
//! ```no_run
//! # async fn example() -> Result<(), enroll_store_postgres::OpenError> {
//! let url = "postgres://enroll@localhost/fleet";
//! let store = enroll_store_postgres::PostgresStore::connect(url, Default::default()).await?;
//! # Ok(()) }
//! ```
//!
//! # What holds
//! - **Durable.** An operation is answered after its transaction was flushed to the server's disk:
//!   every transaction raises `synchronous_commit` for itself, whatever the server's default. A
//!   server whose `fsync` or `full_page_writes` is off, or that is in recovery, is refused.
//! - **Single use.** A use is spent by one conditional statement under the lock of its token; a
//!   constraint of the table stands behind it.
//! - **No guess.** Where a connection breaks at the commit, the outcome is read back on another one.
//! - **Fenced.** A server that was promoted or restored may have lost redemptions: the tokens minted
//!   before are void there.
//! - **Fail closed.** A server that is away or cannot write is an error of every operation that meets
//!   it, never an empty answer. When it is back, so is the store: nothing has to be restarted.
//! - **No secret** is in the database: digests, public halves, certificates.
//!
//! # What it asks of the server
//! PostgreSQL [`MIN_SERVER`](PostgresStore::MIN_SERVER) or later. The user has to be able to create
//! tables and a function, all of which begin with `enroll_`, in the first schema of its search path;
//! that may be shared with other programs. A server on another host is spoken to over TLS alone. [`running`] says
//! the rest.

/// What an operator of the database has to know: settings, sizing, failover, poolers, locks.
#[doc = include_str!("running.md")]
pub mod running {}

mod batches;
mod beats;
mod clock;
mod commands;
mod connection;
mod diagnose;
mod error;
mod fence;
mod identities;
mod journal;
mod listen;
mod masters;
mod node_list;
mod nodes;
mod options;
mod redeem;
mod redeem_columns;
mod redeem_statements;
mod redemptions;
mod rows;
mod schema;
mod settings;
#[cfg(feature = "statements")]
#[doc(hidden)]
pub mod statements;
#[cfg(feature = "testing")]
pub mod testing;
mod tokens;
mod touched;
mod transaction;

use std::fmt;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use deadpool_postgres::Pool;
use tokio::sync::watch;

pub use clock::DatabaseClock;
pub use error::{OpenError, OpenErrorKind};
pub use options::Options;

use batches::Batches;
use connection::Server;
use error::Failure;
use listen::{Ear, Listening};

/// The values of a statement, in the order of `$1`, `$2`, …
macro_rules! values {
    ($($value:expr),* $(,)?) => {
        &[$(&$value as &(dyn tokio_postgres::types::ToSql + Sync)),*]
    };
}
use values;

/// A store on a PostgreSQL server, and a handle to it that is cheap to clone.
#[derive(Clone)]
pub struct PostgresStore {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Pool,
    options: Options,
    /// What every transaction that writes begins with.
    begin: Arc<str>,
    /// What the transaction of a redemption begins with.
    begin_redeem: Box<str>,
    /// The server that connections led to last.
    server: Mutex<Server>,
    /// How many operations journalled something.
    journalled: AtomicUsize,
    clock: DatabaseClock,
    /// How often something was changed that others wait for.
    changes: watch::Sender<u64>,
    /// Ends with the store.
    _listening: Option<Listening>,
    batches: Arc<Batches>,
    /// When a write last showed that writing works.
    wrote: tokio::sync::Mutex<Option<Instant>>,
}

impl PostgresStore {
    /// The oldest major version of the server: 14.
    pub const MIN_SERVER: u32 = 14;

    /// Opens the store on the server at `url`: `postgres://user:password@host:port/database?…`, or
    /// the `key=value` form. Its schema is brought up to date.
    ///
    /// # Errors
    /// [`OpenError`], whose kind says what an operator does about it.
    pub async fn connect(url: &str, options: Options) -> Result<Self, OpenError> {
        let (pool, ear) = connection::pool(url, &options)?;
        Self::open(pool, Some(ear), options).await
    }

    /// Opens the store over the embedder's own pool, whose TLS, sizes and timeouts are the
    /// embedder's to choose. Its schema is brought up to date.
    ///
    /// What other masters change is not heard of then, because a pool hands no notifications on: it
    /// is known when a master next looks.
    ///
    /// # Errors
    /// [`OpenError`], whose kind says what an operator does about it.
    pub async fn from_pool(pool: Pool, options: Options) -> Result<Self, OpenError> {
        Self::open(pool, None, options).await
    }

    async fn open(pool: Pool, ear: Option<Ear>, options: Options) -> Result<Self, OpenError> {
        let waited = tokio::time::timeout(options.wait_timeout.saturating_mul(2), pool.get()).await;
        let client = waited.map_err(|_| Failure::TimedOut)?.map_err(Failure::from)?;
        let session = transaction::Session::of(client);
        let client = session.client()?;
        let server = connection::check(client).await?;
        let begin = connection::begin(client, &options).await?;
        schema::migrate(client, &begin, &server).await?;
        let clock = DatabaseClock::start(client).await?;
        let changes = watch::Sender::default();
        let listening = ear.map(|ear| ear.listen(changes.clone()));
        let connections = pool.status().max_size;
        let inner = Inner {
            batches: Arc::new(Batches::new(options.batch, connections)),
            pool,
            options,
            begin_redeem: format!("{begin}; {}", redeem_statements::PLANNED_ONCE).into(),
            begin,
            server: Mutex::new(server),
            journalled: AtomicUsize::new(0),
            clock,
            changes,
            _listening: listening,
            wrote: tokio::sync::Mutex::new(None),
        };
        let store = Self { inner: Arc::new(inner) };
        session.rest();
        store.raise_fence().await?;
        Ok(store)
    }

    /// The server's clock, for every master of this store to go by.
    #[must_use]
    pub fn clock(&self) -> DatabaseClock {
        self.inner.clock.clone()
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}
