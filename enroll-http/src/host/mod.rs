//! What a worker reports of the machine it runs on, and of its containers (feature `host`).
//!
//! It lives here and not in a reference worker because every embedder's worker needs it as it is, and
//! because what runs containers is asked over HTTP, through a Unix socket.

mod containers;
mod inventory;
mod machine;
mod pressure;
mod runtime;
mod telemetry;
mod watch;

pub use inventory::inventory;
pub use telemetry::HostTelemetry;
