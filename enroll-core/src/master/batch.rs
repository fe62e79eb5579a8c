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
/// ends. Batches are written one after the other, in the order in which they were gathered. What
/// exceeds the bound, or cannot be written, is dropped and counted.
pub(super) struct Batch<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    waiting: Mutex<Vec<T>>,
    /// Held while a batch is taken and written.
    writing: tokio::sync::Mutex<()>,
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
        let shared = Shared {
            waiting: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            bound,
            dropped: AtomicU64::new(0),
            write,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Takes one item, and says whether there was room for it. Called within a tokio runtime.
    pub(super) fn push(&self, item: T) -> bool {
        let mut waiting = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= self.shared.bound {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
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
        true
    }

    /// Writes what is waiting now, and waits for what is being written: before a master ends.
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
        let _one_at_a_time = self.writing.lock().await;
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::Semaphore;

    /// A batch that is written as fast as somebody allows.
    struct Gated {
        batch: Arc<Batch<u32>>,
        gate: Arc<Semaphore>,
        written: Arc<Mutex<Vec<u32>>>,
    }

    fn gated() -> Gated {
        let (gate, written) = (Arc::new(Semaphore::new(0)), Arc::<Mutex<Vec<u32>>>::default());
        let (theirs, kept) = (Arc::clone(&gate), Arc::clone(&written));
        let batch = Batch::new(8, move |items| {
            let (gate, kept) = (Arc::clone(&theirs), Arc::clone(&kept));
            async move {
                gate.acquire().await.expect("it is never closed").forget();
                kept.lock().unwrap().extend(items);
                Ok(())
            }
        });
        Gated { batch: Arc::new(batch), gate, written }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flush_waits_for_the_batch_that_is_being_written() {
        let Gated { batch, gate, written } = gated();
        batch.push(1);
        tokio::time::sleep(DELAY * 2).await;
        batch.push(2);
        let flush = tokio::spawn({
            let batch = Arc::clone(&batch);
            async move { batch.flush().await }
        });
        tokio::time::sleep(DELAY / 2).await;
        assert!(!flush.is_finished() && written.lock().unwrap().is_empty());
        gate.add_permits(2);
        flush.await.unwrap();
        assert_eq!(*written.lock().unwrap(), [1, 2]);
    }
}
