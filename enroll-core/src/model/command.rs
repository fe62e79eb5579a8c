//! Commands queued for a node.

use serde::{Deserialize, Serialize};

use super::node::UnknownWord;
use super::{CommandId, NodeId, NodeName, Timestamp};

super::node::words! {
    /// What a kind of command needs.
    CommandClass {
        /// It only looks: any member may get it.
        Monitor "monitor"
        /// It changes something: only a fused node gets it.
        Control "control"
        /// It carries the step to full control out: only a fusing node gets it.
        Fuse "fuse"
    }
    /// Where a command stands.
    CommandStatus {
        /// Waits for the node to listen.
        Queued "queued"
        /// Was handed over, and not acknowledged; it will be handed over again.
        Delivered "delivered"
        /// Carried out.
        Done "done"
        /// Not carried out.
        Failed "failed"
    }
}

/// One command for one node.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a store builds every field")]
pub struct CommandRecord {
    /// Its id.
    pub id: CommandId,
    /// The node.
    pub node_id: NodeId,
    /// That node's name.
    pub node_name: NodeName,
    /// What to do.
    pub kind: String,
    /// With what; JSON. Never a secret: what is secret is fetched, not queued.
    pub payload: serde_json::Value,
    /// What the kind needs.
    pub class: CommandClass,
    /// Where it stands.
    pub status: CommandStatus,
    /// The operator who queued it.
    pub queued_by: String,
    /// When it was queued.
    pub queued_at: Timestamp,
    /// When it was first handed over.
    pub delivered_at: Option<Timestamp>,
    /// When it was acknowledged, or given up.
    pub finished_at: Option<Timestamp>,
    /// What the worker said of it.
    pub output: Option<String>,
}

impl CommandRecord {
    /// The kind that asks a worker to do its part of an attempt to fuse it.
    pub const FUSE: &'static str = "fuse";
    /// The most bytes of a kind: 64.
    pub const MAX_KIND: usize = 64;
    /// The most bytes of a payload's JSON: 16 KiB.
    pub const MAX_PAYLOAD: usize = 16 * 1024;
    /// The most bytes of an output kept: 16 KiB; more is cut.
    pub const MAX_OUTPUT: usize = 16 * 1024;
    /// The most commands of one node that wait to be acknowledged: 1,000.
    pub const MAX_OPEN: u32 = 1_000;
    /// Finished commands kept per node: 1,000.
    pub const KEPT: u32 = 1_000;

    /// As much of an output as is kept: the beginning, whole characters, [`Self::MAX_OUTPUT`] at most.
    #[must_use]
    pub fn cut_output(mut output: String) -> String {
        let whole = |end: &usize| output.is_char_boundary(*end);
        let end = (0..=Self::MAX_OUTPUT.min(output.len())).rev().find(whole).unwrap_or(0);
        output.truncate(end);
        output
    }
}
