//! One redemption in one round trip.
//!
//! Four messages are sent without waiting in between: begin, lock, redeem, commit. `lock` waits for
//! whoever redeems the same name or the same counted token, and `redeem` sees all that they
//! committed, because each statement of a READ COMMITTED transaction reads as of its own beginning.
//! Under its locks nothing that it reads can change, so one statement can check the token and the
//! name, and write all or nothing: a redemption that is lost writes no row.
//!
//! An unlimited token that is bound to no name has no lock of its own: its users lock one of
//! [`SHARDS`](crate::tokens::SHARDS) rows, by connection, so that they seldom meet; revoking it locks
//! all of them.
//!
//! A connection that breaks leaves open whether the transaction was committed. Its redemption is then
//! looked for on another connection, under the same lock of its name. If it is not there it is put on
//! record as abandoned, and should the server still get to it, it finds that and writes nothing.

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

impl PostgresStore {
    /// Carries out one redemption, or shows what it lost to.
    pub(crate) async fn redeem_in_one_trip(
        &self,
        redeem: &Redeem,
    ) -> Result<RedeemOutcome, Failure> {
        let (mut tries, mut lost) = (0, 0);
        loop {
            let failure = match self.redeem_once(redeem).await {
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

    /// Sends the four messages; `None` when the redemption was lost.
    async fn redeem_once(&self, redeem: &Redeem) -> Result<Option<NodeRecord>, Failure> {
        let statement = match redeem.approval.take() {
            Take::Free => REDEEM_FREE,
            Take::Pending(_) => REDEEM_PENDING,
            Take::Held(_) => REDEEM_HELD,
            _ => return Err(Failure::Unsupported("the way to take a name")),
        };
        let given = Given::of(redeem)?;
        let session = self.session().await?;
        let client = session.client()?;
        let (lock, redeem) = bounded(self.patience(), async {
            tokio::try_join!(client.prepare_cached(LOCK), client.prepare_cached(statement))
        })
        .await?;
        let (lock_values, redeem_values) = (given.lock_values(), given.redeem_values());
        // Each is sent when it is first polled, and they are first polled in this order.
        let sent = async {
            let (begun, locked, rows, committed) = tokio::join!(
                client.batch_execute(&self.inner.begin),
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
        rows?.first().map(|row| rows::node(&mut rows::Columns::of(row))).transpose()
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
                node.id == id && !theirs
            }
            _ => false,
        }
}

/// The values of both statements.
struct Given<'a> {
    name_key: i64,
    id: uuid::Uuid,
    at: i64,
    token_id: Option<String>,
    method: &'static str,
    node_id: uuid::Uuid,
    name: &'a str,
    facts: String,
    arch: Option<String>,
    minted_at: i64,
    source_ip: Option<String>,
    claim: Option<Vec<u8>>,
    event: String,
    attempt: Attempt<'a>,
    identities: Columns<'a>,
}

/// The attempt to journal with it.
struct Attempt<'a> {
    id: uuid::Uuid,
    at: i64,
    name: &'a str,
    outcome: &'static str,
    source_ip: Option<String>,
    token_id: Option<String>,
    is_proven: bool,
    keep: i64,
}

impl<'a> Given<'a> {
    fn of(redeem: &'a Redeem) -> Result<Self, Failure> {
        let (approval, attempt) = (&redeem.approval, &redeem.attempt);
        Ok(Self {
            name_key: nodes::name_key(approval.node_name()),
            id: rows::uuid(redeem.id.as_bytes()),
            at: redeem.at.unix_millis(),
            token_id: approval.token_id().map(|id| id.to_string()),
            method: approval.method().as_str(),
            node_id: rows::uuid(redeem.node_id().as_bytes()),
            name: approval.node_name().as_str(),
            facts: rows::json(&redeem.facts)?,
            arch: crate::beats::arch(&redeem.facts),
            minted_at: approval.minted_at().unix_millis(),
            source_ip: redeem.origin.source_ip.map(|ip| ip.to_string()),
            claim: approval.claim().map(|claim| claim.digest().as_bytes().to_vec()),
            event: rows::json(&redeem.event())?,
            attempt: Attempt {
                id: rows::uuid(attempt.id.as_bytes()),
                at: attempt.at.unix_millis(),
                name: journal::name_of(attempt),
                outcome: rows::outcome_word(attempt.outcome)?,
                source_ip: attempt.source_ip.map(|ip| ip.to_string()),
                token_id: attempt.token_id.map(|id| id.to_string()),
                is_proven: attempt.proven,
                keep: i64::from(ATTEMPTS_PER_NAME) - 1,
            },
            identities: Columns::of(&redeem.identities, Some(redeem.node_id()))?,
        })
    }

    /// `$1` to `$4` of [`LOCK`].
    fn lock_values(&self) -> [&(dyn ToSql + Sync); 4] {
        [&self.name_key, &self.node_id, &self.token_id, &SHARDS]
    }

    /// `$1` to `$35` of [`REDEEM_FREE`] and its like.
    fn redeem_values(&self) -> [&(dyn ToSql + Sync); 35] {
        let (attempt, new) = (&self.attempt, &self.identities);
        [
            &self.id,
            &self.at,
            &self.token_id,
            &self.method,
            &self.node_id,
            &self.name,
            &self.facts,
            &self.arch,
            &self.minted_at,
            &self.source_ip,
            &self.claim,
            &self.event,
            &attempt.id,
            &attempt.at,
            &attempt.name,
            &attempt.outcome,
            &attempt.source_ip,
            &attempt.token_id,
            &attempt.is_proven,
            &attempt.keep,
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
        ]
    }
}

/// `lock` locks the name; then the node of this id; then the token of this id, if it is counted or
/// bound; else the one row in which this connection counts its uses. The columns of a row are
/// computed one after the other, so all who lock do so in this order.
pub(crate) const LOCK: &str = "WITH name AS MATERIALIZED (
        SELECT pg_advisory_xact_lock($1)
    ), node AS MATERIALIZED (
        SELECT 1 FROM enroll_nodes WHERE id = $2 FOR NO KEY UPDATE
    ), token AS MATERIALIZED (
        SELECT 1 FROM enroll_tokens
        WHERE id = $3 AND (max_uses <> 0 OR bound_to IS NOT NULL)
        FOR NO KEY UPDATE
    ), shard AS MATERIALIZED (
        SELECT 1 FROM enroll_token_shards
        WHERE token_id = $3 AND shard = pg_backend_pid() % $4::int
        FOR NO KEY UPDATE
    )
    SELECT (SELECT count(*) FROM name), (SELECT count(*) FROM node),
        (SELECT count(*) FROM token), (SELECT count(*) FROM shard)";

/// A redemption that takes its name by the statement given, and ends earlier ones by those given.
macro_rules! redeem {
    ($take:literal, $end:literal) => {
        concat!(
            "WITH good AS (
                SELECT 1
                WHERE EXISTS (SELECT 1 FROM enroll_fence WHERE one = 1
                        AND timeline = substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))
                    AND NOT EXISTS (SELECT 1 FROM enroll_abandoned WHERE redemption_id = $1)
                    AND $9::bigint IS NOT NULL
                    AND ($3::text IS NULL OR EXISTS (SELECT 1 FROM enroll_tokens
                        WHERE id = $3 AND revoked_at IS NULL AND replaced_at IS NULL
                            AND expires_at > $2 AND (max_uses = 0 OR uses < max_uses)
                            AND epoch >= (SELECT floor FROM enroll_fence WHERE one = 1)))
            ), taken AS (",
            $take,
            " RETURNING ",
            node_columns!(),
            "), spent AS (
                UPDATE enroll_tokens AS token SET uses = token.uses + 1 FROM taken
                WHERE token.id = $3 AND (token.max_uses <> 0 OR token.bound_to IS NOT NULL)
            ), counted AS (
                UPDATE enroll_token_shards AS shard SET uses = shard.uses + 1 FROM taken
                WHERE shard.token_id = $3 AND shard.shard = pg_backend_pid() % $35::int
            ), ",
            $end,
            "redeemed AS (
                INSERT INTO enroll_redemptions
                    (id, token_id, method, node_id, node_name, at, source_ip, claim)
                SELECT $1, $3, $4, taken.id, taken.name, $2, $10, $11 FROM taken
            ), issued AS (
                INSERT INTO enroll_identities
                    (id, node_id, node_name, redemption_id, predecessor, kind, serial, key_digest,
                    certificate, api_key_digest, external_id, issued_at, expires_at, first_used_at)
                SELECT new.* FROM taken, unnest($21::uuid[], $22::uuid[], $23::text[],
                    $24::uuid[], $25::uuid[], $26::text[], $27::bytea[], $28::bytea[],
                    $29::bytea[], $30::bytea[], $31::text[], $32::bigint[], $33::bigint[],
                    $34::bigint[]) AS new
            ), attempted AS (
                INSERT INTO enroll_attempts (id, at, node_name, outcome, source_ip, token_id)
                SELECT $13, $14, $15, $16, $17, $18 FROM taken WHERE $19
            ), attempted_unproven AS (
                INSERT INTO enroll_unproven_attempts
                    (id, at, node_name, outcome, source_ip, token_id)
                SELECT $13, $14, $15, $16, $17, $18 FROM taken WHERE NOT $19
            ), trimmed AS (
                DELETE FROM enroll_attempts AS attempt USING taken
                WHERE attempt.node_name = $15 AND attempt.id <= (SELECT id FROM enroll_attempts
                    WHERE node_name = $15 ORDER BY id DESC LIMIT 1 OFFSET $20)
            ), journalled AS (
                INSERT INTO enroll_unplaced_events (event) SELECT $12 FROM taken
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
                UPDATE enroll_identities AS identity SET revoked_at = $2 FROM taken
                WHERE identity.node_id = taken.id AND identity.revoked_at IS NULL
            ), closed AS (
                UPDATE enroll_redemptions AS earlier SET closed_at = $2 FROM taken
                WHERE earlier.node_name = $6 AND earlier.closed_at IS NULL
            ), "
        )
    };
}

/// `redeem_free` writes the token or the one row that counts for this connection, which are locked,
/// and new rows: the node, and only if no node has the name, which is locked, and its last holder was
/// deleted before the proof was minted; redemption, identities, attempt, event.
pub(crate) const REDEEM_FREE: &str = redeem!(
    "INSERT INTO enroll_nodes
        (id, name, state, cordoned, labels, facts, arch, method, created_at, enrolled_at)
    SELECT $5, $6, 'monitoring', false, '{}', $7, $8, $4, $2, $2 FROM good
    WHERE NOT EXISTS (SELECT 1 FROM enroll_nodes WHERE name = $6)
        AND NOT EXISTS (SELECT 1 FROM enroll_deleted_names WHERE name = $6 AND deleted_at >= $9)",
    ""
);

/// `redeem_pending` writes what `redeem_free` does, but the node that waits for its token, which is
/// locked; and the earlier redemptions and identities of that.
pub(crate) const REDEEM_PENDING: &str = redeem_again!(
    "UPDATE enroll_nodes
    SET state = 'monitoring', facts = $7, arch = $8, method = $4, enrolled_at = $2,
        last_seen_at = NULL, fuse = NULL, fuse_attempt = NULL
    FROM good
    WHERE id = $5 AND name = $6 AND state = 'pending'"
);

/// `redeem_held` writes what `redeem_pending` does, but the node that holds the name; the method
/// `secret` takes only what it made itself.
pub(crate) const REDEEM_HELD: &str = redeem_again!(
    "UPDATE enroll_nodes
    SET state = 'monitoring', facts = $7, arch = $8, method = $4, enrolled_at = $2,
        last_seen_at = NULL, fuse = NULL, fuse_attempt = NULL
    FROM good
    WHERE id = $5 AND name = $6 AND state <> 'pending' AND ($4 <> 'secret' OR method = 'secret')"
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
