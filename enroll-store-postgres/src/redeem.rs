//! Redemptions in one round trip, many at once.
//!
//! Four messages are sent without waiting in between: begin, lock, redeem, commit. `lock` waits for
//! whoever redeems the same names or the same counted tokens, and `redeem` sees all that they
//! committed, because each statement of a READ COMMITTED transaction reads as of its own beginning.
//! Under its locks nothing that it reads can change, so one statement can check tokens and names, and
//! write each redemption whole or not at all: one that is lost writes no row.
//!
//! The statements take redemptions as columns, so that those which wait while others are under way go
//! together; see [`batches`](crate::batches).
//!
//! An unlimited token that is bound to no name has no lock of its own: its users lock one of
//! [`SHARDS`](crate::tokens::SHARDS) rows, by connection, so that they seldom meet; revoking it locks
//! all of them.
//!
//! A connection that breaks leaves open whether the transaction was committed. Each of its redemptions
//! is then looked for on another connection, under the same lock of its name. If it is not there it is
//! put on record as abandoned, and should the server still get to it, it finds that and does not write
//! it.

use std::sync::Arc;

use enroll_core::decision::Take;
use enroll_core::model::{Method, NameState, NodeRecord, Snapshot, TokenRecord};
use enroll_core::store::{ATTEMPTS_PER_NAME, Redeem, RedeemOutcome, StoreErrorKind};
use tokio::time::{sleep, timeout};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::PostgresStore;
use crate::error::Failure;
use crate::identities::Columns;
use crate::rows::node_columns;
use crate::tokens::SHARDS;
use crate::transaction::{ASK_AGAIN, Transaction, bounded};
use crate::{journal, nodes, redemptions, rows, values};

/// How redemptions take their names; those of one statement take them alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Free,
    Pending,
    Held,
}

impl Way {
    pub(crate) fn of(redeem: &Redeem) -> Result<Self, Failure> {
        Ok(match redeem.approval.take() {
            Take::Free => Self::Free,
            Take::Pending(_) => Self::Pending,
            Take::Held(_) => Self::Held,
            _ => return Err(Failure::Unsupported("the way to take a name")),
        })
    }

    const fn statement(self) -> &'static str {
        match self {
            Self::Free => REDEEM_FREE,
            Self::Pending => REDEEM_PENDING,
            Self::Held => REDEEM_HELD,
        }
    }
}

impl PostgresStore {
    /// Carries out one redemption, or shows what it lost to.
    pub(crate) async fn redeem_in_one_trip(
        &self,
        redeem: Redeem,
    ) -> Result<RedeemOutcome, Failure> {
        let redeem = &Arc::new(redeem);
        let (mut tries, mut lost) = (0, 0);
        loop {
            let failure = match self.redeem_with_others(redeem).await {
                Ok(Some(node)) => {
                    self.journalled(1).await;
                    if matches!(redeem.approval.take(), Take::Held(_)) {
                        self.tell().await;
                    }
                    return Ok(RedeemOutcome::Enrolled(Box::new(node)));
                }
                Ok(None) => match self.seen_by(redeem).await? {
                    Ok(seen) => return Ok(RedeemOutcome::Lost(Box::new(seen))),
                    Err(failure) => failure,
                },
                Err(failure) if failure.is_disconnect() => {
                    let node = self.settle(redeem, failure).await?;
                    return Ok(RedeemOutcome::Enrolled(Box::new(node)));
                }
                Err(failure) => failure,
            };
            if !self.again(&failure, &mut tries, &mut lost).await {
                return Err(failure);
            }
        }
    }

    /// Sends the four messages. All redemptions take their names in the same way, and no two of them
    /// the same name; the nodes are those of the ones that were not lost.
    pub(crate) async fn redeem_at_once(
        &self,
        way: Way,
        redeems: &[Arc<Redeem>],
    ) -> Result<Vec<NodeRecord>, Failure> {
        let given = Given::of(redeems)?;
        let session = self.session().await?;
        let client = session.client()?;
        let (lock, redeem) = bounded(self.patience(), async {
            tokio::try_join!(client.prepare_cached(LOCK), client.prepare_cached(way.statement()))
        })
        .await?;
        let (lock_values, redeem_values) = (given.lock_values(), given.redeem_values());
        // Each is sent when it is first polled, and they are first polled in this order.
        let sent = async {
            let (begun, locked, rows, committed) = tokio::join!(
                client.batch_execute(&self.inner.begin_redeem),
                client.query(&lock, &lock_values),
                client.query(&redeem, &redeem_values),
                client.batch_execute("COMMIT"),
            );
            begun.and(locked)?;
            let rows = rows?;
            committed?;
            Ok(rows)
        };
        let rows: Result<Vec<Row>, Failure> = bounded(self.patience(), sent).await;
        if !matches!(&rows, Err(failure) if failure.is_disconnect()) {
            session.rest();
        }
        rows?.iter().map(|row| rows::node(&mut rows::Columns::of(row))).collect()
    }

    /// What the store holds that the redemption lost to. Should that be nothing, because it went
    /// again meanwhile or because the server is another since, the redemption is to be tried again.
    async fn seen_by(&self, redeem: &Redeem) -> Result<Result<Snapshot, Failure>, Failure> {
        let session = self.session().await?;
        let transaction = self.transaction(&session)?;
        let known = transaction.find(IS_KNOWN, &[], |row| row.get()).await?;
        let seen = redemptions::look_up(transaction, redemptions::lookup_of(redeem)).await?;
        session.rest();
        Ok(match known {
            Some(true) if !would_win(redeem, &seen) => Ok(seen),
            Some(true) => Err(Failure::Contended),
            _ => Err(Failure::Fenced),
        })
    }

    /// Finds out what became of a redemption whose connection broke with `failure`, for as long as
    /// somebody is likely to wait for it.
    async fn settle(&self, redeem: &Redeem, failure: Failure) -> Result<NodeRecord, Failure> {
        let finding = async {
            loop {
                let found = self.commit(redeem, |transaction, redeem| {
                    Box::pin(find_or_abandon(transaction, redeem))
                });
                match found.await {
                    Err(failure) if failure.kind() == StoreErrorKind::Unavailable => {
                        sleep(ASK_AGAIN).await;
                    }
                    found => return found,
                }
            }
        };
        let patience = self.patience().saturating_mul(2);
        match timeout(patience, finding).await.unwrap_or(Err(Failure::Unknown))? {
            Found::Redeemed(Some(node)) => Ok(*node),
            // It was redeemed, and the node was deleted since: whoever asks again is told so.
            Found::Redeemed(None) => Err(Failure::Unknown),
            Found::Abandoned => Err(failure),
        }
    }
}

enum Found {
    Redeemed(Option<Box<NodeRecord>>),
    Abandoned,
}

async fn find_or_abandon(transaction: Transaction<'_>, redeem: &Redeem) -> Result<Found, Failure> {
    let name = redeem.approval.node_name();
    nodes::lock_name(transaction, name).await?;
    let id = rows::uuid(redeem.id.as_bytes());
    if transaction.find(IS_REDEEMED, values![id], |_| Ok(())).await?.is_some() {
        let node = nodes::find(transaction, name).await?;
        let node = node.filter(|node| node.id == redeem.node_id());
        return Ok(Found::Redeemed(node.map(Box::new)));
    }
    transaction.execute(ABANDON, values![id]).await?;
    transaction.execute(FORGET_ABANDONED, &[]).await?;
    Ok(Found::Abandoned)
}

/// Whether the redemption is good by what was seen, as the statements judge it.
fn would_win(redeem: &Redeem, seen: &Snapshot) -> bool {
    let approval = &redeem.approval;
    let good = |token: &TokenRecord| {
        token.revoked_at.is_none()
            && token.replaced_at.is_none()
            && redeem.at < token.expires_at
            && !token.is_spent()
    };
    let spendable = approval.token_id().is_none() || seen.token.as_ref().is_some_and(good);
    spendable
        && match (approval.take(), &seen.name) {
            (Take::Free, NameState::Unknown) => true,
            (Take::Free, NameState::Deleted { at }) => approval.minted_at() > *at,
            (Take::Pending(id), NameState::Pending(node)) => node.id == id,
            (Take::Held(id), NameState::Held(node)) => {
                let theirs =
                    approval.method() == Method::Secret && node.method != Some(Method::Secret);
                node.id == id && node.fuse_attempt() == approval.fuse() && !theirs
            }
            _ => false,
        }
}

/// Redemptions as columns, each a parameter of the statements.
#[derive(Default)]
struct Given<'a> {
    name_keys: Vec<i64>,
    ids: Vec<uuid::Uuid>,
    instants: Vec<i64>,
    token_ids: Vec<Option<String>>,
    methods: Vec<&'static str>,
    node_ids: Vec<uuid::Uuid>,
    names: Vec<&'a str>,
    facts: Vec<String>,
    archs: Vec<Option<String>>,
    minted_at: Vec<i64>,
    addresses: Vec<Option<String>>,
    claims: Vec<Option<Vec<u8>>>,
    events: Vec<String>,
    fuses: Vec<Option<uuid::Uuid>>,
    attempts: Attempts<'a>,
    identities: Columns<'a>,
}

/// The attempts to journal with them.
#[derive(Default)]
struct Attempts<'a> {
    ids: Vec<uuid::Uuid>,
    instants: Vec<i64>,
    names: Vec<&'a str>,
    outcomes: Vec<&'static str>,
    addresses: Vec<Option<String>>,
    token_ids: Vec<Option<String>>,
    are_proven: Vec<bool>,
}

impl<'a> Given<'a> {
    fn of(redeems: &'a [Arc<Redeem>]) -> Result<Self, Failure> {
        let mut given = Self::default();
        for redeem in redeems {
            given.push(redeem)?;
        }
        Ok(given)
    }

    fn push(&mut self, redeem: &'a Redeem) -> Result<(), Failure> {
        let (approval, attempt) = (&redeem.approval, &redeem.attempt);
        let claim = approval.claim().map(|claim| claim.digest().as_bytes().to_vec());
        self.name_keys.push(nodes::name_key(approval.node_name()));
        self.ids.push(rows::uuid(redeem.id.as_bytes()));
        self.instants.push(redeem.at.unix_millis());
        self.token_ids.push(approval.token_id().map(|id| id.to_string()));
        self.methods.push(approval.method().as_str());
        self.node_ids.push(rows::uuid(redeem.node_id().as_bytes()));
        self.names.push(approval.node_name().as_str());
        self.facts.push(rows::json(&redeem.facts)?);
        self.archs.push(crate::beats::arch(&redeem.facts));
        self.minted_at.push(approval.minted_at().unix_millis());
        self.addresses.push(redeem.origin.source_ip.map(|ip| ip.to_string()));
        self.claims.push(claim);
        self.events.push(rows::json(&redeem.event())?);
        self.fuses.push(approval.fuse().map(|attempt| rows::uuid(attempt.as_bytes())));
        self.attempts.ids.push(rows::uuid(attempt.id.as_bytes()));
        self.attempts.instants.push(attempt.at.unix_millis());
        self.attempts.names.push(journal::name_of(attempt));
        self.attempts.outcomes.push(rows::outcome_word(attempt.outcome)?);
        self.attempts.addresses.push(attempt.source_ip.map(|ip| ip.to_string()));
        self.attempts.token_ids.push(attempt.token_id.map(|id| id.to_string()));
        self.attempts.are_proven.push(attempt.proven);
        self.identities.extend(&redeem.identities, Some(redeem.node_id()))
    }

    /// `$1` to `$4` of [`LOCK`].
    fn lock_values(&self) -> [&(dyn ToSql + Sync); 4] {
        [&self.name_keys, &self.node_ids, &self.token_ids, &SHARDS]
    }

    /// `$1` to `$36` of [`REDEEM_FREE`] and its like.
    fn redeem_values(&self) -> [&(dyn ToSql + Sync); 36] {
        let (attempts, new) = (&self.attempts, &self.identities);
        [
            &self.ids,
            &self.instants,
            &self.token_ids,
            &self.methods,
            &self.node_ids,
            &self.names,
            &self.facts,
            &self.archs,
            &self.minted_at,
            &self.addresses,
            &self.claims,
            &self.events,
            &attempts.ids,
            &attempts.instants,
            &attempts.names,
            &attempts.outcomes,
            &attempts.addresses,
            &attempts.token_ids,
            &attempts.are_proven,
            &const { ATTEMPTS_PER_NAME as i64 - 1 },
            &new.ids,
            &new.node_ids,
            &new.node_names,
            &new.redemption_ids,
            &new.predecessors,
            &new.kinds,
            &new.serials,
            &new.key_digests,
            &new.certificates,
            &new.api_key_digests,
            &new.external_ids,
            &new.issued_at,
            &new.expires_at,
            &new.first_used_at,
            &SHARDS,
            &self.fuses,
        ]
    }
}

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
                    $12::text[], $13::uuid[], $14::bigint[], $15::text[], $16::text[],
                    $17::text[], $18::text[], $19::boolean[], $36::uuid[]) WITH ORDINALITY
                    AS asked (redemption_id, redeemed_at, token_id, how, node_id, node_name,
                        its_facts, its_arch, minted_at, source_ip, claim, event, attempt_id,
                        attempted_at, attempted_name, outcome, attempt_ip, attempt_token_id,
                        is_proven, seen_attempt, place)
            ), good AS MATERIALIZED (
                SELECT asked.* FROM asked
                WHERE (SELECT timeline = substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)
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
                WHERE shard.token_id = used.token_id AND shard.shard = pg_backend_pid() % $35::int
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
                SELECT new.* FROM won JOIN unnest($21::uuid[], $22::uuid[], $23::text[],
                        $24::uuid[], $25::uuid[], $26::text[], $27::bytea[], $28::bytea[],
                        $29::bytea[], $30::bytea[], $31::text[], $32::bigint[], $33::bigint[],
                        $34::bigint[])
                    AS new (id, node_id, node_name, redemption_id, predecessor, kind, serial,
                        key_digest, certificate, api_key_digest, external_id, issued_at,
                        expires_at, first_used_at)
                    ON new.node_id = won.node_id
            ), attempted AS (
                INSERT INTO enroll_attempts (id, at, node_name, outcome, source_ip, token_id)
                SELECT attempt_id, attempted_at, attempted_name, outcome, attempt_ip,
                    attempt_token_id
                FROM won WHERE is_proven
            ), attempted_unproven AS (
                INSERT INTO enroll_unproven_attempts
                    (id, at, node_name, outcome, source_ip, token_id)
                SELECT attempt_id, attempted_at, attempted_name, outcome, attempt_ip,
                    attempt_token_id
                FROM won WHERE NOT is_proven
            ), trimmed AS (
                DELETE FROM enroll_attempts AS attempt USING won
                WHERE attempt.node_name = won.attempted_name
                    AND attempt.id <= (SELECT earlier.id FROM enroll_attempts AS earlier
                        WHERE earlier.node_name = won.attempted_name
                        ORDER BY earlier.id DESC LIMIT 1 OFFSET $20)
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

/// `is_known` reads the one row of the fence; it locks nothing.
const IS_KNOWN: &str =
    "SELECT timeline = substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)
    FROM enroll_fence WHERE one = 1";

/// `is_redeemed` reads one row; its name is locked.
pub(crate) const IS_REDEEMED: &str = "SELECT 1 FROM enroll_redemptions WHERE id = $1";

/// `abandon` writes one new row of `enroll_abandoned`.
pub(crate) const ABANDON: &str = "INSERT INTO enroll_abandoned (redemption_id) VALUES ($1)
    ON CONFLICT DO NOTHING";

/// `forget_abandoned` removes rows of `enroll_abandoned` that no connection can outlive.
const FORGET_ABANDONED: &str =
    "DELETE FROM enroll_abandoned WHERE since < now() - interval '1 day'";
