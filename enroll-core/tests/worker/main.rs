//! The worker's half, against a master that really signs, in directories that really exist.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has to fail")]

mod bootstrap;
mod commands;
mod crash;
mod fake;
mod listen;
mod mesh;
mod replace;
mod run;
mod serve;
mod state;
mod support;
