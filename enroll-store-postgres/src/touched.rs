//! Where something may have changed in what is said of members: a table that triggers write.

use deadpool_postgres::Object;
use enroll_core::model::NodeId;
use enroll_core::store::{Mark, Touched};
use uuid::Uuid;

use crate::error::Failure;
use crate::transaction::Transaction;
use crate::values;

/// What was touched since a mark.
pub(crate) async fn since(
    transaction: Transaction<'_>,
    since: Option<Mark>,
) -> Result<Touched, Failure> {
    let since = since.map(|mark| i64::try_from(mark.0).unwrap_or(i64::MAX));
    let found = transaction
        .find(TOUCHED, values![since], |columns| {
            Ok((Mark(columns.count()?), columns.get::<Option<Vec<Uuid>>>()?))
        })
        .await?;
    let (mark, nodes) = found.ok_or(Failure::Missing("the row of what is kept"))?;
    let node = |id: Uuid| NodeId::from_bytes(*id.as_bytes());
    Ok(Touched { mark, nodes: nodes.map(|nodes| nodes.into_iter().map(node).collect()) })
}

/// Removes what nobody goes on from any more. It is asked for often, and done once a minute.
pub(crate) async fn trim(transaction: Transaction<'_>) -> Result<(), Failure> {
    if transaction.execute(TURN_TOUCHED, &[]).await? == 1 {
        transaction.execute(TRIM_TOUCHED, &[]).await?;
    }
    Ok(())
}

/// Forgets what another cluster numbered, and begins anew: its numbers say nothing here.
pub(crate) async fn begin_anew(client: &Object) -> Result<(), Failure> {
    client.execute(FORGET_TOUCHED, &[]).await?;
    client.execute(RESTART_TOUCHED, &[]).await?;
    Ok(())
}

/// `forget_touched` removes the rows of `enroll_touched` that no transaction of this cluster which may
/// still be asked about wrote.
const FORGET_TOUCHED: &str = "DELETE FROM enroll_touched
    USING pg_current_snapshot() AS seen
    WHERE xid < pg_snapshot_xmin(seen) OR xid >= pg_snapshot_xmax(seen)";

/// `restart_touched` writes one row: marks of before are none of these.
const RESTART_TOUCHED: &str = "UPDATE enroll_touched_kept
    SET floor = pg_snapshot_xmin(seen), next_floor = pg_snapshot_xmin(seen), turned_at = now()
    FROM pg_current_snapshot() AS seen WHERE one = 1";

/// `touched` reads the end of `enroll_touched`, from a mark on; absent where the mark is none of these,
/// or less than all since is kept. It locks nothing.
pub(crate) const TOUCHED: &str = "SELECT oldest::text::bigint,
        CASE WHEN $1::bigint BETWEEN kept.floor::text::bigint AND oldest::text::bigint
        THEN ARRAY(SELECT DISTINCT node_id FROM enroll_touched
            WHERE xid >= $1::bigint::text::xid8) END
    FROM enroll_touched_kept AS kept, pg_snapshot_xmin(pg_current_snapshot()) AS oldest
    WHERE kept.one = 1";

/// `turn_touched` writes one row, once a minute: what was there a turn ago is not kept any more.
pub(crate) const TURN_TOUCHED: &str = "UPDATE enroll_touched_kept
    SET floor = next_floor, next_floor = pg_snapshot_xmin(pg_current_snapshot()), turned_at = now()
    WHERE one = 1 AND turned_at < now() - interval '1 minute'";

/// `trim_touched` removes rows at the front of `enroll_touched`.
pub(crate) const TRIM_TOUCHED: &str = "DELETE FROM enroll_touched
    WHERE xid < (SELECT floor FROM enroll_touched_kept WHERE one = 1)";
