//! Settings that operators change while masters run.

use enroll_core::master::AutoEnrollmentView;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Rfc3339, SecretText};

/// Auto-enrollment as it may be shown: the secret is write-only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct AutoEnrollment {
    /// Whether it is on.
    pub enabled: bool,
    /// When the present secret was first set; `null` where none ever was.
    #[schema(required = true)]
    pub secret_set_at: Option<Rfc3339>,
    /// Until when the secret before it is accepted too; `null` where it is not.
    #[schema(required = true)]
    pub previous_valid_until: Option<Rfc3339>,
    /// Whether a machine may take the place of an identity that auto-enrollment made.
    pub replace: bool,
    /// The names it may give, `*` for any run of characters; empty is any name.
    pub name_patterns: Vec<String>,
}

impl From<AutoEnrollmentView> for AutoEnrollment {
    fn from(view: AutoEnrollmentView) -> Self {
        let patterns = view.name_patterns.iter();
        Self {
            enabled: view.enabled,
            secret_set_at: view.secret_set_at.map(Rfc3339),
            previous_valid_until: view.previous_valid_until.map(Rfc3339),
            replace: view.replace,
            name_patterns: patterns.map(|pattern| pattern.as_str().to_owned()).collect(),
        }
    }
}

/// What `PUT /v1/settings/auto-enrollment` takes. What is absent stays as it is.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[expect(clippy::exhaustive_structs, reason = "a bag of wishes, built with `..default()`")]
pub struct AutoEnrollmentWish {
    /// Switches it on or off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Sets a new secret of at least 32 characters; it is never shown again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(write_only)]
    pub secret: Option<SecretText>,
    /// For how long the secret before it is accepted too, in seconds, at most 30 days; goes with
    /// `secret`. Absent: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 2_592_000)]
    pub previous_valid_secs: Option<u64>,
    /// Whether a machine may take the place of an identity that auto-enrollment made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace: Option<bool>,
    /// The names it may give, `*` for any run of characters; empty is any name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 64)]
    pub name_patterns: Option<Vec<String>>,
}
