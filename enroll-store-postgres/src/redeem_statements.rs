//! The statements of a redemption, and of many at once.

use crate::rows::node_columns;

/// What the transaction of a redemption begins with besides. Its statements are planned once, and find
/// every row by an index. Left to itself the server plans them for each redemption anew, because how
/// many there are in a batch is not known before, and that takes longer than to carry them out; and the
/// plan that it makes while a table is small, and may as well be read whole, is kept while it grows.
pub(crate) const PLANNED_ONCE: &str =
    "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off";

/// `lock` locks the names; then the nodes of these ids; then those of the tokens that are counted or
/// bound; then, for each of the others, the one row in which this connection counts its uses. The
/// columns of a row are computed one after the other, and within each the lesser first, so all who
/// lock do so in one order.
pub(crate) const LOCK: &str = "WITH names AS MATERIALIZED (
        SELECT pg_advisory_xact_lock(key)
        FROM (SELECT key FROM unnest($1::bigint[]) AS key ORDER BY key) AS keys
    ), nodes AS MATERIALIZED (
        SELECT 1 FROM enroll_nodes WHERE id = ANY($2) ORDER BY id FOR NO KEY UPDATE
    ), tokens AS MATERIALIZED (
        SELECT 1 FROM enroll_tokens
        WHERE id = ANY($3::text[]) AND (max_uses <> 0 OR bound_to IS NOT NULL)
        ORDER BY id FOR NO KEY UPDATE
    ), shards AS MATERIALIZED (
        SELECT 1 FROM enroll_token_shards
        WHERE token_id = ANY($3::text[]) AND shard = pg_backend_pid() % $4::int
        ORDER BY token_id FOR NO KEY UPDATE
    )
    SELECT (SELECT count(*) FROM names), (SELECT count(*) FROM nodes),
        (SELECT count(*) FROM tokens), (SELECT count(*) FROM shards)";

/// Redemptions that take their names by the statement given, and end earlier ones by those given.
///
/// Of those that share a counted token each has its turn among them: one whose turn would not have
/// come, had another been refused for its name, is lost, finds that nothing stands in its way, and
/// goes again.
macro_rules! redeem {
    ($take:literal, $end:literal) => {
        concat!(
            "WITH asked AS MATERIALIZED (
                SELECT *, row_number() OVER (PARTITION BY token_id ORDER BY place) AS turn
                FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::uuid[],
                    $6::text[], $7::text[], $8::text[], $9::bigint[], $10::text[], $11::bytea[],
                    $12::text[], $13::uuid[]) WITH ORDINALITY
                    AS asked (redemption_id, redeemed_at, token_id, how, node_id, node_name,
                        its_facts, its_arch, minted_at, source_ip, claim, event, seen_attempt,
                        place)
            ), good AS MATERIALIZED (
                SELECT asked.* FROM asked
                WHERE (SELECT timeline = substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)
                            AND made LIKE '%.' || tableoid::text
                        FROM enroll_fence WHERE one = 1)
                    AND (SELECT count(*) = 0 FROM enroll_abandoned AS abandoned
                        WHERE abandoned.redemption_id = asked.redemption_id)
                    AND (asked.token_id IS NULL OR (SELECT token.revoked_at IS NULL
                            AND token.replaced_at IS NULL AND token.expires_at > asked.redeemed_at
                            AND (token.max_uses = 0 OR token.uses + asked.turn <= token.max_uses)
                            AND token.epoch >= (SELECT floor FROM enroll_fence WHERE one = 1)
                        FROM enroll_tokens AS token WHERE token.id = asked.token_id))
            ), taken AS (",
            $take,
            " RETURNING ",
            node_columns!(),
            "), won AS MATERIALIZED (
                SELECT good.* FROM good JOIN taken ON taken.id = good.node_id
            ), used AS MATERIALIZED (
                SELECT token_id, count(*) AS times FROM won
                WHERE token_id IS NOT NULL GROUP BY token_id
            ), spent AS (
                UPDATE enroll_tokens AS token SET uses = token.uses + used.times FROM used
                WHERE token.id = used.token_id
                    AND (token.max_uses <> 0 OR token.bound_to IS NOT NULL)
            ), counted AS (
                UPDATE enroll_token_shards AS shard SET uses = shard.uses + used.times FROM used
                WHERE shard.token_id = used.token_id AND shard.shard = pg_backend_pid() % $29::int
            ), ",
            $end,
            "redeemed AS (
                INSERT INTO enroll_redemptions
                    (id, token_id, method, node_id, node_name, at, source_ip, claim)
                SELECT redemption_id, token_id, how, node_id, node_name, redeemed_at, source_ip,
                    claim
                FROM won
            ), issued AS (
                INSERT INTO enroll_identities
                    (id, node_id, node_name, redemption_id, predecessor, kind, serial, key_digest,
                    certificate, api_key_digest, external_id, issued_at, expires_at, first_used_at)
                SELECT new.* FROM won JOIN unnest($15::uuid[], $16::uuid[], $17::text[],
                        $18::uuid[], $19::uuid[], $20::text[], $21::bytea[], $22::bytea[],
                        $23::bytea[], $24::bytea[], $25::text[], $26::bigint[], $27::bigint[],
                        $28::bigint[])
                    AS new (id, node_id, node_name, redemption_id, predecessor, kind, serial,
                        key_digest, certificate, api_key_digest, external_id, issued_at,
                        expires_at, first_used_at)
                    ON new.node_id = won.node_id
            ), attempted AS (
                INSERT INTO enroll_attempts (id, at, node_name, outcome, source_ip, token_id)
                SELECT redemption_id, redeemed_at, node_name, 'accepted', source_ip, token_id
                FROM won
            ), trimmed AS (
                DELETE FROM enroll_attempts AS attempt USING won
                WHERE attempt.node_name = won.node_name
                    AND attempt.id <= (SELECT earlier.id FROM enroll_attempts AS earlier
                        WHERE earlier.node_name = won.node_name
                        ORDER BY earlier.id DESC LIMIT 1 OFFSET $14)
            ), journalled AS (
                INSERT INTO enroll_unplaced_events (event)
                SELECT event FROM won ORDER BY place
            )
            SELECT ",
            node_columns!(),
            " FROM taken"
        )
    };
}

/// The earlier identities and redemptions of a node that is taken.
macro_rules! redeem_again {
    ($take:literal) => {
        redeem!(
            $take,
            "revoked AS (
                UPDATE enroll_identities AS identity SET revoked_at = won.redeemed_at FROM won
                WHERE identity.node_id = won.node_id AND identity.revoked_at IS NULL
            ), closed AS (
                UPDATE enroll_redemptions AS earlier SET closed_at = won.redeemed_at FROM won
                WHERE earlier.node_name = won.node_name AND earlier.closed_at IS NULL
            ), "
        )
    };
}

/// `redeem_free` writes the tokens or the rows that count for this connection, which are locked, and
/// new rows: for each redemption the node, and only if no node has the name, which is locked, and its
/// last holder was deleted before the proof was minted; redemption, identities, attempt, event.
pub(crate) const REDEEM_FREE: &str = redeem!(
    "INSERT INTO enroll_nodes
        (id, name, state, cordoned, labels, facts, arch, method, created_at, enrolled_at)
    SELECT node_id, node_name, 'monitoring', false, '{}', its_facts, its_arch, how, redeemed_at,
        redeemed_at
    FROM good
    WHERE (SELECT count(*) = 0 FROM enroll_nodes AS node WHERE node.name = good.node_name)
        AND (SELECT count(*) = 0 FROM enroll_deleted_names AS deleted
            WHERE deleted.name = good.node_name AND deleted.deleted_at >= good.minted_at)",
    ""
);

/// `redeem_pending` writes what `redeem_free` does, but the nodes that wait for their tokens, which
/// are locked; and the earlier redemptions and identities of those.
pub(crate) const REDEEM_PENDING: &str = redeem_again!(
    "UPDATE enroll_nodes
    SET state = 'monitoring', facts = good.its_facts, arch = good.its_arch, method = good.how,
        enrolled_at = good.redeemed_at, last_seen_at = NULL, fuse = NULL, fuse_attempt = NULL
    FROM good
    WHERE id = good.node_id AND name = good.node_name AND state = 'pending'"
);

/// `redeem_held` writes what `redeem_pending` does, but the nodes that hold the names, each with the
/// attempt to fuse that it was seen with; the method `secret` takes only what it made itself.
pub(crate) const REDEEM_HELD: &str = redeem_again!(
    "UPDATE enroll_nodes
    SET state = 'monitoring', facts = good.its_facts, arch = good.its_arch, method = good.how,
        enrolled_at = good.redeemed_at, last_seen_at = NULL, fuse = NULL, fuse_attempt = NULL
    FROM good
    WHERE id = good.node_id AND name = good.node_name AND state <> 'pending'
        AND fuse_attempt IS NOT DISTINCT FROM good.seen_attempt
        AND (good.how <> 'secret' OR method = 'secret')"
);
