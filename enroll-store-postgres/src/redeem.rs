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
use enroll_core::store::{Redeem, RedeemOutcome, StoreErrorKind};
use tokio::time::{sleep, timeout};
use tokio_postgres::Row;

use crate::PostgresStore;
use crate::error::Failure;
use crate::redeem_columns::Given;
use crate::redeem_statements::{LOCK, REDEEM_FREE, REDEEM_HELD, REDEEM_PENDING};
use crate::transaction::{ASK_AGAIN, Transaction, bounded};
use crate::{nodes, redemptions, rows, values};

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

/// `is_known` reads the one row of the fence; it locks nothing.
const IS_KNOWN: &str =
    "SELECT timeline = substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)
        AND made LIKE '%.' || tableoid::text
    FROM enroll_fence WHERE one = 1";

/// `is_redeemed` reads one row; its name is locked.
pub(crate) const IS_REDEEMED: &str = "SELECT 1 FROM enroll_redemptions WHERE id = $1";

/// `abandon` writes one new row of `enroll_abandoned`.
pub(crate) const ABANDON: &str = "INSERT INTO enroll_abandoned (redemption_id) VALUES ($1)
    ON CONFLICT DO NOTHING";

/// `forget_abandoned` removes rows of `enroll_abandoned` that no connection can outlive.
const FORGET_ABANDONED: &str =
    "DELETE FROM enroll_abandoned WHERE since < now() - interval '1 day'";
