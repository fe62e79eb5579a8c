//! When those who are turned away are told to come back: one after the other, as fast as the master
//! gets through them.
//!
//! A herd that is told one and the same time comes back as a herd. If it is large enough, turning it
//! away takes all that the master can do, and nobody gets in any more. So each is given a place of its
//! own in a line that is not kept, only its end: the next comes so much later as one takes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use enroll_core::model::Rejection;

/// The end of the line of those who were turned away.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    carried_out: AtomicU64,
    line: Mutex<Line>,
}

#[derive(Debug)]
struct Line {
    /// When the last one in it comes.
    end: Option<Instant>,
    /// Since when calls are counted, and how many had been carried out then.
    since: Option<(Instant, u64)>,
    /// What one takes the master.
    each: Duration,
}

impl Default for Line {
    fn default() -> Self {
        Self { end: None, since: None, each: FIRST_GUESS }
    }
}

/// The first in the line comes no sooner, the last no later.
const NEAREST: Duration = Rejection::DEFAULT_RETRY_AFTER;
const FARTHEST: Duration = Duration::from_secs(5 * 60);
/// What one takes, before that was measured.
const FIRST_GUESS: Duration = Duration::from_millis(1);
/// Over how long that is measured; a pause of [`NEAREST`] between two who are turned away says
/// nothing of how fast the master is.
const MEASURED: Duration = Duration::from_secs(1);

impl Backlog {
    /// One call was judged to its end.
    pub(super) fn carried_out(&self) {
        self.carried_out.fetch_add(1, Ordering::Relaxed);
    }

    /// How long one who is turned away at `now` has to wait.
    pub(super) fn turn_away(&self, now: Instant) -> Duration {
        let done = self.carried_out.load(Ordering::Relaxed);
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.measure(now, done);
        let end = line.end.unwrap_or(now).max(now + NEAREST) + line.each;
        let end = end.min(now + FARTHEST);
        line.end = Some(end);
        end.duration_since(now)
    }
}

impl Line {
    fn measure(&mut self, now: Instant, done: u64) {
        let (since, before) = *self.since.get_or_insert((now, done));
        let took = now.saturating_duration_since(since);
        if took < MEASURED {
            return;
        }
        let count = u32::try_from(done.saturating_sub(before)).unwrap_or(u32::MAX);
        if took < NEAREST && count > 0 {
            // One second with much else to do is not to send everybody away for minutes.
            self.each = (took / count).clamp(self.each / 2, self.each * 2);
        }
        self.since = Some((now, done));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    use enroll_core::testing::CountingEntropy;
    use enroll_core::worker::Backoff;

    /// A master by a simulated clock, which carries one call out after the other.
    struct Master {
        backlog: Backlog,
        /// What one takes it, and what it takes to turn one away: a TLS handshake, little else.
        one: Duration,
        refusal: Duration,
        /// How many it lets wait.
        places: u32,
        /// When it is through with all that it has taken on.
        busy_until: Instant,
    }

    impl Master {
        fn new(one: Duration, refusal: Duration) -> Self {
            let backlog = Backlog::default();
            Self { backlog, one, refusal, places: 1_024, busy_until: Instant::now() }
        }

        /// When who comes at `at` is a member, or when to come back.
        fn judge(&mut self, at: Instant) -> Result<Instant, Duration> {
            let waiting = self.busy_until.saturating_duration_since(at);
            self.busy_until = self.busy_until.max(at);
            if waiting >= self.one * self.places {
                self.busy_until += self.refusal;
                return Err(self.backlog.turn_away(at));
            }
            self.busy_until += self.one;
            self.backlog.carried_out();
            Ok(self.busy_until)
        }
    }

    /// When each of a herd that came at one moment was a member, and how often they came in all.
    fn drain(herd: u32, master: &mut Master) -> (Vec<Duration>, u64) {
        let (backoff, entropy) = (Backoff::default(), CountingEntropy::new());
        let start = master.busy_until;
        let mut coming: BinaryHeap<_> = (0..herd).map(|_| Reverse((start, 0_u32))).collect();
        let (mut members, mut calls) = (Vec::new(), 0);
        while let Some(Reverse((at, failures))) = coming.pop() {
            calls += 1;
            assert!(calls < 50 * u64::from(herd), "the master does nothing but turn them away");
            match master.judge(at) {
                Ok(done) => members.push(done - start),
                Err(asked) => {
                    let failures = failures + 1;
                    // The wire has whole seconds.
                    let asked = Duration::from_secs(asked.as_secs_f64().ceil() as u64);
                    let wait = backoff.wait(failures, Some(asked), &entropy);
                    coming.push(Reverse((at + wait, failures)));
                }
            }
        }
        members.sort_unstable();
        (members, calls)
    }

    /// 100,000 machines, a master that manages 1,000 a second and spends on each it turns away two
    /// fifths of what an admission costs: all are members within twice what the admissions take.
    #[test]
    fn a_herd_of_a_hundred_thousand_is_through_in_time() {
        let mut master = Master::new(Duration::from_micros(1_000), Duration::from_micros(400));
        let (members, calls) = drain(100_000, &mut master);
        assert_eq!(members.len(), 100_000, "nobody gives up");
        let (half, last) = (members[50_000], members[99_999]);
        eprintln!("half within {half:?}, all within {last:?}, {calls} calls");
        assert!(last <= Duration::from_secs(200), "all within {last:?}");
        assert!(calls <= 300_000, "{calls} calls");
    }

    #[test]
    fn a_herd_that_fits_is_not_turned_away() {
        let one = Duration::from_micros(1_000);
        let (members, calls) = drain(1_024, &mut Master::new(one, one));
        assert_eq!((members.len(), calls), (1_024, 1_024));
    }

    #[test]
    fn the_line_is_as_long_as_the_master_is_slow_and_has_an_end() {
        let (backlog, start) = (Backlog::default(), Instant::now());
        assert_eq!(backlog.turn_away(start), NEAREST + FIRST_GUESS);
        assert_eq!(backlog.turn_away(start), NEAREST + FIRST_GUESS * 2);
        // Ten in two seconds, again and again.
        let mut now = start;
        for guess in [2, 4, 8, 16, 32, 64, 128, 200, 200] {
            (0..10).for_each(|_| backlog.carried_out());
            now += Duration::from_secs(2);
            assert_eq!(backlog.turn_away(now), NEAREST + Duration::from_millis(guess));
        }
        let last = (0..10_000).map(|_| backlog.turn_away(now)).last();
        assert_eq!(last, Some(FARTHEST));
        // What nobody waits for any more is forgotten.
        let later = now + 2 * FARTHEST;
        assert_eq!(backlog.turn_away(later), NEAREST + Duration::from_millis(200));
    }
}
