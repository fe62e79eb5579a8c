//! A node as the role of who asks allows.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{AnyOfBuilder, Schema};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::{NodeSummary, NodeView};

/// A node as the role of who asks allows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[expect(clippy::exhaustive_enums, reason = "a role sees everything of a node, or its summary")]
pub enum ShownNode {
    /// For the roles `admin` and `operator`.
    Full(Box<NodeView>),
    /// For the roles `developer` and `viewer`.
    Summary(NodeSummary),
}

/// Not `oneOf`: everything of a node is its summary too.
impl PartialSchema for ShownNode {
    fn schema() -> RefOr<Schema> {
        let of = |name: Cow<'static, str>| Ref::from_schema_name(name);
        let shown = AnyOfBuilder::new()
            .description(Some(
                "A node as the role of who asks allows: everything for `admin` and `operator`, the \
                 summary for `developer` and `viewer`.",
            ))
            .item(of(NodeView::name()))
            .item(of(NodeSummary::name()));
        shown.into()
    }
}

impl ToSchema for ShownNode {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((NodeView::name().into_owned(), NodeView::schema()));
        schemas.push((NodeSummary::name().into_owned(), NodeSummary::schema()));
        NodeView::schemas(schemas);
        NodeSummary::schemas(schemas);
    }
}
