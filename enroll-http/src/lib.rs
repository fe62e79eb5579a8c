//! Everything `enroll` speaks over HTTP: the master's listener and routers, the worker's pinned
//! client.

pub mod client;
mod exposition;
#[cfg(feature = "grpc")]
pub mod fleet;
#[cfg(feature = "host")]
pub mod host;
pub mod integrations;
#[cfg(feature = "metrics")]
pub mod metrics;
pub mod server;
pub mod tls;
pub mod wire;

pub use exposition::exposition;
