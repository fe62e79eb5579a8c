//! Join tokens.

use async_trait::async_trait;
use enroll_core::model::{
    Event, NodeName, NodeRecord, RedemptionId, RedemptionRecord, Timestamp, TokenId, TokenRecord,
    TrustState,
};
use enroll_core::store::{Mint, MintOutcome, NameRule, Page, RevokeOutcome, StoreError, Tokens};
use rusqlite::named_params;

use crate::error::Failure;
use crate::rows::{redemption_columns, token_columns};
use crate::transaction::Transaction;
use crate::{SqliteStore, journal, nodes, redemptions, rows};

#[async_trait]
impl Tokens for SqliteStore {
    async fn mint(&self, wanted: Mint) -> Result<MintOutcome, StoreError> {
        self.write("mint a token", move |transaction| mint(transaction, &wanted)).await
    }

    async fn token(&self, id: TokenId) -> Result<Option<TokenRecord>, StoreError> {
        self.read("read a token", move |transaction| find(transaction, id)).await
    }

    async fn tokens(
        &self,
        page: Page<TokenId>,
        live_at: Option<Timestamp>,
    ) -> Result<Vec<TokenRecord>, StoreError> {
        self.read("list tokens", move |transaction| list(transaction, page, live_at)).await
    }

    async fn revoke(
        &self,
        id: TokenId,
        at: Timestamp,
        event: Event,
    ) -> Result<Option<RevokeOutcome>, StoreError> {
        self.write("revoke a token", move |transaction| revoke(transaction, id, at, &event)).await
    }

    async fn redemptions(
        &self,
        id: TokenId,
        page: Page<RedemptionId>,
    ) -> Result<Vec<RedemptionRecord>, StoreError> {
        self.read("list redemptions", move |transaction| {
            let values = named_params! {
                ":token_id": id.to_string(),
                ":after": rows::before(page.after.as_ref().map(RedemptionId::as_bytes)),
                ":limit": page.limit,
            };
            transaction.list(LIST_REDEMPTIONS, values, rows::redemption)
        })
        .await
    }
}

fn mint(transaction: Transaction<'_>, mint: &Mint) -> Result<MintOutcome, Failure> {
    let mut node = None;
    if let Some(name) = mint.token.bound_to.clone() {
        let there = nodes::find(transaction, &name)?;
        if let Some(refused) = refusal(mint.rule, there.as_ref())? {
            return Ok(refused);
        }
        node = Some(bind(transaction, mint, name, there)?);
    }
    insert(transaction, &mint.token)?;
    journal::insert_events(transaction, &mint.events)?;
    Ok(MintOutcome::Minted(node.map(Box::new)))
}

/// What a rule says of the node that has the name.
fn refusal(rule: NameRule, there: Option<&NodeRecord>) -> Result<Option<MintOutcome>, Failure> {
    let held = there.is_some_and(|node| node.state != TrustState::Pending);
    match rule {
        NameRule::Any => Ok(None),
        NameRule::NotHeld => Ok(held.then_some(MintOutcome::NameHeld)),
        NameRule::Exists => Ok(there.is_none().then_some(MintOutcome::NoSuchNode)),
        _ => Err(Failure::Unsupported("the rule for a name")),
    }
}

/// Makes the name ready for a new token: registered, its unspent tokens replaced, no answer open.
fn bind(
    transaction: Transaction<'_>,
    mint: &Mint,
    name: NodeName,
    there: Option<NodeRecord>,
) -> Result<NodeRecord, Failure> {
    let (at, labels) = (mint.token.created_at, mint.labels.clone());
    let values = named_params! { ":name": name.as_str(), ":at": at.unix_millis() };
    transaction.execute(REPLACE_UNSPENT, values)?;
    match there {
        Some(node) => {
            redemptions::close_of_node(transaction, node.id, at)?;
            nodes::relabel(transaction, node, labels)
        }
        None => nodes::register(transaction, mint.new_node_id, name, labels, at),
    }
}

fn insert(transaction: Transaction<'_>, token: &TokenRecord) -> Result<(), Failure> {
    let values = named_params! {
        ":id": token.id.to_string(),
        ":digest": token.digest.as_bytes(),
        ":bound_to": token.bound_to.as_ref().map(NodeName::as_str),
        ":created_at": token.created_at.unix_millis(),
        ":expires_at": token.expires_at.unix_millis(),
        ":max_uses": token.max_uses,
        ":uses": rows::integer(token.uses)?,
        ":created_by": token.created_by,
        ":description": token.description,
        ":revoked_at": token.revoked_at.map(Timestamp::unix_millis),
        ":replaced_at": token.replaced_at.map(Timestamp::unix_millis),
    };
    transaction.execute(INSERT_TOKEN, values).map(drop)
}

pub(crate) fn find(
    transaction: Transaction<'_>,
    id: TokenId,
) -> Result<Option<TokenRecord>, Failure> {
    transaction.find(TOKEN_BY_ID, named_params! { ":id": id.to_string() }, rows::token)
}

fn list(
    transaction: Transaction<'_>,
    page: Page<TokenId>,
    live_at: Option<Timestamp>,
) -> Result<Vec<TokenRecord>, Failure> {
    let after = page.after.map_or_else(|| AFTER_EVERY_TOKEN.to_owned(), |id| id.to_string());
    match live_at {
        None => {
            let values = named_params! { ":after": after, ":limit": page.limit };
            transaction.list(LIST_TOKENS, values, rows::token)
        }
        Some(at) => {
            let at = at.unix_millis();
            let values = named_params! { ":after": after, ":limit": page.limit, ":live_at": at };
            transaction.list(LIST_LIVE, values, rows::token)
        }
    }
}

fn revoke(
    transaction: Transaction<'_>,
    id: TokenId,
    at: Timestamp,
    event: &Event,
) -> Result<Option<RevokeOutcome>, Failure> {
    let values = named_params! { ":id": id.to_string(), ":at": at.unix_millis() };
    let revoked_now = transaction.execute(REVOKE, values)? == 1;
    let Some(token) = find(transaction, id)? else { return Ok(None) };
    if revoked_now {
        journal::insert_event(transaction, event)?;
    }
    redemptions::close_of_token(transaction, id, at)?;
    Ok(Some(RevokeOutcome { token, revoked_now }))
}

/// Spends one use, and says whether there was one.
pub(crate) fn spend(
    transaction: Transaction<'_>,
    id: TokenId,
    at: Timestamp,
) -> Result<bool, Failure> {
    let values = named_params! { ":id": id.to_string(), ":at": at.unix_millis() };
    Ok(transaction.execute(SPEND_USE, values)? == 1)
}

/// Revokes what is bound to a name whose node is being deleted.
pub(crate) fn revoke_bound(
    transaction: Transaction<'_>,
    name: &NodeName,
    at: Timestamp,
) -> Result<(), Failure> {
    let values = named_params! { ":name": name.as_str(), ":at": at.unix_millis() };
    transaction.execute(REVOKE_BOUND, values).map(drop)
}

/// Sorts after every token id: `~` stands behind all letters and digits.
const AFTER_EVERY_TOKEN: &str = "~";

/// `insert_token` writes one row of `enroll_tokens`; an id that is there is a collision.
pub(crate) const INSERT_TOKEN: &str = concat!(
    "INSERT INTO enroll_tokens (",
    token_columns!(),
    ") VALUES (:id, :digest, :bound_to, :created_at, :expires_at, :max_uses, :uses, :created_by,
        :description, :revoked_at, :replaced_at)"
);

/// `spend_use` writes the one row of this token, and only if it is good and has a use left.
pub(crate) const SPEND_USE: &str = "UPDATE enroll_tokens SET uses = uses + 1
    WHERE id = :id AND revoked_at IS NULL AND replaced_at IS NULL AND expires_at > :at
        AND (max_uses = 0 OR uses < max_uses)";

/// `replace_unspent` writes the tokens bound to one name that were never used.
pub(crate) const REPLACE_UNSPENT: &str = "UPDATE enroll_tokens SET replaced_at = :at
    WHERE bound_to = :name AND uses = 0 AND revoked_at IS NULL AND replaced_at IS NULL";

/// `revoke` writes the one row of this token, and only if it is good and has a use left.
pub(crate) const REVOKE: &str = "UPDATE enroll_tokens SET revoked_at = :at
    WHERE id = :id AND revoked_at IS NULL AND replaced_at IS NULL AND expires_at > :at
        AND (max_uses = 0 OR uses < max_uses)";

/// `revoke_bound` writes the tokens bound to one name that have a use left.
pub(crate) const REVOKE_BOUND: &str = "UPDATE enroll_tokens SET revoked_at = :at
    WHERE bound_to = :name AND revoked_at IS NULL AND replaced_at IS NULL
        AND (max_uses = 0 OR uses < max_uses)";

/// `token_by_id` reads one row.
pub(crate) const TOKEN_BY_ID: &str =
    concat!("SELECT ", token_columns!(), " FROM enroll_tokens WHERE id = :id");

/// `list_tokens` reads one page, along the primary key.
pub(crate) const LIST_TOKENS: &str = concat!(
    "SELECT ",
    token_columns!(),
    " FROM enroll_tokens WHERE id < :after ORDER BY id DESC LIMIT :limit"
);

/// `list_live` reads the tokens whose time has not elapsed and sorts them: they are few beside all
/// that ever were, which the primary key would lead through.
pub(crate) const LIST_LIVE: &str = concat!(
    "SELECT ",
    token_columns!(),
    " FROM enroll_tokens INDEXED BY enroll_tokens_expires_at
    WHERE expires_at > :live_at AND id < :after ORDER BY id DESC LIMIT :limit"
);

/// `list_redemptions` reads one page of one token's.
pub(crate) const LIST_REDEMPTIONS: &str = concat!(
    "SELECT ",
    redemption_columns!(),
    " FROM enroll_redemptions WHERE token_id = :token_id AND id < :after
    ORDER BY id DESC LIMIT :limit"
);
