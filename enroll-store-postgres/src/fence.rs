//! The fence: what a promotion or a restore took back must not be redeemed again.
//!
//! A standby that was promoted may never have received the last redemptions; a database that was
//! restored lacks those since its backup. Their tokens look unspent there, and are in somebody's
//! hands. PostgreSQL begins another timeline with each promotion and each recovery to a point in
//! time, another cluster has another system identifier, and what a dump is restored to is another
//! table, by its oid, or in another database. The store keeps the three beside the tokens: whoever
//! finds them changed raises the epoch, and the tokens of the epochs before are void, shown and
//! refused as revoked. No redemption is carried out on a timeline or a table that is not on record:
//! the statement that spends a use checks it.

use std::sync::PoisonError;

use deadpool_postgres::Object;
use enroll_core::model::{Event, Timestamp, What};

use crate::connection::{self, Server};
use crate::error::Failure;
use crate::{PostgresStore, journal, masters, rows, touched};

impl PostgresStore {
    /// Raises the fence if the server is another than the one on record.
    pub(crate) async fn raise_fence(&self) -> Result<(), Failure> {
        let session = self.session().await?;
        let client = session.client()?;
        let server = connection::check(client).await?;
        self.raise_fence_on(client, &server).await?;
        session.rest();
        Ok(())
    }

    /// Looks at the server behind a connection that was just made, before anything is done on it.
    pub(crate) async fn recognise(&self, client: &Object, server: Server) -> Result<(), Failure> {
        let known = self.inner.server.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if known == server {
            return Ok(());
        }
        self.raise_fence_on(client, &server).await?;
        *self.inner.server.lock().unwrap_or_else(PoisonError::into_inner) = server;
        Ok(())
    }

    async fn raise_fence_on(&self, client: &Object, server: &Server) -> Result<(), Failure> {
        client.batch_execute(&self.inner.begin).await?;
        let raised = raise(client, server).await;
        client.batch_execute(if raised.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
        if raised? {
            // The clock of another server is another clock.
            self.inner.clock.set(client).await?;
            tracing::warn!(
                timeline = server.timeline,
                "the database server was promoted or restored: join tokens minted before are void"
            );
        }
        Ok(())
    }
}

/// Raises the fence and journals that, if the server is another than the one on record.
async fn raise(client: &Object, server: &Server) -> Result<bool, Failure> {
    let Some(row) =
        client.query_opt(RAISE, &[&server.system_id, &server.timeline, &server.made]).await?
    else {
        return Ok(false);
    };
    let (epoch, at): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let what = What::FenceRaised { epoch: u64::try_from(epoch).unwrap_or(0) };
    let event = Event::new(Timestamp::from_unix_millis(at), what);
    client.execute(journal::INSERT_EVENTS, &[&vec![rows::json(&event)?]]).await?;
    client.query(masters::NOTIFY, &[&masters::CHANNEL]).await?;
    touched::begin_anew(client).await?;
    Ok(true)
}

/// `raise` locks and writes the one row of the fence, and only if the server is another than the one
/// on record.
const RAISE: &str = "UPDATE enroll_fence
    SET system_id = $1, timeline = $2, made = $3, epoch = epoch + 1, previous_floor = floor, floor = epoch + 1,
        raised_at = (extract(epoch FROM clock_timestamp()) * 1000)::bigint, acknowledged_at = NULL
    WHERE one = 1 AND (system_id, timeline, made) IS DISTINCT FROM ($1, $2, $3)
    RETURNING epoch, raised_at";
