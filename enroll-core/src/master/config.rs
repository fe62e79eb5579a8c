//! What a master tells its workers, and how it judges their silence.

use std::time::Duration;

use crate::model::Host;

/// What a master tells its workers, and how it judges their silence.
///
/// # Defaults
/// | field | default | because |
/// |---|---|---|
/// | `steady_addr` | none | workers then keep the one they were configured with |
/// | `enroll_url` | none | no invitation can be made without one |
/// | `hosts` | none | the hosts the master is reached at, which no node may be named |
/// | `heartbeat_interval` | [`HEARTBEAT_INTERVAL`](Self::HEARTBEAT_INTERVAL), 30 s | three lost beats stay below the stale threshold |
/// | `stale_after` | [`STALE_AFTER`](Self::STALE_AFTER), 90 s | three intervals |
/// | `recovery_window` | [`RECOVERY_WINDOW`](Self::RECOVERY_WINDOW), 30 days | a machine switched off for a month comes back by itself |
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MasterConfig {
    /// The steady-state address told to workers, `host:port`.
    pub steady_addr: Option<String>,
    /// Where new machines enroll, a URL, for invitations.
    pub enroll_url: Option<String>,
    /// Hosts the master itself is reached at: no node may be named so, and no certificate of a node
    /// names them.
    pub hosts: Vec<Host>,
    /// How often a worker is to report.
    pub heartbeat_interval: Duration,
    /// Without a heartbeat for so long a node is degraded.
    pub stale_after: Duration,
    /// For how long past its expiry a certificate can be recovered.
    pub recovery_window: Duration,
}

impl MasterConfig {
    /// 30 s.
    pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(30);
    /// 90 s.
    pub const STALE_AFTER: Duration = Duration::from_secs(90);
    /// 30 days.
    pub const RECOVERY_WINDOW: Duration = Duration::from_secs(30 * 24 * 60 * 60);
}

impl Default for MasterConfig {
    fn default() -> Self {
        Self {
            steady_addr: None,
            enroll_url: None,
            hosts: Vec::new(),
            heartbeat_interval: Self::HEARTBEAT_INTERVAL,
            stale_after: Self::STALE_AFTER,
            recovery_window: Self::RECOVERY_WINDOW,
        }
    }
}
