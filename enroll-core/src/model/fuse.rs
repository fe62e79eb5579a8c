//! The step from monitoring to full control, as it is kept.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

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
    /// What failed, a stable word: `watchdog_timeout`, `overtaken`, or the fuser's own, e.g.
    /// `portainer_error`.
    /// It is the `source` label of `fuse_failed_total`.
    pub source: String,
    /// What it was in this case, for people.
    pub detail: String,
}

impl FuseFailure {
    /// The source of a failure by deadline.
    pub const WATCHDOG: &'static str = "watchdog_timeout";
    /// The source of a failure by re-enrollment or deletion of the node.
    pub const OVERTAKEN: &'static str = "overtaken";
    /// The source of a failure that the worker reports.
    pub const WORKER: &'static str = "worker_error";
}

/// What a fuser hands the worker of a node that is being fused, so that it can do its part.
///
/// Any of its values may be a secret. They are fetched for one answer and stored nowhere; `Debug`
/// shows their names alone.
pub struct Handover {
    fuser: String,
    values: BTreeMap<String, Zeroizing<String>>,
}

impl Handover {
    /// Nothing yet, from the fuser of this name.
    #[must_use]
    pub fn from_fuser(name: impl Into<String>) -> Self {
        Self { fuser: name.into(), values: BTreeMap::new() }
    }

    /// Adds a value.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Zeroizing<String>>) -> Self {
        self.values.insert(name.into(), value.into());
        self
    }

    /// Who hands it over: says what the values mean.
    #[must_use]
    pub fn fuser(&self) -> &str {
        &self.fuser
    }

    /// The value of this name.
    #[must_use]
    pub fn expose(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|value| value.as_str())
    }

    /// Every name with its value.
    pub fn expose_all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Debug for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.values.keys().collect();
        f.debug_struct("Handover").field("fuser", &self.fuser).field("values", &names).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_over_shows_its_names_and_no_value() {
        let handover = Handover::from_fuser("portainer").with("edge_key", "s3cret".to_owned());
        assert_eq!(handover.expose("edge_key"), Some("s3cret"));
        assert_eq!(handover.expose_all().collect::<Vec<_>>(), [("edge_key", "s3cret")]);
        let shown = format!("{handover:?}");
        assert!(shown.contains("edge_key") && !shown.contains("s3cret"), "{shown}");
    }
}
