//! What the reference master, the reference worker and the demo share.

/// The README's code is compiled with the tests, so that it cannot fall behind.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

pub mod demo;
mod files;
pub mod master;
mod process;
pub mod worker;

#[cfg(feature = "failpoints")]
pub use process::arm_failpoint;
pub use process::{log_to_stderr, span, stop_signal};
