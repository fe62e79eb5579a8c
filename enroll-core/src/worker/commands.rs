//! What the master wants done.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::task::{Id, JoinSet};

use super::identity::Credentials;
use super::master::{Command, CommandReport};
use crate::model::CommandRecord;

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandOutcome {
    /// It was done; what it put out.
    Done(Option<String>),
    /// It failed; why.
    Failed(String),
}

/// Carries commands out.
///
/// A command is delivered at least once: the same id is not run twice in one run of the worker, and may
/// be after a restart that came before its end was acknowledged.
#[async_trait]
pub trait CommandHandler: Send + Sync {
    /// Carries `command` out for the node that `me` is. It runs beside the heartbeats and is dropped at
    /// shutdown.
    async fn execute(&self, me: &Credentials, command: &Command) -> CommandOutcome;
}

/// Fails every command, naming its kind: for a worker that takes none.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct NoCommands;

#[async_trait]
impl CommandHandler for NoCommands {
    async fn execute(&self, _me: &Credentials, command: &Command) -> CommandOutcome {
        CommandOutcome::Failed(format!("this worker knows no command of kind {:?}", command.kind))
    }
}

/// The commands of one run. At most [`Commands::AT_ONCE`] are carried out together; the master delivers
/// what was left aside again.
pub(super) struct Commands {
    handler: Arc<dyn CommandHandler>,
    running: JoinSet<CommandOutcome>,
    ids: HashMap<Id, String>,
    /// Ended, and the master may not know.
    unreported: VecDeque<CommandReport>,
    /// Ended, and the master knows; an answer on its way may hold them still.
    reported: VecDeque<String>,
}

impl Commands {
    const AT_ONCE: usize = 16;
    const REMEMBERED: usize = 256;

    pub(super) fn new(handler: Arc<dyn CommandHandler>) -> Self {
        Self {
            handler,
            running: JoinSet::new(),
            ids: HashMap::new(),
            unreported: VecDeque::new(),
            reported: VecDeque::new(),
        }
    }

    /// Begins what is new.
    pub(super) fn take(&mut self, me: &Arc<Credentials>, commands: Vec<Command>) {
        for command in commands {
            if self.ids.len() + self.unreported.len() >= Self::AT_ONCE {
                return;
            }
            if self.knows(&command.id) {
                continue;
            }
            let (handler, me, id) = (Arc::clone(&self.handler), Arc::clone(me), command.id.clone());
            let task = self.running.spawn(async move { handler.execute(&me, &command).await });
            self.ids.insert(task.id(), id);
        }
    }

    fn knows(&self, id: &str) -> bool {
        self.ids.values().any(|it| it == id)
            || self.unreported.iter().any(|it| it.id == id)
            || self.reported.iter().any(|it| it == id)
    }

    /// Waits until a command ends; for ever when none is running.
    pub(super) async fn ended(&mut self) {
        let Some(ended) = self.running.join_next_with_id().await else {
            return std::future::pending().await;
        };
        let (task, outcome) = match ended {
            Ok(ended) => ended,
            // Shown to the operator as what it is; the panic itself went to the process's hook.
            Err(why) => (why.id(), CommandOutcome::Failed("its handler panicked".into())),
        };
        let Some(id) = self.ids.remove(&task) else { return };
        let (done, output) = match outcome {
            CommandOutcome::Done(output) => (true, output),
            CommandOutcome::Failed(why) => (false, Some(why)),
        };
        // The master keeps no more, and may not take in what is far longer: then the report, and all
        // behind it, would never get through.
        let output = output.map(CommandRecord::cut_output);
        self.unreported.push_back(CommandReport { id, done, output });
    }

    /// The oldest end the master may not know.
    pub(super) fn unreported(&self) -> Option<&CommandReport> {
        self.unreported.front()
    }

    /// Forgets the oldest end, which the master knows, or does not want to.
    pub(super) fn settle(&mut self) {
        let Some(report) = self.unreported.pop_front() else { return };
        self.reported.push_back(report.id);
        if self.reported.len() > Self::REMEMBERED {
            self.reported.pop_front();
        }
    }
}
