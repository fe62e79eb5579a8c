//! A clock that stands still.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::model::{Clock, Timestamp};

/// A clock that shows what it was set to. It refuses to go back, as a good clock does; a test of
/// what a bad one does says so by [`danger_set_back`](Self::danger_set_back).
#[derive(Debug)]
pub struct FixedClock(AtomicI64);

impl FixedClock {
    /// A clock that shows `at`.
    #[must_use]
    pub const fn at(at: Timestamp) -> Self {
        Self(AtomicI64::new(at.unix_millis()))
    }

    /// Shows `at` from now on.
    ///
    /// # Panics
    /// When `at` is before what it shows.
    pub fn set(&self, at: Timestamp) {
        let before = self.0.fetch_max(at.unix_millis(), Ordering::SeqCst);
        let before = Timestamp::from_unix_millis(before);
        assert!(at >= before, "a fixed clock does not go back from {before:?} to {at:?}");
    }

    /// Shows what it shows now and `span` more. Returns that.
    pub fn advance(&self, span: Duration) -> Timestamp {
        let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        let add = |now: i64| Some(now.saturating_add(millis));
        let before = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add);
        Timestamp::from_unix_millis(before.unwrap_or_else(|now| now)).after(span)
    }

    /// Shows `at` from now on, even if that is going back: a clock somebody corrected.
    pub fn danger_set_back(&self, at: Timestamp) {
        self.0.store(at.unix_millis(), Ordering::SeqCst);
    }
}

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_unix_secs(1_795_000_000);

    #[test]
    fn it_moves_only_when_told() {
        let clock = FixedClock::at(START);
        assert_eq!((clock.now(), clock.now()), (START, START));
        let later = clock.advance(Duration::from_millis(1_500));
        assert_eq!(later.since(START), Duration::from_millis(1_500));
        assert_eq!(clock.now(), later);
        clock.set(later);
        clock.danger_set_back(START);
        assert_eq!(clock.now(), START);
    }

    #[test]
    #[should_panic(expected = "does not go back")]
    fn it_refuses_to_go_back() {
        FixedClock::at(START).set(START.before(Duration::from_millis(1)));
    }
}
