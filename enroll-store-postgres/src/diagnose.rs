//! How the server stands, for an operator.

use enroll_core::store::{Finding, StoreError};

use crate::PostgresStore;
use crate::error::Failure;

/// Looks at the server in a transaction like any that writes.
pub(crate) async fn look(store: &PostgresStore) -> Result<Vec<Finding>, StoreError> {
    let seen = store.transact("look at the server", &(), |transaction, ()| {
        Box::pin(async move {
            let seen = transaction.find(SETTINGS, &[], |row| {
                Ok(Seen {
                    version: row.get()?,
                    fsync: row.get()?,
                    full_page_writes: row.get()?,
                    synchronous_commit: row.get()?,
                    standbys: row.get()?,
                    synchronous: row.get()?,
                    connections: row.get()?,
                    room: row.get()?,
                })
            });
            seen.await?.ok_or(Failure::Missing("the row of the settings"))
        })
    });
    let seen = seen.await?;
    Ok(vec![seen.durability(), seen.failover(), seen.connections()])
}

struct Seen {
    version: String,
    fsync: String,
    full_page_writes: String,
    synchronous_commit: String,
    standbys: i64,
    synchronous: i64,
    connections: i64,
    room: i64,
}

impl Seen {
    fn durability(&self) -> Finding {
        let says = format!(
            "PostgreSQL {}: fsync is {}, full_page_writes is {}, synchronous_commit is {} in every \
            transaction.",
            self.version, self.fsync, self.full_page_writes, self.synchronous_commit
        );
        let is_durable = self.fsync == "on"
            && self.full_page_writes == "on"
            && matches!(self.synchronous_commit.as_str(), "on" | "remote_apply");
        if is_durable {
            return Finding::good("durability", says);
        }
        let next = "Switch fsync and full_page_writes on in the server's configuration.";
        Finding::bad("durability", says, next)
    }

    /// What a failover would cost is no fault of the present.
    fn failover(&self) -> Finding {
        let says = match (self.standbys, self.synchronous) {
            (0, _) => "No standby follows that this user can see.".to_owned(),
            (standbys, 0) => format!(
                "{standbys} standbys follow, none of them synchronously: a promotion may lose what \
                was acknowledged last, and voids every token."
            ),
            (standbys, synchronous) => format!(
                "{standbys} standbys follow, {synchronous} of them synchronously; a promotion voids \
                every token."
            ),
        };
        Finding::good("failover", says)
    }

    fn connections(&self) -> Finding {
        let says = format!("{} of {} connections are in use.", self.connections, self.room);
        if self.connections * 10 <= self.room * 9 {
            return Finding::good("connections", says);
        }
        let next = "Raise max_connections, run fewer masters, or put a pooler in between.";
        Finding::bad("connections", says, next)
    }
}

/// `settings` reads no table of ours.
const SETTINGS: &str = "SELECT current_setting('server_version'), current_setting('fsync'),
    current_setting('full_page_writes'), current_setting('synchronous_commit'),
    (SELECT count(*) FROM pg_stat_replication),
    (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')),
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
    current_setting('max_connections')::bigint";
