//! The machine and its containers, as a worker reports them.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use enroll_core::model::{Clock, HostEvent, Sample, SystemClock};
use enroll_core::worker::Telemetry;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::machine::{Machine, Measured};
use super::pressure::Pressure;
use super::runtime::Runtime;
use super::{containers, watch};

/// Measures this machine, sees what happens on it, and does both for its containers where it is given
/// the socket of what runs them. Names of samples are those of Prometheus' node exporter and of
/// cAdvisor, so that what was drawn for these shows it.
///
/// | event | what happened |
/// |---|---|
/// | `host.disk_full`, `host.disk_recovered` | less than a tenth of a file system is left; a fifth is again |
/// | `host.memory_low`, `host.memory_recovered` | less than a twentieth of the memory is left; a tenth is again |
/// | `container.start`, `container.die`, `container.oom`, … | as what runs the containers says |
///
/// # Defaults
/// No containers; the system's clock. At most [`MAX_EVENTS`](Self::MAX_EVENTS) wait to be taken, the
/// oldest being dropped. However many ask, it measures once in [`FRESH`](Self::FRESH): a page of metrics
/// that anyone may read must not become a load on what runs the containers.
pub struct HostTelemetry {
    machine: Arc<Mutex<(Machine, Pressure)>>,
    happened: Arc<Happened>,
    runtime: Option<Arc<Runtime>>,
    watching: OnceLock<AbortHandle>,
    last: tokio::sync::Mutex<Option<(Instant, Vec<Sample>)>>,
    clock: Arc<dyn Clock>,
}

impl HostTelemetry {
    /// The most events that wait to be taken.
    pub const MAX_EVENTS: usize = 1024;
    /// For so long a measurement is given again.
    pub const FRESH: Duration = Duration::from_secs(1);

    /// This machine, without its containers.
    #[must_use]
    pub fn new() -> Self {
        Self {
            machine: Arc::new(Mutex::new((Machine::new(), Pressure::default()))),
            happened: Arc::default(),
            runtime: None,
            watching: OnceLock::new(),
            last: tokio::sync::Mutex::default(),
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// Its containers too, as Docker's API tells them at `socket`, e.g. `/var/run/docker.sock`. Who may
    /// speak to that socket rules the machine; nothing is asked there but what is shown.
    #[must_use]
    pub fn with_runtime(mut self, socket: impl Into<PathBuf>) -> Self {
        self.runtime = Some(Arc::new(Runtime::at(socket.into())));
        self
    }

    /// Takes the time from `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    async fn measure(&self) -> Vec<Sample> {
        let (machine, at) = (Arc::clone(&self.machine), self.clock.now());
        let measuring = tokio::task::spawn_blocking(move || {
            let mut kept = machine.lock().unwrap_or_else(PoisonError::into_inner);
            let (machine, pressure) = &mut *kept;
            let Measured { samples, disks, memory } = machine.measure();
            (samples, pressure.changes(at, &disks, memory))
        });
        let Ok((samples, events)) = measuring.await else { return Vec::new() };
        self.happened.add(events);
        samples
    }
}

impl Default for HostTelemetry {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Telemetry for HostTelemetry {
    async fn metrics(&self) -> Vec<Sample> {
        // Held while it measures: who asks meanwhile is given the same.
        let mut last = self.last.lock().await;
        if let Some((at, samples)) = &*last
            && at.elapsed() < Self::FRESH
        {
            return samples.clone();
        }
        let mut samples = self.measure().await;
        if let Some(runtime) = &self.runtime {
            samples.extend(containers::measure(runtime).await);
        }
        samples.retain(|sample| sample.check().is_ok());
        *last = Some((Instant::now(), samples.clone()));
        samples
    }

    async fn events(&self) -> Vec<HostEvent> {
        if let Some(runtime) = &self.runtime {
            self.watching.get_or_init(|| {
                let (runtime, happened) = (Arc::clone(runtime), Arc::clone(&self.happened));
                let since = self.clock.now();
                tokio::spawn(watch::for_ever(runtime, happened, since)).abort_handle()
            });
        }
        loop {
            let told = self.happened.told.notified();
            let events = self.happened.take();
            if !events.is_empty() {
                return events;
            }
            told.await;
        }
    }
}

impl Drop for HostTelemetry {
    fn drop(&mut self) {
        if let Some(watching) = self.watching.get() {
            watching.abort();
        }
    }
}

impl fmt::Debug for HostTelemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostTelemetry").field("runtime", &self.runtime).finish_non_exhaustive()
    }
}

/// What happened and was not taken yet.
#[derive(Debug, Default)]
pub(super) struct Happened {
    events: Mutex<VecDeque<HostEvent>>,
    told: Notify,
}

impl Happened {
    /// Adds what holds the bounds.
    pub(super) fn add(&self, events: impl IntoIterator<Item = HostEvent>) {
        let mut kept = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(events.into_iter().filter(|event| event.check().is_ok()));
        let over = kept.len().saturating_sub(HostTelemetry::MAX_EVENTS);
        kept.drain(..over);
        if !kept.is_empty() {
            self.told.notify_one();
        }
    }

    fn take(&self) -> Vec<HostEvent> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use enroll_core::model::Timestamp;

    #[test]
    fn only_the_newest_events_wait_and_none_that_breaks_the_bounds() {
        let happened = Happened::default();
        let event = |n: usize| {
            HostEvent::new(Timestamp::from_unix_secs(1_800_000_000), "host.x", n.to_string())
        };
        happened.add((0..HostTelemetry::MAX_EVENTS + 2).map(event));
        happened.add([HostEvent::new(Timestamp::from_unix_secs(0), "No kind", "")]);
        let kept = happened.take();
        assert_eq!((kept.len(), kept[0].message()), (HostTelemetry::MAX_EVENTS, "2"));
        assert!(happened.take().is_empty());
    }
}
