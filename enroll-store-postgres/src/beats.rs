//! Heartbeats, many in one statement.

use std::collections::BTreeMap;

use enroll_core::model::{Facts, NodeId};
use enroll_core::store::Beat;

use crate::error::Failure;
use crate::transaction::Transaction;
use crate::{rows, values};

/// What the heartbeats of one node come to, taken one after the other.
///
/// A beat earlier than one before it changes nothing, so those that change anything ascend; and of
/// those the last stands, as do the last facts among them. Whether the node was heard from or
/// enrolled later is compared with each of the two.
struct Heard<'a> {
    at: i64,
    facts: Option<(i64, &'a Facts)>,
}

pub(crate) async fn record(transaction: Transaction<'_>, beats: &[Beat]) -> Result<(), Failure> {
    let mut heard = BTreeMap::<NodeId, Heard<'_>>::new();
    for beat in beats {
        let at = beat.at.unix_millis();
        let facts = beat.facts.as_ref().map(|facts| (at, facts));
        let node = heard.entry(beat.node_id).or_insert(Heard { at, facts });
        if at >= node.at {
            node.at = at;
            node.facts = facts.or(node.facts);
        }
    }
    write(transaction, &heard).await
}

async fn write(
    transaction: Transaction<'_>,
    heard: &BTreeMap<NodeId, Heard<'_>>,
) -> Result<(), Failure> {
    let ids: Vec<_> = heard.keys().map(|id| rows::uuid(id.as_bytes())).collect();
    let instants: Vec<_> = heard.values().map(|node| node.at).collect();
    let facts_at: Vec<_> = heard.values().map(|node| node.facts.map(|(at, _)| at)).collect();
    let facts =
        heard.values().map(|node| node.facts.map(|(_, facts)| rows::json(facts)).transpose());
    let facts = facts.collect::<Result<Vec<_>, _>>()?;
    let archs: Vec<_> =
        heard.values().map(|node| node.facts.and_then(|(_, facts)| arch(facts))).collect();
    transaction.execute(LOCK_NODES, values![ids]).await?;
    let values = values![ids, instants, facts_at, facts, archs];
    transaction.execute(RECORD_BEATS, values).await.map(drop)
}

/// The architecture as it is kept, to be compared with.
pub(crate) fn arch(facts: &Facts) -> Option<String> {
    facts.arch.as_deref().map(|arch| rows::escaped(arch).into_owned())
}

/// `lock_nodes` locks these nodes in the order of their ids, so that two batches do not wait for each
/// other in a circle.
pub(crate) const LOCK_NODES: &str =
    "SELECT 1 FROM enroll_nodes WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE";

/// `record_beats` writes these nodes, which are locked, and each only if it was neither heard from
/// nor enrolled later.
pub(crate) const RECORD_BEATS: &str = "UPDATE enroll_nodes AS node
    SET last_seen_at = given.at,
        facts = CASE WHEN given.facts_at >= coalesce(node.last_seen_at, given.facts_at)
                AND given.facts_at >= coalesce(node.enrolled_at, given.facts_at)
            THEN given.facts ELSE node.facts END,
        arch = CASE WHEN given.facts_at >= coalesce(node.last_seen_at, given.facts_at)
                AND given.facts_at >= coalesce(node.enrolled_at, given.facts_at)
            THEN given.arch ELSE node.arch END
    FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::text[])
        AS given (id, at, facts_at, facts, arch)
    WHERE node.id = given.id AND given.at >= coalesce(node.last_seen_at, given.at)
        AND given.at >= coalesce(node.enrolled_at, given.at)";
