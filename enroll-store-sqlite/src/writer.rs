//! The one thread that writes, and how it commits many operations at once.
//!
//! - **One writer.** SQLite has one at a time anyway; here nobody waits for a lock to find out.
//! - **Group commit.** What waits is carried out in one transaction, up to [`MAX_BATCH`] operations,
//!   and each is answered after the commit, never before. A batch is never waited for: while one is
//!   being synced to the disk, the next collects by itself. The thread interrupts nobody to begin
//!   with it ([`scheduling`](crate::scheduling)).
//! - **One failing operation spoils nothing.** When one fails, panics or has to be undone, its batch is
//!   rolled back and carried out again, each operation in a savepoint of its own. Hardly any batch has
//!   such a one, and savepoints are a sixth of what a batch costs.
//! - **A commit that fails is the answer to all of its batch**, also to those that only read: what they
//!   read was perhaps never committed.
//! - **Bounded.** What no longer fits into the queue is told so at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use enroll_core::store::StoreError;
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::error::{Failure, store_error};
use crate::options::Options;
use crate::queue::{Closing, Queue};
use crate::scheduling;
use crate::transaction::Transaction;

/// The most operations in one transaction: enough to make the sync cheap, few enough that the first
/// of them waits a few milliseconds at most.
pub(crate) const MAX_BATCH: usize = 256;

type Answer<T> = Result<T, StoreError>;

/// The handle of the writing thread. Dropping it lets what waits be written, and waits for that.
pub(crate) struct Writer {
    queue: Arc<Queue<Box<dyn Operation>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread on a connection that is ready to write.
    pub(crate) fn start(connection: Connection, options: &Options) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::new(options.queue_bound));
        let theirs = Closing::of(&queue);
        let batch_scheduling = options.batch_scheduling;
        let thread = thread::Builder::new().name("enroll-writer".into()).spawn(move || {
            if batch_scheduling {
                scheduling::interrupt_nobody();
            }
            run(&connection, theirs.queue());
        })?;
        Ok(Self { queue, thread: Some(thread) })
    }

    /// Carries `work` out in the next batch, and answers when that is on the disk. What it wrote may be
    /// rolled back and done again meanwhile: only the last result counts.
    pub(crate) async fn run<T, W>(&self, operation: &'static str, work: W) -> Answer<T>
    where
        T: Send + 'static,
        W: Fn(Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    {
        let failed = |failure| store_error(operation, &Arc::new(failure));
        let (reply, answer) = oneshot::channel();
        let queued = Queued { operation, work, result: None, reply };
        self.queue.push(Box::new(queued)).map_err(failed)?;
        answer.await.unwrap_or_else(|_| Err(failed(Failure::Stopped)))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            join(thread);
        }
    }
}

/// Waits for a thread to end, unless it is this one: a waker may drop the last handle.
pub(crate) fn join(thread: JoinHandle<()>) {
    if thread.thread().id() != thread::current().id() {
        // A panic was reported by the panic hook; there is nobody here to hand it to.
        let _panicked = thread.join().is_err();
    }
}

/// What waits for the writer.
trait Operation: Send {
    /// Whether nobody waits for its answer any more.
    fn is_abandoned(&self) -> bool;
    /// Carries it out and keeps its result for the answer; an error asks for it to be undone. Carried
    /// out again, the later result counts.
    fn perform(&mut self, transaction: Transaction<'_>) -> Result<(), Arc<Failure>>;
    /// Answers it, as its batch ended.
    fn answer(self: Box<Self>, batch: Result<(), &Arc<Failure>>);
}

struct Queued<T, W> {
    operation: &'static str,
    work: W,
    result: Option<Result<T, Arc<Failure>>>,
    reply: oneshot::Sender<Answer<T>>,
}

impl<T, W> Operation for Queued<T, W>
where
    T: Send,
    W: Fn(Transaction<'_>) -> Result<T, Failure> + Send,
{
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn perform(&mut self, transaction: Transaction<'_>) -> Result<(), Arc<Failure>> {
        let done = catch_unwind(AssertUnwindSafe(|| (self.work)(transaction)));
        let result = done.unwrap_or(Err(Failure::Panicked)).map_err(Arc::new);
        let verdict = result.as_ref().map(|_| ()).map_err(Arc::clone);
        self.result = Some(result);
        verdict
    }

    fn answer(self: Box<Self>, batch: Result<(), &Arc<Failure>>) {
        let result = match (batch, self.result) {
            (Ok(()), Some(result)) => result,
            (Err(failure), _) => Err(Arc::clone(failure)),
            (Ok(()), None) => Err(Arc::new(Failure::Stopped)),
        };
        // Whoever asked may have gone; what was done stands all the same.
        let _gone = self.reply.send(result.map_err(|why| store_error(self.operation, &why)));
    }
}

fn run(connection: &Connection, queue: &Queue<Box<dyn Operation>>) {
    while let Some(first) = queue.pop() {
        run_batch(connection, queue, first);
    }
}

/// Carries out one batch that begins with `first`, and answers all of it.
fn run_batch(
    connection: &Connection,
    queue: &Queue<Box<dyn Operation>>,
    first: Box<dyn Operation>,
) {
    let mut batch = Vec::new();
    let ended = carry_out(connection, queue, first, &mut batch);
    if let Err(failure) = &ended {
        tracing::error!(operations = batch.len(), error = %failure, "a batch was not committed");
        // When this fails too, the next batch finds the transaction still open and tries again.
        let _still_open = roll_back(connection).is_err();
    }
    for operation in batch {
        operation.answer(ended.as_ref().copied());
    }
}

/// Carries out and commits what waits, beginning with `first`: without savepoints, and once more with
/// them when something has to be undone. An error means that the whole batch is lost.
fn carry_out(
    connection: &Connection,
    queue: &Queue<Box<dyn Operation>>,
    first: Box<dyn Operation>,
    batch: &mut Vec<Box<dyn Operation>>,
) -> Result<(), Arc<Failure>> {
    batch.push(first);
    if let Err(failure) = begin(connection) {
        // Whoever waits behind would only wait as long again for the same answer.
        batch.extend(std::iter::from_fn(|| queue.try_pop()).take(MAX_BATCH - 1));
        return Err(failure);
    }
    let (mut done, mut guarded) = (0, false);
    loop {
        if done == batch.len() && done < MAX_BATCH {
            batch.extend(queue.try_pop());
        }
        let Some(operation) = batch.get_mut(done) else { break };
        if operation.is_abandoned() {
            done += 1;
        } else if guarded {
            perform_guarded(connection, &mut **operation)?;
            done += 1;
        } else if operation.perform(Transaction::new(connection)).is_ok() {
            done += 1;
        } else {
            begin(connection)?;
            (done, guarded) = (0, true);
        }
    }
    Ok(Transaction::new(connection).execute("COMMIT", &[]).map(drop)?)
}

/// Carries out one operation in a savepoint. An error means that the whole batch is lost.
fn perform_guarded(
    connection: &Connection,
    operation: &mut dyn Operation,
) -> Result<(), Arc<Failure>> {
    let transaction = Transaction::guarded(connection);
    transaction.begin_operation()?;
    if let Err(failure) = operation.perform(transaction) {
        // After some errors SQLite gives the transaction up by itself, and the batch with it.
        if connection.is_autocommit() {
            return Err(failure);
        }
        transaction.undo()?;
    }
    Ok(transaction.keep_operation()?)
}

/// Begins a transaction that may write from the start: one that becomes a writer half way can be
/// refused at once, however long it would wait.
fn begin(connection: &Connection) -> Result<(), Arc<Failure>> {
    roll_back(connection)?;
    Ok(Transaction::new(connection).execute("BEGIN IMMEDIATE", &[]).map(drop)?)
}

/// Ends a transaction that is still open.
pub(crate) fn roll_back(connection: &Connection) -> Result<(), Failure> {
    if connection.is_autocommit() {
        return Ok(());
    }
    Transaction::new(connection).execute("ROLLBACK", &[]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use enroll_core::store::StoreErrorKind;
    use std::num::NonZeroUsize;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::sync::oneshot::Receiver;
    use tokio::sync::oneshot::error::TryRecvError;

    type Jobs = Queue<Box<dyn Operation>>;

    /// A row, a row that another has to follow before the commit, and one that ends a transaction
    /// when it is there twice.
    fn database() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        let schema = "PRAGMA foreign_keys = ON;
            CREATE TABLE kept (id INTEGER PRIMARY KEY ON CONFLICT ROLLBACK) STRICT;
            CREATE TABLE owed (id INTEGER REFERENCES kept DEFERRABLE INITIALLY DEFERRED) STRICT;";
        connection.execute_batch(schema).unwrap();
        connection
    }

    const KEEP: &str = "INSERT INTO kept (id) VALUES (:id)";
    const OWE: &str = "INSERT INTO owed (id) VALUES (:id)";

    fn jobs() -> Jobs {
        Queue::new(NonZeroUsize::new(1000).unwrap())
    }

    fn push<W>(jobs: &Jobs, work: W) -> Receiver<Answer<()>>
    where
        W: Fn(Transaction<'_>) -> Result<(), Failure> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let queued = Queued { operation: "test", work, result: None, reply };
        jobs.push(Box::new(queued)).unwrap();
        answer
    }

    fn keep(jobs: &Jobs, id: i64) -> Receiver<Answer<()>> {
        push(jobs, move |transaction| transaction.execute(KEEP, &[(":id", &id)]).map(drop))
    }

    fn run_one(connection: &Connection, jobs: &Jobs) {
        run_batch(connection, jobs, jobs.try_pop().unwrap());
    }

    fn kept(connection: &Connection) -> Vec<i64> {
        let mut statement = connection.prepare("SELECT id FROM kept ORDER BY id").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    fn kind(mut answer: Receiver<Answer<()>>) -> Option<StoreErrorKind> {
        answer.try_recv().expect("it was answered").err().map(|error| error.kind())
    }

    #[test]
    fn what_fails_in_a_batch_is_undone_alone() {
        let (connection, jobs) = (database(), jobs());
        let first = keep(&jobs, 1);
        let fails = push(&jobs, |transaction| {
            transaction.execute(KEEP, &[(":id", &2_i64)])?;
            Err(Failure::Missing("something"))
        });
        let panics = push(&jobs, |transaction| {
            transaction.execute(KEEP, &[(":id", &3_i64)])?;
            panic!("on purpose")
        });
        let last = keep(&jobs, 4);
        run_one(&connection, &jobs);
        assert_eq!((kind(first), kind(last)), (None, None));
        assert_eq!(kind(fails), Some(StoreErrorKind::Broken));
        assert_eq!(kind(panics), Some(StoreErrorKind::Broken));
        assert_eq!(kept(&connection), [1, 4]);
    }

    /// Writes a row, and undoes that, if it can.
    fn regret(jobs: &Jobs, id: i64) -> Receiver<Answer<()>> {
        push(jobs, move |transaction| {
            transaction.execute(KEEP, &[(":id", &id)])?;
            transaction.undo()
        })
    }

    #[test]
    fn what_undoes_itself_is_done_again_with_its_batch_and_undone_alone() {
        let (connection, jobs) = (database(), jobs());
        let answers = [keep(&jobs, 1), regret(&jobs, 2), keep(&jobs, 2), regret(&jobs, 3)];
        run_one(&connection, &jobs);
        assert!(answers.into_iter().all(|answer| kind(answer).is_none()));
        assert_eq!(kept(&connection), [1, 2]);
    }

    #[test]
    fn what_has_nothing_to_undo_is_done_once() {
        let (connection, jobs) = (database(), jobs());
        let times = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&times);
        let counts = push(&jobs, move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        let last = keep(&jobs, 1);
        run_one(&connection, &jobs);
        assert_eq!((kind(counts), kind(last), times.load(Ordering::Relaxed)), (None, None, 1));
        assert_eq!(kept(&connection), [1]);
    }

    #[test]
    fn a_commit_that_fails_is_the_answer_to_all_of_its_batch() {
        let (connection, jobs) = (database(), jobs());
        let writes = keep(&jobs, 1);
        let reads = push(&jobs, |_| Ok(()));
        // What is owed is asked for at the commit, and nowhere before.
        let owes =
            push(&jobs, |transaction| transaction.execute(OWE, &[(":id", &9_i64)]).map(drop));
        run_one(&connection, &jobs);
        for answer in [writes, reads, owes] {
            assert_eq!(kind(answer), Some(StoreErrorKind::Broken));
        }
        assert!(kept(&connection).is_empty() && connection.is_autocommit());
        let next = keep(&jobs, 2);
        run_one(&connection, &jobs);
        assert_eq!((kind(next), kept(&connection)), (None, vec![2]));
    }

    #[test]
    fn a_transaction_that_sqlite_gives_up_is_lost_for_all_of_its_batch() {
        let (connection, jobs) = (database(), jobs());
        let (first, again, behind) = (keep(&jobs, 1), keep(&jobs, 1), keep(&jobs, 2));
        run_one(&connection, &jobs);
        assert!(kind(first).is_some() && kind(again).is_some());
        assert!(kept(&connection).is_empty());
        // Who had not begun is in the next batch.
        run_one(&connection, &jobs);
        assert_eq!((kind(behind), kept(&connection)), (None, vec![2]));
    }

    #[test]
    fn nobody_is_answered_before_the_commit() {
        let (connection, jobs) = (database(), jobs());
        let first = Arc::new(Mutex::new(keep(&jobs, 1)));
        let (theirs, during) = (Arc::clone(&first), Arc::new(Mutex::new(Vec::new())));
        let seen = Arc::clone(&during);
        let second = push(&jobs, move |_| {
            seen.lock().unwrap().push(theirs.lock().unwrap().try_recv().map(drop));
            Ok(())
        });
        run_one(&connection, &jobs);
        assert_eq!(*during.lock().unwrap(), [Err(TryRecvError::Empty)]);
        assert!(first.lock().unwrap().try_recv().is_ok_and(|answer| answer.is_ok()));
        assert_eq!(kind(second), None);
    }

    #[test]
    fn a_batch_takes_what_waits_up_to_its_bound() {
        let (connection, jobs) = (database(), jobs());
        let mut answers: Vec<_> = (0..300).map(|id| keep(&jobs, id)).collect();
        run_one(&connection, &jobs);
        let unanswered = answers.split_off(MAX_BATCH);
        assert!(answers.into_iter().all(|answer| kind(answer).is_none()));
        assert_eq!(kept(&connection).len(), MAX_BATCH);
        assert!(unanswered.into_iter().all(|mut a| a.try_recv().is_err()));
    }

    #[test]
    fn what_nobody_waits_for_is_left_out() {
        let (connection, jobs) = (database(), jobs());
        drop(keep(&jobs, 1));
        let wanted = keep(&jobs, 2);
        run_one(&connection, &jobs);
        assert_eq!((kind(wanted), kept(&connection)), (None, vec![2]));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_thread_interrupts_nobody_unless_it_is_to() {
        use preempt_rt::sched::{Pid, Scheduler, get_scheduler};

        for (wanted, policy) in [(true, Scheduler::SCHED_BATCH), (false, Scheduler::SCHED_NORMAL)] {
            let options = Options::new().with_batch_scheduling(wanted);
            let writer = Writer::start(database(), &options).unwrap();
            let its_policy = |_: Transaction<'_>| Ok(get_scheduler(Pid::current_thread()).ok());
            assert_eq!(writer.run("test", its_policy).await.unwrap(), Some(policy));
        }
    }
}
