//! Join tokens.

use async_trait::async_trait;
use enroll_core::model::{
    Event, NodeName, NodeRecord, RedemptionId, RedemptionRecord, Timestamp, TokenId, TokenRecord,
    TrustState,
};
use enroll_core::store::{Mint, MintOutcome, NameRule, Page, RevokeOutcome, StoreError, Tokens};

use crate::error::Failure;
use crate::rows::{redemption_columns, token_columns};
use crate::transaction::Transaction;
use crate::{PostgresStore, journal, nodes, redemptions, rows, values};

/// In how many rows the uses of a token are counted that has no limit and no name of its own.
pub(crate) const SHARDS: i32 = 64;

#[async_trait]
impl Tokens for PostgresStore {
    async fn mint(&self, wanted: Mint) -> Result<MintOutcome, StoreError> {
        self.write("mint a token", &wanted, |transaction, wanted| {
            Box::pin(mint(transaction, wanted))
        })
        .await
    }

    async fn token(&self, id: TokenId) -> Result<Option<TokenRecord>, StoreError> {
        self.read("read a token", &id, |transaction, id| Box::pin(find(transaction, *id))).await
    }

    async fn tokens(
        &self,
        page: Page<TokenId>,
        live_at: Option<Timestamp>,
    ) -> Result<Vec<TokenRecord>, StoreError> {
        self.read("list tokens", &(page, live_at), |transaction, (page, live_at)| {
            Box::pin(list(transaction, *page, *live_at))
        })
        .await
    }

    async fn revoke(
        &self,
        id: TokenId,
        at: Timestamp,
        event: Event,
    ) -> Result<Option<RevokeOutcome>, StoreError> {
        self.write("revoke a token", &(id, at, event), |transaction, (id, at, event)| {
            Box::pin(revoke(transaction, *id, *at, event))
        })
        .await
    }

    async fn redemptions(
        &self,
        id: TokenId,
        page: Page<RedemptionId>,
    ) -> Result<Vec<RedemptionRecord>, StoreError> {
        self.read("list redemptions", &(id, page), |transaction, (id, page)| {
            Box::pin(async move {
                let before = rows::before(page.after.as_ref().map(RedemptionId::as_bytes));
                let values = values![id.to_string(), before, i64::from(page.limit)];
                transaction.list(LIST_REDEMPTIONS, values, rows::redemption).await
            })
        })
        .await
    }
}

async fn mint(transaction: Transaction<'_>, mint: &Mint) -> Result<MintOutcome, Failure> {
    let node = match &mint.token.bound_to {
        None => None,
        Some(name) => match bind(transaction, mint, name).await? {
            Ok(node) => Some(node),
            Err(refused) => return Ok(refused),
        },
    };
    insert(transaction, &mint.token).await?;
    journal::insert_events(transaction, &mint.events).await?;
    Ok(MintOutcome::Minted(node.map(Box::new)))
}

/// Gives the token its node, if the rule lets it have that one.
async fn bind(
    transaction: Transaction<'_>,
    mint: &Mint,
    name: &NodeName,
) -> Result<Result<NodeRecord, MintOutcome>, Failure> {
    nodes::lock_name(transaction, name).await?;
    let at = mint.token.created_at;
    let node = match (mint.rule, nodes::find(transaction, name).await?) {
        (NameRule::NotHeld, Some(node)) if node.state != TrustState::Pending => {
            return Ok(Err(MintOutcome::NameHeld));
        }
        (NameRule::Exists, None) => return Ok(Err(MintOutcome::NoSuchNode)),
        (_, Some(node)) => nodes::relabel(transaction, node, mint.labels.as_ref()).await?,
        (_, None) => {
            nodes::register(transaction, mint.new_node_id, name, mint.labels.as_ref(), at).await?
        }
    };
    transaction.execute(REPLACE_UNSPENT, values![name.as_str(), at.unix_millis()]).await?;
    redemptions::close_under(transaction, name, at).await?;
    Ok(Ok(node))
}

async fn insert(transaction: Transaction<'_>, token: &TokenRecord) -> Result<(), Failure> {
    let id = token.id.to_string();
    let values = values![
        id,
        token.digest.as_bytes().as_slice(),
        token.bound_to.as_ref().map(NodeName::as_str),
        token.created_at.unix_millis(),
        token.expires_at.unix_millis(),
        i64::from(token.max_uses),
        rows::integer(token.uses)?,
        rows::escaped(&token.created_by),
        token.description.as_deref().map(rows::escaped),
        token.revoked_at.map(Timestamp::unix_millis),
        token.replaced_at.map(Timestamp::unix_millis)
    ];
    transaction.execute(INSERT_TOKEN, values).await?;
    if token.max_uses == 0 && token.bound_to.is_none() {
        transaction.execute(INSERT_SHARDS, values![id, SHARDS]).await?;
    }
    Ok(())
}

async fn find(transaction: Transaction<'_>, id: TokenId) -> Result<Option<TokenRecord>, Failure> {
    transaction.find(TOKEN_BY_ID, values![id.to_string()], rows::token).await
}

async fn list(
    transaction: Transaction<'_>,
    page: Page<TokenId>,
    live_at: Option<Timestamp>,
) -> Result<Vec<TokenRecord>, Failure> {
    let after = page.after.map_or_else(|| AFTER_EVERY_TOKEN.to_owned(), |id| id.to_string());
    let limit = i64::from(page.limit);
    match live_at {
        None => transaction.list(LIST_TOKENS, values![after, limit], rows::token).await,
        Some(at) => {
            let values = values![after, limit, at.unix_millis()];
            transaction.list(LIST_LIVE, values, rows::token).await
        }
    }
}

async fn revoke(
    transaction: Transaction<'_>,
    id: TokenId,
    at: Timestamp,
    event: &Event,
) -> Result<Option<RevokeOutcome>, Failure> {
    let (key, millis) = (id.to_string(), at.unix_millis());
    transaction.execute(LOCK_TOKEN, values![key]).await?;
    transaction.execute(LOCK_SHARDS, values![key]).await?;
    let revoked_now = transaction.execute(REVOKE, values![key, millis]).await? == 1;
    let Some(token) = find(transaction, id).await? else { return Ok(None) };
    if revoked_now {
        journal::insert_event(transaction, event).await?;
    }
    transaction.execute(CLOSE_OF_TOKEN, values![key, millis]).await?;
    Ok(Some(RevokeOutcome { token, revoked_now }))
}

/// Revokes what is bound to a name whose node is being deleted.
pub(crate) async fn revoke_bound(
    transaction: Transaction<'_>,
    name: &NodeName,
    at: Timestamp,
) -> Result<(), Failure> {
    transaction.execute(REVOKE_BOUND, values![name.as_str(), at.unix_millis()]).await.map(drop)
}

/// Sorts after every token id: `~` stands behind all letters and digits.
const AFTER_EVERY_TOKEN: &str = "~";

/// `insert_token` writes one new row of `enroll_tokens`; an id that is there is a collision.
pub(crate) const INSERT_TOKEN: &str = concat!(
    "INSERT INTO enroll_tokens (",
    token_columns!(),
    ", epoch) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, epoch
    FROM enroll_fence WHERE one = 1"
);

/// `insert_shards` writes new rows of `enroll_token_shards`.
pub(crate) const INSERT_SHARDS: &str = "INSERT INTO enroll_token_shards (token_id, shard, uses)
    SELECT $1, shard, 0 FROM generate_series(0, $2::int - 1) AS shard";

/// `lock_token` locks the one row of this token: it waits for those who spend a use of it.
pub(crate) const LOCK_TOKEN: &str = "SELECT 1 FROM enroll_tokens WHERE id = $1 FOR NO KEY UPDATE";

/// `lock_shards` locks all rows in which the uses of this token are counted: it waits for those who
/// spend one. Afterwards their redemptions are seen.
pub(crate) const LOCK_SHARDS: &str = "SELECT 1 FROM enroll_token_shards WHERE token_id = $1
    ORDER BY shard FOR NO KEY UPDATE";

/// `replace_unspent` locks and writes the tokens bound to one name that were never used.
pub(crate) const REPLACE_UNSPENT: &str = "UPDATE enroll_tokens SET replaced_at = $2
    WHERE bound_to = $1 AND uses = 0 AND revoked_at IS NULL AND replaced_at IS NULL";

/// `revoke` writes the one row of this token, and only if it is good and has a use left.
pub(crate) const REVOKE: &str = "UPDATE enroll_tokens SET revoked_at = $2
    WHERE id = $1 AND revoked_at IS NULL AND replaced_at IS NULL AND expires_at > $2
        AND (max_uses = 0 OR uses < max_uses)
        AND epoch >= (SELECT floor FROM enroll_fence WHERE one = 1)";

/// `close_of_token` locks and writes the open redemptions of one token.
pub(crate) const CLOSE_OF_TOKEN: &str = "UPDATE enroll_redemptions SET closed_at = $2
    WHERE token_id = $1 AND closed_at IS NULL";

/// `revoke_bound` locks and writes the tokens bound to one name that have a use left.
pub(crate) const REVOKE_BOUND: &str = "UPDATE enroll_tokens SET revoked_at = $2
    WHERE bound_to = $1 AND revoked_at IS NULL AND replaced_at IS NULL
        AND (max_uses = 0 OR uses < max_uses)";

/// `token_by_id` reads one row, and the few in which its uses are counted.
pub(crate) const TOKEN_BY_ID: &str =
    concat!("SELECT ", token_columns!(), " FROM enroll_tokens_shown WHERE id = $1");

/// `list_tokens` reads one page, along the primary key.
pub(crate) const LIST_TOKENS: &str = concat!(
    "SELECT ",
    token_columns!(),
    " FROM enroll_tokens_shown WHERE id < $1 ORDER BY id DESC LIMIT $2"
);

/// `list_live` reads the tokens whose time has not elapsed and sorts them: they are few beside all
/// that ever were, which the primary key would lead through.
pub(crate) const LIST_LIVE: &str = concat!(
    "SELECT ",
    token_columns!(),
    " FROM enroll_tokens_shown WHERE expires_at > $3 AND id < $1 ORDER BY id DESC LIMIT $2"
);

/// `list_redemptions` reads one page of one token's.
pub(crate) const LIST_REDEMPTIONS: &str = concat!(
    "SELECT ",
    redemption_columns!(),
    " FROM enroll_redemptions WHERE token_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3"
);
