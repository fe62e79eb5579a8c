//! Who is told what happened.

use std::time::Duration;

use crate::model::{Event, Method, Reason};

/// Is told what happens, as it happens: for metrics, logs, webhooks.
///
/// Calls come on the request's path and must not block; hand slow work to a queue.
pub trait Observer: Send + Sync {
    /// Something happened and is on record, or, for a refusal, is about to be.
    fn event(&self, event: &Event);

    /// A request to enroll was answered after `took`: `Ok` with the method it was accepted by, or
    /// the reason it was not. Also counts what is never an event: `rate_limited`, unparsable ones.
    fn answered(&self, outcome: Result<Method, Reason>, took: Duration);
}
