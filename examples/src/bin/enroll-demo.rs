//! A master, three workers and every refusal, in one run.

fn main() {}
