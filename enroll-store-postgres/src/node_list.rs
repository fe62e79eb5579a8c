//! Lists of nodes, and what they are filtered by.

use std::time::Duration;

use enroll_core::model::{NodeName, NodeRecord, Status, Timestamp, TrustState};
use enroll_core::store::{NodeCount, NodeFilter, Page, Stale};

use crate::error::Failure;
use crate::rows::node_columns;
use crate::transaction::Transaction;
use crate::{rows, values};

pub(crate) async fn list(
    transaction: Transaction<'_>,
    page: &Page<NodeName>,
    filter: &NodeFilter,
) -> Result<Vec<NodeRecord>, Failure> {
    let wanted = filter.status.map_or(Liveness::ANY, |(status, ..)| Liveness::of(status));
    let stale = filter.status.map(|(_, at, stale_after)| Stale::at(at, stale_after));
    let degraded = filter.degraded.map(|(_, at, stale_after)| Stale::at(at, stale_after));
    let values = values![
        page.after.as_ref().map_or("", NodeName::as_str),
        i64::from(page.limit),
        filter.state.map(TrustState::as_str),
        filter.arch.as_deref().map(rows::escaped),
        wanted.cordoned,
        wanted.heard,
        wanted.stale,
        stale.map(|stale| stale.until.unix_millis()),
        stale.map(|stale| stale.ahead.unix_millis()),
        filter.degraded.map(|(degraded, ..)| degraded),
        degraded.map(|stale| stale.until.unix_millis()),
        degraded.map(|stale| stale.ahead.unix_millis())
    ];
    transaction.list(LIST_NODES, values, rows::node).await
}

/// Counts nodes by state and health.
pub(crate) async fn count(
    transaction: Transaction<'_>,
    at: Timestamp,
    stale_after: Duration,
) -> Result<Vec<NodeCount>, Failure> {
    let stale = Stale::at(at, stale_after);
    transaction
        .list(COUNT_NODES, values![stale.until.unix_millis(), stale.ahead.unix_millis()], |row| {
            let (state, health) = (row.word()?, row.word()?);
            Ok(NodeCount { state, health, nodes: row.count()? })
        })
        .await
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

/// `list_nodes` reads along the names, from one page's end until the next is full; it locks nothing.
pub(crate) const LIST_NODES: &str = concat!(
    "SELECT ",
    node_columns!(),
    " FROM enroll_nodes
    WHERE name > $1
        AND ($3::text IS NULL OR state = $3)
        AND ($4::text IS NULL OR arch = $4)
        AND ($5::boolean IS NULL OR cordoned = $5)
        AND ($6::boolean IS NULL OR (last_seen_at IS NOT NULL) = $6)
        AND ($7::boolean IS NULL
            OR (last_seen_at <= $8::bigint OR last_seen_at > $9::bigint) = $7)
        AND ($10::boolean IS NULL
            OR coalesce(last_seen_at <= $11::bigint OR last_seen_at > $12::bigint, false) = $10)
    ORDER BY name LIMIT $2"
);

/// `count_nodes` reads every row: it is asked for gauges, a few times a minute.
const COUNT_NODES: &str = "SELECT state,
        CASE WHEN last_seen_at IS NULL THEN 'waiting'
            WHEN last_seen_at <= $1 OR last_seen_at > $2 THEN 'degraded'
            ELSE 'ready' END AS health,
        count(*)
    FROM enroll_nodes GROUP BY 1, 2";
