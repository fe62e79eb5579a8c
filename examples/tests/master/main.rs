//! The reference master, as whoever starts it meets it.

#[path = "../harness/mod.rs"]
mod harness;

mod certificates;
mod exit_codes;
mod operators;
mod settings;
mod shapes;
mod start;
mod text;
