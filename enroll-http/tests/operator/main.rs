//! The operator API over real sockets, on a store in memory.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../common/mod.rs"]
mod common;

mod admins;
mod client;
mod commands;
mod install;
mod nodes;
mod pages;
mod plain;
mod roles;
mod settings;
mod shown;
mod store;
mod support;
mod tokens;
