//! Joining the mesh that the master is reached over, between the first call and all others.

use std::net::IpAddr;

use async_trait::async_trait;

use super::backoff::Backoff;
use super::observer::WorkerEvent;
use super::settings::Worker;
use super::state::{LockedDir, StateError};
use crate::model::{MeshCredential, NodeName};

/// What a machine joins a mesh as.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "a driver reads every field")]
pub struct Joining<'a> {
    /// The name it has in the fleet, and is to have in the mesh.
    pub node_name: &'a NodeName,
    /// The keys it was given and has not joined with yet; none at later starts.
    pub keys: &'a [MeshCredential],
}

/// A machine's place in a mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a driver builds every field")]
pub struct Joined {
    /// Its addresses there.
    pub addresses: Vec<IpAddr>,
}

/// Why a machine is not in the mesh, for the worker's log. Never holds a key.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct MeshJoinError {
    what: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl MeshJoinError {
    /// Says what happened, and what to do about it.
    #[must_use]
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None }
    }

    /// Says what is behind it.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

/// Brings a machine into a mesh.
///
/// Contract of a driver:
/// 1. **When it returns, the machine is connected.**
/// 2. **A machine that is in the mesh does not join a second time**: not at a restart, when there is
///    no key, and not when a crash left the key it has joined with.
/// 3. **Every call ends**, by a deadline of its own, and can be repeated.
/// 4. **A key stands in no argument list, no environment and no log.**
#[async_trait]
pub trait MeshJoin: Send + Sync {
    /// Joins, or comes back.
    ///
    /// # Errors
    /// [`MeshJoinError`]; the worker tries again.
    async fn join(&self, joining: &Joining<'_>) -> Result<Joined, MeshJoinError>;
}

/// For a LAN, where the master is reached without a mesh: there is nothing to join.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Noop;

impl Noop {
    /// Nothing to join.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

#[async_trait]
impl MeshJoin for Noop {
    async fn join(&self, _joining: &Joining<'_>) -> Result<Joined, MeshJoinError> {
        Ok(Joined { addresses: Vec::new() })
    }
}

impl Worker {
    /// Comes into the mesh, however often it takes, and forgets the key it needed for that. Where no
    /// driver was given, the keys stay for whoever asks [`StateDir::mesh`](super::StateDir::mesh).
    pub(super) async fn enter_mesh(&self, dir: &LockedDir, node_name: &NodeName) {
        let Some(driver) = &self.settings.mesh else { return };
        let mut failures = 0_u32;
        loop {
            let cause = match self.enter_once(&**driver, dir, node_name).await {
                Ok(joined) => {
                    self.note(&WorkerEvent::MeshJoined { addresses: &joined.addresses });
                    return;
                }
                Err(cause) => cause,
            };
            failures = failures.saturating_add(1);
            let retry_in = BACKOFF.wait(failures, None, &*self.settings.entropy);
            self.note(&WorkerEvent::MeshFailed { cause: &cause, retry_in });
            tokio::time::sleep(retry_in).await;
        }
    }

    async fn enter_once(
        &self,
        driver: &dyn MeshJoin,
        dir: &LockedDir,
        node_name: &NodeName,
    ) -> Result<Joined, MeshJoinError> {
        let keys = dir.mesh().map_err(unusable)?;
        let joined = driver.join(&Joining { node_name, keys: &keys }).await?;
        if !keys.is_empty() {
            dir.forget_mesh().map_err(unusable)?;
        }
        Ok(joined)
    }
}

fn unusable(why: StateError) -> MeshJoinError {
    MeshJoinError::new("the state directory cannot be used").because(why)
}

/// Between attempts that fail: a second, doubling to a minute.
const BACKOFF: Backoff =
    Backoff::new(std::time::Duration::from_secs(1), std::time::Duration::from_secs(60));
