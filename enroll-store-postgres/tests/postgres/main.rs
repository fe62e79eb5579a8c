//! A real server, and what can happen to it and on the way to it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod changes;
mod clock;
mod durability;
mod failover;
mod lost;
mod outage;
mod proxy;
mod redemption;
mod support;
mod tls;
mod touched;
