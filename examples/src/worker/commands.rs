//! What the reference worker does when told: `ping`, `facts`, `restart` (which it only says it would:
//! a product restarts something of its own), and `fuse`.

use async_trait::async_trait;
use enroll_core::model::Facts;
use enroll_core::worker::{Command, CommandHandler, CommandOutcome, Credentials};

#[derive(Debug)]
pub(super) struct Handler {
    pub(super) facts: Facts,
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
            "fuse" => CommandOutcome::Done(None),
            _ => CommandOutcome::Failed("this worker does not know commands of this kind".into()),
        }
    }
}
