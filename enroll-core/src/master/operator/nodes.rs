//! Nodes, as operators handle them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::OperatorError;
use super::tokens::{MintRequest, Minted};
use crate::master::Enroller;
use crate::model::{
    AttemptId, AttemptRecord, Event, Facts, JournalledEvent, NodeName, NodeRecord, What,
};
use crate::store::{DeleteOutcome, NameRule, NodeCount, NodeFilter, Page};

/// A wish to register a node before its machine exists.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RegisterRequest {
    /// Its name.
    pub name: NodeName,
    /// The operator's labels, which win over the machine's own; `None` leaves a pending node those
    /// it has.
    pub labels: Option<BTreeMap<String, String>>,
    /// How long its token lives; [`DEFAULT_TOKEN_TTL`](Self::DEFAULT_TOKEN_TTL) where absent,
    /// clamped as every token's.
    pub token_ttl: Option<Duration>,
}

impl RegisterRequest {
    /// 24 h.
    pub const DEFAULT_TOKEN_TTL: Duration = Duration::from_secs(24 * 60 * 60);

    /// A node of this name, without labels of its operator's.
    #[must_use]
    pub const fn new(name: NodeName) -> Self {
        Self { name, labels: None, token_ttl: None }
    }
}

/// A registered node and its token.
#[derive(Debug)]
#[non_exhaustive]
pub struct Registered {
    /// The node.
    pub node: NodeRecord,
    /// Its token.
    pub minted: Minted,
}

impl Enroller {
    /// Registers a node and mints its token. A pending node of this name gets a fresh token.
    ///
    /// # Errors
    /// [`OperatorError::Conflict`] when a machine holds the name.
    pub async fn register(
        &self,
        wish: RegisterRequest,
        actor: &str,
    ) -> Result<Registered, OperatorError> {
        let labels = wish.labels.clone().unwrap_or_default();
        if (Facts { labels, ..Facts::default() }).check().is_err() {
            return Err(OperatorError::Invalid(
                "`labels` has more than 64 entries, or one longer than 1024 bytes.".into(),
            ));
        }
        let ttl = wish.token_ttl.unwrap_or(RegisterRequest::DEFAULT_TOKEN_TTL);
        let mint = MintRequest::new().with_ttl(ttl).with_node_name(wish.name);
        self.mint_node(mint, NameRule::NotHeld, wish.labels, actor).await
    }

    /// Mints a fresh token for a node that is there, and kills its earlier unspent ones.
    ///
    /// # Errors
    /// [`OperatorError::NotFound`] when there is no such node.
    pub async fn regenerate(
        &self,
        name: NodeName,
        actor: &str,
    ) -> Result<Registered, OperatorError> {
        let mint =
            MintRequest::new().with_ttl(RegisterRequest::DEFAULT_TOKEN_TTL).with_node_name(name);
        self.mint_node(mint, NameRule::Exists, None, actor).await
    }

    async fn mint_node(
        &self,
        mint: MintRequest,
        rule: NameRule,
        labels: Option<BTreeMap<String, String>>,
        actor: &str,
    ) -> Result<Registered, OperatorError> {
        let mut minted = self.mint_as(mint, rule, labels, actor).await?;
        // A bound token always comes with its node.
        let node = minted.node.take().ok_or(OperatorError::NotFound("node"))?;
        Ok(Registered { node, minted })
    }

    /// Nodes by name.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn nodes(
        &self,
        page: Page<NodeName>,
        filter: NodeFilter,
    ) -> Result<Vec<NodeRecord>, OperatorError> {
        Ok(self.store.nodes(page, filter).await?)
    }

    /// Counts nodes by state and health: for gauges.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn count_nodes(&self) -> Result<Vec<NodeCount>, OperatorError> {
        Ok(self.store.count_nodes(self.clock.now(), self.config.stale_after).await?)
    }

    /// The node of this name.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn node(&self, name: &NodeName) -> Result<NodeRecord, OperatorError> {
        self.store.node(name).await?.ok_or(OperatorError::NotFound("node"))
    }

    /// Attempts to enroll under a name, newest first; the name needs no node.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn attempts(
        &self,
        name: &NodeName,
        page: Page<AttemptId>,
    ) -> Result<Vec<AttemptRecord>, OperatorError> {
        Ok(self.store.attempts(name, page).await?)
    }

    /// Keeps new work away from a node, or lets it in again. Doing it twice changes nothing.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn set_cordon(
        &self,
        name: &NodeName,
        cordoned: bool,
        actor: &str,
    ) -> Result<NodeRecord, OperatorError> {
        let node_name = name.clone();
        let what =
            if cordoned { What::Cordoned { node_name } } else { What::Uncordoned { node_name } };
        let event = Event::by(self.stamps.next(&*self.clock), actor, what);
        let before = self.node(name).await?;
        let node = self
            .store
            .set_cordon(name, cordoned, event.clone())
            .await?
            .ok_or(OperatorError::NotFound("node"))?;
        if before.cordoned != cordoned {
            self.tell(&event);
        }
        Ok(node)
    }

    /// Deletes a node: its identities are refused from the next request on, its tokens revoked.
    ///
    /// # Errors
    /// [`OperatorError::Conflict`] while an embedder's guard says that it is in use, unless `forced`.
    pub async fn delete_node(
        &self,
        name: &NodeName,
        forced: bool,
        actor: &str,
    ) -> Result<(), OperatorError> {
        let node = self.node(name).await?;
        if let (false, Some(guard)) = (forced, &self.in_use)
            && let Some(reason) = guard.reason(&node).await
        {
            return Err(OperatorError::Conflict(format!("The node is in use: {reason}")));
        }
        let at = self.stamps.next(&*self.clock);
        let what = What::NodeDeleted { node_id: node.id, node_name: name.clone(), forced };
        let event = Event::by(at, actor, what);
        match self.store.delete_node(name, at, event.clone()).await? {
            DeleteOutcome::Deleted(node) => {
                self.tell(&event);
                self.reports.forget(node.id);
                self.unfuse(&node, at).await;
                self.leave_mesh().await;
                Ok(())
            }
            DeleteOutcome::NoSuchNode => Err(OperatorError::NotFound("node")),
        }
    }

    /// The audit log, in order.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn events(&self, page: Page<u64>) -> Result<Vec<JournalledEvent>, OperatorError> {
        Ok(self.store.events(page).await?)
    }
}
