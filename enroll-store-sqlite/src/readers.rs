//! The connections that read, and the threads that do so on them.
//!
//! Each operation reads at one instant after it was asked for, so it sees all that was acknowledged
//! before.
//!
//! - **A look-up of a few rows is carried out at once**, on the thread that asks: it takes some ten
//!   microseconds, which is less than waking another thread twice. It waits for nobody: where no
//!   connection is free, or another process holds the file, a thread of ours takes it over. A page
//!   that neither SQLite nor the operating system has in memory is read from the disk meanwhile.
//! - **What reads more** goes to such a thread from the start. Threads of our own rather than a
//!   runtime's blocking pool: the store then needs no particular runtime.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use enroll_core::store::{StoreError, StoreErrorKind};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::connection::bounded;
use crate::error::{Failure, store_error};
use crate::options::Options;
use crate::queue::{Closing, Queue};
use crate::transaction::Transaction;
use crate::writer::{join, roll_back};

type Read = Box<dyn FnOnce(&Connection) + Send>;
type Connections = Arc<[Mutex<Connection>]>;

/// The connections and their threads. Dropping the handle lets what waits be read, and waits for that.
pub(crate) struct Readers {
    queue: Arc<Queue<Read>>,
    connections: Connections,
    busy_timeout: Duration,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    /// Starts one thread for each connection.
    pub(crate) fn start(connections: Vec<Connection>, options: &Options) -> std::io::Result<Self> {
        let mut readers = Self {
            queue: Arc::new(Queue::new(options.queue_bound)),
            connections: connections.into_iter().map(Mutex::new).collect(),
            busy_timeout: bounded(options.busy_timeout),
            threads: Vec::new(),
        };
        for place in 0..readers.connections.len() {
            let (theirs, connections) =
                (Closing::of(&readers.queue), Arc::clone(&readers.connections));
            let name = format!("enroll-reader-{place}");
            let run = move || run(&connections[place], theirs.queue());
            readers.threads.push(thread::Builder::new().name(name).spawn(run)?);
        }
        Ok(readers)
    }

    /// Carries `work` out in a transaction that only reads.
    pub(crate) async fn run<T, W>(&self, operation: &'static str, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnOnce(Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    {
        self.hand_over(operation, |transaction| transaction.at_one_instant(work)).await
    }

    /// Lets one of the threads carry `work` out, and waits for that.
    async fn hand_over<T, W>(&self, operation: &'static str, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnOnce(Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    {
        let failed = move |failure| store_error(operation, &Arc::new(failure));
        let busy_timeout = self.busy_timeout;
        let (reply, answer) = oneshot::channel();
        let read: Read = Box::new(move |connection| {
            if !reply.is_closed() {
                // Whoever asked may have gone meanwhile.
                let found = read(connection, busy_timeout, work);
                let _gone = reply.send(found.map_err(failed));
            }
        });
        self.queue.push(read).map_err(failed)?;
        answer.await.unwrap_or_else(|_| Err(failed(Failure::Stopped)))
    }

    /// Carries out `work`, which reads a few rows by their keys: at once if that is possible without
    /// waiting for anybody, else as [`Self::run`] does. It has no transaction but those it begins: one
    /// statement reads at one instant anyway.
    pub(crate) async fn look_up<T, W>(
        &self,
        operation: &'static str,
        work: W,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: Fn(Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    {
        let at_once = self.free().map(|connection| read(&connection, Duration::ZERO, &work));
        match at_once {
            Some(Ok(found)) => Ok(found),
            Some(Err(failure)) if failure.kind() != StoreErrorKind::Unavailable => {
                Err(store_error(operation, &Arc::new(failure)))
            }
            _ => self.hand_over(operation, work).await,
        }
    }

    /// A connection that nobody reads on at this moment.
    fn free(&self) -> Option<MutexGuard<'_, Connection>> {
        self.connections.iter().find_map(|connection| match connection.try_lock() {
            Ok(free) => Some(free),
            Err(TryLockError::Poisoned(free)) => Some(free.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        })
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.queue.close();
        self.threads.drain(..).for_each(join);
    }
}

fn run(connection: &Mutex<Connection>, queue: &Queue<Read>) {
    while let Some(read) = queue.pop() {
        read(&connection.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Carries `work` out, waiting as long as `busy_timeout` for another process, and leaves no transaction
/// open: that would go on reading as of this instant.
fn read<T>(
    connection: &Connection,
    busy_timeout: Duration,
    work: impl FnOnce(Transaction<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    connection.busy_timeout(busy_timeout)?;
    let found = catch_unwind(AssertUnwindSafe(|| work(Transaction::new(connection))));
    let panicked = found.is_err();
    if roll_back(connection).is_err() || panicked {
        tracing::error!(panicked, "a read did not end as it should");
    }
    found.unwrap_or(Err(Failure::Panicked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::{ErrorCode, ffi};
    use std::num::NonZeroUsize;
    use std::sync::atomic::{AtomicU32, Ordering};

    const BOUND: NonZeroUsize = NonZeroUsize::new(8).unwrap();

    fn readers(connections: usize) -> Readers {
        let open = |_| Connection::open_in_memory().unwrap();
        let options = Options::new().with_queue_bound(BOUND);
        Readers::start((0..connections).map(open).collect(), &options).unwrap()
    }

    fn here(_: Transaction<'_>) -> Result<String, Failure> {
        Ok(thread::current().name().unwrap_or_default().to_owned())
    }

    #[tokio::test]
    async fn a_look_up_is_carried_out_at_once_and_a_longer_read_elsewhere() {
        let (readers, me) = (readers(1), thread::current().name().unwrap().to_owned());
        assert_eq!(readers.look_up("test", here).await.unwrap(), me);
        assert_eq!(readers.run("test", here).await.unwrap(), "enroll-reader-0");
    }

    #[tokio::test]
    #[expect(clippy::await_holding_lock, reason = "that is what is looked at")]
    async fn a_look_up_waits_for_nobody_on_the_thread_that_asks() {
        let readers = readers(2);
        let [first, second] = &*readers.connections else { panic!("two connections") };
        let held = first.lock().unwrap();
        assert_ne!(readers.look_up("test", here).await.unwrap(), "enroll-reader-0", "the other");
        let both = second.lock().unwrap();
        let (asked, release) = (readers.look_up("test", here), async {
            // By now the look-up waits in the queue, because it was polled first.
            drop((held, both));
        });
        let (found, ()) = tokio::join!(biased; asked, release);
        assert!(found.unwrap().starts_with("enroll-reader-"), "a thread took it over");
    }

    #[tokio::test]
    async fn what_another_process_holds_is_waited_for_elsewhere() {
        let (readers, tries) = (readers(1), Arc::new(AtomicU32::new(0)));
        let found = readers.look_up("test", move |transaction| {
            if tries.fetch_add(1, Ordering::Relaxed) == 0 {
                let busy = ffi::Error { code: ErrorCode::DatabaseBusy, extended_code: 5 };
                return Err(rusqlite::Error::SqliteFailure(busy, None).into());
            }
            here(transaction)
        });
        assert_eq!(found.await.unwrap(), "enroll-reader-0");
    }

    #[tokio::test]
    async fn a_look_up_that_panics_or_fails_leaves_the_connection_as_it_was() {
        let readers = readers(1);
        let panics = readers.look_up("test", |_| -> Result<(), Failure> { panic!("on purpose") });
        assert_eq!(panics.await.unwrap_err().kind(), StoreErrorKind::Broken);
        let fails = readers.look_up("test", |_| Err::<(), _>(Failure::Missing("something")));
        assert_eq!(fails.await.unwrap_err().kind(), StoreErrorKind::Broken);
        assert!(
            readers.connections[0].lock().unwrap_or_else(PoisonError::into_inner).is_autocommit()
        );
        let me = thread::current().name().unwrap().to_owned();
        assert_eq!(readers.look_up("test", here).await.unwrap(), me);
    }
}
