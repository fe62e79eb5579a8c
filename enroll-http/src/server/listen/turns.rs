//! Whose turn it is: how many new connections are worked on at once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The turns of a listener, given in the order in which connections first said something.
///
/// When a herd comes, all of it wants a handshake at once. Worked on together, all would be served
/// late, and each would take its buffers meanwhile; one after the other, the first are served early,
/// and who waits costs a socket.
#[derive(Debug)]
pub(super) struct Turns(Arc<Semaphore>);

/// One connection's turn: from its first byte until it has its first answer or a stream that lasts, but
/// no longer than [`Self::LONGEST`], so that peers which stall hold nobody up for long.
#[derive(Debug)]
pub(super) struct Turn(Mutex<Option<OwnedSemaphorePermit>>);

impl Turns {
    pub(super) fn new(at_once: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_once.clamp(1, Semaphore::MAX_PERMITS))))
    }

    /// Waits for the next turn. Dropping the future gives the place in the line up.
    pub(super) async fn next(&self) -> Arc<Turn> {
        // An error would mean that it was closed, which nobody does.
        let permit = Arc::clone(&self.0).acquire_owned().await.ok();
        Arc::new(Turn(Mutex::new(permit)))
    }
}

impl Turn {
    /// The longest that a turn lasts: what the slowest of links and of machines take.
    pub(super) const LONGEST: Duration = Duration::from_secs(2);

    /// Lets the next one begin. The connection goes on; to end its turn again changes nothing.
    pub(super) fn end(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it is not there yet, having been asked for.
    async fn waits(turn: impl Future<Output = Arc<Turn>>) -> bool {
        tokio::time::timeout(Duration::ZERO, turn).await.is_err()
    }

    #[tokio::test]
    async fn turns_are_given_in_order_and_end_once() {
        let turns = Turns::new(1);
        let first = turns.next().await;
        let (mut second, mut third) = (Box::pin(turns.next()), Box::pin(turns.next()));
        assert!(waits(&mut second).await && waits(&mut third).await);
        first.end();
        first.end();
        assert!(waits(&mut third).await, "it is the second's");
        let second = second.await;
        drop(first);
        assert!(waits(&mut third).await, "the first had ended already");
        drop(second);
        let _third = third.await;
    }
}
