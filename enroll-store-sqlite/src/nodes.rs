//! Nodes, and the names they have.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use enroll_core::decision::Take;
use enroll_core::model::{Event, Facts, NodeId, NodeName, NodeRecord, Timestamp, TrustState};
use enroll_core::store::{
    Beat, DeleteOutcome, NodeCount, NodeFilter, Nodes, Page, Redeem, StoreError, Transition,
};
use rusqlite::named_params;

use crate::error::Failure;
use crate::rows::node_columns;
use crate::transaction::Transaction;
use crate::{SqliteStore, commands, identities, journal, node_list, redemptions, rows, tokens};

#[async_trait]
impl Nodes for SqliteStore {
    async fn node(&self, name: &NodeName) -> Result<Option<NodeRecord>, StoreError> {
        let name = name.clone();
        self.read("read a node", move |transaction| find(transaction, &name)).await
    }

    async fn nodes(
        &self,
        page: Page<NodeName>,
        filter: NodeFilter,
    ) -> Result<Vec<NodeRecord>, StoreError> {
        self.read("list nodes", move |transaction| node_list::list(transaction, &page, &filter))
            .await
    }

    async fn count_nodes(
        &self,
        at: Timestamp,
        stale_after: Duration,
    ) -> Result<Vec<NodeCount>, StoreError> {
        self.read("count nodes", move |transaction| node_list::count(transaction, at, stale_after))
            .await
    }

    async fn set_cordon(
        &self,
        name: &NodeName,
        cordoned: bool,
        event: Event,
    ) -> Result<Option<NodeRecord>, StoreError> {
        let name = name.clone();
        self.write("cordon a node", move |transaction| {
            let values = named_params! { ":name": name.as_str(), ":cordoned": cordoned };
            if transaction.execute(SET_CORDON, values)? == 1 {
                journal::insert_event(transaction, &event)?;
            }
            find(transaction, &name)
        })
        .await
    }

    async fn delete_node(
        &self,
        name: &NodeName,
        at: Timestamp,
        event: Event,
    ) -> Result<DeleteOutcome, StoreError> {
        let name = name.clone();
        let deleted = self
            .write("delete a node", move |transaction| delete(transaction, &name, at, &event))
            .await?;
        self.changed();
        Ok(deleted)
    }

    async fn transition(&self, step: Transition) -> Result<Option<NodeRecord>, StoreError> {
        self.write("change a node's state", move |transaction| transition(transaction, &step)).await
    }

    async fn record_beats(&self, beats: Vec<Beat>) -> Result<(), StoreError> {
        self.write("record heartbeats", move |transaction| {
            beats.iter().try_for_each(|beat| record_beat(transaction, beat))
        })
        .await
    }
}

/// The node that has a name.
pub(crate) fn find(
    transaction: Transaction<'_>,
    name: &NodeName,
) -> Result<Option<NodeRecord>, Failure> {
    transaction.find(NODE_BY_NAME, named_params! { ":name": name.as_str() }, rows::node)
}

/// The node of an id, unless it is gone.
pub(crate) fn find_by_id(
    transaction: Transaction<'_>,
    id: NodeId,
) -> Result<Option<NodeRecord>, Failure> {
    transaction.find(NODE_BY_ID, named_params! { ":id": id.as_bytes() }, rows::node)
}

/// When the last holder of a name was deleted.
pub(crate) fn deleted_at(
    transaction: Transaction<'_>,
    name: &NodeName,
) -> Result<Option<Timestamp>, Failure> {
    transaction.find(DELETED_AT, named_params! { ":name": name.as_str() }, |row| {
        row.get().map(Timestamp::from_unix_millis)
    })
}

/// Registers a name as pending.
pub(crate) fn register(
    transaction: Transaction<'_>,
    id: NodeId,
    name: NodeName,
    labels: Option<BTreeMap<String, String>>,
    at: Timestamp,
) -> Result<NodeRecord, Failure> {
    let node = NodeRecord {
        id,
        name,
        state: TrustState::Pending,
        cordoned: false,
        labels: labels.unwrap_or_default(),
        facts: Facts::default(),
        method: None,
        created_at: at,
        enrolled_at: None,
        last_seen_at: None,
        fuse: None,
    };
    let values = named_params! {
        ":id": node.id.as_bytes(),
        ":name": node.name.as_str(),
        ":state": node.state.as_str(),
        ":labels": rows::json(&node.labels)?,
        ":facts": rows::json(&node.facts)?,
        ":created_at": at.unix_millis(),
    };
    transaction.execute(REGISTER_NODE, values)?;
    Ok(node)
}

/// Gives a node the operator's labels, if there are any to give.
pub(crate) fn relabel(
    transaction: Transaction<'_>,
    mut node: NodeRecord,
    labels: Option<BTreeMap<String, String>>,
) -> Result<NodeRecord, Failure> {
    if let Some(labels) = labels {
        let values = named_params! { ":id": node.id.as_bytes(), ":labels": rows::json(&labels)? };
        transaction.execute(SET_LABELS, values)?;
        node.labels = labels;
    }
    Ok(node)
}

/// Takes the name of a redemption as its approval says; `None` when it has gone since.
pub(crate) fn take(
    transaction: Transaction<'_>,
    redeem: &Redeem,
) -> Result<Option<NodeRecord>, Failure> {
    let approval = &redeem.approval;
    let (name, method) = (approval.node_name().as_str(), approval.method().as_str());
    let (facts, at) = (rows::json(&redeem.facts)?, redeem.at.unix_millis());
    let state = TrustState::Monitoring.as_str();
    match approval.take() {
        Take::Free => {
            let values = named_params! {
                ":id": redeem.new_node_id.as_bytes(), ":name": name, ":state": state,
                ":facts": facts, ":method": method, ":at": at,
                ":minted_at": approval.minted_at().unix_millis(),
            };
            let taken = transaction.execute(TAKE_FREE, values)? == 1;
            Ok(taken.then(|| redeem.node(None)))
        }
        Take::Pending(id) => {
            let values = named_params! {
                ":id": id.as_bytes(), ":name": name, ":state": state,
                ":facts": facts, ":method": method, ":at": at,
            };
            transaction.find(TAKE_PENDING, values, rows::node)
        }
        Take::Held(id) => {
            let values = named_params! {
                ":id": id.as_bytes(), ":name": name, ":state": state,
                ":facts": facts, ":method": method, ":at": at,
                ":attempt": approval.fuse().map(|attempt| attempt.to_string()),
            };
            transaction.find(TAKE_HELD, values, rows::node)
        }
        _ => Err(Failure::Unsupported("the way to take a name")),
    }
}

fn delete(
    transaction: Transaction<'_>,
    name: &NodeName,
    at: Timestamp,
    event: &Event,
) -> Result<DeleteOutcome, Failure> {
    let values = named_params! { ":name": name.as_str() };
    let Some(node) = transaction.find(DELETE_NODE, values, rows::node)? else {
        return Ok(DeleteOutcome::NoSuchNode);
    };
    let values = named_params! { ":name": name.as_str(), ":at": at.unix_millis() };
    transaction.execute(REMEMBER_DELETED, values)?;
    commands::delete_of_node(transaction, node.id)?;
    identities::revoke_of_node(transaction, node.id, at)?;
    tokens::revoke_bound(transaction, name, at)?;
    redemptions::close_of_node(transaction, node.id, at)?;
    journal::keep_attempts_of(transaction, &node)?;
    journal::insert_event(transaction, event)?;
    Ok(DeleteOutcome::Deleted(Box::new(node)))
}

fn transition(
    transaction: Transaction<'_>,
    step: &Transition,
) -> Result<Option<NodeRecord>, Failure> {
    let values = named_params! {
        ":id": step.node_id.as_bytes(),
        ":from": step.from.as_str(),
        ":to": step.to.as_str(),
        ":attempt": step.attempt.map(|attempt| attempt.to_string()),
        ":fuse": rows::json(&step.fuse)?,
    };
    let node = transaction.find(TRANSITION, values, rows::node)?;
    if let (Some(_), Some(event)) = (&node, &step.event) {
        journal::insert_event(transaction, event)?;
    }
    Ok(node)
}

fn record_beat(transaction: Transaction<'_>, beat: &Beat) -> Result<(), Failure> {
    let values = named_params! {
        ":id": beat.node_id.as_bytes(),
        ":at": beat.at.unix_millis(),
        ":ahead": beat.at.after(NodeRecord::CLOCK_LEEWAY).unix_millis(),
        ":facts": beat.facts.as_ref().map(rows::json).transpose()?,
    };
    transaction.execute(RECORD_BEAT, values).map(drop)
}

/// `node_by_name` reads one row.
pub(crate) const NODE_BY_NAME: &str =
    concat!("SELECT ", node_columns!(), " FROM enroll_nodes WHERE name = :name");

/// `node_by_id` reads one row.
pub(crate) const NODE_BY_ID: &str =
    concat!("SELECT ", node_columns!(), " FROM enroll_nodes WHERE id = :id");

/// `deleted_at` reads one row.
pub(crate) const DELETED_AT: &str =
    "SELECT deleted_at FROM enroll_deleted_names WHERE name = :name";

/// `register_node` writes one row of `enroll_nodes`; an id that is there is a collision.
pub(crate) const REGISTER_NODE: &str = "INSERT INTO enroll_nodes
    (id, name, state, cordoned, labels, facts, created_at)
    VALUES (:id, :name, :state, 0, :labels, :facts, :created_at)";

/// `set_labels` writes one node.
pub(crate) const SET_LABELS: &str = "UPDATE enroll_nodes SET labels = :labels WHERE id = :id";

/// `take_free` writes one row of `enroll_nodes`, and only if no node has the name and its last holder
/// was deleted before the proof was minted.
pub(crate) const TAKE_FREE: &str = "INSERT INTO enroll_nodes
        (id, name, state, cordoned, labels, facts, method, created_at, enrolled_at)
    SELECT :id, :name, :state, 0, '{}', :facts, :method, :at, :at
    WHERE NOT EXISTS (SELECT 1 FROM enroll_nodes WHERE name = :name)
        AND NOT EXISTS (SELECT 1 FROM enroll_deleted_names
            WHERE name = :name AND deleted_at >= :minted_at)";

/// `take_pending` writes one node, and only if it still has the name and waits for its token.
pub(crate) const TAKE_PENDING: &str = concat!(
    "UPDATE enroll_nodes
    SET state = :state, facts = :facts, method = :method, enrolled_at = :at, last_seen_at = NULL,
        fuse = NULL
    WHERE id = :id AND name = :name AND state = 'pending'
    RETURNING ",
    node_columns!()
);

/// `take_held` writes one node, and only if it still has the name, and the attempt to fuse that it was
/// seen with; the method `secret` takes only what it made itself.
pub(crate) const TAKE_HELD: &str = concat!(
    "UPDATE enroll_nodes
    SET state = :state, facts = :facts, method = :method, enrolled_at = :at, last_seen_at = NULL,
        fuse = NULL
    WHERE id = :id AND name = :name AND state <> 'pending' AND fuse ->> '$.attempt' IS :attempt
        AND (:method <> 'secret' OR method = 'secret')
    RETURNING ",
    node_columns!()
);

/// `set_cordon` writes one node, and only if that changes it.
pub(crate) const SET_CORDON: &str =
    "UPDATE enroll_nodes SET cordoned = :cordoned WHERE name = :name AND cordoned <> :cordoned";

/// `transition` writes one node, and only if it is in the state and holds the attempt to fuse that it
/// was read with.
pub(crate) const TRANSITION: &str = concat!(
    "UPDATE enroll_nodes SET state = :to, fuse = :fuse
    WHERE id = :id AND state = :from AND fuse ->> '$.attempt' IS :attempt
    RETURNING ",
    node_columns!()
);

/// `delete_node` removes one node.
pub(crate) const DELETE_NODE: &str =
    concat!("DELETE FROM enroll_nodes WHERE name = :name RETURNING ", node_columns!());

/// `remember_deleted` writes one row of `enroll_deleted_names`. Of two deletions the later stands,
/// even where a clock went back between them: no older proof may take the name.
pub(crate) const REMEMBER_DELETED: &str = "INSERT INTO enroll_deleted_names (name, deleted_at)
    VALUES (:name, :at)
    ON CONFLICT (name) DO UPDATE SET deleted_at = max(deleted_at, excluded.deleted_at)";

/// `record_beat` writes one node, and only if it was neither heard from nor enrolled later, but for
/// what a clock set that was too far ahead.
pub(crate) const RECORD_BEAT: &str = "UPDATE enroll_nodes
    SET last_seen_at = :at, facts = coalesce(:facts, facts)
    WHERE id = :id AND (coalesce(last_seen_at, :at) <= :at OR last_seen_at > :ahead)
        AND (coalesce(enrolled_at, :at) <= :at OR enrolled_at > :ahead)";
