//! Heartbeats, many in one statement.

use std::collections::BTreeMap;

use enroll_core::model::{Facts, NodeId, NodeRecord, Timestamp};
use enroll_core::store::Beat;

use crate::error::Failure;
use crate::transaction::Transaction;
use crate::{rows, values};

/// What the heartbeats of one node come to, taken one after the other.
///
/// A beat that one before it overtakes changes nothing; of the others the last stands, as do the last
/// facts among them. Whether what is on record of the node overtakes them is compared with each of
/// the two.
struct Heard<'a> {
    at: Timestamp,
    facts: Option<(Timestamp, &'a Facts)>,
}

pub(crate) async fn record(transaction: Transaction<'_>, beats: &[Beat]) -> Result<(), Failure> {
    let mut heard = BTreeMap::<NodeId, Heard<'_>>::new();
    for beat in beats {
        let facts = beat.facts.as_ref().map(|facts| (beat.at, facts));
        let node = heard.entry(beat.node_id).or_insert(Heard { at: beat.at, facts });
        if !beat.is_overtaken_by(node.at) {
            node.at = beat.at;
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
    let instants: Vec<_> = heard.values().map(|node| node.at.unix_millis()).collect();
    let facts_at = heard.values().map(|node| node.facts.map(|(at, _)| at.unix_millis()));
    let facts_at: Vec<_> = facts_at.collect();
    let facts =
        heard.values().map(|node| node.facts.map(|(_, facts)| rows::json(facts)).transpose());
    let facts = facts.collect::<Result<Vec<_>, _>>()?;
    let archs: Vec<_> =
        heard.values().map(|node| node.facts.and_then(|(_, facts)| arch(facts))).collect();
    transaction.execute(LOCK_NODES, values![ids]).await?;
    let leeway = i64::try_from(NodeRecord::CLOCK_LEEWAY.as_millis()).unwrap_or(i64::MAX);
    let values = values![ids, instants, facts_at, facts, archs, leeway];
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
/// nor enrolled later, but for what a clock set that was too far ahead.
pub(crate) const RECORD_BEATS: &str = "UPDATE enroll_nodes AS node
    SET last_seen_at = given.at,
        facts = CASE WHEN given.facts_at IS NULL
                OR node.last_seen_at BETWEEN given.facts_at + 1 AND given.facts_at + $6
                OR node.enrolled_at BETWEEN given.facts_at + 1 AND given.facts_at + $6
            THEN node.facts ELSE given.facts END,
        arch = CASE WHEN given.facts_at IS NULL
                OR node.last_seen_at BETWEEN given.facts_at + 1 AND given.facts_at + $6
                OR node.enrolled_at BETWEEN given.facts_at + 1 AND given.facts_at + $6
            THEN node.arch ELSE given.arch END
    FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::text[])
        AS given (id, at, facts_at, facts, arch)
    WHERE node.id = given.id
        AND (node.last_seen_at BETWEEN given.at + 1 AND given.at + $6::bigint) IS NOT TRUE
        AND (node.enrolled_at BETWEEN given.at + 1 AND given.at + $6) IS NOT TRUE";
