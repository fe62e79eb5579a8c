//! Many masters on one PostgreSQL: real processes, a real server.

#[path = "../harness/mod.rs"]
mod harness;

mod differential;
mod doctor;
mod failover;
mod herd;
mod outage;
mod settings;
mod skew;
mod start;
mod storm;
mod watchdog;
