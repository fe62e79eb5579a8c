//! How long to wait before a call is repeated.

use std::time::Duration;

use crate::model::Entropy;

/// Exponential backoff with full jitter: a wait anywhere between nothing and a window that doubles
/// with every failure, so that a fleet which failed together does not come back together.
///
/// A time the master asked for is always waited out; the jitter comes on top of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
}

impl Backoff {
    /// The window after the first failure, and the one it never grows beyond.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// How long to wait after `failures` failures in a row (1 is the first), of which the last asked
    /// to come back after `retry_after`.
    #[must_use]
    pub fn wait(
        &self,
        failures: u32,
        retry_after: Option<Duration>,
        entropy: &dyn Entropy,
    ) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1).min(31));
        let window = self.first.saturating_mul(doubled).min(self.longest);
        // Whoever is told the same time to come back needs a spread in keeping with it.
        let window = window.max(retry_after.unwrap_or_default() / 4);
        retry_after.unwrap_or_default().saturating_add(up_to(window, entropy))
    }
}

impl Default for Backoff {
    /// Half a second, doubling to at most 30 s.
    fn default() -> Self {
        Self::new(Duration::from_millis(500), Duration::from_secs(30))
    }
}

/// Anything from nothing to `window`, evenly. Without randomness it is the whole window: late is
/// better than all at once.
pub(super) fn up_to(window: Duration, entropy: &dyn Entropy) -> Duration {
    let mut random = [0xff; 4];
    if entropy.fill(&mut random).is_err() {
        random = [0xff; 4];
    }
    // The product stays below 2^127, whatever the window.
    let nanos = window.as_nanos() * u128::from(u32::from_be_bytes(random)) / u128::from(u32::MAX);
    Duration::new((nanos / 1_000_000_000) as u64, (nanos % 1_000_000_000) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// NO SECURITY: a fixed sequence, spread evenly enough to measure by.
    #[derive(Default)]
    struct Spread(AtomicU64);

    impl Entropy for Spread {
        fn fill(&self, buffer: &mut [u8]) -> std::io::Result<()> {
            let at = self.0.fetch_add(1, Ordering::Relaxed);
            // Weyl's sequence of the golden ratio.
            let value = (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32;
            buffer.copy_from_slice(&value.to_be_bytes());
            Ok(())
        }
    }

    struct Broken;

    impl Entropy for Broken {
        fn fill(&self, _: &mut [u8]) -> std::io::Result<()> {
            Err(std::io::ErrorKind::Other.into())
        }
    }

    const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));

    fn waits(failures: u32, retry_after: Option<Duration>) -> Vec<f64> {
        let entropy = Spread::default();
        let wait = |_| BACKOFF.wait(failures, retry_after, &entropy).as_secs_f64();
        (0..10_000).map(wait).collect()
    }

    fn mean(of: &[f64]) -> f64 {
        of.iter().sum::<f64>() / of.len() as f64
    }

    #[test]
    fn the_window_doubles_up_to_its_bound_and_is_used_evenly() {
        for (failures, window) in [(1, 1.0), (2, 2.0), (4, 8.0), (6, 30.0), (1000, 30.0)] {
            let waits = waits(failures, None);
            assert!(waits.iter().all(|wait| (0.0..=window).contains(wait)));
            assert!((mean(&waits) / window - 0.5).abs() < 0.01, "{failures}");
            for tenth in 0..10 {
                let from = window * f64::from(tenth) / 10.0;
                let within = |wait: &&f64| (from..from + window / 10.0).contains(*wait);
                let share = waits.iter().filter(within).count();
                assert!((900..1100).contains(&share), "{failures}: {share} in tenth {tenth}");
            }
        }
    }

    #[test]
    fn a_time_that_was_asked_for_is_waited_out_and_spread_above() {
        let waits = waits(1, Some(Duration::from_secs(40)));
        assert!(waits.iter().all(|wait| (40.0..=50.0).contains(wait)));
        assert!((mean(&waits) - 45.0).abs() < 0.1);
    }

    #[test]
    fn extremes_neither_panic_nor_wrap() {
        let endless = Backoff::new(Duration::MAX, Duration::MAX);
        let wait = endless.wait(u32::MAX, Some(Duration::MAX), &Broken);
        assert_eq!(wait, Duration::MAX);
        assert_eq!(BACKOFF.wait(0, None, &Broken), Duration::from_secs(1));
    }
}
