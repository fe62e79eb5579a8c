//! The command that asks a worker to do its part of an attempt to fuse it.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::commands::queued;
use super::observer::Observer;
use crate::model::{
    Clock, CommandClass, CommandId, CommandRecord, CommandStatus, Event, FuseFailure, FuseId,
    NodeRecord, What,
};
use crate::store::{Finish, QueueOutcome, Store, StoreError};

/// Commands of the kind [`CommandRecord::FUSE`], one for each attempt, handed over only while the node
/// is fusing: what a [`Fuser`](super::Fuser) tells the worker by.
///
/// The id of such a command is the attempt's, so that it is found again by whoever knows the attempt,
/// on any master, and never queued twice.
#[derive(Clone)]
pub struct FuseCommands {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    observers: Vec<Arc<dyn Observer>>,
}

impl FuseCommands {
    /// Over the master's own store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, observers: Vec::new() }
    }

    /// Has `observer` hear of each command that is queued or taken back, as the
    /// [`Enroller`](super::Enroller)'s own do of everything else.
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    fn tell(&self, event: &Event) {
        for observer in &self.observers {
            observer.event(event);
        }
    }

    /// Asks the worker of `node`, unless it was asked already. `payload` is told to the worker beside
    /// the attempt, is stored, and so holds no secret.
    ///
    /// # Errors
    /// [`FuseFailure::WORKER`] when the worker cannot be asked.
    pub async fn queue(
        &self,
        node: &NodeRecord,
        attempt: FuseId,
        payload: Map<String, Value>,
    ) -> Result<CommandId, FuseFailure> {
        let id = id_of(attempt);
        if self.store.command(id).await.map_err(unknown)?.is_some() {
            return Ok(id);
        }
        let mut payload = payload;
        payload.insert("attempt".into(), attempt.to_string().into());
        let command = CommandRecord {
            id,
            node_id: node.id,
            node_name: node.name.clone(),
            kind: CommandRecord::FUSE.to_owned(),
            payload: Value::Object(payload),
            class: CommandClass::Fuse,
            status: CommandStatus::Queued,
            queued_by: CommandRecord::FUSE.to_owned(),
            queued_at: self.clock.now(),
            delivered_at: None,
            finished_at: None,
            output: None,
        };
        let event = queued(&command);
        match self.store.queue_command(command, event.clone()).await.map_err(unknown)? {
            QueueOutcome::Queued => {
                self.tell(&event);
                Ok(id)
            }
            QueueOutcome::Full => Err(failed("the node's queue of commands is full")),
            QueueOutcome::NoSuchNode => Err(failed("the node is gone")),
        }
    }

    /// How far the worker got; `false` until it says that it did its part.
    ///
    /// # Errors
    /// [`FuseFailure::WORKER`] when the worker says that it cannot, or the command is gone.
    pub async fn is_done(&self, attempt: FuseId) -> Result<bool, FuseFailure> {
        let command = match self.store.command(id_of(attempt)).await {
            Ok(command) => command.ok_or_else(|| failed("the command is gone"))?,
            Err(cause) => {
                // Whether it failed is not known: the deadline ends it, if nothing else does.
                tracing::warn!(%attempt, %cause, "how far an attempt to fuse got is not known");
                return Ok(false);
            }
        };
        match command.status {
            CommandStatus::Queued | CommandStatus::Delivered => Ok(false),
            CommandStatus::Done => Ok(true),
            CommandStatus::Failed => {
                Err(failed(command.output.unwrap_or_else(|| "the worker gave no reason".into())))
            }
        }
    }

    /// Takes back what the worker of `node` was asked; it is then not handed over any more.
    ///
    /// # Errors
    /// [`FuseFailure::WORKER`] when the store cannot record it.
    pub async fn withdraw(&self, node: &NodeRecord, attempt: FuseId) -> Result<(), FuseFailure> {
        let (id, at, status) = (id_of(attempt), self.clock.now(), CommandStatus::Failed);
        let what = What::CommandFinished { node_name: node.name.clone(), command_id: id, status };
        let event = Event::new(at, what);
        let finish = Finish {
            node_id: node.id,
            id,
            at,
            status,
            output: Some("The attempt to fuse was ended.".into()),
            event: event.clone(),
        };
        // One that has ended already, or never was, needs no end.
        if self.store.finish(finish).await.map_err(unknown)?.is_some() {
            self.tell(&event);
        }
        Ok(())
    }
}

impl fmt::Debug for FuseCommands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FuseCommands").finish_non_exhaustive()
    }
}

fn id_of(attempt: FuseId) -> CommandId {
    CommandId::from_bytes(*attempt.as_bytes())
}

fn failed(detail: impl Into<String>) -> FuseFailure {
    FuseFailure { source: FuseFailure::WORKER.to_owned(), detail: detail.into() }
}

fn unknown(cause: StoreError) -> FuseFailure {
    failed(cause.to_string())
}
