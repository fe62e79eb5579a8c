//! Health, as a statement can compare it.

use std::time::Duration;

use crate::model::{NodeRecord, Timestamp};

/// The instants at which a node was last heard from that is degraded: what a store's statements compare
/// with, so that they judge as [`NodeRecord::health`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stale {
    /// This one and those before it.
    pub until: Timestamp,
    /// Those after it: a clock said so that was wrong.
    pub ahead: Timestamp,
}

impl Stale {
    /// Those as of `at`, by a threshold of `stale_after`.
    #[must_use]
    pub fn at(at: Timestamp, stale_after: Duration) -> Self {
        // Ages are whole milliseconds, so one reaches the threshold where it reaches the next whole
        // one. None is below zero, so a threshold of zero is always reached.
        let until = match u64::try_from(stale_after.as_nanos().div_ceil(1_000_000)) {
            Ok(0) => Timestamp::from_unix_millis(i64::MAX),
            Ok(threshold) => at.before(Duration::from_millis(threshold)),
            Err(_) => at.before(Duration::MAX),
        };
        Self { until, ahead: at.after(NodeRecord::CLOCK_LEEWAY) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Facts, Health, NodeId, NodeName, TrustState};

    #[test]
    fn a_comparison_judges_as_health_does() {
        let at = Timestamp::from_unix_millis(1_000_000);
        let mut node = NodeRecord {
            id: NodeId::from_bytes([1; 16]),
            name: NodeName::new("a").unwrap(),
            state: TrustState::Monitoring,
            cordoned: false,
            labels: std::collections::BTreeMap::new(),
            facts: Facts::default(),
            method: None,
            created_at: at,
            enrolled_at: Some(at),
            last_seen_at: None,
            fuse: None,
        };
        let leeway = i64::try_from(NodeRecord::CLOCK_LEEWAY.as_millis()).unwrap();
        let spans = [0, 1, 999_999, 1_000_000, 1_000_001, 2_500_000].map(Duration::from_nanos);
        for stale_after in spans.into_iter().chain([Duration::from_secs(90), Duration::MAX]) {
            let stale = Stale::at(at, stale_after);
            for age in [-leeway - 1, -leeway, -1, 0, 1, 2, 3, 89_999, 90_000, 1_000_000] {
                let seen = Timestamp::from_unix_millis(at.unix_millis() - age);
                node.last_seen_at = Some(seen);
                let degraded = node.health(at, stale_after) == Health::Degraded;
                assert_eq!(
                    seen <= stale.until || seen > stale.ahead,
                    degraded,
                    "{age} {stale_after:?}"
                );
            }
        }
    }
}
