//! The worker's part of the step to full control.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::backoff::Backoff;
use super::commands::{CommandHandler, CommandOutcome};
use super::identity::Credentials;
use super::master::{CallError, Command, Master};
use crate::model::{CommandRecord, Entropy, Handover, SystemEntropy, Timestamp};

/// What a worker is to do for the attempt to fuse it.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "a transport builds every field")]
pub struct FuseTask {
    /// The attempt.
    pub attempt: String,
    /// When it fails by itself.
    pub deadline: Timestamp,
    /// How the outside names what the master began there.
    pub ticket: String,
    /// What the master's fuser hands over. It may hold secrets.
    pub handover: Handover,
}

/// Rolls out, on this machine, whatever takes control of it.
#[async_trait]
pub trait Rollout: Send + Sync {
    /// Rolls out what `task` says for the node that `me` is. It may come again for the same attempt,
    /// and has to come to the same then. That it is done says no more than that: whether the node is
    /// under control, the master's fuser judges.
    ///
    /// No secret of `task` may get into the outcome, which the master keeps.
    async fn roll_out(&self, me: &Credentials, task: &FuseTask) -> CommandOutcome;
}

/// Carries commands of the kind [`CommandRecord::FUSE`] out by a [`Rollout`], for which it asks the
/// master anew each time, and leaves all others to another handler.
///
/// A call that may pass is repeated until the master says that no attempt runs any more.
pub struct FuseHandler {
    master: Arc<dyn Master>,
    rollout: Arc<dyn Rollout>,
    others: Arc<dyn CommandHandler>,
    entropy: Arc<dyn Entropy>,
}

impl FuseHandler {
    /// Asks `master`, rolls out by `rollout`, and leaves other commands to `others`.
    pub fn new(
        master: impl Master + 'static,
        rollout: impl Rollout + 'static,
        others: impl CommandHandler + 'static,
    ) -> Self {
        Self {
            master: Arc::new(master),
            rollout: Arc::new(rollout),
            others: Arc::new(others),
            entropy: Arc::new(SystemEntropy::new()),
        }
    }

    async fn task(&self, me: &Credentials) -> Result<FuseTask, CallError> {
        let (backoff, mut failures) = (Backoff::default(), 0_u32);
        loop {
            match self.master.fuse_task(me).await {
                Ok(task) => return Ok(task),
                Err(error) if error.is_last_word() => return Err(error),
                Err(error) => {
                    failures = failures.saturating_add(1);
                    let wait = backoff.wait(failures, error.retry_after(), &*self.entropy);
                    tracing::warn!(%error, ?wait, "what to be fused with was not told; asking again");
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }
}

#[async_trait]
impl CommandHandler for FuseHandler {
    async fn execute(&self, me: &Credentials, command: &Command) -> CommandOutcome {
        if command.kind != CommandRecord::FUSE {
            return self.others.execute(me, command).await;
        }
        match self.task(me).await {
            Ok(task) if command.payload["attempt"] == task.attempt.as_str() => {
                self.rollout.roll_out(me, &task).await
            }
            Ok(_) => CommandOutcome::Failed("another attempt has taken its place".into()),
            Err(error) => CommandOutcome::Failed(error.to_string()),
        }
    }
}

impl fmt::Debug for FuseHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FuseHandler").finish_non_exhaustive()
    }
}
