//! The reference worker: configuration, wiring, presentation.

mod args;
mod commands;
mod config;
mod exit;
mod facts;
mod listen;
mod log;
mod mesh;
mod metrics;
mod proofs;
mod rollout;
mod run;
mod workload;

pub use run::main;
