//! How much of something may be said: a bucket that fills up again.

use std::time::Duration;

use crate::model::Timestamp;

/// So much at once, and then one each `every`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    most: u32,
    every: Duration,
    left: u32,
    since: Option<Timestamp>,
}

impl Budget {
    pub(super) const fn new(most: u32, every: Duration) -> Self {
        Self { most, every, left: most, since: None }
    }

    /// How many of `wanted` may be said at `at`.
    pub(super) fn take(&mut self, wanted: usize, at: Timestamp) -> usize {
        // A clock that was put back fills nothing up until it has come to where it was: not that long.
        let since = self.since.unwrap_or(at).min(at);
        let more = at.since(since).as_millis() / self.every.as_millis().max(1);
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(more).min(self.most);
        self.since = Some(since.after(self.every.saturating_mul(more)));
        let granted = u32::try_from(wanted).unwrap_or(u32::MAX).min(self.left);
        self.left -= granted;
        granted as usize
    }

    /// Up to when it was filled up: when something was last asked for, about.
    pub(super) const fn since(&self) -> Option<Timestamp> {
        self.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_unix_secs(1_800_000_000 + secs)
    }

    #[test]
    fn so_much_may_be_said_at_once_and_then_one_each_time() {
        let mut budget = Budget::new(120, Duration::from_secs(1));
        assert_eq!(budget.take(100, at(0)), 100);
        assert_eq!(budget.take(100, at(0)), 20);
        assert_eq!(budget.take(1, at(0)), 0);
        assert_eq!(budget.take(9, at(3)), 3);
        assert_eq!(budget.take(500, at(10_000)), 120);
        assert_eq!(budget.take(1, Timestamp::from_unix_millis(i64::MAX)), 1);
    }

    #[test]
    fn what_is_left_of_a_span_is_not_lost() {
        let mut budget = Budget::new(1, Duration::from_secs(10));
        assert_eq!(budget.take(1, at(0)), 1);
        assert_eq!((budget.take(1, at(9)), budget.take(1, at(10))), (0, 1));
        assert_eq!((budget.take(1, at(19)), budget.take(1, at(20))), (0, 1));
    }

    #[test]
    fn a_clock_that_was_put_back_fills_it_up_all_the_same() {
        let mut budget = Budget::new(1, Duration::from_secs(1));
        assert_eq!(budget.take(1, at(10_000)), 1);
        assert_eq!((budget.take(1, at(0)), budget.take(1, at(1))), (0, 1));
    }
}
