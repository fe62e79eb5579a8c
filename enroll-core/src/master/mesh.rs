//! The mesh that members report over: who is in it, and who has no business there any more.
//!
//! The store knows which keys of the mesh were handed out, and which of them stand for a member.
//! Whatever a mesh holds beyond that is not ours, and is left alone. So the master never has to
//! remember what is still to be taken out: it looks at both, at any time, and a control plane that
//! was away, or a master that died, only delays it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::enroller::Enroller;
use super::error::{Error, causes};
use super::operator::OperatorError;
use super::watch::WATCH_INTERVAL;
use crate::model::{CredentialKind, CredentialRecord, IdentityRecord, NodeId, NodeName, Timestamp};

/// A machine as the mesh's control plane sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a client of a mesh builds every field")]
pub struct MeshNode {
    /// The control plane's id of it.
    pub id: String,
    /// Its name in the mesh.
    pub name: String,
    /// Its addresses in the mesh.
    pub addresses: Vec<IpAddr>,
    /// Whom it belongs to there; `None` where it belongs to its tags.
    pub user: Option<String>,
    /// What it is tagged with.
    pub tags: Vec<String>,
    /// Whether it is connected to the control plane.
    pub online: bool,
    /// When it last was.
    pub last_seen_at: Option<Timestamp>,
    /// When it has to prove itself again.
    pub expires_at: Option<Timestamp>,
    /// The key it joined with, by the external id the issuer put on record for it.
    pub key: Option<String>,
}

/// The control plane of a mesh, beside the issuer that makes its keys.
///
/// Contract of an implementation:
/// 1. **Every call ends**, by a deadline of its own.
/// 2. **A key has one name**: [`MeshNode::key`] and [`open_keys`](Self::open_keys) name it as the
///    record of the issuer did, and no other key is ever named so.
#[async_trait]
pub trait Mesh: Send + Sync {
    /// The kind of the credential that machines join with.
    fn kind(&self) -> CredentialKind;

    /// Every machine in the mesh.
    ///
    /// # Errors
    /// [`MeshError`].
    async fn nodes(&self) -> Result<Vec<MeshNode>, MeshError>;

    /// Takes a machine out; one that is gone is out already.
    ///
    /// # Errors
    /// [`MeshError`].
    async fn remove_node(&self, id: &str) -> Result<(), MeshError>;

    /// The keys that a machine could still join with.
    ///
    /// # Errors
    /// [`MeshError`].
    async fn open_keys(&self) -> Result<Vec<String>, MeshError>;

    /// Makes a key useless; one that is useless stays so.
    ///
    /// # Errors
    /// [`MeshError`].
    async fn close_key(&self, key: &str) -> Result<(), MeshError>;
}

/// The control plane did not do what it was asked. The cause stands in `source()`.
#[derive(Debug, thiserror::Error)]
#[error("the control plane of the mesh did not do what it was asked")]
pub struct MeshError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl MeshError {
    /// Trouble with `source`.
    #[must_use]
    pub fn new(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(source.into())
    }
}

/// A machine of the mesh, and who it is here.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MeshMember {
    /// The machine, as the mesh sees it.
    pub node: MeshNode,
    /// The member it is; `None` where it joined with no key of ours.
    pub member: Option<(NodeId, NodeName)>,
    /// Whether it is no member any more, and about to be taken out.
    pub leaving: bool,
    /// Whether members report to an address of it.
    pub master: bool,
}

/// A mesh, and when it was last looked after.
pub(super) struct Watched {
    mesh: Arc<dyn Mesh>,
    /// How often somebody wanted it looked after.
    wanted: AtomicU64,
    /// How many of these wishes are fulfilled. Whoever holds it is looking.
    served: Mutex<u64>,
    /// Keys of redemptions that were lost, which could not be closed at the time.
    left: std::sync::Mutex<Vec<String>>,
}

impl Watched {
    fn new(mesh: Arc<dyn Mesh>) -> Self {
        // The first wish is the look at the start: whoever left while no master ran.
        let (wanted, served) = (AtomicU64::new(1), Mutex::new(0));
        Self { mesh, wanted, served, left: std::sync::Mutex::default() }
    }

    fn left(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a wish is open. Waits for who is looking.
    async fn is_wanted(&self) -> bool {
        let served = self.served.lock().await;
        *served < self.wanted.load(Ordering::Relaxed)
    }

    /// Closes what could not be closed at the time. A key is forgotten once it is closed, and not
    /// before: whoever waits for this may give it up.
    async fn close_left(&self) -> Result<(), MeshError> {
        let keys = self.left().clone();
        let mut outcome = Ok(());
        for key in keys {
            match self.mesh.close_key(&key).await {
                Ok(()) => self.left().retain(|left| *left != key),
                Err(cause) => outcome = Err(cause),
            }
        }
        outcome
    }
}

impl Enroller {
    /// Keeps `mesh` to those who are members, and shows it to operators. Run
    /// [`tend_mesh_until`](Self::tend_mesh_until) beside the listeners.
    #[must_use]
    pub fn with_mesh(mut self, mesh: Arc<dyn Mesh>) -> Self {
        self.mesh = Some(Watched::new(mesh));
        self
    }

    /// Everybody in the mesh, the oldest first.
    ///
    /// # Errors
    /// [`OperatorError::NoMesh`]; [`OperatorError::Mesh`] when the control plane does not say.
    pub async fn mesh_members(&self) -> Result<Vec<MeshMember>, OperatorError> {
        let watched = self.mesh.as_ref().ok_or(OperatorError::NoMesh)?;
        let mut nodes = watched.mesh.nodes().await?;
        nodes.sort_by(|a, b| mesh_place(&a.id).cmp(&mesh_place(&b.id)));
        let keys = nodes.iter().filter_map(|node| node.key.clone()).collect();
        let known = self.known_keys(watched.mesh.kind(), keys).await?;
        let master = self.config.steady_addr.as_deref().and_then(address_of);
        let member = |node: MeshNode| {
            let record = node.key.as_ref().and_then(|key| known.get(key));
            MeshMember {
                member: record.map(|record| (record.node_id, record.node_name.clone())),
                leaving: record.is_some_and(|record| record.revoked_at.is_some()),
                master: master.is_some_and(|master| node.addresses.contains(&master)),
                node,
            }
        };
        Ok(nodes.into_iter().map(member).collect())
    }

    /// Takes out of the mesh whoever is no member any more, and closes the keys that were handed to
    /// them. What the store does not know is left alone.
    ///
    /// # Errors
    /// [`OperatorError::NoMesh`]; [`OperatorError::Mesh`] when the control plane did not do all of it.
    pub async fn tidy_mesh(&self) -> Result<(), OperatorError> {
        let watched = self.mesh.as_ref().ok_or(OperatorError::NoMesh)?;
        self.tidy(watched).await
    }

    async fn tidy(&self, watched: &Watched) -> Result<(), OperatorError> {
        let mesh = &*watched.mesh;
        let mut outcome = watched.close_left().await;
        let (nodes, open) = (mesh.nodes().await?, mesh.open_keys().await?);
        let named = nodes.iter().filter_map(|node| node.key.as_ref()).chain(&open);
        let named: BTreeSet<String> = named.cloned().collect();
        let known = self.known_keys(mesh.kind(), named.into_iter().collect()).await?;
        let is_dead =
            |key: &String| known.get(key).is_some_and(|record| record.revoked_at.is_some());
        // The keys first: whoever was taken out must not come back in with one.
        for key in open.iter().filter(|key| is_dead(key)) {
            outcome = outcome.and(mesh.close_key(key).await);
        }
        for node in nodes.iter().filter(|node| node.key.as_ref().is_some_and(is_dead)) {
            let removed = mesh.remove_node(&node.id).await;
            if removed.is_ok() {
                tracing::info!(mesh_node = node.id, "taken out of the mesh");
            }
            outcome = outcome.and(removed);
        }
        Ok(outcome?)
    }

    /// What is on record of these keys. One that is there twice is a member's if either is.
    async fn known_keys(
        &self,
        kind: CredentialKind,
        keys: Vec<String>,
    ) -> Result<BTreeMap<String, IdentityRecord>, Error> {
        let mut known: BTreeMap<String, IdentityRecord> = BTreeMap::new();
        for record in self.store.external(kind, keys).await? {
            let CredentialRecord::External { external_id, .. } = &record.credential else {
                continue;
            };
            match known.get(external_id) {
                Some(other) if other.revoked_at.is_none() => {}
                _ => drop(known.insert(external_id.clone(), record)),
            }
        }
        Ok(known)
    }

    /// Somebody stopped being who they were: looks after the mesh before they are told, so that a
    /// name is free there when its next holder joins. What cannot be done now is done by
    /// [`tend_mesh_until`](Self::tend_mesh_until).
    pub(super) async fn leave_mesh(&self) {
        let Some(watched) = &self.mesh else { return };
        watched.wanted.fetch_add(1, Ordering::Relaxed);
        // A control plane that does not answer must not hold up who asked.
        if timeout(PATIENCE, self.serve_mesh(watched)).await.is_err() {
            tracing::warn!("the mesh is slow: whoever left is taken out of it later");
        }
    }

    /// A key of a redemption that was lost could not be closed: that is made up for.
    pub(super) fn leave_key(&self, record: &CredentialRecord) {
        if let (Some(watched), CredentialRecord::External { kind, external_id }) =
            (&self.mesh, record)
            && *kind == watched.mesh.kind()
            && watched.left().len() < MOST_LEFT
        {
            watched.left().push(external_id.clone());
            watched.wanted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Fulfils every wish that was uttered before it began; whether there are others.
    async fn serve_mesh(&self, watched: &Watched) -> bool {
        let mine = watched.wanted.load(Ordering::Relaxed);
        let mut served = watched.served.lock().await;
        if *served >= mine {
            return true;
        }
        let all = watched.wanted.load(Ordering::Relaxed);
        match self.tidy(watched).await {
            Ok(()) => {
                *served = all;
                true
            }
            Err(cause) => {
                let cause = causes(&cause);
                tracing::warn!(cause, "the mesh could not be looked after; it is tried again");
                false
            }
        }
    }

    /// Looks after the mesh until `stop` is ready: within a second after somebody left, at least every
    /// [`MESH_INTERVAL`], and every [`MESH_RETRY`] while the control plane does not answer. Where
    /// there is no mesh, it waits.
    pub async fn tend_mesh_until(&self, stop: impl Future<Output = ()> + Send) {
        let (mut stop, mut work) = (pin!(stop), pin!(self.tend_mesh()));
        poll_fn(|context| match stop.as_mut().poll(context) {
            Poll::Pending => work.as_mut().poll(context),
            ready => ready,
        })
        .await;
    }

    async fn tend_mesh(&self) {
        let Some(watched) = &self.mesh else { return std::future::pending().await };
        loop {
            if !self.serve_mesh(watched).await {
                sleep(MESH_RETRY).await;
                continue;
            }
            let next = Instant::now() + MESH_INTERVAL;
            while !watched.is_wanted().await {
                if Instant::now() >= next {
                    watched.wanted.fetch_add(1, Ordering::Relaxed);
                } else {
                    sleep(WATCH_INTERVAL).await;
                }
            }
        }
    }
}

/// How often the mesh is looked after where nothing calls for it: every minute.
pub const MESH_INTERVAL: Duration = Duration::from_secs(60);
/// How soon it is tried again where the control plane did not answer: 5 s.
pub const MESH_RETRY: Duration = Duration::from_secs(5);
/// The most keys that are remembered for it; further ones end by themselves.
const MOST_LEFT: usize = 4096;
/// How long whoever asks for a deletion or a new identity waits for the mesh.
const PATIENCE: Duration = Duration::from_secs(5);

/// The place of a mesh node in lists: ids that are numbers in their order.
#[must_use]
pub fn mesh_place(id: &str) -> (usize, &str) {
    (id.len(), id)
}

/// The address in `host:port`, where the host is one.
fn address_of(steady: &str) -> Option<IpAddr> {
    let (host, _) = steady.rsplit_once(':')?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("kind", &self.mesh.kind()).finish_non_exhaustive()
    }
}
