//! One clock for all masters of a store: the database server's.
//!
//! Tokens, windows and deadlines are judged by instants that one master wrote and another compares
//! with its own present. If each read its own clock, a token minted by one that is ten minutes fast
//! would live ten minutes longer on the others, and one minted by one that is slow would be expired
//! at birth. So all read the server's: asked for now and then, and counted on in between by the
//! machine's monotonic clock, which nobody sets.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use deadpool_postgres::Object;
use enroll_core::model::{Clock, Timestamp};

use crate::error::Failure;

/// The clock of the server that a [`PostgresStore`](crate::PostgresStore) is on.
///
/// It is off by no more than half of what asking for the time takes, and drifts by milliseconds until
/// it is asked again. Every master of a store is to be given it:
/// `Enroller::new(store, …).with_clock(Arc::new(clock))`.
#[derive(Clone)]
pub struct DatabaseClock(Arc<Mutex<Reading>>);

/// What the server's clock showed, and when that was here.
#[derive(Debug, Clone, Copy)]
struct Reading {
    shown: Timestamp,
    here: Instant,
    /// When the next is to be taken.
    due: Instant,
}

impl DatabaseClock {
    /// Asks for the time over one connection.
    pub(crate) async fn start(client: &Object) -> Result<Self, Failure> {
        Ok(Self(Arc::new(Mutex::new(ask(client).await?))))
    }

    /// Asks for the time again if that is due.
    pub(crate) async fn keep(&self, client: &Object) -> Result<(), Failure> {
        if Instant::now() < self.reading().due {
            return Ok(());
        }
        self.set(client).await
    }

    /// Asks for the time again: the connection may lead to another server.
    pub(crate) async fn set(&self, client: &Object) -> Result<(), Failure> {
        let reading = ask(client).await?;
        *self.reading() = reading;
        Ok(())
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        // A reading is replaced as a whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ask(client: &Object) -> Result<Reading, Failure> {
    let statement = client.prepare_cached(CLOCK).await?;
    let sent = Instant::now();
    let millis: i64 = client.query_one(&statement, &[]).await?.try_get(0)?;
    // It was read somewhere between; the middle is off by half of that at most.
    let took = sent.elapsed();
    let here = sent + took / 2;
    let due = here + if took > SLOW { SLOW } else { EVERY };
    Ok(Reading { shown: Timestamp::from_unix_millis(millis), here, due })
}

impl Clock for DatabaseClock {
    fn now(&self) -> Timestamp {
        let Reading { shown, here, .. } = *self.reading();
        shown.after(here.elapsed())
    }
}

impl fmt::Debug for DatabaseClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DatabaseClock").field(&self.now()).finish()
    }
}

/// How long a reading is counted on from.
const EVERY: Duration = Duration::from_secs(10);
/// An answer that took longer is asked for again soon.
const SLOW: Duration = Duration::from_secs(1);

/// `clock` reads no table. It is the present, not the beginning of a transaction.
const CLOCK: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
