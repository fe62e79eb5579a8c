//! Lists of nodes, and what they are filtered by.

use std::time::Duration;

use enroll_core::model::{NodeName, NodeRecord, Status, Timestamp, TrustState};
use enroll_core::store::{NodeCount, NodeFilter, Page, Stale};
use rusqlite::named_params;

use crate::error::Failure;
use crate::rows;
use crate::rows::node_columns;
use crate::transaction::Transaction;

pub(crate) fn list(
    transaction: Transaction<'_>,
    page: &Page<NodeName>,
    filter: &NodeFilter,
) -> Result<Vec<NodeRecord>, Failure> {
    let wanted = filter.status.map_or(Liveness::ANY, |(status, ..)| Liveness::of(status));
    let stale = filter.status.map(|(_, at, stale_after)| Stale::at(at, stale_after));
    let degraded = filter.degraded.map(|(_, at, stale_after)| Stale::at(at, stale_after));
    let values = named_params! {
        ":after": page.after.as_ref().map_or("", NodeName::as_str),
        ":limit": page.limit,
        ":state": filter.state.map(TrustState::as_str),
        ":arch": filter.arch,
        ":cordoned": wanted.cordoned,
        ":heard": wanted.heard,
        ":stale": wanted.stale,
        ":stale_until": stale.map(|stale| stale.until.unix_millis()),
        ":stale_ahead": stale.map(|stale| stale.ahead.unix_millis()),
        ":degraded": filter.degraded.map(|(degraded, ..)| degraded),
        ":degraded_until": degraded.map(|stale| stale.until.unix_millis()),
        ":degraded_ahead": degraded.map(|stale| stale.ahead.unix_millis()),
    };
    transaction.list(LIST_NODES, values, rows::node)
}

/// Counts nodes by state and health.
pub(crate) fn count(
    transaction: Transaction<'_>,
    at: Timestamp,
    stale_after: Duration,
) -> Result<Vec<NodeCount>, Failure> {
    let stale = Stale::at(at, stale_after);
    let values =
        named_params! { ":until": stale.until.unix_millis(), ":ahead": stale.ahead.unix_millis() };
    transaction.list(COUNT_NODES, values, |row| {
        let (state, health) = (row.word()?, row.word()?);
        Ok(NodeCount { state, health, nodes: row.count()? })
    })
}

/// A [`Status`] as conditions on columns; an absent one asks for nothing.
struct Liveness {
    cordoned: Option<bool>,
    /// Whether it was ever heard from.
    heard: Option<bool>,
    /// Whether it was last heard from at an instant that is [`Stale`].
    stale: Option<bool>,
}

impl Liveness {
    const ANY: Self = Self { cordoned: None, heard: None, stale: None };

    const fn of(status: Status) -> Self {
        let live = Self { cordoned: Some(false), heard: Some(true), ..Self::ANY };
        match status {
            Status::Cordoned => Self { cordoned: Some(true), ..Self::ANY },
            Status::Waiting => Self { heard: Some(false), ..live },
            Status::Ready => Self { stale: Some(false), ..live },
            Status::Degraded => Self { stale: Some(true), ..live },
        }
    }
}

/// `list_nodes` reads along the names, from one page's end until the next is full.
pub(crate) const LIST_NODES: &str = concat!(
    "SELECT ",
    node_columns!(),
    " FROM enroll_nodes
    WHERE name > :after
        AND (:state IS NULL OR state = :state)
        AND (:arch IS NULL OR facts ->> '$.arch' = :arch)
        AND (:cordoned IS NULL OR cordoned = :cordoned)
        AND (:heard IS NULL OR (last_seen_at IS NOT NULL) = :heard)
        AND (:stale IS NULL
            OR (last_seen_at <= :stale_until OR last_seen_at > :stale_ahead) = :stale)
        AND (:degraded IS NULL
            OR coalesce(last_seen_at <= :degraded_until OR last_seen_at > :degraded_ahead, 0)
                = :degraded)
    ORDER BY name LIMIT :limit"
);

/// `count_nodes` reads every row: it is asked for gauges, a few times a minute.
pub(crate) const COUNT_NODES: &str = "SELECT state,
        CASE WHEN last_seen_at IS NULL THEN 'waiting'
            WHEN last_seen_at <= :until OR last_seen_at > :ahead THEN 'degraded'
            ELSE 'ready' END AS health,
        count(*)
    FROM enroll_nodes GROUP BY 1, 2";

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    use crate::nodes;
    use enroll_core::model::{Health, NodeId};
    use rusqlite::Connection;

    const AT: Timestamp = Timestamp::from_unix_millis(1_000_000);

    /// Nodes of every age around a threshold, and one that was never heard from.
    fn fleet(connection: &Connection) {
        let transaction = Transaction::new(connection);
        let ahead = -i64::try_from(NodeRecord::CLOCK_LEEWAY.as_millis()).unwrap();
        let ages = [ahead - 1, ahead, -5, 0, 1, 2, 3, 1_000_000].map(Some);
        let ages = ages.into_iter().chain([None]);
        for (place, (age, cordoned)) in ages.flat_map(|age| [(age, false), (age, true)]).enumerate()
        {
            let place = u8::try_from(place).unwrap();
            let name = NodeName::new(&format!("node-{place}.x")).unwrap();
            let id = NodeId::from_bytes([place; 16]);
            nodes::register(transaction, id, name, None, AT).unwrap();
            let seen = age.map(|age| AT.unix_millis() - age);
            connection
                .execute(
                    "UPDATE enroll_nodes SET last_seen_at = ?1, cordoned = ?2 WHERE id = ?3",
                    (seen, cordoned, id.as_bytes()),
                )
                .unwrap();
        }
    }

    fn names(connection: &Connection, filter: &NodeFilter) -> Vec<NodeName> {
        let found = list(Transaction::new(connection), &Page::first(100), filter).unwrap();
        found.into_iter().map(|node| node.name).collect()
    }

    /// The conditions of the statements say what the domain says, at every edge.
    #[test]
    fn liveness_in_sql_is_liveness_in_the_domain() {
        let mut connection = Connection::open_in_memory().unwrap();
        crate::schema::migrate(&mut connection, Path::new("test")).unwrap();
        fleet(&connection);
        let all = list(Transaction::new(&connection), &Page::first(100), &NodeFilter::default());
        let all = all.unwrap();
        let expected = |wanted: &dyn Fn(&NodeRecord) -> bool| -> Vec<NodeName> {
            all.iter().filter(|node| wanted(node)).map(|node| node.name.clone()).collect()
        };
        for micros in [0, 1, 999, 1_000, 1_500, 2_000, 2_001, 90_000_000] {
            let stale = Duration::from_micros(micros);
            for status in Status::ALL {
                let filter =
                    NodeFilter { status: Some((*status, AT, stale)), ..Default::default() };
                let theirs = expected(&|node| node.status(AT, stale) == *status);
                assert_eq!(names(&connection, &filter), theirs, "{status} {micros}");
            }
            let degraded = |node: &NodeRecord| node.health(AT, stale) == Health::Degraded;
            for wanted in [true, false] {
                let filter =
                    NodeFilter { degraded: Some((wanted, AT, stale)), ..Default::default() };
                let theirs = expected(&|node| degraded(node) == wanted);
                assert_eq!(names(&connection, &filter), theirs, "{wanted} {micros}");
            }
            for counted in count(Transaction::new(&connection), AT, stale).unwrap() {
                let theirs = expected(&|node| node.health(AT, stale) == counted.health);
                assert_eq!(counted.nodes, theirs.len() as u64, "{} {micros}", counted.health);
            }
        }
    }
}
