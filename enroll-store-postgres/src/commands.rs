//! Commands, queued per node.

use async_trait::async_trait;
use enroll_core::model::{
    CommandId, CommandRecord, CommandStatus, Event, NodeId, NodeName, Timestamp,
};
use enroll_core::store::{Commands, Finish, Page, QueueOutcome, StoreError};

use crate::error::Failure;
use crate::rows::command_columns;
use crate::transaction::Transaction;
use crate::{PostgresStore, journal, masters, nodes, rows, values};

#[async_trait]
impl Commands for PostgresStore {
    async fn queue_command(
        &self,
        command: CommandRecord,
        event: Event,
    ) -> Result<QueueOutcome, StoreError> {
        let queued = self
            .write("queue a command", &(command, event), |transaction, (command, event)| {
                Box::pin(queue(transaction, command, event))
            })
            .await?;
        self.changed();
        Ok(queued)
    }

    async fn open_commands(
        &self,
        node_id: NodeId,
        limit: u32,
    ) -> Result<Vec<CommandRecord>, StoreError> {
        let wanted = (rows::uuid(node_id.as_bytes()), i64::from(limit));
        self.read("list open commands", &wanted, |transaction, (node_id, limit)| {
            Box::pin(async move {
                transaction.list(OPEN_COMMANDS, values![node_id, limit], rows::command).await
            })
        })
        .await
    }

    async fn mark_delivered(
        &self,
        node_id: NodeId,
        ids: Vec<CommandId>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let ids: Vec<_> = ids.iter().map(|id| rows::uuid(id.as_bytes())).collect();
        self.write("mark commands as delivered", &(node_id, ids, at), |transaction, given| {
            Box::pin(async move {
                let (node_id, ids, at) = given;
                nodes::lock(transaction, *node_id).await?;
                let values = values![
                    rows::uuid(node_id.as_bytes()),
                    ids,
                    CommandStatus::Queued.as_str(),
                    CommandStatus::Delivered.as_str(),
                    at.unix_millis()
                ];
                transaction.execute(MARK_DELIVERED, values).await.map(drop)
            })
        })
        .await
    }

    async fn finish(&self, wanted: Finish) -> Result<Option<CommandRecord>, StoreError> {
        self.write("finish a command", &wanted, |transaction, wanted| {
            Box::pin(finish(transaction, wanted))
        })
        .await
    }

    async fn command(&self, id: CommandId) -> Result<Option<CommandRecord>, StoreError> {
        let id = rows::uuid(id.as_bytes());
        self.read("read a command", &id, |transaction, id| {
            Box::pin(
                async move { transaction.find(COMMAND_BY_ID, values![id], rows::command).await },
            )
        })
        .await
    }

    async fn commands(
        &self,
        name: &NodeName,
        page: Page<CommandId>,
    ) -> Result<Vec<CommandRecord>, StoreError> {
        self.read("list commands", &(name, page), |transaction, (name, page)| {
            Box::pin(async move {
                let before = rows::before(page.after.as_ref().map(CommandId::as_bytes));
                let values = values![name.as_str(), before, i64::from(page.limit)];
                transaction.list(LIST_COMMANDS, values, rows::command).await
            })
        })
        .await
    }
}

async fn queue(
    transaction: Transaction<'_>,
    command: &CommandRecord,
    event: &Event,
) -> Result<QueueOutcome, Failure> {
    if !nodes::lock(transaction, command.node_id).await? {
        return Ok(QueueOutcome::NoSuchNode);
    }
    let values = values![
        rows::uuid(command.id.as_bytes()),
        rows::uuid(command.node_id.as_bytes()),
        command.node_name.as_str(),
        rows::escaped(&command.kind),
        rows::json(&command.payload)?,
        command.class.as_str(),
        command.status.as_str(),
        rows::escaped(&command.queued_by),
        command.queued_at.unix_millis(),
        command.delivered_at.map(Timestamp::unix_millis),
        command.finished_at.map(Timestamp::unix_millis),
        command.output.as_deref().map(rows::escaped),
        i64::from(CommandRecord::MAX_OPEN)
    ];
    if transaction.execute(QUEUE_COMMAND, values).await? == 0 {
        return Ok(QueueOutcome::Full);
    }
    journal::insert_event(transaction, event).await?;
    masters::notify(transaction).await?;
    Ok(QueueOutcome::Queued)
}

async fn finish(
    transaction: Transaction<'_>,
    finish: &Finish,
) -> Result<Option<CommandRecord>, Failure> {
    nodes::lock(transaction, finish.node_id).await?;
    let node_id = rows::uuid(finish.node_id.as_bytes());
    let values = values![
        rows::uuid(finish.id.as_bytes()),
        node_id,
        finish.status.as_str(),
        finish.at.unix_millis(),
        finish.output.as_deref().map(rows::escaped)
    ];
    let command = transaction.find(FINISH_COMMAND, values, rows::command).await?;
    if command.is_some() {
        journal::insert_event(transaction, &finish.event).await?;
        let values = values![node_id, i64::from(CommandRecord::KEPT)];
        transaction.execute(TRIM_COMMANDS, values).await?;
    }
    Ok(command)
}

/// Removes the commands of a node that is being deleted.
pub(crate) async fn delete_of_node(
    transaction: Transaction<'_>,
    node_id: NodeId,
) -> Result<(), Failure> {
    transaction.execute(DELETE_COMMANDS, values![rows::uuid(node_id.as_bytes())]).await.map(drop)
}

/// `queue_command` writes one new row of `enroll_commands`, and only if its node, which is locked,
/// has room for one more; an id that is there is a collision.
pub(crate) const QUEUE_COMMAND: &str = concat!(
    "INSERT INTO enroll_commands (",
    command_columns!(),
    ") SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12
    WHERE (SELECT count(*) FROM enroll_commands
        WHERE node_id = $2 AND finished_at IS NULL) < $13"
);

/// `command_by_id` reads one row.
pub(crate) const COMMAND_BY_ID: &str =
    concat!("SELECT ", command_columns!(), " FROM enroll_commands WHERE id = $1");

/// `open_commands` reads those of one node in the order they were queued; it locks nothing.
pub(crate) const OPEN_COMMANDS: &str = concat!(
    "SELECT ",
    command_columns!(),
    " FROM enroll_commands WHERE node_id = $1 AND finished_at IS NULL ORDER BY place LIMIT $2"
);

/// `mark_delivered` writes commands of one node, which is locked, and only those still queued.
pub(crate) const MARK_DELIVERED: &str = "UPDATE enroll_commands SET status = $4, delivered_at = $5
    WHERE id = ANY($2) AND node_id = $1 AND status = $3";

/// `finish_command` writes one command of a node, which is locked, and only if it is not finished.
pub(crate) const FINISH_COMMAND: &str = concat!(
    "UPDATE enroll_commands SET status = $3, finished_at = $4, output = $5
    WHERE id = $1 AND node_id = $2 AND finished_at IS NULL
    RETURNING ",
    command_columns!()
);

/// `trim_commands` removes what lies behind the newest finished ones of one node, which is locked; it
/// reads no more than that node's entries of one index.
pub(crate) const TRIM_COMMANDS: &str = "DELETE FROM enroll_commands
    WHERE node_id = $1 AND finished_at IS NOT NULL AND id <= (SELECT id FROM enroll_commands
        WHERE node_id = $1 AND finished_at IS NOT NULL ORDER BY id DESC LIMIT 1 OFFSET $2)";

/// `delete_commands` removes those of one node, which is locked.
pub(crate) const DELETE_COMMANDS: &str = "DELETE FROM enroll_commands WHERE node_id = $1";

/// `list_commands` reads one page of one node's; it locks nothing.
pub(crate) const LIST_COMMANDS: &str = concat!(
    "SELECT ",
    command_columns!(),
    " FROM enroll_commands
    WHERE node_id = (SELECT id FROM enroll_nodes WHERE name = $1) AND id < $2
    ORDER BY id DESC LIMIT $3"
);
