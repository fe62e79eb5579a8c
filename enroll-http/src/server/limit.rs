//! How many attempts an address may make.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use enroll_core::model::Timestamp;

use super::address::Group;

/// Bounds the attempts of each address: so many at once, and as many per minute from then on.
///
/// An IPv4 address counts by itself, IPv6 by `/64`, an IPv4 address inside IPv6 as that IPv4
/// address. Callers whose address is not known share one bucket.
///
/// It is the generic cell rate algorithm (ITU-T I.371): one instant per address says all. An attempt
/// that is refused costs nothing more, so who waits as long as it is told gets in.
///
/// - **Its memory is bounded**: at most [`AddressLimiter::CAPACITY`] addresses, a few MiB. It is split
///   into [`AddressLimiter::SHARDS`] parts by the network an address belongs to (IPv4 `/24`, IPv6
///   `/48`); what no longer fits into its part shares one bucket of that part. So a party with a
///   whole `/48` crowds out none but those that happen to be in the same part.
/// - **No lock is held for long**, and none for all.
pub struct AddressLimiter {
    rate: Option<Rate>,
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
    capacity: usize,
}

/// All times are microseconds since the Unix epoch.
type Micros = i64;

#[derive(Debug, Clone, Copy)]
struct Rate {
    /// What one attempt costs.
    interval: Micros,
    /// What a full bucket holds.
    burst: Micros,
}

#[derive(Default)]
struct Shard {
    buckets: HashMap<Option<Group>, Bucket>,
    overflow: Bucket,
    /// No bucket is full again before this one.
    next_idle: Bucket,
}

/// When the bucket is full again (the theoretical arrival time).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Bucket(Micros);

impl AddressLimiter {
    /// Attempts at once, and per minute, unless said otherwise: 10.
    pub const ATTEMPTS_PER_MINUTE: u32 = 10;
    /// Addresses that have a bucket of their own at the same time: 65,536.
    pub const CAPACITY: usize = 65_536;
    /// Parts that fill up independently: 64.
    pub const SHARDS: usize = 64;

    /// Lets each address make `attempts_per_minute`; 0 switches the limit off.
    #[must_use]
    pub fn new(attempts_per_minute: u32) -> Self {
        Self::with_shards(attempts_per_minute, Self::SHARDS, Self::CAPACITY / Self::SHARDS)
    }

    fn with_shards(attempts_per_minute: u32, shards: usize, capacity: usize) -> Self {
        Self {
            rate: Rate::per_minute(attempts_per_minute),
            hasher: RandomState::new(),
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            capacity,
        }
    }

    /// Counts an attempt from `from` at `at`.
    ///
    /// # Errors
    /// How long to wait: an attempt after exactly that, and no sooner, is let in, unless another one
    /// from the same address comes before it.
    pub fn admit(&self, from: Option<IpAddr>, at: Timestamp) -> Result<(), Duration> {
        let Some(rate) = self.rate else { return Ok(()) };
        let group = from.map(Group::of);
        let now = at.unix_millis().saturating_mul(1000);
        self.shard(group).bucket(group, rate, now, self.capacity).take(rate, now)
    }

    fn shard(&self, group: Option<Group>) -> MutexGuard<'_, Shard> {
        // A remainder is smaller than the number of shards, which is not zero.
        let which = self.hasher.hash_one(group.map(Group::site)) % self.shards.len() as u64;
        // A bucket is one number: whatever a panicking holder left behind is whole.
        self.shards[which as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for AddressLimiter {
    fn default() -> Self {
        Self::new(Self::ATTEMPTS_PER_MINUTE)
    }
}

impl std::fmt::Debug for AddressLimiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AddressLimiter").field("rate", &self.rate).finish_non_exhaustive()
    }
}

impl Rate {
    fn per_minute(attempts: u32) -> Option<Self> {
        let attempts = i64::from(attempts);
        let interval = MINUTE.checked_div(attempts)?.max(1);
        Some(Self { interval, burst: interval.saturating_mul(attempts) })
    }
}

impl Shard {
    fn bucket(
        &mut self,
        group: Option<Group>,
        rate: Rate,
        now: Micros,
        capacity: usize,
    ) -> &mut Bucket {
        if self.buckets.len() >= capacity && !self.buckets.contains_key(&group) {
            self.sweep(rate, now);
            if self.buckets.len() >= capacity {
                return &mut self.overflow;
            }
        }
        self.buckets.entry(group).or_default()
    }

    /// Forgets the buckets that are full again, if there can be any: a full one is as good as none.
    fn sweep(&mut self, rate: Rate, now: Micros) {
        if !self.next_idle.as_of(rate, now).is_full(now) {
            return;
        }
        self.buckets.retain(|_, bucket| {
            *bucket = bucket.as_of(rate, now);
            !bucket.is_full(now)
        });
        self.next_idle = self.buckets.values().copied().min().unwrap_or_default();
    }
}

impl Bucket {
    /// The same, as seen from `now`. It cannot be emptier than empty, whatever it says: a clock that
    /// was set back must not shut an address out for as long as it was set back by.
    fn as_of(self, rate: Rate, now: Micros) -> Self {
        Self(self.0.clamp(now, now.saturating_add(rate.burst)))
    }

    const fn is_full(self, now: Micros) -> bool {
        self.0 <= now
    }

    fn take(&mut self, rate: Rate, now: Micros) -> Result<(), Duration> {
        *self = self.as_of(rate, now);
        let next = self.0.saturating_add(rate.interval);
        let over = next.saturating_sub(now).saturating_sub(rate.burst);
        if over > 0 {
            return Err(Duration::from_micros(over.unsigned_abs()));
        }
        *self = Self(next);
        Ok(())
    }
}

impl Default for Bucket {
    /// A bucket that was never touched: full at all times.
    fn default() -> Self {
        Self(Micros::MIN)
    }
}

const MINUTE: Micros = 60_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    const START: i64 = 1_800_000_000_000;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(START + millis)
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn v4(n: u32) -> Option<IpAddr> {
        Some(IpAddr::from(n.to_be_bytes()))
    }

    fn admitted(limiter: &AddressLimiter, from: Option<IpAddr>, now: Timestamp) -> usize {
        (0..100).take_while(|_| limiter.admit(from, now).is_ok()).count()
    }

    fn held(limiter: &AddressLimiter) -> usize {
        limiter.shards.iter().map(|shard| shard.lock().unwrap().buckets.len()).sum()
    }

    #[test]
    fn ten_at_once_and_then_one_every_six_seconds() {
        let limiter = AddressLimiter::default();
        let from = ip("192.0.2.1");
        assert_eq!(admitted(&limiter, from, at(0)), 10);
        assert_eq!(limiter.admit(from, at(0)), Err(Duration::from_secs(6)));
        assert_eq!(limiter.admit(from, at(1_500)), Err(Duration::from_millis(4_500)));
        assert_eq!(limiter.admit(from, at(5_999)), Err(Duration::from_millis(1)));
        assert_eq!(limiter.admit(from, at(6_000)), Ok(()), "who waits as told gets in");
        assert!(limiter.admit(from, at(6_000)).is_err());
        assert_eq!(admitted(&limiter, from, at(66_000)), 10);
        assert_eq!(admitted(&limiter, ip("192.0.2.2"), at(0)), 10, "others are not concerned");
    }

    #[test]
    fn over_a_long_time_no_address_gets_more_than_its_rate() {
        for per_minute in [1, 7, 10, 100, 6_000, 100_000] {
            let limiter = AddressLimiter::new(per_minute);
            let let_in = (0..600_000)
                .filter(|tick| limiter.admit(ip("192.0.2.1"), at(*tick)).is_ok())
                .count();
            // One attempt a millisecond is all that this asks for.
            let earned = per_minute as usize + 599_999 * per_minute as usize / 60_000;
            assert_eq!(let_in, earned.min(600_000), "{per_minute}");
        }
    }

    #[test]
    fn zero_switches_it_off_and_keeps_nothing() {
        let limiter = AddressLimiter::new(0);
        assert_eq!(admitted(&limiter, ip("192.0.2.1"), at(0)), 100);
        assert_eq!(held(&limiter), 0);
    }

    #[test]
    fn the_highest_rate_neither_panics_nor_refuses() {
        let limiter = AddressLimiter::new(u32::MAX);
        for end in [i64::MIN, -1, 0, i64::MAX] {
            let now = Timestamp::from_unix_millis(end);
            assert_eq!(admitted(&limiter, None, now), 100);
        }
        let slow = AddressLimiter::new(1);
        for end in [i64::MAX, i64::MIN, i64::MAX] {
            let _any = slow.admit(None, Timestamp::from_unix_millis(end));
        }
    }

    #[test]
    fn one_party_is_one_address_and_so_are_all_that_are_unknown() {
        let limiter = AddressLimiter::new(2);
        assert!(limiter.admit(ip("2001:db8::1"), at(0)).is_ok());
        assert!(limiter.admit(ip("2001:db8::2:2"), at(0)).is_ok());
        assert!(limiter.admit(ip("2001:db8::3:3:3"), at(0)).is_err());
        assert!(limiter.admit(ip("192.0.2.1"), at(0)).is_ok());
        assert!(limiter.admit(ip("::ffff:192.0.2.1"), at(0)).is_ok());
        assert!(limiter.admit(ip("192.0.2.1"), at(0)).is_err());
        assert_eq!(admitted(&limiter, None, at(0)), 2);
    }

    #[test]
    fn a_clock_set_back_locks_nobody_out() {
        let limiter = AddressLimiter::new(10);
        let from = ip("192.0.2.1");
        assert_eq!(admitted(&limiter, from, at(0)), 10);
        let hour_back = at(-3_600_000);
        assert_eq!(limiter.admit(from, hour_back), Err(Duration::from_secs(6)));
        assert_eq!(limiter.admit(from, hour_back.after(Duration::from_secs(6))), Ok(()));
    }

    #[test]
    fn memory_is_bounded_whoever_calls() {
        let limiter = AddressLimiter::new(10);
        for n in 0..300_000 {
            let _any = limiter.admit(v4(n), at(0));
        }
        assert!(held(&limiter) <= AddressLimiter::CAPACITY);
        for n in 0..300_000_u128 {
            let from = IpAddr::from(Ipv6Addr::from((0x2001_0db8 << 96) | (n << 64)));
            let _any = limiter.admit(Some(from), at(0));
        }
        assert!(held(&limiter) <= AddressLimiter::CAPACITY);
    }

    #[test]
    fn what_does_not_fit_shares_a_bucket_until_there_is_room() {
        let limiter = AddressLimiter::with_shards(10, 1, 4);
        for n in 0..4 {
            assert_eq!(admitted(&limiter, v4(n), at(0)), 10);
        }
        let crowd = (4..1_000).filter(|n| limiter.admit(v4(*n), at(0)).is_ok()).count();
        assert_eq!(crowd, 10, "996 addresses have one bucket between them");
        assert_eq!(held(&limiter), 4);
        assert!(limiter.admit(v4(2), at(6_000)).is_ok(), "who was there keeps a bucket");
        assert_eq!(admitted(&limiter, v4(5_000), at(60_000)), 10, "idle ones make room");
        assert_eq!(held(&limiter), 2, "the one that called at 6 s and the newcomer");
    }

    #[test]
    fn a_party_with_a_whole_forty_eight_crowds_out_one_part_alone() {
        let limiter = AddressLimiter::default();
        for n in 0..65_536_u128 {
            let from = IpAddr::from(Ipv6Addr::from((0x2001_0db8 << 96) | (n << 64)));
            let _any = limiter.admit(Some(from), at(0));
        }
        assert_eq!(held(&limiter), AddressLimiter::CAPACITY / AddressLimiter::SHARDS);
        let others = (0..6_400_u32).map(|n| v4(0x0a00_0000 + (n << 8)));
        let served = others.filter(|from| limiter.admit(*from, at(0)).is_ok()).count();
        assert!(served > 6_000, "{served} of 6,400 networks are served");
    }
}
