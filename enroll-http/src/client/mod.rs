//! The worker's side of HTTP: the master, reached over pinned TLS.

mod answer;
mod master;
mod steady;

pub use master::{ClientError, HttpMaster};
