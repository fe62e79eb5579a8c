//! All policy that needs no I/O, as two pure functions: [`screen`] says whether a request is worth
//! looking anything up for, [`decide`] judges it against what the store holds.
//!
//! Between them stands one read; after them, issuing and one write. The order of the checks is the
//! contract: of several faults, the first in this order is the answer.
//!
//! 1. body, fields, node name: `bad_request`
//! 2. `not_configured`, `enrollment_disabled`
//! 3. `bad_secret`, in constant time, before any store is touched
//! 4. `invalid_token`, `revoked`; then a retry is recognised; then `expired`, `already_consumed`,
//!    `exhausted`
//! 5. `name_mismatch`, `bad_csr`, `name_taken`, `denied`

mod decide;
mod screen;

pub use crate::model::{Reason, Rejection, WorkerAction};
pub use decide::{Approval, Decision, KeyProof, NoKey, Redelivery, Take, decide, lost};
pub use screen::{AutoEnrollment, EnrollmentSecret, Proven, Rules, Screened, screen};
