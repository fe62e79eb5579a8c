//! The threads that read, each with a connection of its own.
//!
//! Each operation reads in a transaction of its own that begins after it was asked for, so it sees
//! all that was acknowledged before, at one instant. Threads of our own rather than a runtime's
//! blocking pool: the store then needs no particular runtime, and a look-up costs one wake-up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use enroll_core::store::StoreError;
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::error::{Failure, store_error};
use crate::options::Options;
use crate::queue::{Closing, Queue};
use crate::transaction::Transaction;
use crate::writer::{join, roll_back};

type Read = Box<dyn FnOnce(&Connection) + Send>;

/// The handle of the reading threads. Dropping it lets what waits be read, and waits for that.
pub(crate) struct Readers {
    queue: Arc<Queue<Read>>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    /// Starts one thread for each connection.
    pub(crate) fn start(connections: Vec<Connection>, options: &Options) -> std::io::Result<Self> {
        let mut readers =
            Self { queue: Arc::new(Queue::new(options.queue_bound)), threads: Vec::new() };
        for connection in connections {
            let theirs = Closing::of(&readers.queue);
            let name = format!("enroll-reader-{}", readers.threads.len());
            let run = move || run(&connection, theirs.queue());
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
        let failed = move |failure| store_error(operation, &Arc::new(failure));
        let (reply, answer) = oneshot::channel();
        let read: Read = Box::new(move |connection| {
            if !reply.is_closed() {
                // Whoever asked may have gone meanwhile.
                let _gone = reply.send(read(connection, work).map_err(failed));
            }
        });
        self.queue.push(read).map_err(failed)?;
        answer.await.unwrap_or_else(|_| Err(failed(Failure::Stopped)))
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.queue.close();
        self.threads.drain(..).for_each(join);
    }
}

fn run(connection: &Connection, queue: &Queue<Read>) {
    while let Some(read) = queue.pop() {
        let panicked = catch_unwind(AssertUnwindSafe(|| read(connection))).is_err();
        // A transaction left open would go on reading as of that instant.
        if roll_back(connection).is_err() || panicked {
            tracing::error!(panicked, "a read did not end as it should");
        }
    }
}

fn read<T>(
    connection: &Connection,
    work: impl FnOnce(Transaction<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let transaction = Transaction::new(connection);
    transaction.execute("BEGIN", &[])?;
    let found = work(transaction)?;
    transaction.execute("COMMIT", &[])?;
    Ok(found)
}
