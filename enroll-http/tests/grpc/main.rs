//! `enroll.v1.Fleet` over real HTTP/2 and TLS: what streams may do, when they end, and the client.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../common/mod.rs"]
mod common;

mod client;
mod commands;
mod generated;
mod reports;
mod revocation;
mod streams;
mod support;
