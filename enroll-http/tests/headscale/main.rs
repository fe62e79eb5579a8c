//! Headscale as it has been since 0.26: the shapes of its JSON, and what becomes of a request when it
//! fails. The stub stands in for versions and troubles that the real one cannot be brought to show;
//! `examples/tests/mesh.rs` meets the real one.
#![expect(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

mod contract;
mod leaving;
mod stub;
mod support;
mod troubles;
