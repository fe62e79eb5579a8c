//! All policy that needs no I/O: the taxonomy of reasons, and the one pure decision.

mod reason;

pub use reason::{Reason, Rejection, WorkerAction};
