//! What an embedder may choose.

use std::num::NonZeroUsize;
use std::time::Duration;

/// How a database is opened and used.
///
/// What durability rests on is no option: WAL, `synchronous=FULL`, foreign keys, `BEGIN IMMEDIATE`.
///
/// # Defaults
/// - [`queue_bound`](Self::with_queue_bound): [`Self::DEFAULT_QUEUE_BOUND`], as many as the
///   listener's default cap of connections, so that no burst that was let in is turned away here.
/// - [`readers`](Self::with_readers): [`Self::DEFAULT_READERS`], because a read takes microseconds
///   while its pages are in memory, and more threads help only where they come from the disk.
/// - [`busy_timeout`](Self::with_busy_timeout): [`Self::DEFAULT_BUSY_TIMEOUT`], which is far above
///   what a batch of another process takes, and below what a worker waits for an answer.
/// - [`cache_kib`](Self::with_cache_kib): [`Self::DEFAULT_CACHE_KIB`], which holds the upper levels
///   of every index of a million nodes; leaves are cached by the operating system.
/// - [`batch_scheduling`](Self::with_batch_scheduling): yes.
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) queue_bound: NonZeroUsize,
    pub(crate) readers: NonZeroUsize,
    pub(crate) busy_timeout: Duration,
    pub(crate) cache_kib: u32,
    pub(crate) batch_scheduling: bool,
}

impl Options {
    /// Operations that may wait for the writer, and as many again for the readers.
    pub const DEFAULT_QUEUE_BOUND: NonZeroUsize = NonZeroUsize::new(4096).expect("is not zero");
    /// Connections that read, each with a thread.
    pub const DEFAULT_READERS: NonZeroUsize = NonZeroUsize::new(2).expect("is not zero");
    /// How long an operation waits for another process: 5 s.
    pub const DEFAULT_BUSY_TIMEOUT: Duration = Duration::from_secs(5);
    /// Page cache of the connection that writes, in KiB; one that reads has an eighth of it.
    pub const DEFAULT_CACHE_KIB: u32 = 8 * 1024;

    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            queue_bound: Self::DEFAULT_QUEUE_BOUND,
            readers: Self::DEFAULT_READERS,
            busy_timeout: Self::DEFAULT_BUSY_TIMEOUT,
            cache_kib: Self::DEFAULT_CACHE_KIB,
            batch_scheduling: true,
        }
    }

    /// Lets at most `bound` operations wait for the writer, and as many for the readers; one more is
    /// told [`Unavailable`](enroll_core::store::StoreErrorKind::Unavailable) at once.
    #[must_use]
    pub const fn with_queue_bound(mut self, bound: NonZeroUsize) -> Self {
        self.queue_bound = bound;
        self
    }

    /// Reads over `readers` connections, each with a thread.
    #[must_use]
    pub const fn with_readers(mut self, readers: NonZeroUsize) -> Self {
        self.readers = readers;
        self
    }

    /// Waits at most `timeout` for another process that writes; SQLite counts whole milliseconds,
    /// and at most `i32::MAX` of them.
    #[must_use]
    pub const fn with_busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// Gives the connection that writes a page cache of at most `kib` KiB, and those that read an eighth
    /// of it each.
    #[must_use]
    pub const fn with_cache_kib(mut self, kib: u32) -> Self {
        self.cache_kib = kib;
        self
    }

    /// Lets the thread that writes wait for its turn on a processor, on Linux, instead of interrupting
    /// who works there (`SCHED_BATCH`, sched(7)). Where processors are scarce, more operations are then
    /// committed together and each costs less; where one is free, nothing changes. It takes one system
    /// call at the start, `sched_setscheduler`: say no under a filter that ends a process for it. One
    /// that refuses it is fine.
    #[must_use]
    pub const fn with_batch_scheduling(mut self, wanted: bool) -> Self {
        self.batch_scheduling = wanted;
        self
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}
