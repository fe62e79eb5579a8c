//! What the reference worker does when told: `ping`, `facts`, `restart` (which it only says it would:
//! a product restarts something of its own), and what is plugged in around these.

use std::sync::Arc;

use async_trait::async_trait;
use enroll_core::model::Facts;
use enroll_core::worker::{
    Command, CommandHandler, CommandOutcome, Credentials, FuseHandler, Master,
};

use super::config::Config;
use super::rollout::Agent;
use super::workload::Workload;

/// All that the reference worker does when told.
pub(super) fn handler(
    master: impl Master + 'static,
    config: &Config,
    facts: Facts,
) -> Arc<dyn CommandHandler> {
    let with = config.fuse_with.unwrap_or_default();
    let agent = Agent { with, image: config.fuse_image.clone() };
    let (log, programs) = (config.workload_log.clone(), config.workload_exec.clone());
    let own = Workload { log, programs, others: Handler { facts } };
    Arc::new(FuseHandler::new(master, agent, own))
}

#[derive(Debug)]
struct Handler {
    facts: Facts,
}

#[async_trait]
impl CommandHandler for Handler {
    async fn execute(&self, me: &Credentials, command: &Command) -> CommandOutcome {
        match command.kind.as_str() {
            "ping" => CommandOutcome::Done(Some("pong".to_owned())),
            "facts" => match serde_json::to_string(&self.facts) {
                Ok(text) => CommandOutcome::Done(Some(text)),
                Err(why) => CommandOutcome::Failed(why.to_string()),
            },
            "restart" => {
                let name = me.identity().node_name();
                CommandOutcome::Done(Some(format!("{name} would restart its workload now")))
            }
            _ => CommandOutcome::Failed("this worker does not know commands of this kind".into()),
        }
    }
}
