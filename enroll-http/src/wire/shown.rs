//! A node as the role of who asks allows.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{NodeSummary, NodeView};

/// A node as the role of who asks allows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(clippy::exhaustive_enums, reason = "a role sees everything of a node, or its summary")]
pub enum ShownNode {
    /// For the roles `admin` and `operator`.
    Full(Box<NodeView>),
    /// For the roles `developer` and `viewer`.
    Summary(NodeSummary),
}
