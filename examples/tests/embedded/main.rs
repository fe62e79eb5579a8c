//! Masters that an embedder builds from the libraries: with its own policy, issuer, prefix, paths.

#[path = "../harness/mod.rs"]
mod harness;

mod built;
mod own;
mod reasons;
mod scene;
mod seats;
