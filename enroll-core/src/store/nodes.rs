//! Nodes, as an operator handles them, and their heartbeats.

use std::time::Duration;

use async_trait::async_trait;

use super::{Page, StoreError};
use crate::model::{
    Event, Facts, FuseId, FuseRecord, Health, NodeId, NodeName, NodeRecord, Status, Timestamp,
    TrustState,
};

/// Which nodes to list. Conditions on liveness are given as of an instant, since health is derived.
#[derive(Debug, Clone, Default)]
#[expect(clippy::exhaustive_structs, reason = "a store reads every field")]
pub struct NodeFilter {
    /// Only of this status, as of this instant and stale threshold.
    pub status: Option<(Status, Timestamp, Duration)>,
    /// Only in this state.
    pub state: Option<TrustState>,
    /// Only those that are degraded, or only those that are not, as of this instant and stale
    /// threshold, cordoned or not: what tells a state from the `degraded` that is shown in its place.
    pub degraded: Option<(bool, Timestamp, Duration)>,
    /// Only of this architecture.
    pub arch: Option<String>,
}

/// How many nodes there are of one state and health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a store builds every field")]
pub struct NodeCount {
    /// Of this state.
    pub state: TrustState,
    /// Of this health.
    pub health: Health,
    /// So many.
    pub nodes: u64,
}

/// One heartbeat.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "a store reads every field")]
pub struct Beat {
    /// Whose.
    pub node_id: NodeId,
    /// When.
    pub at: Timestamp,
    /// What the node says of itself now; `None` leaves it as it was.
    pub facts: Option<Facts>,
}

impl Beat {
    /// Takes over what a later heartbeat of the same node says, so that the two are one: its time, and
    /// its facts where it says any. One that the earlier overtakes all the same changes nothing.
    pub fn merge(&mut self, later: Self) {
        if later.is_overtaken_by(self.at) {
            return;
        }
        self.at = later.at;
        if later.facts.is_some() {
            self.facts = later.facts;
        }
    }

    /// Whether `instant` is later than this, and not by so much that a clock was wrong which has been
    /// put right since: what such a clock said would else silence the node until then.
    #[must_use]
    pub fn is_overtaken_by(&self, instant: Timestamp) -> bool {
        self.at < instant && instant <= self.at.after(NodeRecord::CLOCK_LEEWAY)
    }
}

/// What became of a wish to delete.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub enum DeleteOutcome {
    /// This node is deleted.
    Deleted(Box<NodeRecord>),
    /// No node has the name.
    NoSuchNode,
}

/// One step of a node between states.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "a store reads every field")]
pub struct Transition {
    /// The node.
    pub node_id: NodeId,
    /// The state it was read in.
    pub from: TrustState,
    /// The attempt to fuse it was read with.
    pub attempt: Option<FuseId>,
    /// The state it is to be in.
    pub to: TrustState,
    /// What is kept of the attempt to fuse.
    pub fuse: FuseRecord,
    /// The event to journal with it; `None` for a step nobody needs to know of.
    pub event: Option<Event>,
}

/// Nodes.
///
/// # Contract
/// - **N1** At most one node that is not deleted has a name.
/// - **N2** `delete_node`, in one step: remembers the name as deleted at that instant; revokes the
///   node's identities; revokes every token bound to the name that is neither revoked nor replaced
///   nor spent; closes its open redemptions; removes the node and its commands; journals
///   `event`.
/// - **N3** `record_beats` moves `last_seen_at` forward only: a beat earlier than it, or earlier than
///   the node's enrollment, changes nothing, nor does one of a node that is gone. An instant more
///   than [`NodeRecord::CLOCK_LEEWAY`] ahead of a beat is from a clock that has been put right since,
///   and overtakes nothing. Facts take the place of those held.
/// - **N4** Lists are by name, ascending, and stable under concurrent inserts.
/// - **N5** `transition` writes if and only if the node is there, in the state `from`, and the id of
///   the attempt it keeps (`None` where it keeps none) is `attempt`.
/// - **N6** `count_nodes` counts every node once, by the health it has at `at`.
#[async_trait]
pub trait Nodes: Send + Sync {
    /// The node that has this name.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn node(&self, name: &NodeName) -> Result<Option<NodeRecord>, StoreError>;

    /// Nodes by name.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn nodes(
        &self,
        page: Page<NodeName>,
        filter: NodeFilter,
    ) -> Result<Vec<NodeRecord>, StoreError>;

    /// Counts nodes by state and health, as of an instant; combinations without a node may be left
    /// out.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn count_nodes(
        &self,
        at: Timestamp,
        stale_after: Duration,
    ) -> Result<Vec<NodeCount>, StoreError>;

    /// Keeps new work away from a node, or lets it in again; `event` is journalled if that changed
    /// anything. `None` when no node has the name.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was written then.
    async fn set_cordon(
        &self,
        name: &NodeName,
        cordoned: bool,
        event: Event,
    ) -> Result<Option<NodeRecord>, StoreError>;

    /// Deletes one node.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was written then.
    async fn delete_node(
        &self,
        name: &NodeName,
        at: Timestamp,
        event: Event,
    ) -> Result<DeleteOutcome, StoreError>;

    /// Takes a node from one state to another, if nothing came in between; `None` when something
    /// did.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was written then.
    async fn transition(&self, transition: Transition) -> Result<Option<NodeRecord>, StoreError>;

    /// Records heartbeats, many at once.
    ///
    /// # Errors
    /// [`StoreError`]; none was recorded then.
    async fn record_beats(&self, beats: Vec<Beat>) -> Result<(), StoreError>;
}
