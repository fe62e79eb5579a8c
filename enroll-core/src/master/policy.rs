//! The embedder's own say: seats, licence, address ranges.

use std::time::Duration;

use async_trait::async_trait;

use crate::model::{Facts, Method, NodeName, NodeRecord, Origin};

/// A machine that everything else approved.
#[derive(Debug)]
#[non_exhaustive]
pub struct Candidate<'a> {
    /// The name it is to have.
    pub node_name: &'a NodeName,
    /// How it proved itself.
    pub method: Method,
    /// Where it calls from.
    pub origin: Origin,
    /// What it says of itself.
    pub facts: &'a Facts,
    /// Whether it replaces the identities of a node that is there.
    pub replaces: bool,
}

/// A refusal in the policy's own words, shown to the machine and its operator as `denied`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Denial {
    /// Why, in a sentence. No secret.
    pub words: String,
    /// When asking again may help; `None` makes it final.
    pub retry_after: Option<Duration>,
}

impl Denial {
    /// A final refusal.
    #[must_use]
    pub fn new(words: impl Into<String>) -> Self {
        Self { words: words.into(), retry_after: None }
    }

    /// Not yet: ask again after `span`.
    #[must_use]
    pub const fn retry_after(mut self, span: Duration) -> Self {
        self.retry_after = Some(span);
        self
    }
}

/// Asked after the decision and before anything is made. It runs outside every store transaction,
/// so what it counts may be one off while two machines enroll at once.
#[async_trait]
pub trait Policy: Send + Sync {
    /// Lets the candidate in, or says why not.
    ///
    /// # Errors
    /// [`Denial`].
    async fn admit(&self, candidate: &Candidate<'_>) -> Result<(), Denial>;
}

/// The policy of a master that has none.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct AllowAll;

impl AllowAll {
    /// The policy of a master that has none.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

#[async_trait]
impl Policy for AllowAll {
    async fn admit(&self, _candidate: &Candidate<'_>) -> Result<(), Denial> {
        Ok(())
    }
}

/// Asked before a node is deleted: whether an embedder's own work still runs on it.
#[async_trait]
pub trait InUse: Send + Sync {
    /// Says what keeps the node in use, in a sentence for the operator; `None` when nothing does.
    async fn reason(&self, node: &NodeRecord) -> Option<String>;
}
