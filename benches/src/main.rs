//! What a user would measure, beside its limit.

fn main() {}
