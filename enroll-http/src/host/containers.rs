//! The containers of a machine: their state, and what those that run use.

use std::collections::BTreeMap;
use std::sync::Arc;

use enroll_core::model::Sample;
use serde::Deserialize;
use tokio::task::JoinSet;

use super::runtime::Runtime;

/// A container in the runtime's list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    image: String,
    #[serde(default)]
    state: String,
}

/// What a container used so far.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Stats {
    cpu_stats: Cpu,
    memory_stats: Memory,
    networks: BTreeMap<String, Network>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cpu {
    cpu_usage: CpuUsage,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CpuUsage {
    /// Nanoseconds.
    total_usage: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Memory {
    usage: u64,
    limit: u64,
    stats: MemoryStats,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MemoryStats {
    inactive_file: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Network {
    rx_bytes: u64,
    tx_bytes: u64,
}

/// What there is to say of all containers; of a runtime that does not answer, that it does not.
pub(super) async fn measure(runtime: &Arc<Runtime>) -> Vec<Sample> {
    let list = runtime.get::<Vec<Container>>("/containers/json?all=true").await;
    let up = Sample::gauge("container_runtime_up", if list.is_ok() { 1.0 } else { 0.0 });
    let mut containers = list.unwrap_or_else(|cause| {
        tracing::debug!(%cause, "the containers cannot be listed");
        Vec::new()
    });
    containers.truncate(MOST);
    let mut samples = vec![up];
    samples.extend(containers.iter().map(|container| {
        container
            .label(Sample::gauge("container_state", 1.0))
            .with_label("state", &*container.state)
    }));
    let mut running = containers.into_iter().filter(|container| container.state == "running");
    let mut asked = JoinSet::new();
    for container in running.by_ref().take(AT_ONCE) {
        asked.spawn(usage(Arc::clone(runtime), container));
    }
    while let Some(ended) = asked.join_next().await {
        samples.extend(ended.unwrap_or_default());
        if let Some(container) = running.next() {
            asked.spawn(usage(Arc::clone(runtime), container));
        }
    }
    samples
}

async fn usage(runtime: Arc<Runtime>, container: Container) -> Vec<Sample> {
    // One measurement: the runtime would wait a second for another to compare it with.
    let path = format!("/containers/{}/stats?stream=false&one-shot=true", container.id);
    match runtime.get::<Stats>(&path).await {
        Ok(stats) => stats.samples(&container),
        // It may have ended since it was listed.
        Err(_) => Vec::new(),
    }
}

impl Container {
    fn name(&self) -> &str {
        let name = self.names.first().map(|name| name.trim_start_matches('/'));
        name.unwrap_or_else(|| self.id.get(..12).unwrap_or(&self.id))
    }

    fn label(&self, sample: Sample) -> Sample {
        sample.with_label("name", self.name()).with_label("image", &*self.image)
    }
}

impl Stats {
    fn samples(&self, container: &Container) -> Vec<Sample> {
        let received = self.networks.values().map(|network| network.rx_bytes).sum::<u64>();
        let sent = self.networks.values().map(|network| network.tx_bytes).sum::<u64>();
        let memory = &self.memory_stats;
        // What the kernel would give back at once is not counted, as the runtime's own tools do.
        let used = memory.usage.saturating_sub(memory.stats.inactive_file);
        [
            Sample::counter("container_cpu_usage_seconds_total", self.cpu_seconds()),
            Sample::gauge("container_memory_working_set_bytes", float(used)),
            Sample::gauge("container_spec_memory_limit_bytes", float(memory.limit)),
            Sample::counter("container_network_receive_bytes_total", float(received)),
            Sample::counter("container_network_transmit_bytes_total", float(sent)),
        ]
        .map(|sample| container.label(sample))
        .into()
    }

    fn cpu_seconds(&self) -> f64 {
        float(self.cpu_stats.cpu_usage.total_usage) / 1e9
    }
}

#[expect(clippy::cast_precision_loss, reason = "a measured value of more than 2^53 may be rounded")]
const fn float(value: u64) -> f64 {
    value as f64
}

/// Containers of one machine that are told of.
const MOST: usize = 256;
/// Containers asked of at once.
const AT_ONCE: usize = 8;
