//! The steady listener over real HTTP: what a member may do, and when it no longer is one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../common/mod.rs"]
mod common;

mod authorisation;
mod commands;
mod fusing;
mod heartbeat;
mod recovery;
mod renewal;
