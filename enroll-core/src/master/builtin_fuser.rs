//! The fuser that needs no other system.

use async_trait::async_trait;
use serde_json::Map;

use super::fuse::{FuseProgress, Fuser};
use super::fuse_command::FuseCommands;
use crate::model::{FuseFailure, FuseId, FuseRecord, Handover, NodeRecord};

/// The fuser that asks the worker itself: a command of kind `fuse`, handed over while the node is
/// fusing; `done` is success, `failed` is failure. For trials, tests, and products whose worker can
/// take control by itself.
#[derive(Debug)]
pub struct BuiltinFuser {
    commands: FuseCommands,
}

impl BuiltinFuser {
    /// Its name in a [`Handover`].
    pub const NAME: &'static str = "builtin";

    /// A fuser that asks by `commands`.
    #[must_use]
    pub const fn new(commands: FuseCommands) -> Self {
        Self { commands }
    }
}

#[async_trait]
impl Fuser for BuiltinFuser {
    async fn begin(&self, node: &NodeRecord, attempt: FuseId) -> Result<String, FuseFailure> {
        Ok(self.commands.queue(node, attempt, Map::new()).await?.to_string())
    }

    async fn poll(
        &self,
        _node: &NodeRecord,
        fuse: &FuseRecord,
    ) -> Result<FuseProgress, FuseFailure> {
        Ok(match self.commands.is_done(fuse.attempt).await? {
            true => FuseProgress::Done,
            false => FuseProgress::Pending,
        })
    }

    async fn hand_over(
        &self,
        _node: &NodeRecord,
        _fuse: &FuseRecord,
    ) -> Result<Handover, FuseFailure> {
        Ok(Handover::from_fuser(Self::NAME))
    }

    async fn abort(&self, node: &NodeRecord, fuse: &FuseRecord) -> Result<(), FuseFailure> {
        self.commands.withdraw(node, fuse.attempt).await
    }
}
