//! The calls of the operator API.

use enroll_core::model::Role;
use http::Method;

use super::{ApiError, OperatorClient, PageQuery};
use crate::wire::{
    AddedAdmin, AdminItem, AttemptItem, AutoEnrollment, AutoEnrollmentWish, CommandItem, Diagnosis,
    EventItem, FenceView, FenceWish, List, MeshNodeItem, MintedToken, NewAdmin, NewCommand,
    NewNode, NewToken, NodeView, QueuedCommand, RedemptionItem, RegisteredNode, ShownNode,
    TokenItem,
};

/// Which nodes to list: those that have all that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a bag of conditions, built with `..default()`")]
pub struct NodeQuery {
    /// `waiting`, `ready`, `degraded` or `cordoned`.
    pub status: Option<String>,
    /// `pending`, `monitoring`, `fusing`, `fused` or `degraded`.
    pub state: Option<String>,
    /// The CPU architecture.
    pub arch: Option<String>,
}

/// Join tokens.
impl OperatorClient {
    /// Mints a token.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn mint_token(&self, wish: &NewToken) -> Result<MintedToken, ApiError> {
        self.send(Method::POST, &["tokens"], wish).await
    }

    /// Tokens, newest first; those past their time only with `include_expired`.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn tokens(
        &self,
        include_expired: bool,
        page: PageQuery,
    ) -> Result<List<TokenItem>, ApiError> {
        let mut params = page.into_params();
        params.push(("include_expired", include_expired.to_string()));
        self.get(&["tokens"], &params).await
    }

    /// Revokes a token.
    ///
    /// # Errors
    /// [`ApiError`]; a `conflict` where it was of no use already.
    pub async fn revoke_token(&self, id: &str) -> Result<(), ApiError> {
        self.delete(&["tokens", id], &[]).await
    }

    /// Who used a token, newest first.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn redemptions(
        &self,
        id: &str,
        page: PageQuery,
    ) -> Result<List<RedemptionItem>, ApiError> {
        self.list(&["tokens", id, "redemptions"], page).await
    }
}

/// Nodes.
impl OperatorClient {
    /// Registers a node and mints its token.
    ///
    /// # Errors
    /// [`ApiError`]; a `conflict` where a machine holds the name.
    pub async fn register_node(&self, wish: &NewNode) -> Result<RegisteredNode, ApiError> {
        self.send(Method::POST, &["nodes"], wish).await
    }

    /// Mints a fresh token for a node.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn regenerate_token(&self, name: &str) -> Result<RegisteredNode, ApiError> {
        self.post(&["nodes", name, "token"]).await
    }

    /// Nodes by name.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn nodes(
        &self,
        only: &NodeQuery,
        page: PageQuery,
    ) -> Result<List<ShownNode>, ApiError> {
        let conditions = [("status", &only.status), ("state", &only.state), ("arch", &only.arch)];
        let given = |(name, value): (&'static str, &Option<String>)| {
            value.clone().map(|value| (name, value))
        };
        let mut params = page.into_params();
        params.extend(conditions.into_iter().filter_map(given));
        self.get(&["nodes"], &params).await
    }

    /// One node.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn node(&self, name: &str) -> Result<ShownNode, ApiError> {
        self.get(&["nodes", name], &[]).await
    }

    /// Attempts to enroll under a name, newest first.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn attempts(
        &self,
        name: &str,
        page: PageQuery,
    ) -> Result<List<AttemptItem>, ApiError> {
        self.list(&["nodes", name, "attempts"], page).await
    }

    /// Keeps new work away from a node.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn cordon_node(&self, name: &str) -> Result<NodeView, ApiError> {
        self.post(&["nodes", name, "cordon"]).await
    }

    /// Lets new work in again.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn uncordon_node(&self, name: &str) -> Result<NodeView, ApiError> {
        self.post(&["nodes", name, "uncordon"]).await
    }

    /// Begins the step to full control.
    ///
    /// # Errors
    /// [`ApiError`]; a `conflict` where the node's state does not allow it.
    pub async fn fuse_node(&self, name: &str) -> Result<NodeView, ApiError> {
        self.post(&["nodes", name, "fuse"]).await
    }

    /// Deletes a node; one that is in use, only if `forced`.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn delete_node(&self, name: &str, forced: bool) -> Result<(), ApiError> {
        self.delete(&["nodes", name], &[("force", forced.to_string())]).await
    }

    /// Queues a command.
    ///
    /// # Errors
    /// [`ApiError`]; a `conflict` where the node's state does not allow it.
    pub async fn queue_command(
        &self,
        name: &str,
        command: &NewCommand,
    ) -> Result<QueuedCommand, ApiError> {
        self.send(Method::POST, &["nodes", name, "commands"], command).await
    }

    /// The commands of a node, newest first.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn commands(
        &self,
        name: &str,
        page: PageQuery,
    ) -> Result<List<CommandItem>, ApiError> {
        self.list(&["nodes", name, "commands"], page).await
    }
}

/// The mesh.
impl OperatorClient {
    /// Who is in the mesh, the oldest first.
    ///
    /// # Errors
    /// [`ApiError`]; `not_found` where the master has no mesh.
    pub async fn mesh_nodes(&self, page: PageQuery) -> Result<List<MeshNodeItem>, ApiError> {
        self.list(&["mesh", "nodes"], page).await
    }
}

/// The master itself: settings, operators, the log.
impl OperatorClient {
    /// Auto-enrollment as it stands.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn auto_enrollment(&self) -> Result<AutoEnrollment, ApiError> {
        self.get(AUTO_ENROLLMENT, &[]).await
    }

    /// Changes auto-enrollment; what is absent stays.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn change_auto_enrollment(
        &self,
        wish: &AutoEnrollmentWish,
    ) -> Result<AutoEnrollment, ApiError> {
        self.send(Method::PUT, AUTO_ENROLLMENT, wish).await
    }

    /// Adds an operator.
    ///
    /// # Errors
    /// [`ApiError`]; a `conflict` where the name is taken.
    pub async fn add_admin(&self, name: &str, role: Role) -> Result<AddedAdmin, ApiError> {
        let wish = NewAdmin { name: name.to_owned(), role: role.as_str().to_owned() };
        self.send(Method::POST, &["admins"], &wish).await
    }

    /// Operators, by name.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn admins(&self, page: PageQuery) -> Result<List<AdminItem>, ApiError> {
        self.list(&["admins"], page).await
    }

    /// Removes an operator.
    ///
    /// # Errors
    /// [`ApiError`]; a `conflict` for the last one with the role `admin`.
    pub async fn remove_admin(&self, name: &str) -> Result<(), ApiError> {
        self.delete(&["admins", name], &[]).await
    }

    /// The audit log, in order, from behind the event whose `seq` is `after`.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn events(
        &self,
        after: Option<u64>,
        page: PageQuery,
    ) -> Result<List<EventItem>, ApiError> {
        let mut params = page.into_params();
        params.extend(after.map(|after| ("after", after.to_string())));
        self.get(&["events"], &params).await
    }

    /// Whether the store was promoted or restored.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn fence(&self) -> Result<FenceView, ApiError> {
        self.get(&["fence"], &[]).await
    }

    /// Says that an operator knows of it.
    ///
    /// # Errors
    /// [`ApiError`]; a `conflict` where there is nothing, or another epoch, to acknowledge.
    pub async fn acknowledge_fence(&self, wish: &FenceWish) -> Result<FenceView, ApiError> {
        self.send(Method::POST, &["fence", "acknowledge"], wish).await
    }

    /// Looks whether all is well with the store, its durability, the clock and the fence.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn diagnosis(&self) -> Result<Diagnosis, ApiError> {
        self.get(&["diagnosis"], &[]).await
    }

    /// Whether the master can decide, its store answering; `Some` says why not.
    ///
    /// # Errors
    /// [`ApiError`] when it does not say.
    pub async fn readiness(&self) -> Result<Option<String>, ApiError> {
        self.readyz().await
    }
}

const AUTO_ENROLLMENT: &[&str] = &["settings", "auto-enrollment"];
