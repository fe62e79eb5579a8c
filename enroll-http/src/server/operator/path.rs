//! What stands in the path.

use axum::extract::{FromRequestParts, RawPathParams};
use enroll_core::model::{NodeName, TokenId};
use http::request::Parts;

use super::invalid;
use crate::wire::{ErrorCode, Problem};

/// The node a path names.
pub(super) struct NodePath(pub(super) NodeName);

impl<S: Send + Sync> FromRequestParts<S> for NodePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = segment(parts, state, "name").await?;
        NodeName::new(&text)
            .map(Self)
            .map_err(|why| invalid(format!("A node is addressed by its name, and {why}.")))
    }
}

/// The token a path names.
pub(super) struct TokenPath(pub(super) TokenId);

impl<S: Send + Sync> FromRequestParts<S> for TokenPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // What cannot be an id is the id of no token.
        segment(parts, state, "id").await?.parse().map(Self).map_err(|_| {
            let detail = "There is no token of this id: the id is the 12 letters and digits between the two `_` of a token's text.";
            Problem::error(ErrorCode::NotFound, detail)
        })
    }
}

/// The operator a path names.
pub(super) struct AdminPath(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for AdminPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        segment(parts, state, "name").await.map(Self)
    }
}

/// The last parameter of this name: an embedder's own path may have parameters before ours.
async fn segment<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
    name: &str,
) -> Result<String, Problem> {
    let params = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| invalid("The path is not UTF-8."))?;
    let value = params.iter().filter(|(key, _)| *key == name).last();
    Ok(value.map(|(_, value)| value.to_owned()).unwrap_or_default())
}
