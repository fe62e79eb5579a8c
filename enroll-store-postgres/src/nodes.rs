//! Nodes, and the names they have.
//!
//! Whoever gives, takes or removes a name first locks the name; whoever writes what hangs on a node
//! (identities, open redemptions, commands) first locks the node's row. Both are held to the end of
//! the transaction, and the statements after them read what was committed before. In this order all
//! operations lock: name, node, token, identities, redemptions.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use enroll_core::model::{
    Event, Facts, NodeId, NodeName, NodeRecord, Sha256, Timestamp, TrustState,
};
use enroll_core::store::{
    Beat, DeleteOutcome, NodeCount, NodeFilter, Nodes, Page, StoreError, Transition,
};

use crate::error::Failure;
use crate::rows::node_columns;
use crate::transaction::Transaction;
use crate::{
    PostgresStore, beats, commands, identities, journal, masters, node_list, redemptions, rows,
    tokens, values,
};

#[async_trait]
impl Nodes for PostgresStore {
    async fn node(&self, name: &NodeName) -> Result<Option<NodeRecord>, StoreError> {
        self.read("read a node", name, |transaction, name| Box::pin(find(transaction, name))).await
    }

    async fn nodes(
        &self,
        page: Page<NodeName>,
        filter: NodeFilter,
    ) -> Result<Vec<NodeRecord>, StoreError> {
        self.read("list nodes", &(page, filter), |transaction, (page, filter)| {
            Box::pin(node_list::list(transaction, page, filter))
        })
        .await
    }

    async fn count_nodes(
        &self,
        at: Timestamp,
        stale_after: Duration,
    ) -> Result<Vec<NodeCount>, StoreError> {
        self.read("count nodes", &(at, stale_after), |transaction, (at, stale_after)| {
            Box::pin(node_list::count(transaction, *at, *stale_after))
        })
        .await
    }

    async fn set_cordon(
        &self,
        name: &NodeName,
        cordoned: bool,
        event: Event,
    ) -> Result<Option<NodeRecord>, StoreError> {
        self.write("cordon a node", &(name, cordoned, event), |transaction, given| {
            Box::pin(async move {
                let (name, cordoned, event) = given;
                if transaction.execute(SET_CORDON, values![name.as_str(), cordoned]).await? == 1 {
                    journal::insert_event(transaction, event).await?;
                }
                find(transaction, name).await
            })
        })
        .await
    }

    async fn delete_node(
        &self,
        name: &NodeName,
        at: Timestamp,
        event: Event,
    ) -> Result<DeleteOutcome, StoreError> {
        let deleted = self
            .write("delete a node", &(name, at, event), |transaction, (name, at, event)| {
                Box::pin(delete(transaction, name, *at, event))
            })
            .await?;
        self.changed();
        Ok(deleted)
    }

    async fn transition(&self, step: Transition) -> Result<Option<NodeRecord>, StoreError> {
        self.write("change a node's state", &step, |transaction, step| {
            Box::pin(transition(transaction, step))
        })
        .await
    }

    async fn record_beats(&self, beats: Vec<Beat>) -> Result<(), StoreError> {
        self.write("record heartbeats", &beats, |transaction, beats| {
            Box::pin(beats::record(transaction, beats))
        })
        .await
    }
}

/// Locks a name, whether or not a node has it, and the node that has it.
pub(crate) async fn lock_name(
    transaction: Transaction<'_>,
    name: &NodeName,
) -> Result<(), Failure> {
    transaction.execute(LOCK_NAME, values![name_key(name)]).await?;
    transaction.execute(LOCK_NODE_BY_NAME, values![name.as_str()]).await.map(drop)
}

/// The number under which a name is locked. Two names that share one wait for each other, no more.
pub(crate) fn name_key(name: &NodeName) -> i64 {
    let digest = Sha256::of(format!("enroll name {name}").as_bytes());
    let [first, ..] = digest.as_bytes().as_chunks::<8>().0 else { return 0 };
    i64::from_be_bytes(*first)
}

/// The node that has a name.
pub(crate) async fn find(
    transaction: Transaction<'_>,
    name: &NodeName,
) -> Result<Option<NodeRecord>, Failure> {
    transaction.find(NODE_BY_NAME, values![name.as_str()], rows::node).await
}

/// Locks the node of an id, and says whether it is there.
pub(crate) async fn lock(transaction: Transaction<'_>, id: NodeId) -> Result<bool, Failure> {
    Ok(transaction.execute(LOCK_NODE, values![rows::uuid(id.as_bytes())]).await? == 1)
}

/// Registers a name as pending.
pub(crate) async fn register(
    transaction: Transaction<'_>,
    id: NodeId,
    name: &NodeName,
    labels: Option<&BTreeMap<String, String>>,
    at: Timestamp,
) -> Result<NodeRecord, Failure> {
    let node = NodeRecord {
        id,
        name: name.clone(),
        state: TrustState::Pending,
        cordoned: false,
        labels: labels.cloned().unwrap_or_default(),
        facts: Facts::default(),
        method: None,
        created_at: at,
        enrolled_at: None,
        last_seen_at: None,
        fuse: None,
    };
    let values = values![
        rows::uuid(node.id.as_bytes()),
        node.name.as_str(),
        node.state.as_str(),
        rows::json(&node.labels)?,
        rows::json(&node.facts)?,
        at.unix_millis()
    ];
    transaction.execute(REGISTER_NODE, values).await?;
    Ok(node)
}

/// Gives a node the operator's labels, if there are any to give.
pub(crate) async fn relabel(
    transaction: Transaction<'_>,
    mut node: NodeRecord,
    labels: Option<&BTreeMap<String, String>>,
) -> Result<NodeRecord, Failure> {
    if let Some(labels) = labels {
        let values = values![rows::uuid(node.id.as_bytes()), rows::json(labels)?];
        transaction.execute(SET_LABELS, values).await?;
        node.labels.clone_from(labels);
    }
    Ok(node)
}

async fn delete(
    transaction: Transaction<'_>,
    name: &NodeName,
    at: Timestamp,
    event: &Event,
) -> Result<DeleteOutcome, Failure> {
    lock_name(transaction, name).await?;
    let deleted = transaction.find(DELETE_NODE, values![name.as_str()], rows::node).await?;
    let Some(node) = deleted else { return Ok(DeleteOutcome::NoSuchNode) };
    transaction.execute(REMEMBER_DELETED, values![name.as_str(), at.unix_millis()]).await?;
    commands::delete_of_node(transaction, node.id).await?;
    tokens::revoke_bound(transaction, name, at).await?;
    identities::revoke_of_node(transaction, node.id, at).await?;
    redemptions::close_under(transaction, name, at).await?;
    journal::insert_event(transaction, event).await?;
    masters::notify(transaction).await?;
    Ok(DeleteOutcome::Deleted(Box::new(node)))
}

async fn transition(
    transaction: Transaction<'_>,
    step: &Transition,
) -> Result<Option<NodeRecord>, Failure> {
    let values = values![
        rows::uuid(step.node_id.as_bytes()),
        step.from.as_str(),
        step.to.as_str(),
        step.attempt.map(|attempt| rows::uuid(attempt.as_bytes())),
        rows::json(&step.fuse)?,
        rows::uuid(step.fuse.attempt.as_bytes())
    ];
    let node = transaction.find(TRANSITION, values, rows::node).await?;
    if let (Some(_), Some(event)) = (&node, &step.event) {
        journal::insert_event(transaction, event).await?;
    }
    Ok(node)
}

/// `lock_name` locks no row but a number, until the transaction ends. It is what stands between two
/// that want a name which no row has yet.
pub(crate) const LOCK_NAME: &str = "SELECT pg_advisory_xact_lock($1)";

/// `lock_node_by_name` locks one node.
pub(crate) const LOCK_NODE_BY_NAME: &str =
    "SELECT 1 FROM enroll_nodes WHERE name = $1 FOR NO KEY UPDATE";

/// `lock_node` locks one node.
pub(crate) const LOCK_NODE: &str = "SELECT 1 FROM enroll_nodes WHERE id = $1 FOR NO KEY UPDATE";

/// `node_by_name` reads one row.
pub(crate) const NODE_BY_NAME: &str =
    concat!("SELECT ", node_columns!(), " FROM enroll_nodes WHERE name = $1");

/// `register_node` writes one new row of `enroll_nodes`; an id that is there is a collision.
pub(crate) const REGISTER_NODE: &str = "INSERT INTO enroll_nodes
    (id, name, state, cordoned, labels, facts, created_at) VALUES ($1, $2, $3, false, $4, $5, $6)";

/// `set_labels` writes one node, which is locked.
pub(crate) const SET_LABELS: &str = "UPDATE enroll_nodes SET labels = $2 WHERE id = $1";

/// `set_cordon` locks and writes one node, and only if that changes it.
pub(crate) const SET_CORDON: &str =
    "UPDATE enroll_nodes SET cordoned = $2 WHERE name = $1 AND cordoned <> $2";

/// `transition` locks and writes one node, and only if it is in the state and holds the attempt to
/// fuse that it was read with.
pub(crate) const TRANSITION: &str = concat!(
    "UPDATE enroll_nodes SET state = $3, fuse = $5, fuse_attempt = $6
    WHERE id = $1 AND state = $2 AND fuse_attempt IS NOT DISTINCT FROM $4
    RETURNING ",
    node_columns!()
);

/// `delete_node` removes one node, which is locked.
pub(crate) const DELETE_NODE: &str =
    concat!("DELETE FROM enroll_nodes WHERE name = $1 RETURNING ", node_columns!());

/// `remember_deleted` writes one row of `enroll_deleted_names`, whose name is locked. Of two
/// deletions the later stands, even where a clock went back between them: no older proof may take
/// the name.
pub(crate) const REMEMBER_DELETED: &str =
    "INSERT INTO enroll_deleted_names AS kept (name, deleted_at) VALUES ($1, $2)
    ON CONFLICT (name) DO UPDATE SET deleted_at = greatest(kept.deleted_at, excluded.deleted_at)";
