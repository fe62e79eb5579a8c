//! For tests: the conformance suite every store is held against, a clock and an entropy that do as
//! they are told, and makers of tokens, requests and approvals.
//!
//! A store's whole test is nearly this:
//!
//! ```
//! use enroll_core::store::MemoryStore;
//!
//! async fn fresh() -> MemoryStore {
//!     MemoryStore::new()
//! }
//! enroll_core::store_conformance!(fresh);
//! ```
//!
//! **None of this belongs in production**: [`CountingEntropy`] is predictable by design, and what
//! these makers return panics rather than fails.

mod clock;
mod conformance;
mod decorate;
mod entropy;
mod fixtures;
mod flaky;
pub mod laws;

pub use clock::FixedClock;
pub use conformance::{FULL_SCALE, LAWS, Law, LawFuture, check, race, scale, together};
pub use decorate::{Decorator, Operation};
pub use entropy::CountingEntropy;
pub use fixtures::{Claimant, Fixtures, TestToken, name};
pub use flaky::{Fault, FlakyStore, Rival};

#[doc(hidden)]
pub use async_trait::async_trait;
