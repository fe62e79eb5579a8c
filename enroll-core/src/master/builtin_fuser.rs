//! The fuser that needs no other system.

use std::sync::Arc;

use async_trait::async_trait;

use super::commands::queued;
use super::fuse::{FuseProgress, Fuser};
use crate::model::{
    Clock, CommandClass, CommandId, CommandRecord, CommandStatus, Entropy, Event, FuseFailure,
    FuseId, FuseRecord, NodeRecord, What,
};
use crate::store::{Finish, QueueOutcome, Store};

/// The fuser that asks the worker itself: a command of kind `fuse`, handed over while the node is
/// fusing; `done` is success, `failed` is failure. For trials, tests, and products whose worker can
/// take control by itself.
pub struct BuiltinFuser {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl BuiltinFuser {
    /// The kind of its command.
    pub const KIND: &'static str = "fuse";
    /// The source of its failures.
    pub const SOURCE: &'static str = "worker_error";

    /// A fuser over the master's own store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { store, clock, entropy }
    }

    async fn command(&self, fuse: &FuseRecord) -> Result<Option<CommandRecord>, FuseFailure> {
        let Some(id) = fuse.ticket.as_deref().and_then(|ticket| ticket.parse().ok()) else {
            return Ok(None);
        };
        self.store.command(id).await.map_err(failed)
    }
}

impl std::fmt::Debug for BuiltinFuser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BuiltinFuser").finish_non_exhaustive()
    }
}

#[async_trait]
impl Fuser for BuiltinFuser {
    async fn begin(&self, node: &NodeRecord, attempt: FuseId) -> Result<String, FuseFailure> {
        let at = self.clock.now();
        let command = CommandRecord {
            id: CommandId::generate(at, &*self.entropy).map_err(failed)?,
            node_id: node.id,
            node_name: node.name.clone(),
            kind: Self::KIND.to_owned(),
            payload: serde_json::json!({ "attempt": attempt.to_string() }),
            class: CommandClass::Fuse,
            status: CommandStatus::Queued,
            queued_by: Self::KIND.to_owned(),
            queued_at: at,
            delivered_at: None,
            finished_at: None,
            output: None,
        };
        let (ticket, event) = (command.id.to_string(), queued(&command));
        match self.store.queue_command(command, event).await.map_err(failed)? {
            QueueOutcome::Queued => Ok(ticket),
            QueueOutcome::Full => Err(failed("the node's queue of commands is full")),
            QueueOutcome::NoSuchNode => Err(failed("the node is gone")),
        }
    }

    async fn poll(
        &self,
        _node: &NodeRecord,
        fuse: &FuseRecord,
    ) -> Result<FuseProgress, FuseFailure> {
        let command = self.command(fuse).await?.ok_or_else(|| failed("the command is gone"))?;
        match command.status {
            CommandStatus::Queued | CommandStatus::Delivered => Ok(FuseProgress::Pending),
            CommandStatus::Done => Ok(FuseProgress::Done),
            CommandStatus::Failed => {
                Err(failed(command.output.unwrap_or_else(|| "the worker gave no reason".into())))
            }
        }
    }

    async fn abort(&self, node: &NodeRecord, fuse: &FuseRecord) -> Result<(), FuseFailure> {
        let Some(command) = self.command(fuse).await? else { return Ok(()) };
        let (at, status) = (self.clock.now(), CommandStatus::Failed);
        let what =
            What::CommandFinished { node_name: node.name.clone(), command_id: command.id, status };
        let finish = Finish {
            node_id: command.node_id,
            id: command.id,
            at,
            status,
            output: Some("The attempt to fuse was ended.".into()),
            event: Event::new(at, what),
        };
        // A command that has ended already needs no end.
        let _ended = self.store.finish(finish).await.map_err(failed)?;
        Ok(())
    }
}

fn failed(cause: impl ToString) -> FuseFailure {
    FuseFailure { source: BuiltinFuser::SOURCE.to_owned(), detail: cause.to_string() }
}
