//! Every combination of faults, judged twice: by the code, and by the contract's list of checks.
//!
//! The contract is an order: of several faults the first is the answer. So the oracle is a list of
//! faults in that order, written down a second time here, and the first that is present wins.

mod cases;
mod judging;
mod screening;

use enroll_core::model::{Reason, Timestamp};

/// When the request is judged.
const AT: Timestamp = Timestamp::from_unix_secs(1_795_000_000);

/// The faults of a request in the order of the contract, and with what each is refused.
type Faults = Vec<(bool, Reason)>;

/// The first fault that is present.
fn first(faults: Faults) -> Option<Reason> {
    faults.into_iter().find(|(present, _)| *present).map(|(_, reason)| reason)
}

/// Every combination of the cases so far with these values of one more member.
fn cross<C: Copy, V: Copy>(cases: Vec<C>, values: &[V], set: fn(&mut C, V)) -> Vec<C> {
    let with = |case: &C, value: &V| {
        let mut case = *case;
        set(&mut case, *value);
        case
    };
    cases.iter().flat_map(|case| values.iter().map(move |value| with(case, value))).collect()
}
