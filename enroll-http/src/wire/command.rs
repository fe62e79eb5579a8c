//! Commands, as operators queue and see them.

use enroll_core::model::{CommandClass, CommandId, CommandRecord, CommandStatus};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;

use super::Rfc3339;
use super::schema::words;

/// What `POST /v1/nodes/{name}/commands` takes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[expect(clippy::exhaustive_structs, reason = "the two members of the request")]
pub struct NewCommand {
    /// What to do: a kind that the master declares.
    #[serde(default)]
    #[schema(required = true, max_length = 64)]
    pub kind: String,
    /// With what: any JSON, at most 16 KiB. Never a secret.
    #[serde(default)]
    pub payload: Value,
}

/// A command that waits for its node to listen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct QueuedCommand {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub id: CommandId,
}

impl QueuedCommand {
    pub(crate) const fn of(record: &CommandRecord) -> Self {
        Self { id: record.id }
    }
}

/// A command in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct CommandItem {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub id: CommandId,
    /// What to do.
    pub kind: String,
    /// With what.
    pub payload: Value,
    /// What the kind needs of the node.
    #[schema(schema_with = classes)]
    pub class: String,
    /// Where it stands.
    #[schema(schema_with = statuses)]
    pub status: String,
    /// The operator who queued it.
    pub queued_by: String,
    /// When it was queued.
    pub queued_at: Rfc3339,
    /// When it was first handed over.
    #[schema(required = true)]
    pub delivered_at: Option<Rfc3339>,
    /// When it was acknowledged, or given up.
    #[schema(required = true)]
    pub finished_at: Option<Rfc3339>,
    /// What the worker said of it, or why it was given up.
    #[schema(required = true)]
    pub output: Option<String>,
}

impl From<CommandRecord> for CommandItem {
    fn from(record: CommandRecord) -> Self {
        Self {
            id: record.id,
            kind: record.kind,
            payload: record.payload,
            class: record.class.as_str().to_owned(),
            status: record.status.as_str().to_owned(),
            queued_by: record.queued_by,
            queued_at: record.queued_at.into(),
            delivered_at: record.delivered_at.map(Rfc3339),
            finished_at: record.finished_at.map(Rfc3339),
            output: record.output,
        }
    }
}

fn classes() -> Object {
    let says =
        "What the kind needs: `monitor` a member, `control` a fused node, `fuse` a fusing one.";
    words(says, CommandClass::ALL.iter().map(|class| class.as_str()))
}

fn statuses() -> Object {
    words("Where it stands.", CommandStatus::ALL.iter().map(|status| status.as_str()))
}
