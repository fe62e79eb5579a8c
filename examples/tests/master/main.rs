//! The reference master, as whoever starts it meets it.

#[path = "../harness/mod.rs"]
mod harness;

mod start;
