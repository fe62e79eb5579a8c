//! Whether what stands in a database adds up.

use std::io;

use super::Cluster;

/// Looks whether every use and every identity in the schema that `url` names is accounted for; gives
/// what is not, one line each.
///
/// # Errors
/// What the server said.
pub fn audit(cluster: &Cluster, url: &str) -> io::Result<Vec<String>> {
    let schema = url.rsplit_once("search_path%3D").map_or("public", |(_, schema)| schema);
    let mut wrong = Vec::new();
    for (what, query) in RULES {
        let rows = cluster.sql(&query.replace("{s}", schema))?;
        wrong.extend(rows.lines().map(|row| format!("{what}: {row}")));
    }
    Ok(wrong)
}

const RULES: &[(&str, &str)] = &[
    (
        "I1: a token has more uses than it may",
        "SELECT id, uses, max_uses FROM {s}.enroll_tokens_shown
        WHERE max_uses > 0 AND uses > max_uses",
    ),
    (
        "I3: a token's uses are not its redemptions",
        "SELECT token.id, token.uses, count(redemption.id) FROM {s}.enroll_tokens_shown AS token
        LEFT JOIN {s}.enroll_redemptions AS redemption ON redemption.token_id = token.id
        GROUP BY token.id, token.uses HAVING token.uses <> count(redemption.id)",
    ),
    (
        "I3: a redemption of no token",
        "SELECT redemption.id FROM {s}.enroll_redemptions AS redemption
        LEFT JOIN {s}.enroll_tokens AS token ON token.id = redemption.token_id
        WHERE token.id IS NULL AND redemption.method <> 'secret'",
    ),
    (
        "I3: a redemption made no identity",
        "SELECT redemption.id FROM {s}.enroll_redemptions AS redemption WHERE NOT EXISTS
            (SELECT 1 FROM {s}.enroll_identities WHERE redemption_id = redemption.id)",
    ),
    (
        "I3: an identity is of another node than its redemption",
        "SELECT identity.id FROM {s}.enroll_identities AS identity
        JOIN {s}.enroll_redemptions AS redemption ON redemption.id = identity.redemption_id
        WHERE identity.node_id <> redemption.node_id OR identity.node_name <> redemption.node_name",
    ),
    (
        "I3: a renewal is of another redemption than what it renews",
        "SELECT identity.id FROM {s}.enroll_identities AS identity
        JOIN {s}.enroll_identities AS before ON before.id = identity.predecessor
        WHERE identity.redemption_id <> before.redemption_id OR identity.kind <> before.kind",
    ),
    (
        "I2: a node has several live credentials of a kind straight from redemptions",
        "SELECT node_id, kind, count(*) FROM {s}.enroll_identities
        WHERE revoked_at IS NULL AND predecessor IS NULL
        GROUP BY node_id, kind HAVING count(*) > 1",
    ),
    (
        "I3: a live identity of a node that is not there",
        "SELECT identity.id FROM {s}.enroll_identities AS identity
        LEFT JOIN {s}.enroll_nodes AS node ON node.id = identity.node_id
        WHERE identity.revoked_at IS NULL AND node.id IS NULL",
    ),
    (
        "I3: a redemption has no event",
        "SELECT redemption.id FROM {s}.enroll_redemptions AS redemption
        WHERE (SELECT last_seq FROM {s}.enroll_journal) < 10000
            AND NOT EXISTS (SELECT 1 FROM (SELECT event FROM {s}.enroll_events
                UNION ALL SELECT event FROM {s}.enroll_unplaced_events) AS journal
                WHERE journal.event::json ->> 'redemption_id' = redemption.id::text)",
    ),
];
