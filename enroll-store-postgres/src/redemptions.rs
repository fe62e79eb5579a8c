//! The hot path, and the only place where a use is spent.

use async_trait::async_trait;
use enroll_core::model::{
    ClaimKey, NameState, NodeName, NodeRecord, Prior, RedemptionId, RedemptionRecord, Snapshot,
    Timestamp, TokenId, TrustState,
};
use enroll_core::store::{
    Lookup, Redeem, RedeemOutcome, Redeliver, RedeliverOutcome, Redemptions, StoreError,
};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::error::Failure;
use crate::identities::{self, IDENTITY_WIDTH};
use crate::rows::{Columns, NODE_WIDTH, REDEMPTION_WIDTH, TOKEN_WIDTH, redemption_columns};
use crate::transaction::Transaction;
use crate::{PostgresStore, journal, nodes, rows, values};

#[async_trait]
impl Redemptions for PostgresStore {
    async fn look_up(&self, lookup: Lookup<'_>) -> Result<Snapshot, StoreError> {
        self.read("look up a token", &lookup, |transaction, lookup| {
            Box::pin(look_up(transaction, *lookup))
        })
        .await
    }

    async fn redeem(&self, wanted: Redeem) -> Result<RedeemOutcome, StoreError> {
        self.redeem_in_one_trip(wanted)
            .await
            .map_err(|failure| failure.into_store_error("redeem a token"))
    }

    async fn redeliver(&self, wanted: Redeliver) -> Result<RedeliverOutcome, StoreError> {
        self.write("give an answer again", &wanted, |transaction, wanted| {
            Box::pin(redeliver(transaction, wanted))
        })
        .await
    }
}

/// Reads what a decision needs, in one statement and so at one instant.
pub(crate) async fn look_up(
    transaction: Transaction<'_>,
    lookup: Lookup<'_>,
) -> Result<Snapshot, Failure> {
    let claim = lookup.claim.as_ref().map(|claim| claim.digest().as_bytes().as_slice());
    let values = values![
        lookup.token_id.map(|id| id.to_string()),
        lookup.node_name.map(NodeName::as_str),
        claim
    ];
    let rows = transaction.rows(LOOK_UP, values).await?;
    let first = rows.first().ok_or(Failure::Missing("the row of a look-up"))?;
    Ok(Snapshot {
        token: present(first, AT_TOKEN, rows::token)?,
        name: name_state(first)?,
        prior: prior(&rows, first)?,
    })
}

/// Where the records of a look-up begin.
const AT_TOKEN: usize = 0;
const AT_NODE: usize = AT_TOKEN + TOKEN_WIDTH;
const AT_DELETED: usize = AT_NODE + NODE_WIDTH;
const AT_REDEMPTION: usize = AT_DELETED + 1;
const AT_IDENTITY: usize = AT_REDEMPTION + REDEMPTION_WIDTH;

/// A record, unless all of its columns are absent, of which the first tells.
fn present<T>(
    row: &Row,
    place: usize,
    read: impl FnOnce(&mut Columns<'_>) -> Result<T, Failure>,
) -> Result<Option<T>, Failure> {
    let there = match place {
        AT_TOKEN => row.try_get::<_, Option<&str>>(place)?.is_some(),
        _ => row.try_get::<_, Option<Uuid>>(place)?.is_some(),
    };
    there.then(|| read(&mut Columns::from(row, place))).transpose()
}

fn name_state(row: &Row) -> Result<NameState, Failure> {
    Ok(match present(row, AT_NODE, rows::node)? {
        Some(node) if node.state == TrustState::Pending => NameState::Pending(node),
        Some(node) => NameState::Held(node),
        None => match Columns::from(row, AT_DELETED).maybe_instant()? {
            Some(at) => NameState::Deleted { at },
            None => NameState::Unknown,
        },
    })
}

/// The prior redemption, and its identities, one in each row.
fn prior(rows: &[Row], first: &Row) -> Result<Option<Prior>, Failure> {
    let Some(redemption) = present(first, AT_REDEMPTION, rows::redemption)? else {
        return Ok(None);
    };
    let identities = rows.iter().map(|row| present(row, AT_IDENTITY, rows::identity));
    let identities = identities.filter_map(Result::transpose).collect::<Result<_, _>>()?;
    Ok(Some(Prior { redemption, identities }))
}

async fn redeliver(
    transaction: Transaction<'_>,
    redeliver: &Redeliver,
) -> Result<RedeliverOutcome, Failure> {
    let redemption = redeliver.redelivery.redemption();
    nodes::lock(transaction, redemption.node_id).await?;
    let Some(node) = holder(transaction, redemption, redeliver.at).await? else {
        let lookup = Lookup {
            token_id: redemption.token_id,
            node_name: Some(&redemption.node_name),
            claim: redemption.claim,
        };
        let seen = look_up(transaction, lookup).await?;
        return Ok(RedeliverOutcome::Closed(Box::new(seen)));
    };
    for replacement in &redeliver.replacements {
        let (kind, at) = (replacement.credential.kind(), redeliver.at);
        identities::revoke_replaced(transaction, node.id, redemption.id, &kind, at).await?;
    }
    identities::insert(transaction, &redeliver.replacements, Some(node.id)).await?;
    journal::insert_attempts(transaction, std::slice::from_ref(&redeliver.attempt)).await?;
    journal::insert_event(transaction, &redeliver.event).await?;
    Ok(RedeliverOutcome::Redelivered(Box::new(node)))
}

/// The node that still has the name a redemption gave it, if that is still open at `at`. The row of
/// the redemption is locked, and a node that is there was locked before; one that is gone does not
/// come back under its id.
async fn holder(
    transaction: Transaction<'_>,
    redemption: &RedemptionRecord,
    at: Timestamp,
) -> Result<Option<NodeRecord>, Failure> {
    let values = values![rows::uuid(redemption.id.as_bytes())];
    let now = transaction.find(LOCK_REDEMPTION, values, rows::redemption).await?;
    let Some(now) = now.filter(|now| now.is_open(at)) else { return Ok(None) };
    let node = nodes::find(transaction, &now.node_name).await?;
    Ok(node.filter(|node| node.id == now.node_id && node.state != TrustState::Pending))
}

/// Closes the open redemptions under one name.
pub(crate) async fn close_under(
    transaction: Transaction<'_>,
    name: &NodeName,
    at: Timestamp,
) -> Result<(), Failure> {
    let values = values![name.as_str(), at.unix_millis()];
    transaction.execute(CLOSE_UNDER_NAME, values).await.map(drop)
}

/// Closes one redemption, if it is open.
pub(crate) async fn close(
    transaction: Transaction<'_>,
    id: RedemptionId,
    at: Timestamp,
) -> Result<(), Failure> {
    let values = values![rows::uuid(id.as_bytes()), at.unix_millis()];
    transaction.execute(CLOSE, values).await.map(drop)
}

/// What a redemption that was lost is to be judged by.
pub(crate) fn lookup_of(redeem: &Redeem) -> Lookup<'_> {
    let (token_id, claim): (Option<TokenId>, Option<ClaimKey>) =
        (redeem.approval.token_id(), redeem.approval.claim());
    Lookup { token_id, node_name: Some(redeem.approval.node_name()), claim }
}

/// `look_up` reads the token, the name and of the node that has it the newest redemption of one
/// claimant by the same proof (the same token, or none and the method `secret`), and its identities,
/// one in each row. It locks nothing.
pub(crate) const LOOK_UP: &str = "SELECT token.id, token.digest, token.bound_to, token.created_at,
        token.expires_at, token.max_uses, token.uses, token.created_by, token.description,
        token.revoked_at, token.replaced_at,
        node.id, node.name, node.state, node.cordoned, node.labels, node.facts, node.method,
        node.created_at, node.enrolled_at, node.last_seen_at, node.fuse,
        deleted.deleted_at,
        prior.id, prior.token_id, prior.method, prior.node_id, prior.node_name, prior.at,
        prior.source_ip, prior.claim, prior.closed_at,
        identity.id, identity.node_id, identity.node_name, identity.redemption_id,
        identity.predecessor, identity.kind, identity.serial, identity.key_digest,
        identity.certificate, identity.api_key_digest, identity.external_id, identity.issued_at,
        identity.expires_at, identity.first_used_at, identity.revoked_at
    FROM (VALUES ($1::text, $2::text, $3::bytea)) AS asked (token_id, node_name, claim)
    LEFT JOIN enroll_tokens_shown AS token ON token.id = asked.token_id
    LEFT JOIN enroll_nodes AS node ON node.name = coalesce(asked.node_name, token.bound_to)
    LEFT JOIN enroll_deleted_names AS deleted
        ON deleted.name = coalesce(asked.node_name, token.bound_to)
    LEFT JOIN LATERAL (
        SELECT * FROM enroll_redemptions AS redemption
        WHERE redemption.node_name = node.name AND redemption.node_id = node.id
            AND redemption.claim = asked.claim
            AND redemption.token_id IS NOT DISTINCT FROM asked.token_id
            AND (asked.token_id IS NOT NULL OR redemption.method = 'secret')
        ORDER BY redemption.id DESC LIMIT 1
    ) AS prior ON true
    LEFT JOIN enroll_identities AS identity
        ON identity.node_id = prior.node_id AND identity.revoked_at IS NULL
        AND identity.redemption_id = prior.id AND identity.predecessor IS NULL
    ORDER BY identity.id";

/// `lock_redemption` locks and reads one row.
pub(crate) const LOCK_REDEMPTION: &str = concat!(
    "SELECT ",
    redemption_columns!(),
    " FROM enroll_redemptions WHERE id = $1 FOR NO KEY UPDATE"
);

/// `close_under_name` locks and writes the open redemptions under one name.
pub(crate) const CLOSE_UNDER_NAME: &str = "UPDATE enroll_redemptions SET closed_at = $2
    WHERE node_name = $1 AND closed_at IS NULL";

/// `close` locks and writes one redemption, if it is open.
pub(crate) const CLOSE: &str =
    "UPDATE enroll_redemptions SET closed_at = $2 WHERE id = $1 AND closed_at IS NULL";

const _: () = assert!(IDENTITY_WIDTH == 15, "the columns of a look-up end with an identity");
