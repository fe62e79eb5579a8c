//! What nodes report: the last values of each, and events for the journal.
//!
//! Values live in the memory of the master that heard them; they are not facts, and nobody needs them
//! after a restart. Every bound is per node and in all, so that no node takes the place of another.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::budget::Budget;
use super::enroller::Enroller;
use super::members::AuthenticatedNode;
use super::operator::OperatorError;
use crate::model::{Event, HostEvent, NodeId, NodeName, Sample, Timestamp};

/// The last values of every node that reported to this master, and how much each may still say.
#[derive(Default)]
pub(super) struct Reports(Mutex<HashMap<NodeId, Report>>);

struct Report {
    metrics: Option<NodeMetrics>,
    budget: Budget,
}

impl Default for Report {
    fn default() -> Self {
        let budget = Budget::new(Enroller::EVENTS_AT_ONCE, Duration::from_secs(1));
        Self { metrics: None, budget }
    }
}

/// What a node measured last, as it reported it to this master.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct NodeMetrics {
    /// When the report came.
    pub at: Timestamp,
    /// The samples, by name; of those with the same name and labels there is one.
    pub samples: Vec<Sample>,
}

/// How much of a report was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Taken {
    /// So many items.
    pub kept: usize,
    /// So many were not of the form, or over a bound.
    pub left_out: usize,
}

impl Enroller {
    /// The most samples kept of one node: 512.
    pub const MAX_SAMPLES: usize = 512;
    /// The most bytes of samples kept of one node: 64 KiB.
    pub const MAX_SAMPLE_BYTES: usize = 64 * 1024;
    /// Of how many nodes values are kept: 16,384; who has not reported for longest makes room.
    pub const MAX_REPORTING: usize = 16_384;
    /// How many events a node may report in one go: 120. Afterwards one a second.
    pub const EVENTS_AT_ONCE: u32 = 120;

    /// Takes what a node measured now, in place of what it measured before.
    pub fn report_metrics(&self, caller: &AuthenticatedNode, samples: Vec<Sample>) -> Taken {
        let all = samples.len();
        let samples = bounded(samples);
        let kept = samples.len();
        let mut reports = self.reports.lock();
        make_room(&mut reports, caller.node.id);
        let report = reports.entry(caller.node.id).or_default();
        report.metrics = Some(NodeMetrics { at: self.clock.now(), samples });
        Taken { kept, left_out: all - kept }
    }

    /// Takes what happened on a node, for the journal. What is not of the form, or more than a node
    /// may say, is left out.
    pub fn report_events(&self, caller: &AuthenticatedNode, events: Vec<HostEvent>) -> Taken {
        let (all, at, node) = (events.len(), self.clock.now(), &caller.node);
        let good = events.into_iter().filter(|event| event.check().is_ok());
        let good: Vec<HostEvent> = good.collect();
        let kept = self.reports.may_say(node.id, good.len(), at);
        for event in good.into_iter().take(kept) {
            self.note(Event::new(at, event.reported(node.id, node.name.clone())));
        }
        Taken { kept, left_out: all - kept }
    }

    /// What a node measured last, if it has reported to this master.
    ///
    /// # Errors
    /// [`OperatorError::NotFound`] when there is no such node.
    pub async fn node_metrics(
        &self,
        name: &NodeName,
    ) -> Result<Option<NodeMetrics>, OperatorError> {
        let node = self.node(name).await?;
        Ok(self.reports.lock().get(&node.id).and_then(|report| report.metrics.clone()))
    }
}

impl Reports {
    /// Forgets a node that is gone.
    pub(super) fn forget(&self, node: NodeId) {
        self.lock().remove(&node);
    }

    /// How many of `wanted` events of `node` the journal takes at `at`.
    pub(super) fn may_say(&self, node: NodeId, wanted: usize, at: Timestamp) -> usize {
        let mut reports = self.lock();
        make_room(&mut reports, node);
        reports.entry(node).or_default().budget.take(wanted, at)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, Report>> {
        // No code panics while it holds the lock with the value half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a place for `node`: where there is none, who has not reported for longest loses theirs.
fn make_room(reports: &mut HashMap<NodeId, Report>, node: NodeId) {
    if reports.len() < Enroller::MAX_REPORTING || reports.contains_key(&node) {
        return;
    }
    let last = |report: &Report| {
        let metrics = report.metrics.as_ref().map(|metrics| metrics.at);
        metrics.max(report.budget.since())
    };
    let oldest = reports.iter().min_by_key(|(_, report)| last(report)).map(|(id, _)| *id);
    if let Some(oldest) = oldest {
        reports.remove(&oldest);
    }
}

/// What is of the form and within the bounds, by name; the last of those that are one series.
fn bounded(samples: Vec<Sample>) -> Vec<Sample> {
    let mut series = std::collections::BTreeMap::new();
    let mut bytes = 0;
    for sample in samples.into_iter().filter(|sample| sample.check().is_ok()) {
        let key = (sample.name().to_owned(), sample.labels().clone());
        if let Some(earlier) = series.get_mut(&key) {
            *earlier = sample;
            continue;
        }
        bytes += sample.size();
        if series.len() >= Enroller::MAX_SAMPLES || bytes > Enroller::MAX_SAMPLE_BYTES {
            break;
        }
        series.insert(key, sample);
    }
    series.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_unix_secs(1_800_000_000 + secs)
    }

    #[test]
    fn of_one_series_the_last_sample_is_kept_and_what_is_malformed_is_left_out() {
        let samples = vec![
            Sample::gauge("b", 1.0),
            Sample::gauge("a", 1.0).with_label("of", "x"),
            Sample::gauge("not a name", 1.0),
            Sample::gauge("b", 2.0),
            Sample::gauge("a", 3.0),
        ];
        let kept = bounded(samples);
        let values: Vec<_> = kept.iter().map(|it| (it.name(), it.value())).collect();
        assert_eq!(values, [("a", 3.0), ("a", 1.0), ("b", 2.0)]);
    }

    #[test]
    fn what_a_node_may_keep_is_bounded_in_number_and_in_bytes() {
        let many = (0..2000).map(|n| Sample::gauge(format!("a{n}"), 1.0)).collect();
        assert_eq!(bounded(many).len(), Enroller::MAX_SAMPLES);
        let text = "x".repeat(Sample::MAX_TEXT);
        let large = |n: usize| {
            let sample = Sample::gauge(format!("a{n}"), 1.0);
            (0..8).fold(sample, |sample, l| sample.with_label(format!("l{l}"), text.clone()))
        };
        let kept = bounded((0..200).map(large).collect());
        let bytes: usize = kept.iter().map(Sample::size).sum();
        assert!(kept.len() > 20 && bytes <= Enroller::MAX_SAMPLE_BYTES, "{} {bytes}", kept.len());
    }

    #[test]
    fn who_has_not_reported_for_longest_makes_room() {
        let id = |n: u64| {
            let entropy = crate::model::SystemEntropy::new();
            NodeId::generate(at(n as i64), &entropy).expect("there is randomness")
        };
        let mut reports = HashMap::new();
        let ids: Vec<NodeId> = (0..Enroller::MAX_REPORTING as u64).map(id).collect();
        for (n, id) in ids.iter().enumerate() {
            let metrics = Some(NodeMetrics { at: at(n as i64), samples: Vec::new() });
            reports.insert(*id, Report { metrics, ..Report::default() });
        }
        make_room(&mut reports, ids[0]);
        assert_eq!(reports.len(), Enroller::MAX_REPORTING, "it has a place already");
        make_room(&mut reports, id(1 << 20));
        assert!(!reports.contains_key(&ids[0]) && reports.contains_key(&ids[1]));
    }
}
