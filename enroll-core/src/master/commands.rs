//! Commands: queued for a node, handed over when it listens, judged again at that moment.

use serde_json::Value;

use super::enroller::Enroller;
use super::error::Error;
use super::members::AuthenticatedNode;
use super::operator::OperatorError;
use crate::model::{
    CommandClass, CommandId, CommandRecord, CommandStatus, Event, NodeName, NodeRecord, Timestamp,
    TrustState, What,
};
use crate::store::{Finish, Page, QueueOutcome};

impl Enroller {
    /// Commands handed over together, at most: 64. Where so many are, more may wait.
    pub const COMMANDS_AT_ONCE: u32 = 64;

    /// Knows commands of `kind`, which need `class`. Kinds nobody declared are refused.
    #[must_use]
    pub fn with_command(mut self, kind: impl Into<String>, class: CommandClass) -> Self {
        self.command_kinds.insert(kind.into(), class);
        self
    }

    /// Queues a command for a node; a degraded one gets it when it returns.
    ///
    /// # Errors
    /// [`OperatorError::Conflict`] where the node's state does not allow it,
    /// [`OperatorError::Invalid`] for a kind or payload that cannot be.
    pub async fn queue_command(
        &self,
        name: &NodeName,
        kind: &str,
        payload: Value,
        actor: &str,
    ) -> Result<CommandRecord, OperatorError> {
        let class = self.class_of(kind)?;
        if payload.to_string().len() > CommandRecord::MAX_PAYLOAD {
            return Err(OperatorError::Invalid("`payload` is longer than 16 KiB.".into()));
        }
        let node = self.node(name).await?;
        check_state(&node, class)?;
        let at = self.stamps.next(&*self.clock);
        let command = CommandRecord {
            id: CommandId::generate(at, &*self.entropy)?,
            node_id: node.id,
            node_name: node.name,
            kind: kind.to_owned(),
            payload,
            class,
            status: CommandStatus::Queued,
            queued_by: actor.to_owned(),
            queued_at: at,
            delivered_at: None,
            finished_at: None,
            output: None,
        };
        let event = queued(&command);
        match self.store.queue_command(command.clone(), event.clone()).await? {
            QueueOutcome::Queued => {
                self.watches.call(command.node_id);
                self.tell(&event);
                Ok(command)
            }
            QueueOutcome::Full => Err(OperatorError::Conflict(
                "1000 commands of this node wait to be acknowledged already.".into(),
            )),
            QueueOutcome::NoSuchNode => Err(OperatorError::NotFound("node")),
        }
    }

    fn class_of(&self, kind: &str) -> Result<CommandClass, OperatorError> {
        match self.command_kinds.get(kind) {
            Some(class) if *class != CommandClass::Fuse => Ok(*class),
            _ => {
                let known: Vec<&str> = self.command_kinds.keys().map(String::as_str).collect();
                Err(OperatorError::Invalid(format!(
                    "`kind` is none this master knows; it knows: {}.",
                    known.join(", ")
                )))
            }
        }
    }

    /// The commands of a node, newest first.
    ///
    /// # Errors
    /// [`OperatorError::NotFound`] when there is no such node.
    pub async fn commands(
        &self,
        name: &NodeName,
        page: Page<CommandId>,
    ) -> Result<Vec<CommandRecord>, OperatorError> {
        self.node(name).await?;
        Ok(self.store.commands(name, page).await?)
    }

    /// What a node is to do now, oldest first: what is not acknowledged and its state still allows, at
    /// most [`Self::COMMANDS_AT_ONCE`]. What its state no longer allows has failed.
    ///
    /// It is judged by the node as it stands after the commands were read: the caller may have been
    /// looked up long before, and what was queued since goes by what the node has become.
    ///
    /// # Errors
    /// [`Error`] when the store cannot say.
    pub async fn deliver(&self, caller: &AuthenticatedNode) -> Result<Vec<CommandRecord>, Error> {
        let node_id = caller.node.id;
        let allowed = loop {
            let open = self.store.open_commands(node_id, Self::COMMANDS_AT_ONCE).await?;
            if open.is_empty() {
                break open;
            }
            let now = self.store.node(&caller.node.name).await?;
            let Some(node) = now.filter(|node| node.id == node_id) else { break Vec::new() };
            let is_full = open.len() >= Self::COMMANDS_AT_ONCE as usize;
            let (allowed, overtaken): (Vec<_>, Vec<_>) =
                open.into_iter().partition(|command| allows(node.state, command.class));
            for command in &overtaken {
                let why = format!("The node is {} now, which does not allow it.", node.state);
                self.end_command(command, CommandStatus::Failed, Some(why), caller.at).await?;
            }
            // Behind those that made room there may be others.
            if overtaken.is_empty() || !is_full {
                break allowed;
            }
        };
        let fresh = allowed.iter().filter(|c| c.status == CommandStatus::Queued).map(|c| c.id);
        let fresh: Vec<CommandId> = fresh.collect();
        if !fresh.is_empty() {
            self.store.mark_delivered(node_id, fresh, caller.at).await?;
        }
        Ok(allowed)
    }

    /// Takes a node's word on a command; says whether it was one of its open ones.
    ///
    /// # Errors
    /// [`Error`] when the store cannot record it.
    pub async fn acknowledge(
        &self,
        caller: &AuthenticatedNode,
        id: CommandId,
        done: bool,
        output: Option<String>,
    ) -> Result<bool, Error> {
        let Some(command) = self.store.command(id).await?.filter(|c| c.node_id == caller.node.id)
        else {
            return Ok(false);
        };
        let status = if done { CommandStatus::Done } else { CommandStatus::Failed };
        let output = output.map(CommandRecord::cut_output);
        let ended = self.end_command(&command, status, output, caller.at).await?;
        if ended && command.class == CommandClass::Fuse {
            self.tend_fuse_of(&caller.node.name).await?;
        }
        Ok(ended || command.finished_at.is_some())
    }

    async fn end_command(
        &self,
        command: &CommandRecord,
        status: CommandStatus,
        output: Option<String>,
        at: Timestamp,
    ) -> Result<bool, Error> {
        let what = What::CommandFinished {
            node_name: command.node_name.clone(),
            command_id: command.id,
            status,
        };
        let event = Event::new(at, what);
        let finish = Finish {
            node_id: command.node_id,
            id: command.id,
            at,
            status,
            output,
            event: event.clone(),
        };
        let ended = self.store.finish(finish).await?.is_some();
        if ended {
            self.tell(&event);
        }
        Ok(ended)
    }
}

pub(super) fn queued(command: &CommandRecord) -> Event {
    let what = What::CommandQueued {
        node_name: command.node_name.clone(),
        command_id: command.id,
        kind: command.kind.clone(),
    };
    Event::by(command.queued_at, command.queued_by.clone(), what)
}

fn allows(state: TrustState, class: CommandClass) -> bool {
    match class {
        CommandClass::Monitor => state != TrustState::Pending,
        CommandClass::Control => state == TrustState::Fused,
        CommandClass::Fuse => state == TrustState::Fusing,
    }
}

fn check_state(node: &NodeRecord, class: CommandClass) -> Result<(), OperatorError> {
    if allows(node.state, class) {
        return Ok(());
    }
    Err(OperatorError::Conflict(format!(
        "The node is {}, and commands of this kind need it to be {}.",
        node.state,
        if class == CommandClass::Control { "fused" } else { "enrolled" }
    )))
}
