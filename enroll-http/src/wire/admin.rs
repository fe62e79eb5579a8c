//! Operators.

use enroll_core::model::{AdminRecord, Role};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use utoipa::openapi::schema::Object;

use super::schema::words;
use super::{Rfc3339, SecretText};

/// What `POST /v1/admins` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[expect(clippy::exhaustive_structs, reason = "the two members of the request")]
pub struct NewAdmin {
    /// Unique among operators.
    #[serde(default)]
    #[schema(required = true, min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._@-]+$")]
    pub name: String,
    /// What they may do.
    #[serde(default)]
    #[schema(required = true, schema_with = roles)]
    pub role: String,
}

/// An operator just added: the one answer that shows the token.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct AddedAdmin {
    /// Their name.
    pub name: String,
    /// What they may do.
    #[schema(schema_with = roles)]
    pub role: String,
    /// Their token, shown this once.
    pub token: SecretText,
}

/// An operator in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct AdminItem {
    /// Their name.
    pub name: String,
    /// What they may do.
    #[schema(schema_with = roles)]
    pub role: String,
    /// Since when.
    pub created_at: Rfc3339,
}

impl From<AdminRecord> for AdminItem {
    fn from(record: AdminRecord) -> Self {
        Self {
            name: record.name,
            role: record.role.as_str().to_owned(),
            created_at: record.created_at.into(),
        }
    }
}

fn roles() -> Object {
    let says = "What they may do; each may do all the one before may.";
    words(says, Role::ALL.iter().map(|role| role.as_str()))
}
