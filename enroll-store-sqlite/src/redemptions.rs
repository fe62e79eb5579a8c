//! The hot path, and the only place where a use is spent.

use async_trait::async_trait;
use enroll_core::decision::Take;
use enroll_core::model::{
    ClaimKey, NameState, NodeId, NodeName, NodeRecord, Prior, RedemptionId, RedemptionRecord,
    Snapshot, Timestamp, TokenId, TrustState,
};
use enroll_core::store::{
    Lookup, Redeem, RedeemOutcome, Redeliver, RedeliverOutcome, Redemptions, StoreError,
};
use rusqlite::named_params;

use crate::error::Failure;
use crate::rows::redemption_columns;
use crate::transaction::Transaction;
use crate::{SqliteStore, identities, journal, nodes, rows, tokens};

#[async_trait]
impl Redemptions for SqliteStore {
    async fn look_up(&self, lookup: Lookup<'_>) -> Result<Snapshot, StoreError> {
        let asked = Asked {
            token_id: lookup.token_id,
            node_name: lookup.node_name.cloned(),
            claim: lookup.claim,
        };
        self.look_up("look up a token", move |transaction| {
            transaction.at_one_instant(|transaction| look_up(transaction, &asked))
        })
        .await
    }

    async fn redeem(&self, wanted: Redeem) -> Result<RedeemOutcome, StoreError> {
        let replaces = matches!(wanted.approval.take(), Take::Held(_));
        let outcome =
            self.write("redeem a token", move |transaction| redeem(transaction, &wanted)).await?;
        if replaces {
            self.changed();
        }
        Ok(outcome)
    }

    async fn redeliver(&self, wanted: Redeliver) -> Result<RedeliverOutcome, StoreError> {
        self.write("give an answer again", move |transaction| redeliver(transaction, &wanted)).await
    }
}

/// A [`Lookup`] that owns its name, to go to another thread.
struct Asked {
    token_id: Option<TokenId>,
    node_name: Option<NodeName>,
    claim: Option<ClaimKey>,
}

fn look_up(transaction: Transaction<'_>, asked: &Asked) -> Result<Snapshot, Failure> {
    let token = match asked.token_id {
        Some(id) => tokens::find(transaction, id)?,
        None => None,
    };
    let bound_to = token.as_ref().and_then(|token| token.bound_to.as_ref());
    let name = match asked.node_name.as_ref().or(bound_to) {
        None => NameState::Unknown,
        Some(name) => name_state(transaction, name)?,
    };
    let prior = match &name {
        NameState::Pending(node) | NameState::Held(node) => prior(transaction, asked, node.id)?,
        _ => None,
    };
    Ok(Snapshot { token, name, prior })
}

fn name_state(transaction: Transaction<'_>, name: &NodeName) -> Result<NameState, Failure> {
    Ok(match nodes::find(transaction, name)? {
        Some(node) if node.state == TrustState::Pending => NameState::Pending(node),
        Some(node) => NameState::Held(node),
        None => match nodes::deleted_at(transaction, name)? {
            Some(at) => NameState::Deleted { at },
            None => NameState::Unknown,
        },
    })
}

fn prior(
    transaction: Transaction<'_>,
    asked: &Asked,
    node: NodeId,
) -> Result<Option<Prior>, Failure> {
    let Some(claim) = asked.claim else { return Ok(None) };
    let values = named_params! {
        ":token_id": asked.token_id.map(|id| id.to_string()),
        ":node_id": node.as_bytes(),
        ":claim": claim.digest().as_bytes(),
    };
    let found = transaction.find(PRIOR_REDEMPTION, values, rows::redemption)?;
    let Some(redemption) = found else { return Ok(None) };
    let identities = identities::of_redemption(transaction, &redemption)?;
    Ok(Some(Prior { redemption, identities }))
}

fn redeem(transaction: Transaction<'_>, redeem: &Redeem) -> Result<RedeemOutcome, Failure> {
    let token_id = redeem.approval.token_id();
    let spent = match token_id {
        Some(id) => tokens::spend(transaction, id, redeem.at)?,
        None => true,
    };
    let taken = if spent { nodes::take(transaction, redeem)? } else { None };
    let Some(node) = taken else {
        // Who comes too late for the token has written nothing.
        if spent && token_id.is_some() {
            transaction.undo()?;
        }
        let asked = Asked {
            token_id,
            node_name: Some(redeem.approval.node_name().clone()),
            claim: redeem.approval.claim(),
        };
        return Ok(RedeemOutcome::Lost(Box::new(look_up(transaction, &asked)?)));
    };
    record(transaction, redeem, &node)?;
    Ok(RedeemOutcome::Enrolled(Box::new(node)))
}

/// Writes all that a redemption leaves behind but the token and the node. Its attempt is read from
/// its own row, until the node is gone.
fn record(transaction: Transaction<'_>, redeem: &Redeem, node: &NodeRecord) -> Result<(), Failure> {
    journal::insert_event(transaction, &redeem.event())?;
    // A name that nobody had has nothing to revoke or to close.
    if redeem.approval.take() != Take::Free {
        identities::revoke_of_node(transaction, node.id, redeem.at)?;
        close_of_node(transaction, node.id, redeem.at)?;
    }
    let redemption = RedemptionRecord {
        id: redeem.id,
        token_id: redeem.approval.token_id(),
        method: redeem.approval.method(),
        node_id: node.id,
        node_name: node.name.clone(),
        at: redeem.at,
        source_ip: redeem.origin.source_ip,
        claim: redeem.approval.claim(),
        closed_at: None,
    };
    insert(transaction, &redemption)?;
    redeem.identities.iter().try_for_each(|one| identities::insert(transaction, one, node.id))
}

fn insert(transaction: Transaction<'_>, redemption: &RedemptionRecord) -> Result<(), Failure> {
    let values = named_params! {
        ":id": redemption.id.as_bytes(),
        ":token_id": redemption.token_id.map(|id| id.to_string()),
        ":method": redemption.method.as_str(),
        ":node_id": redemption.node_id.as_bytes(),
        ":node_name": redemption.node_name.as_str(),
        ":at": redemption.at.unix_millis(),
        ":source_ip": redemption.source_ip.map(|ip| ip.to_string()),
        ":claim": redemption.claim.as_ref().map(|claim| claim.digest().as_bytes()),
        ":closed_at": redemption.closed_at.map(Timestamp::unix_millis),
    };
    transaction.execute(INSERT_REDEMPTION, values).map(drop)
}

fn redeliver(
    transaction: Transaction<'_>,
    redeliver: &Redeliver,
) -> Result<RedeliverOutcome, Failure> {
    let redemption = redeliver.redelivery.redemption();
    let Some(node) = holder(transaction, redemption, redeliver.at)? else {
        let asked = Asked {
            token_id: redemption.token_id,
            node_name: Some(redemption.node_name.clone()),
            claim: redemption.claim,
        };
        return Ok(RedeliverOutcome::Closed(Box::new(look_up(transaction, &asked)?)));
    };
    for replacement in &redeliver.replacements {
        let kind = replacement.credential.kind();
        identities::revoke_replaced(transaction, node.id, redemption.id, &kind, redeliver.at)?;
    }
    for replacement in &redeliver.replacements {
        identities::insert(transaction, replacement, node.id)?;
    }
    journal::insert_attempt(transaction, &redeliver.attempt)?;
    journal::insert_event(transaction, &redeliver.event)?;
    Ok(RedeliverOutcome::Redelivered(Box::new(node)))
}

/// The node that still has the name a redemption gave it, if that is still open at `at`. Nobody else
/// writes until this transaction ends, so what it reads stands while it writes.
fn holder(
    transaction: Transaction<'_>,
    redemption: &RedemptionRecord,
    at: Timestamp,
) -> Result<Option<NodeRecord>, Failure> {
    let values = named_params! { ":id": redemption.id.as_bytes() };
    let now = transaction.find(REDEMPTION_BY_ID, values, rows::redemption)?;
    let Some(now) = now.filter(|now| now.is_open(at)) else { return Ok(None) };
    let node = nodes::find(transaction, &now.node_name)?;
    Ok(node.filter(|node| node.id == now.node_id && node.state != TrustState::Pending))
}

/// Closes the open redemptions of one node. There are none under a name that no node has: what made
/// the node go closed them.
pub(crate) fn close_of_node(
    transaction: Transaction<'_>,
    node: NodeId,
    at: Timestamp,
) -> Result<(), Failure> {
    let values = named_params! { ":node_id": node.as_bytes(), ":at": at.unix_millis() };
    transaction.execute(CLOSE_OF_NODE, values).map(drop)
}

/// Closes the open redemptions of one token.
pub(crate) fn close_of_token(
    transaction: Transaction<'_>,
    id: TokenId,
    at: Timestamp,
) -> Result<(), Failure> {
    let values = named_params! { ":token_id": id.to_string(), ":at": at.unix_millis() };
    transaction.execute(CLOSE_OF_TOKEN, values).map(drop)
}

/// Closes one redemption, if it is open.
pub(crate) fn close(
    transaction: Transaction<'_>,
    id: RedemptionId,
    at: Timestamp,
) -> Result<(), Failure> {
    let values = named_params! { ":id": id.as_bytes(), ":at": at.unix_millis() };
    transaction.execute(CLOSE, values).map(drop)
}

/// `insert_redemption` writes one row of `enroll_redemptions`; an id that is there is a collision.
pub(crate) const INSERT_REDEMPTION: &str = concat!(
    "INSERT INTO enroll_redemptions (",
    redemption_columns!(),
    ") VALUES (:id, :token_id, :method, :node_id, :node_name, :at, :source_ip, :claim, :closed_at)"
);

/// `prior_redemption` reads the newest of one claimant and one node, by the same proof: the same
/// token, or none and the method `secret`.
pub(crate) const PRIOR_REDEMPTION: &str = concat!(
    "SELECT ",
    redemption_columns!(),
    " FROM enroll_redemptions
    WHERE node_id = :node_id AND claim = :claim AND token_id IS :token_id
        AND (token_id IS NOT NULL OR method = 'secret')
    ORDER BY id DESC LIMIT 1"
);

/// `redemption_by_id` reads one row.
pub(crate) const REDEMPTION_BY_ID: &str =
    concat!("SELECT ", redemption_columns!(), " FROM enroll_redemptions WHERE id = :id");

/// `close_of_node` writes the open redemptions of one node.
pub(crate) const CLOSE_OF_NODE: &str = "UPDATE enroll_redemptions SET closed_at = :at
    WHERE node_id = :node_id AND closed_at IS NULL";

/// `close_of_token` writes the open redemptions of one token.
pub(crate) const CLOSE_OF_TOKEN: &str = "UPDATE enroll_redemptions SET closed_at = :at
    WHERE token_id = :token_id AND closed_at IS NULL";

/// `close` writes one redemption, if it is open.
pub(crate) const CLOSE: &str =
    "UPDATE enroll_redemptions SET closed_at = :at WHERE id = :id AND closed_at IS NULL";
