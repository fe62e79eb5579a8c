//! What a master says of its store and of itself.

use enroll_core::store::{Fence, Finding};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Rfc3339;

/// Whether the store was taken back to an earlier state: its server was promoted or restored. The
/// join tokens minted before are void, and are shown and refused as `revoked`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct FenceView {
    /// Whether it ever was.
    pub raised: bool,
    /// How often, counted from 1 before the first time; null where it never was.
    #[schema(required = true)]
    pub epoch: Option<u64>,
    /// When it was noticed last; null where it never was.
    #[schema(required = true)]
    pub raised_at: Option<Rfc3339>,
    /// When an operator said that they know of it; null while nobody did.
    #[schema(required = true)]
    pub acknowledged_at: Option<Rfc3339>,
}

impl From<Option<Fence>> for FenceView {
    fn from(fence: Option<Fence>) -> Self {
        Self {
            raised: fence.is_some(),
            epoch: fence.map(|fence| fence.epoch),
            raised_at: fence.map(|fence| fence.raised_at.into()),
            acknowledged_at: fence.and_then(|fence| fence.acknowledged_at).map(Rfc3339),
        }
    }
}

/// What `POST /v1/fence/acknowledge` takes.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[expect(clippy::exhaustive_structs, reason = "a bag of wishes, built with `..default()`")]
pub struct FenceWish {
    /// The epoch that is acknowledged; absent: whichever it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
}

/// One thing that a master looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct Check {
    /// What was looked at, in a stable word.
    #[schema(example = "durability")]
    pub check: String,
    /// Whether all is well with it.
    pub ok: bool,
    /// How it stands.
    pub detail: String,
    /// What to do about it; null where all is well.
    #[schema(required = true)]
    pub hint: Option<String>,
}

impl From<&Finding> for Check {
    fn from(finding: &Finding) -> Self {
        Self {
            check: finding.what().to_owned(),
            ok: finding.is_good(),
            detail: finding.says().to_owned(),
            hint: finding.next().map(str::to_owned),
        }
    }
}

impl Check {
    /// All is well with `check`.
    #[must_use]
    pub fn good(check: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { check: check.into(), ok: true, detail: detail.into(), hint: None }
    }

    /// All is not well with `check`; `hint` is what to do about it.
    #[must_use]
    pub fn bad(
        check: impl Into<String>,
        detail: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let hint = Some(hint.into());
        Self { check: check.into(), ok: false, detail: detail.into(), hint }
    }
}

/// How a master stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct Diagnosis {
    /// Whether all is well.
    pub ok: bool,
    /// What was looked at.
    pub checks: Vec<Check>,
}

impl From<Vec<Check>> for Diagnosis {
    fn from(checks: Vec<Check>) -> Self {
        Self { ok: checks.iter().all(|check| check.ok), checks }
    }
}
