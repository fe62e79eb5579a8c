//! The mesh, by the shipped binaries: two addresses, one of which is never needed again, and the real
//! Headscale with real tailscaleds where `ENROLL_TEST_MESH=1` asks for them.

#[path = "../harness/mod.rs"]
mod harness;

mod addresses;
mod lab;
mod real;
