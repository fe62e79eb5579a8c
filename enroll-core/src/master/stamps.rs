//! Instants for what operators do.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::model::{Clock, Timestamp};

/// Gives each operator act of this master an instant of its own, in order.
///
/// Whether a token was minted before or after a node was deleted decides who may take its name; two
/// acts within one millisecond would leave that open.
#[derive(Debug, Default)]
pub(super) struct Stamps(AtomicI64);

impl Stamps {
    /// The present instant, or the next millisecond after the last one given, whichever is later.
    pub(super) fn next(&self, clock: &dyn Clock) -> Timestamp {
        let now = clock.now().unix_millis();
        let mut given = now;
        // The closure always returns a value, so the update always succeeds.
        let _last = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |last| {
            // A clock that was set back by more than a moment is believed: stamps must not run
            // ahead of it for as long as it takes to catch up.
            given = if last >= now && last - now < 1000 { last + 1 } else { now };
            Some(given)
        });
        Timestamp::from_unix_millis(given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct At(AtomicI64);
    impl Clock for At {
        fn now(&self) -> Timestamp {
            Timestamp::from_unix_millis(self.0.load(Ordering::SeqCst))
        }
    }

    #[test]
    fn stamps_of_one_millisecond_are_apart_and_a_clock_set_back_is_believed() {
        let (stamps, clock) = (Stamps::default(), At(AtomicI64::new(50_000)));
        let three: Vec<i64> = (0..3).map(|_| stamps.next(&clock).unix_millis()).collect();
        assert_eq!(three, [50_000, 50_001, 50_002]);
        clock.0.store(10_000, Ordering::SeqCst);
        assert_eq!(stamps.next(&clock).unix_millis(), 10_000);
    }
}
