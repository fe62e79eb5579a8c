//! A bounded queue between tasks that never wait and threads that do.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::Failure;

/// A bounded queue: pushing never waits, popping does.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    bound: usize,
}

struct State<T> {
    items: VecDeque<T>,
    open: bool,
}

impl<T> Queue<T> {
    pub(crate) fn new(bound: NonZeroUsize) -> Self {
        let state = State { items: VecDeque::new(), open: true };
        Self { state: Mutex::new(state), filled: Condvar::new(), bound: bound.get() }
    }

    /// Adds an item at the back.
    ///
    /// # Errors
    /// [`Failure::Overloaded`] when it is full, [`Failure::Stopped`] when it is closed.
    pub(crate) fn push(&self, item: T) -> Result<(), Failure> {
        let mut state = self.state();
        if !state.open {
            return Err(Failure::Stopped);
        }
        if state.items.len() >= self.bound {
            return Err(Failure::Overloaded);
        }
        state.items.push_back(item);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Takes the item at the front, waiting for one; `None` once it is closed and drained.
    pub(crate) fn pop(&self) -> Option<T> {
        let empty = |state: &mut State<T>| state.open && state.items.is_empty();
        let waited = self.filled.wait_while(self.state(), empty);
        waited.unwrap_or_else(PoisonError::into_inner).items.pop_front()
    }

    /// Takes the item at the front, if there is one now.
    pub(crate) fn try_pop(&self) -> Option<T> {
        self.state().items.pop_front()
    }

    /// Takes no more items; those that wait are still popped.
    pub(crate) fn close(&self) {
        self.state().open = false;
        self.filled.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // Nothing that can panic runs under the lock, so what it guards is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread's hold on its queue. When the thread ends, however it ends, the queue is closed and what
/// waits in it is dropped, so that nobody waits for a thread that is gone.
pub(crate) struct Closing<T>(Arc<Queue<T>>);

impl<T> Closing<T> {
    pub(crate) fn of(queue: &Arc<Queue<T>>) -> Self {
        Self(Arc::clone(queue))
    }

    pub(crate) fn queue(&self) -> &Queue<T> {
        &self.0
    }
}

impl<T> Drop for Closing<T> {
    fn drop(&mut self) {
        self.0.close();
        while self.0.try_pop().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(bound: usize) -> Queue<u32> {
        Queue::new(NonZeroUsize::new(bound).unwrap())
    }

    #[test]
    fn it_is_bounded_and_keeps_order() {
        let queue = queue(2);
        assert!(queue.push(1).is_ok() && queue.push(2).is_ok());
        assert!(matches!(queue.push(3), Err(Failure::Overloaded)));
        assert_eq!((queue.pop(), queue.try_pop(), queue.try_pop()), (Some(1), Some(2), None));
    }

    #[test]
    fn closing_lets_what_waits_out_and_nothing_in() {
        let queue = queue(2);
        assert!(queue.push(1).is_ok());
        queue.close();
        assert!(matches!(queue.push(2), Err(Failure::Stopped)));
        assert_eq!((queue.pop(), queue.pop()), (Some(1), None));
    }

    #[test]
    fn a_thread_that_ends_takes_what_waits_with_it() {
        let queue = Arc::new(queue(2));
        assert!(queue.push(1).is_ok());
        drop(Closing::of(&queue));
        assert!(matches!(queue.push(2), Err(Failure::Stopped)));
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn closing_wakes_every_thread_that_waits() {
        let queue = Arc::new(queue(2));
        let waiting: Vec<_> = (0..3)
            .map(|_| Arc::clone(&queue))
            .map(|queue| std::thread::spawn(move || queue.pop()))
            .collect();
        queue.close();
        for thread in waiting {
            assert_eq!(thread.join().unwrap(), None);
        }
    }
}
