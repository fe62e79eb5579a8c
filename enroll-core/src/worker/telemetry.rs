//! What a worker reports of its machine, beside being alive.

use async_trait::async_trait;

use crate::model::{HostEvent, Sample};

/// Who measures the machine, and sees what happens on it.
///
/// It is asked beside the heartbeats: taking long delays the next report and nothing else, as long as
/// no call blocks its thread. Either future may be dropped at any await, and must lose nothing by it.
#[async_trait]
pub trait Telemetry: Send + Sync {
    /// What is measured now: all of it, since it takes the place of what was reported before. Of two
    /// samples with the same name and labels the later one counts.
    async fn metrics(&self) -> Vec<Sample>;

    /// Waits until something has happened, and gives all that did since the last time, oldest first.
    /// What it gave is not asked for again: the worker tells it until the master has it, and forgets it
    /// when it ends itself.
    async fn events(&self) -> Vec<HostEvent>;
}

/// Reports nothing: for a worker that only lives.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct NoTelemetry;

#[async_trait]
impl Telemetry for NoTelemetry {
    async fn metrics(&self) -> Vec<Sample> {
        Vec::new()
    }

    async fn events(&self) -> Vec<HostEvent> {
        std::future::pending().await
    }
}
