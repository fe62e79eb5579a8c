//! The enroll listener over real HTTP: who becomes a member, who does not, and what each is told.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../common/mod.rs"]
mod common;

mod admission;
mod hostile;
mod limits;
mod mounting;
mod refusals;
mod store;
