//! Commands, queued per node.

use async_trait::async_trait;
use enroll_core::model::{
    CommandId, CommandRecord, CommandStatus, Event, NodeId, NodeName, Timestamp,
};
use enroll_core::store::{Commands, Finish, Page, QueueOutcome, StoreError};
use rusqlite::named_params;

use crate::error::Failure;
use crate::rows::command_columns;
use crate::transaction::Transaction;
use crate::{SqliteStore, journal, nodes, rows};

#[async_trait]
impl Commands for SqliteStore {
    async fn queue_command(
        &self,
        command: CommandRecord,
        event: Event,
    ) -> Result<QueueOutcome, StoreError> {
        let queued = self
            .write("queue a command", move |transaction| queue(transaction, &command, &event))
            .await?;
        self.changed();
        Ok(queued)
    }

    async fn open_commands(
        &self,
        node_id: NodeId,
        limit: u32,
    ) -> Result<Vec<CommandRecord>, StoreError> {
        self.read("list open commands", move |transaction| {
            let values = named_params! { ":node_id": node_id.as_bytes(), ":limit": limit };
            transaction.list(OPEN_COMMANDS, values, rows::command)
        })
        .await
    }

    async fn mark_delivered(
        &self,
        node_id: NodeId,
        ids: Vec<CommandId>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.write("mark commands as delivered", move |transaction| {
            ids.iter().try_for_each(|id| {
                let values = named_params! {
                    ":id": id.as_bytes(),
                    ":node_id": node_id.as_bytes(),
                    ":queued": CommandStatus::Queued.as_str(),
                    ":delivered": CommandStatus::Delivered.as_str(),
                    ":at": at.unix_millis(),
                };
                transaction.execute(MARK_DELIVERED, values).map(drop)
            })
        })
        .await
    }

    async fn finish(&self, wanted: Finish) -> Result<Option<CommandRecord>, StoreError> {
        self.write("finish a command", move |transaction| finish(transaction, &wanted)).await
    }

    async fn command(&self, id: CommandId) -> Result<Option<CommandRecord>, StoreError> {
        self.read("read a command", move |transaction| {
            transaction.find(COMMAND_BY_ID, named_params! { ":id": id.as_bytes() }, rows::command)
        })
        .await
    }

    async fn commands(
        &self,
        name: &NodeName,
        page: Page<CommandId>,
    ) -> Result<Vec<CommandRecord>, StoreError> {
        let name = name.clone();
        self.read("list commands", move |transaction| {
            let values = named_params! {
                ":name": name.as_str(),
                ":after": rows::before(page.after.as_ref().map(CommandId::as_bytes)),
                ":limit": page.limit,
            };
            transaction.list(LIST_COMMANDS, values, rows::command)
        })
        .await
    }
}

fn queue(
    transaction: Transaction<'_>,
    command: &CommandRecord,
    event: &Event,
) -> Result<QueueOutcome, Failure> {
    let values = named_params! {
        ":id": command.id.as_bytes(),
        ":node_id": command.node_id.as_bytes(),
        ":node_name": command.node_name.as_str(),
        ":kind": command.kind,
        ":payload": rows::json(&command.payload)?,
        ":class": command.class.as_str(),
        ":status": command.status.as_str(),
        ":queued_by": command.queued_by,
        ":queued_at": command.queued_at.unix_millis(),
        ":delivered_at": command.delivered_at.map(Timestamp::unix_millis),
        ":finished_at": command.finished_at.map(Timestamp::unix_millis),
        ":output": command.output,
        ":max_open": CommandRecord::MAX_OPEN,
    };
    if transaction.execute(QUEUE_COMMAND, values)? == 1 {
        journal::insert_event(transaction, event)?;
        return Ok(QueueOutcome::Queued);
    }
    Ok(match nodes::find_by_id(transaction, command.node_id)? {
        Some(_) => QueueOutcome::Full,
        None => QueueOutcome::NoSuchNode,
    })
}

fn finish(transaction: Transaction<'_>, finish: &Finish) -> Result<Option<CommandRecord>, Failure> {
    let values = named_params! {
        ":id": finish.id.as_bytes(),
        ":node_id": finish.node_id.as_bytes(),
        ":status": finish.status.as_str(),
        ":at": finish.at.unix_millis(),
        ":output": finish.output,
    };
    let command = transaction.find(FINISH_COMMAND, values, rows::command)?;
    if command.is_some() {
        journal::insert_event(transaction, &finish.event)?;
        let values =
            named_params! { ":node_id": finish.node_id.as_bytes(), ":keep": CommandRecord::KEPT };
        transaction.execute(TRIM_COMMANDS, values)?;
    }
    Ok(command)
}

/// Removes the commands of a node that is being deleted.
pub(crate) fn delete_of_node(transaction: Transaction<'_>, node_id: NodeId) -> Result<(), Failure> {
    let values = named_params! { ":node_id": node_id.as_bytes() };
    transaction.execute(DELETE_COMMANDS, values).map(drop)
}

/// `queue_command` writes one row of `enroll_commands`, and only if the node is there and has room
/// for one more; an id that is there is a collision.
pub(crate) const QUEUE_COMMAND: &str = concat!(
    "INSERT INTO enroll_commands (",
    command_columns!(),
    ") SELECT :id, :node_id, :node_name, :kind, :payload, :class, :status, :queued_by, :queued_at,
        :delivered_at, :finished_at, :output
    WHERE EXISTS (SELECT 1 FROM enroll_nodes WHERE id = :node_id)
        AND (SELECT count(*) FROM enroll_commands INDEXED BY enroll_commands_open
            WHERE node_id = :node_id AND finished_at IS NULL) < :max_open"
);

/// `command_by_id` reads one row.
pub(crate) const COMMAND_BY_ID: &str =
    concat!("SELECT ", command_columns!(), " FROM enroll_commands WHERE id = :id");

/// `open_commands` reads those of one node in the order they were queued.
pub(crate) const OPEN_COMMANDS: &str = concat!(
    "SELECT ",
    command_columns!(),
    " FROM enroll_commands WHERE node_id = :node_id AND finished_at IS NULL
    ORDER BY rowid LIMIT :limit"
);

/// `mark_delivered` writes one command, and only if it is this node's and still queued.
pub(crate) const MARK_DELIVERED: &str =
    "UPDATE enroll_commands SET status = :delivered, delivered_at = :at
    WHERE id = :id AND node_id = :node_id AND status = :queued";

/// `finish_command` writes one command, and only if it is this node's and not finished.
pub(crate) const FINISH_COMMAND: &str = concat!(
    "UPDATE enroll_commands SET status = :status, finished_at = :at, output = :output
    WHERE id = :id AND node_id = :node_id AND finished_at IS NULL
    RETURNING ",
    command_columns!()
);

/// `trim_commands` removes what lies behind the newest finished ones of one node; it reads no more
/// than that node's entries of one index.
pub(crate) const TRIM_COMMANDS: &str = "DELETE FROM enroll_commands
    WHERE node_id = :node_id AND finished_at IS NOT NULL AND id <= (SELECT id FROM enroll_commands
        WHERE node_id = :node_id AND finished_at IS NOT NULL
        ORDER BY id DESC LIMIT 1 OFFSET :keep)";

/// `delete_commands` removes those of one node.
pub(crate) const DELETE_COMMANDS: &str = "DELETE FROM enroll_commands WHERE node_id = :node_id";

/// `list_commands` reads one page of one node's.
pub(crate) const LIST_COMMANDS: &str = concat!(
    "SELECT ",
    command_columns!(),
    " FROM enroll_commands
    WHERE node_id = (SELECT id FROM enroll_nodes WHERE name = :name) AND id < :after
    ORDER BY id DESC LIMIT :limit"
);
