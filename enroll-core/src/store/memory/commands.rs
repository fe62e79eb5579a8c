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
        if state.command_places.contains_key(&command.id) {
            return Err(collision("queue a command"));
        }
        state.last_command += 1;
        let place = (command.node_id, state.last_command);
        state.command_places.insert(command.id, place);
        state.touch(command.node_id);
        state.commands.insert(place, command);
        state.journal(event);
        self.changed();
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
            let command = state.command_mut(node_id, id);
            if let Some(command) = command.filter(|it| it.status == CommandStatus::Queued) {
                command.status = CommandStatus::Delivered;
                command.delivered_at = Some(at);
            }
        }
        Ok(())
    }

    async fn finish(&self, finish: Finish) -> Result<Option<CommandRecord>, StoreError> {
        let mut state = self.state();
        let command = state.command_mut(finish.node_id, finish.id);
        let Some(command) = command.filter(|command| command.finished_at.is_none()) else {
            return Ok(None);
        };
        command.status = finish.status;
        command.finished_at = Some(finish.at);
        command.output = finish.output;
        let command = command.clone();
        state.journal(finish.event);
        state.forget_finished(finish.node_id);
        Ok(Some(command))
    }

    async fn command(&self, id: CommandId) -> Result<Option<CommandRecord>, StoreError> {
        let state = self.state();
        Ok(state.command_places.get(&id).and_then(|place| state.commands.get(place)).cloned())
    }

    async fn commands(
        &self,
        name: &NodeName,
        wanted: Page<CommandId>,
    ) -> Result<Vec<CommandRecord>, StoreError> {
        let state = self.state();
        let Some(node) = state.nodes.get(name) else { return Ok(Vec::new()) };
        let mut rows: Vec<_> = state.commands_of(node.id).cloned().collect();
        rows.sort_by_key(|command| std::cmp::Reverse(command.id));
        Ok(page(wanted, rows.into_iter(), |command, seen| command.id < seen))
    }
}

impl State {
    fn commands_of(&self, node: NodeId) -> impl Iterator<Item = &CommandRecord> {
        self.commands.range((node, 0)..=(node, u64::MAX)).map(|(_, command)| command)
    }

    pub(super) fn open(&self, node: NodeId) -> impl Iterator<Item = &CommandRecord> {
        self.commands_of(node).filter(|command| command.finished_at.is_none())
    }

    /// The command of this id, if it is this node's.
    fn command_mut(&mut self, node: NodeId, id: CommandId) -> Option<&mut CommandRecord> {
        let place = self.command_places.get(&id).filter(|(theirs, _)| *theirs == node)?;
        self.commands.get_mut(place)
    }

    fn forget_finished(&mut self, node: NodeId) {
        let finished = |command: &CommandRecord| command.finished_at.is_some();
        let kept = CommandRecord::KEPT as usize;
        let there = self.commands_of(node).filter(|command| finished(command)).count();
        let mut surplus = there.saturating_sub(kept);
        self.forget_commands(node, |command| {
            let goes = surplus > 0 && finished(command);
            surplus -= usize::from(goes);
            goes
        });
    }

    /// Forgets those commands of a node that are to go, asked for one by one, the oldest first.
    pub(super) fn forget_commands(
        &mut self,
        node: NodeId,
        mut goes: impl FnMut(&CommandRecord) -> bool,
    ) {
        let gone: Vec<CommandId> =
            self.commands_of(node).filter(|it| goes(it)).map(|it| it.id).collect();
        for place in gone.iter().filter_map(|id| self.command_places.remove(id)) {
            self.commands.remove(&place);
        }
    }
}
