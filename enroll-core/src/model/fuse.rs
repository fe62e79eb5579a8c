//! The step from monitoring to full control, as it is kept.

use serde::{Deserialize, Serialize};

use super::{FuseId, Timestamp};

/// One attempt to fuse a node: running, or the last one that ended.
///
/// Its id fences it: whoever ends it names the id, so that an attempt that was overtaken (by a
/// re-enrollment, a deadline, a later attempt) can no longer change the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a store builds every field")]
pub struct FuseRecord {
    /// Its id.
    pub attempt: FuseId,
    /// When it began.
    pub started_at: Timestamp,
    /// A success at or after this instant is refused and undone.
    pub deadline: Timestamp,
    /// How the outside names what was begun there; `None` until that is known.
    pub ticket: Option<String>,
    /// How it ended; `None` while it runs.
    pub ended: Option<FuseEnd>,
}

/// How an attempt to fuse ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a store builds every field")]
pub struct FuseEnd {
    /// When.
    pub at: Timestamp,
    /// `None` when the node was fused; else why not.
    pub failure: Option<FuseFailure>,
}

/// Why a node was not fused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "two values that belong together")]
pub struct FuseFailure {
    /// What failed, a stable word: `watchdog_timeout`, or the fuser's own, e.g. `portainer_error`.
    /// It is the `source` label of `fuse_failed_total`.
    pub source: String,
    /// What it was in this case, for people.
    pub detail: String,
}

impl FuseFailure {
    /// The source of a failure by deadline.
    pub const WATCHDOG: &'static str = "watchdog_timeout";
}
