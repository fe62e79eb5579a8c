//! How operations reach the server: what reads in one statement, what writes in one transaction.
//!
//! - A transaction that lost to another (a deadlock, a serialization failure) is run again here; no
//!   caller hears of it.
//! - A connection that broke before the commit was sent has written nothing, so the operation is run
//!   again on another one. One that broke at the commit is asked about on another one: the server
//!   knows by its number whether a transaction was committed.
//! - Whoever stops waiting in the middle leaves no transaction behind: a connection that is not at
//!   rest is closed, not given back.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use deadpool_postgres::Object;
use enroll_core::store::StoreError;
use tokio::time::{sleep, timeout};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::PostgresStore;
use crate::connection;
use crate::error::Failure;
use crate::rows::Columns;

/// Values in the order of `$1`, `$2`, …
pub(crate) type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

/// An operation at work.
pub(crate) type Work<'t, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 't>>;

/// A connection in use. It goes back to the pool only at rest.
pub(crate) struct Session {
    client: Option<Object>,
}

impl Session {
    pub(crate) const fn of(client: Object) -> Self {
        Self { client: Some(client) }
    }

    pub(crate) fn client(&self) -> Result<&Object, Failure> {
        self.client.as_ref().ok_or(Failure::Missing("the connection"))
    }

    /// Gives it back: no transaction is open on it.
    pub(crate) fn rest(mut self) {
        drop(self.client.take());
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            drop(Object::take(client));
        }
    }
}

/// What statements are run in: a transaction that somebody else begins and ends, or nothing but the
/// statement itself.
#[derive(Clone, Copy)]
pub(crate) struct Transaction<'a> {
    client: &'a Object,
    patience: Duration,
}

impl<'a> Transaction<'a> {
    /// Runs a statement that writes, and says how many rows it wrote: that count is the verdict.
    pub(crate) async fn execute(
        self,
        sql: &'static str,
        values: Values<'_>,
    ) -> Result<u64, Failure> {
        let run = async {
            let statement = self.client.prepare_cached(sql).await?;
            self.client.execute(&statement, values).await
        };
        bounded(self.patience, run).await
    }

    /// The first row of a statement, if it has one.
    pub(crate) async fn find<T>(
        self,
        sql: &'static str,
        values: Values<'_>,
        read: impl FnOnce(&mut Columns<'_>) -> Result<T, Failure>,
    ) -> Result<Option<T>, Failure> {
        let rows = self.rows(sql, values).await?;
        rows.first().map(|row| read(&mut Columns::of(row))).transpose()
    }

    /// All rows of a statement.
    pub(crate) async fn list<T>(
        self,
        sql: &'static str,
        values: Values<'_>,
        mut read: impl FnMut(&mut Columns<'_>) -> Result<T, Failure>,
    ) -> Result<Vec<T>, Failure> {
        let rows = self.rows(sql, values).await?;
        rows.iter().map(|row| read(&mut Columns::of(row))).collect()
    }

    /// All rows of a statement, as they came.
    pub(crate) async fn rows(
        self,
        sql: &'static str,
        values: Values<'_>,
    ) -> Result<Vec<Row>, Failure> {
        let run = async {
            let statement = self.client.prepare_cached(sql).await?;
            self.client.query(&statement, values).await
        };
        bounded(self.patience, run).await
    }

    async fn run(self, sql: &str) -> Result<(), Failure> {
        bounded(self.patience, self.client.batch_execute(sql)).await
    }
}

/// How often an operation is begun, at most, when others are in its way.
pub(crate) const ATTEMPTS: u32 = 12;
/// How often it is begun, at most, when its connection breaks.
const CONNECTIONS: u32 = 3;

impl PostgresStore {
    /// Carries out what writes: `work` in one transaction, begun anew as often as needed.
    pub(crate) async fn write<A, T, W>(
        &self,
        operation: &'static str,
        given: &A,
        work: W,
    ) -> Result<T, StoreError>
    where
        A: Sync + ?Sized,
        T: Send,
        W: for<'t> Fn(Transaction<'t>, &'t A) -> Work<'t, T> + Send + Sync,
    {
        let done = self.transact(operation, given, work).await?;
        self.journalled(1).await;
        Ok(done)
    }

    /// As [`Self::write`], for what journals nothing.
    pub(crate) async fn transact<A, T, W>(
        &self,
        operation: &'static str,
        given: &A,
        work: W,
    ) -> Result<T, StoreError>
    where
        A: Sync + ?Sized,
        T: Send,
        W: for<'t> Fn(Transaction<'t>, &'t A) -> Work<'t, T> + Send + Sync,
    {
        self.commit(given, work).await.map_err(|failure| failure.into_store_error(operation))
    }

    /// As [`Self::transact`], for callers that look at what failed.
    pub(crate) async fn commit<A, T, W>(&self, given: &A, work: W) -> Result<T, Failure>
    where
        A: Sync + ?Sized,
        T: Send,
        W: for<'t> Fn(Transaction<'t>, &'t A) -> Work<'t, T> + Send + Sync,
    {
        let (mut tries, mut lost) = (0, 0);
        loop {
            match self.write_once(given, &work).await {
                Err(failure) if self.again(&failure, &mut tries, &mut lost).await => {}
                done => return done,
            }
        }
    }

    /// Carries out what reads, in one statement: outside a transaction only that stands at one
    /// instant.
    pub(crate) async fn read<A, T, W>(
        &self,
        operation: &'static str,
        given: &A,
        work: W,
    ) -> Result<T, StoreError>
    where
        A: Sync + ?Sized,
        T: Send,
        W: for<'t> Fn(Transaction<'t>, &'t A) -> Work<'t, T> + Send + Sync,
    {
        let (mut tries, mut lost) = (0, 0);
        loop {
            match self.read_once(given, &work).await {
                Err(failure) if self.again(&failure, &mut tries, &mut lost).await => {}
                done => return done.map_err(|failure| failure.into_store_error(operation)),
            }
        }
    }

    /// Whether what failed may be begun anew, after the moment that lets others pass.
    pub(crate) async fn again(&self, failure: &Failure, tries: &mut u32, lost: &mut u32) -> bool {
        *tries += 1;
        if *tries >= ATTEMPTS {
            return false;
        }
        if failure.is_conflict() {
            sleep(Duration::from_millis(u64::from(*tries))).await;
            return true;
        }
        match failure {
            Failure::Fenced => self.raise_fence().await.is_ok(),
            Failure::TimedOut => false,
            other if other.is_disconnect() => {
                *lost += 1;
                *lost < CONNECTIONS
            }
            _ => false,
        }
    }

    async fn read_once<A, T, W>(&self, given: &A, work: &W) -> Result<T, Failure>
    where
        A: Sync + ?Sized,
        W: for<'t> Fn(Transaction<'t>, &'t A) -> Work<'t, T> + Send + Sync,
    {
        let session = self.session().await?;
        let read = work(self.transaction(&session)?, given).await;
        // An answer that was an error has ended as well; only a connection that is gone has not.
        if !matches!(&read, Err(failure) if failure.is_disconnect()) {
            session.rest();
        }
        read
    }

    async fn write_once<A, T, W>(&self, given: &A, work: &W) -> Result<T, Failure>
    where
        A: Sync + ?Sized,
        W: for<'t> Fn(Transaction<'t>, &'t A) -> Work<'t, T> + Send + Sync,
    {
        let session = self.session().await?;
        let transaction = self.transaction(&session)?;
        let begun = self.begin(transaction).await?;
        let done = match work(transaction, given).await {
            Ok(done) => done,
            Err(failure) => {
                if !failure.is_disconnect() && transaction.run("ROLLBACK").await.is_ok() {
                    session.rest();
                }
                return Err(failure);
            }
        };
        match transaction.run("COMMIT").await {
            Ok(()) => {}
            Err(failure) if failure.is_disconnect() => {
                drop(session);
                return self.outcome(&begun).await.map(|()| done);
            }
            Err(failure) => return Err(failure),
        }
        session.rest();
        Ok(done)
    }

    /// Begins a transaction, and finds out by what it will be known should the connection break.
    async fn begin(&self, transaction: Transaction<'_>) -> Result<Begun, Failure> {
        let (begin, begun) = tokio::join!(
            transaction.run(&self.inner.begin),
            transaction.find(BEGUN, &[], |row| Ok(Begun {
                number: row.get()?,
                timeline: row.get()?,
                is_known: row.get()?,
            })),
        );
        begin?;
        let begun = begun?.ok_or(Failure::Missing("the fence"))?;
        if begun.is_known { Ok(begun) } else { Err(Failure::Fenced) }
    }

    /// Asks on other connections whether a transaction was committed whose own broke at the commit.
    async fn outcome(&self, begun: &Begun) -> Result<(), Failure> {
        let asking = async {
            loop {
                match self.status(begun).await {
                    Ok(Some(status)) if status == "committed" => return Ok(()),
                    Ok(Some(status)) if status == "aborted" => return Err(Failure::TimedOut),
                    // Another history: numbers mean nothing in it.
                    Ok(None) => return Err(Failure::Unknown),
                    Ok(Some(_)) | Err(_) => sleep(ASK_AGAIN).await,
                }
            }
        };
        // A server that never got the commit gives the transaction up after the statement timeout.
        let patience = self.patience().saturating_mul(3);
        timeout(patience, asking).await.unwrap_or(Err(Failure::Unknown))
    }

    async fn status(&self, begun: &Begun) -> Result<Option<String>, Failure> {
        let session = self.session().await?;
        let values: Values<'_> = &[&begun.number, &begun.timeline];
        let status = self.transaction(&session)?.find(STATUS, values, |row| row.get()).await?;
        session.rest();
        Ok(status)
    }

    /// A connection, after a bounded wait.
    pub(crate) async fn session(&self) -> Result<Session, Failure> {
        let waited =
            timeout(self.inner.options.wait_timeout.saturating_mul(2), self.inner.pool.get());
        let session = Session::of(waited.await.map_err(|_| Failure::TimedOut)??);
        let client = session.client()?;
        // One that was just made may lead to another server than the last.
        if Object::metrics(client).recycle_count == 0 {
            let server = timeout(self.patience(), connection::check(client)).await;
            self.recognise(client, server.map_err(|_| Failure::TimedOut)??).await?;
        }
        let kept = timeout(self.patience(), self.inner.clock.keep(client)).await;
        kept.map_err(|_| Failure::TimedOut)??;
        Ok(session)
    }

    pub(crate) fn transaction<'a>(&self, session: &'a Session) -> Result<Transaction<'a>, Failure> {
        Ok(Transaction { client: session.client()?, patience: self.patience() })
    }

    /// How long an answer is waited for: a little longer than the server may take.
    pub(crate) fn patience(&self) -> Duration {
        self.inner.options.statement_timeout.saturating_add(GRACE)
    }
}

/// By what a transaction is known.
struct Begun {
    number: String,
    timeline: String,
    is_known: bool,
}

/// Waits for `answer` no longer than `patience`.
pub(crate) async fn bounded<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Failure> {
    Ok(timeout(patience, answer).await.map_err(|_| Failure::TimedOut)??)
}

const GRACE: Duration = Duration::from_secs(1);
pub(crate) const ASK_AGAIN: Duration = Duration::from_millis(50);

/// `begun` reads one row; it locks none. It gives the transaction its number, by which the server
/// can be asked about it later.
const BEGUN: &str = "SELECT pg_current_xact_id()::text, wal.timeline,
        wal.timeline = fence.timeline AND fence.made LIKE '%.' || fence.tableoid::text
    FROM enroll_fence AS fence,
        (SELECT substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) AS timeline) AS wal
    WHERE fence.one = 1";

/// `status` reads no table.
const STATUS: &str = "SELECT pg_xact_status($1::text::xid8)
    WHERE substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) = $2";
