//! The shape of the workspace: which crate may import which, what stands where, who reads whom.
//!
//! What these tables forbid can be changed, but only here, where it is seen.

mod crates;
mod features;
mod layout;
mod rooms;
mod workspace;
