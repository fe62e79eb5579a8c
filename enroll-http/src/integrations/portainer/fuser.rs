//! The fuser.

use async_trait::async_trait;
use enroll_core::master::{FuseCommands, FuseProgress, Fuser};
use enroll_core::model::{FuseFailure, FuseId, FuseRecord, Handover, NodeRecord};
use serde_json::{Map, Value};

use super::PortainerClient;
use super::api::Endpoint;
use super::trouble::Trouble;

/// Brings nodes under full control by an Edge agent of Portainer.
///
/// Its ticket is the id of the endpoint. How each kind of trouble ends:
/// - **While it begins**, whatever goes wrong ends the attempt as [`SOURCE`](Self::SOURCE), after it was
///   looked whether the endpoint was made all the same.
/// - **While it runs**, what may pass (no answer, 5xx, 429) is waited out until the deadline, and what
///   will not (a key that is not accepted, an endpoint that somebody deleted) ends it as `SOURCE` at
///   once.
/// - **A worker that says it cannot** ends it as [`FuseFailure::WORKER`].
/// - **However it fails**, the endpoint is deleted, found by its name where its id was never learned.
#[derive(Debug)]
pub struct PortainerFuser {
    portainer: PortainerClient,
    commands: FuseCommands,
}

impl PortainerFuser {
    /// Its name in a [`Handover`], and in the payload of its commands.
    pub const NAME: &'static str = "portainer";
    /// The source of its failures.
    pub const SOURCE: &'static str = "portainer_error";

    /// Calls `portainer`, and asks workers by `commands`.
    #[must_use]
    pub const fn new(portainer: PortainerClient, commands: FuseCommands) -> Self {
        Self { portainer, commands }
    }

    async fn endpoint(&self, fuse: &FuseRecord) -> Result<Endpoint, Trouble> {
        let id = id_in(fuse).ok_or(Trouble::Malformed {
            call: "an earlier call",
            why: "the ticket on record is no id of an endpoint",
        })?;
        self.portainer.endpoint(id).await
    }
}

#[async_trait]
impl Fuser for PortainerFuser {
    async fn begin(&self, node: &NodeRecord, attempt: FuseId) -> Result<String, FuseFailure> {
        let endpoint = self.portainer.ensure(&name_of(node, attempt)).await?;
        let mut payload = Map::new();
        payload.insert("fuser".into(), Self::NAME.into());
        payload.insert("endpoint_id".into(), Value::from(endpoint.id));
        self.commands.queue(node, attempt, payload).await?;
        Ok(endpoint.id.to_string())
    }

    async fn poll(
        &self,
        node: &NodeRecord,
        fuse: &FuseRecord,
    ) -> Result<FuseProgress, FuseFailure> {
        // That the worker did its part is not enough; that it cannot is.
        let _rolled_out = self.commands.is_done(fuse.attempt).await?;
        match self.endpoint(fuse).await {
            Ok(endpoint) if endpoint.has_checked_in() => Ok(FuseProgress::Done),
            Ok(_) => Ok(FuseProgress::Pending),
            Err(trouble) if trouble.may_pass() => {
                tracing::warn!(node = %node.id, attempt = %fuse.attempt, %trouble, "a fuse goes on");
                Ok(FuseProgress::Pending)
            }
            Err(trouble) => Err(trouble.into()),
        }
    }

    async fn hand_over(
        &self,
        _node: &NodeRecord,
        fuse: &FuseRecord,
    ) -> Result<Handover, FuseFailure> {
        let endpoint = self.endpoint(fuse).await?;
        let call = "GET /api/endpoints/{id}";
        let why = "it has no Edge key";
        let key = endpoint.edge_key.filter(|key| !key.expose().is_empty());
        let key = key.ok_or(Trouble::Malformed { call, why })?;
        // Portainer makes an id of its own only where it is set to enforce them.
        let edge_id = match endpoint.edge_id {
            none if none.is_empty() => fuse.attempt.to_string(),
            given => given,
        };
        let insecure = if self.portainer.insecure_poll() { "1" } else { "0" };
        Ok(Handover::from_fuser(Self::NAME)
            .with("edge_key", key.into_string())
            .with("edge_id", edge_id)
            .with("insecure_poll", insecure.to_owned())
            .with("agent_version", self.portainer.version().await?))
    }

    async fn abort(&self, node: &NodeRecord, fuse: &FuseRecord) -> Result<(), FuseFailure> {
        let withdrawn = self.commands.withdraw(node, fuse.attempt).await;
        let id = match id_in(fuse) {
            Some(id) => Some(id),
            None => {
                let found = self.portainer.find(&name_of(node, fuse.attempt)).await?;
                found.map(|endpoint| endpoint.id)
            }
        };
        if let Some(id) = id {
            self.portainer.delete(id).await?;
        }
        withdrawn
    }
}

fn id_in(fuse: &FuseRecord) -> Option<u64> {
    fuse.ticket.as_deref()?.parse().ok()
}

/// The name of an attempt's endpoint: for people, and such that nobody else's is taken for it.
fn name_of(node: &NodeRecord, attempt: FuseId) -> String {
    format!("{}-{attempt}", node.name)
}
