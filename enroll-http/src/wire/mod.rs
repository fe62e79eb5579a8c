//! The outside contract as JSON: every type that is read from, or written to, a connection.
//!
//! Both ends use the same types. Members that a reader does not know are ignored, so that either
//! end can be the older one. What comes from the network becomes a value of the domain here, and
//! nowhere else.

mod problem;

pub use problem::{ErrorCode, Problem};
