use async_trait::async_trait;

use super::{MemoryStore, State, collision, page};
use crate::model::{CommandId, CommandRecord, CommandStatus, Event, NodeId, NodeName, Timestamp};
use crate::store::{Commands, Finish, Page, QueueOutcome, StoreError};

#[async_trait]
impl Commands for MemoryStore {
    async fn queue_command(
        &self,
        command: CommandRecord,
        event: Event,
    ) -> Result<QueueOutcome, StoreError> {
        let mut state = self.state();
        if !state.node_names.contains_key(&command.node_id) {
            return Ok(QueueOutcome::NoSuchNode);
        }
        if state.open(command.node_id).count() >= CommandRecord::MAX_OPEN as usize {
            return Ok(QueueOutcome::Full);
        }
        if state.commands.contains_key(&command.id) {
            return Err(collision("queue a command"));
        }
        state.commands.insert(command.id, command);
        state.journal(event);
        Ok(QueueOutcome::Queued)
    }

    async fn open_commands(
        &self,
        node_id: NodeId,
        limit: u32,
    ) -> Result<Vec<CommandRecord>, StoreError> {
        Ok(self.state().open(node_id).take(limit as usize).cloned().collect())
    }

    async fn mark_delivered(
        &self,
        node_id: NodeId,
        ids: Vec<CommandId>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut state = self.state();
        for id in ids {
            let queued = |command: &&mut CommandRecord| {
                command.node_id == node_id && command.status == CommandStatus::Queued
            };
            if let Some(command) = state.commands.get_mut(&id).filter(queued) {
                command.status = CommandStatus::Delivered;
                command.delivered_at = Some(at);
            }
        }
        Ok(())
    }

    async fn finish(&self, finish: Finish) -> Result<Option<CommandRecord>, StoreError> {
        let mut state = self.state();
        let theirs = |command: &&mut CommandRecord| {
            command.node_id == finish.node_id && command.finished_at.is_none()
        };
        let Some(command) = state.commands.get_mut(&finish.id).filter(theirs) else {
            return Ok(None);
        };
        command.status = finish.status;
        command.finished_at = Some(finish.at);
        command.output = finish.output;
        let command = command.clone();
        state.journal(finish.event);
        state.forget_finished(command.node_id);
        Ok(Some(command))
    }

    async fn command(&self, id: CommandId) -> Result<Option<CommandRecord>, StoreError> {
        Ok(self.state().commands.get(&id).cloned())
    }

    async fn commands(
        &self,
        name: &NodeName,
        wanted: Page<CommandId>,
    ) -> Result<Vec<CommandRecord>, StoreError> {
        let state = self.state();
        let Some(node) = state.nodes.get(name) else { return Ok(Vec::new()) };
        let rows = state.commands.values().rev().filter(|c| c.node_id == node.id).cloned();
        Ok(page(wanted, rows, |command, seen| command.id < seen))
    }
}

impl State {
    fn open(&self, node_id: NodeId) -> impl Iterator<Item = &CommandRecord> {
        self.commands.values().filter(move |c| c.node_id == node_id && c.finished_at.is_none())
    }

    fn forget_finished(&mut self, node_id: NodeId) {
        let finished = |c: &&CommandRecord| c.node_id == node_id && c.finished_at.is_some();
        let ids: Vec<CommandId> =
            self.commands.values().filter(finished).map(|command| command.id).collect();
        let surplus = ids.len().saturating_sub(CommandRecord::KEPT as usize);
        for id in ids.iter().take(surplus) {
            self.commands.remove(id);
        }
    }
}
