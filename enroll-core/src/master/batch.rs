//! Work gathered in memory and written together, soon.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::store::StoreError;

type Written = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;
type Write<T> = Box<dyn Fn(Vec<T>) -> Written + Send + Sync>;

/// Gathers items and writes them together, at most [`DELAY`] after the first of them.
///
/// No task lives between two batches: the first item of a batch starts one that sleeps, writes and
/// ends. What exceeds the bound, or cannot be written, is dropped and counted.
pub(super) struct Batch<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    waiting: Mutex<Vec<T>>,
    bound: usize,
    dropped: AtomicU64,
    write: Write<T>,
}

/// How long an item waits for company. A reader sees it a second later at most.
pub(super) const DELAY: Duration = Duration::from_millis(500);

impl<T: Send + 'static> Batch<T> {
    /// Writes with `write`, holding at most `bound` items.
    pub(super) fn new<F>(bound: usize, write: impl Fn(Vec<T>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), StoreError>> + Send + 'static,
    {
        let write: Write<T> = Box::new(move |items| Box::pin(write(items)));
        let shared = Shared { waiting: Mutex::default(), bound, dropped: AtomicU64::new(0), write };
        Self { shared: Arc::new(shared) }
    }

    /// Takes one item. Called within a tokio runtime.
    pub(super) fn push(&self, item: T) {
        let mut waiting = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= self.shared.bound {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.push(item);
        let first = waiting.len() == 1;
        drop(waiting);
        if first {
            let shared = Arc::clone(&self.shared);
            drop(tokio::spawn(async move {
                tokio::time::sleep(DELAY).await;
                shared.flush().await;
            }));
        }
    }

    /// Writes what is waiting now: before a master ends.
    pub(super) async fn flush(&self) {
        self.shared.flush().await;
    }

    /// How many items were dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

impl<T> Shared<T> {
    async fn flush(&self) {
        let items =
            std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        let count = items.len();
        if count == 0 {
            return;
        }
        if let Err(cause) = (self.write)(items).await {
            self.dropped.fetch_add(count as u64, Ordering::Relaxed);
            tracing::warn!(count, %cause, "what was gathered could not be written");
        }
    }
}
