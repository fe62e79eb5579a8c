//! Commands, queued per node.

use async_trait::async_trait;

use super::{Page, StoreError};
use crate::model::{CommandId, CommandRecord, CommandStatus, Event, NodeId, NodeName, Timestamp};

/// What became of a wish to queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum QueueOutcome {
    /// It is queued.
    Queued,
    /// The node has [`CommandRecord::MAX_OPEN`] unacknowledged ones: nothing was written.
    Full,
    /// The node is gone: nothing was written.
    NoSuchNode,
}

/// One command to end.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "a store reads every field")]
pub struct Finish {
    /// The node that speaks of it.
    pub node_id: NodeId,
    /// The command.
    pub id: CommandId,
    /// When.
    pub at: Timestamp,
    /// [`CommandStatus::Done`] or [`CommandStatus::Failed`].
    pub status: CommandStatus,
    /// What was said of it.
    pub output: Option<String>,
    /// The event to journal with it.
    pub event: Event,
}

/// Commands.
///
/// # Contract
/// - **Q1** Per node, commands are handed over in the order they were queued.
/// - **Q2** Per node, at most [`CommandRecord::MAX_OPEN`] are unacknowledged, and the newest
///   [`CommandRecord::KEPT`] finished ones are kept.
/// - **Q3** `finish` ends a command once: of several calls one returns the record, all others
///   `None`, as does a call by another node or for an unknown id.
/// - **Q4** Deleting a node removes its commands, in the same step.
#[async_trait]
pub trait Commands: Send + Sync {
    /// Queues one command.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was written then.
    async fn queue_command(
        &self,
        command: CommandRecord,
        event: Event,
    ) -> Result<QueueOutcome, StoreError>;

    /// Commands of a node that are queued or delivered, oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn open_commands(
        &self,
        node_id: NodeId,
        limit: u32,
    ) -> Result<Vec<CommandRecord>, StoreError>;

    /// Marks queued commands of a node as delivered; others stay as they are.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was written then.
    async fn mark_delivered(
        &self,
        node_id: NodeId,
        ids: Vec<CommandId>,
        at: Timestamp,
    ) -> Result<(), StoreError>;

    /// Ends one command.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was written then.
    async fn finish(&self, finish: Finish) -> Result<Option<CommandRecord>, StoreError>;

    /// The command of this id.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn command(&self, id: CommandId) -> Result<Option<CommandRecord>, StoreError>;

    /// Commands of the node that has this name, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn commands(
        &self,
        name: &NodeName,
        page: Page<CommandId>,
    ) -> Result<Vec<CommandRecord>, StoreError>;
}
