//! Where something may have changed in what is said of members: a ring that triggers write.

use enroll_core::model::NodeId;
use enroll_core::store::{Mark, Touched};
use rusqlite::named_params;

use crate::error::Failure;
use crate::rows;
use crate::transaction::Transaction;

/// What was touched since a mark.
pub(crate) fn since(transaction: Transaction<'_>, since: Option<Mark>) -> Result<Touched, Failure> {
    let ends = |columns: &mut rows::Columns<'_, '_>| Ok((columns.get()?, columns.get()?));
    let (first, last): (i64, i64) =
        transaction.find(TOUCHED_ENDS, &[], ends)?.ok_or(Failure::Missing("the ring's ends"))?;
    let since = since.and_then(|mark| i64::try_from(mark.0).ok());
    // What lies between the mark and the ring's first row is not there any more.
    let kept = since.filter(|since| (first - 1..=last).contains(since));
    let nodes = kept.map(|since| {
        let values = named_params! { ":since": since };
        transaction.list(TOUCHED, values, |columns| columns.get().map(NodeId::from_bytes))
    });
    Ok(Touched { mark: Mark(last.unsigned_abs()), nodes: nodes.transpose()? })
}

/// `touched_ends` reads the first and the last row of `enroll_touched`.
pub(crate) const TOUCHED_ENDS: &str = "SELECT
    coalesce((SELECT min(seq) FROM enroll_touched), 1),
    coalesce((SELECT max(seq) FROM enroll_touched), 0)";

/// `touched` reads the end of `enroll_touched`.
pub(crate) const TOUCHED: &str = "SELECT node_id FROM enroll_touched WHERE seq > :since";

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    use rusqlite::Connection;

    /// I7: a mark whose rows have left the ring says that it cannot tell, and the next one can.
    #[test]
    fn a_mark_that_the_ring_has_passed_is_told_from_one_it_holds() {
        let mut connection = Connection::open_in_memory().unwrap();
        crate::schema::migrate(&mut connection, Path::new("test")).unwrap();
        let touch = |count: u32| {
            let sql = "INSERT INTO enroll_touched (node_id)
                WITH RECURSIVE place (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM place WHERE n < ?1)
                SELECT zeroblob(16) FROM place";
            connection.execute(sql, [count]).unwrap();
        };
        let asked = |since| super::since(Transaction::new(&connection), since).unwrap();
        let named = |since| asked(Some(since)).nodes.map(|nodes| nodes.len());
        let mark = asked(None).mark;
        assert_eq!(named(mark), Some(0));
        touch(16_000);
        assert_eq!(named(mark), Some(16_000));
        touch(1_000);
        assert_eq!(named(mark), None, "some of it is gone");
        let held: u32 = connection
            .query_row("SELECT count(*) FROM enroll_touched", [], |row| row.get(0))
            .unwrap();
        assert!((16_384..16_384 + 256).contains(&held), "{held}");
        let oldest = Mark(u64::from(17_000 - held));
        assert_eq!(named(oldest), Some(held as usize));
        assert_eq!(named(Mark(oldest.0 - 1)), None);
        assert_eq!(named(asked(None).mark), Some(0));
    }
}
