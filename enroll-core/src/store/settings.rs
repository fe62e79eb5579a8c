//! Operators, settings, and whether the store answers.

use async_trait::async_trait;

use super::StoreError;
use crate::model::{AdminRecord, BearerDigest, Event};

/// Operators.
///
/// # Contract
/// - **A1** Names are unique: `insert_admin` with a name that is there writes nothing and says
///   `false`.
/// - **A2** A removed operator's token is refused from then on.
/// - **A3** The last operator with the role `admin` cannot be removed: `remove_admin` says `false`
///   and writes nothing, as it does for an unknown name.
#[async_trait]
pub trait Admins: Send + Sync {
    /// Adds an operator.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was written then.
    async fn insert_admin(&self, admin: AdminRecord, event: Event) -> Result<bool, StoreError>;

    /// The operator whose token has this digest.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn admin(&self, digest: BearerDigest) -> Result<Option<AdminRecord>, StoreError>;

    /// All operators, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn admins(&self) -> Result<Vec<AdminRecord>, StoreError>;

    /// Removes an operator.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was written then.
    async fn remove_admin(&self, name: &str, event: Event) -> Result<bool, StoreError>;
}

/// A setting as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a store builds every field")]
pub struct Setting {
    /// Its value; text its owner versions.
    pub value: String,
    /// Counts its changes, from 1.
    pub version: u64,
}

/// Settings that every master of a store shares.
///
/// # Contract
/// - **C1** `put_setting` writes if and only if the setting's version is `expected` (0: it is not
///   there), and then the version is one more.
#[async_trait]
pub trait Settings: Send + Sync {
    /// The setting of this key.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn setting(&self, key: &str) -> Result<Option<Setting>, StoreError>;

    /// Changes one setting, if nobody else did since it was read; says whether it did.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was written then.
    async fn put_setting(
        &self,
        key: &str,
        value: String,
        expected: u64,
        event: Event,
    ) -> Result<bool, StoreError>;
}

/// Whether the store answers.
#[async_trait]
pub trait Probe: Send + Sync {
    /// Does the smallest thing that shows the store can read and write.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot.
    async fn probe(&self) -> Result<(), StoreError>;

    /// Looks how it stands: whether what was acknowledged survives a crash, and whatever else an
    /// operator ought to know.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot say.
    async fn diagnose(&self) -> Result<Vec<Finding>, StoreError>;
}

/// One thing that was looked at, for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    what: &'static str,
    says: String,
    next: Option<&'static str>,
}

impl Finding {
    /// All is well with `what`, a stable word.
    #[must_use]
    pub fn good(what: &'static str, says: impl Into<String>) -> Self {
        Self { what, says: says.into(), next: None }
    }

    /// All is not well with it; `next` is what to do, a sentence.
    #[must_use]
    pub fn bad(what: &'static str, says: impl Into<String>, next: &'static str) -> Self {
        Self { what, says: says.into(), next: Some(next) }
    }

    /// What was looked at, in a stable word.
    #[must_use]
    pub const fn what(&self) -> &'static str {
        self.what
    }

    /// How it stands, in a sentence.
    #[must_use]
    pub fn says(&self) -> &str {
        &self.says
    }

    /// What to do about it; `None` where all is well.
    #[must_use]
    pub const fn next(&self) -> Option<&'static str> {
        self.next
    }

    /// Whether all is well.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.next.is_none()
    }
}
