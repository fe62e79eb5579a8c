//! A rack of a thousand machines behind one address, which are all switched on at once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;
use std::time::Duration;

use enroll_core::model::{SystemEntropy, Timestamp};
use enroll_core::worker::Backoff;
use enroll_http::server::AddressLimiter;

const MACHINES: usize = 1_000;
const START: Timestamp = Timestamp::from_unix_secs(1_800_000_000);

/// What became of the rack.
#[derive(Debug)]
struct Healed {
    /// Until the last machine was let in.
    after: Duration,
    /// Calls that were refused.
    refused: usize,
    /// The most calls of any machine.
    most: u32,
}

/// Every machine calls until it is let in, and waits after each refusal as a worker does.
fn heal(limiter: &AddressLimiter) -> Healed {
    let from: IpAddr = [192, 0, 2, 1].into();
    let (backoff, entropy) = (Backoff::default(), SystemEntropy::new());
    // Who calls next: when, which machine, how often it was refused so far.
    let mut calls: BinaryHeap<Reverse<(Timestamp, usize, u32)>> =
        (0..MACHINES).map(|machine| Reverse((START, machine, 0))).collect();
    let mut healed = Healed { after: Duration::ZERO, refused: 0, most: 0 };
    while let Some(Reverse((at, machine, failures))) = calls.pop() {
        let Err(wait) = limiter.admit(Some(from), at) else {
            healed.after = at.since(START);
            healed.most = healed.most.max(failures + 1);
            continue;
        };
        healed.refused += 1;
        // Over HTTP a wait is told in whole seconds, rounded up.
        let told = Duration::from_secs(wait.as_millis().div_ceil(1_000) as u64);
        let pause = backoff.wait(failures + 1, Some(told), &entropy);
        calls.push(Reverse((at.after(pause), machine, failures + 1)));
    }
    healed
}

#[test]
fn a12_a_rack_behind_one_address_heals_by_itself_and_faster_at_a_higher_figure() {
    let slow = heal(&AddressLimiter::default());
    let fast = heal(&AddressLimiter::new(600));
    println!("a rack of {MACHINES}: {slow:?} at the default, {fast:?} at 600 a minute");
    // At ten a minute the last of a thousand cannot be in before its 99 minutes are over.
    let least = Duration::from_secs(99 * 60);
    assert!(slow.after >= least, "{slow:?}");
    assert!(slow.after <= least * 3 / 2, "the bucket is seldom left unused: {slow:?}");
    assert!(fast.after <= slow.after / 10, "{fast:?}");
    assert!(fast.after >= Duration::from_secs(40), "{fast:?}");
    let none = heal(&AddressLimiter::new(0));
    assert_eq!((none.after, none.refused), (Duration::ZERO, 0), "without a limit nobody waits");
}
