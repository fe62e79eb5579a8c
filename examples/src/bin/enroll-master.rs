//! The reference master.

fn main() {}
